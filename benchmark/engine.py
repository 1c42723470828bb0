"""Which engine reduces fields: numba's compiled kernels where it is installed, else numpy.

Both compute the same statistics; they agree to rounding (1e-9 relative), and each is bit-identical
to itself. The engine that scored a row is recorded with the row.
"""

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

from benchmark.errors import InputError, Problem

Engine = Literal["numba", "numpy"]
VARIABLE = "ELSEWHERE_ENGINE"


def engine() -> Engine:
    """`$ELSEWHERE_ENGINE`, or numba where it is installed and numpy where it is not.

    Errors: InputError when the variable names no engine, or numba and it is not installed.
    """
    return _choose(os.environ.get(VARIABLE, ""))


def compiled() -> bool:
    """Whether the numba kernels are in use."""
    return engine() == "numba"


@cache
def _choose(wanted: str) -> Engine:
    installed = find_spec("numba") is not None
    if wanted == "":
        return "numba" if installed else "numpy"
    if wanted not in get_args(Engine):
        fix = f"Unset {VARIABLE} or set it to numba or numpy."
        raise InputError(Problem(VARIABLE, "numba or numpy", repr(wanted), fix))
    if wanted == "numba" and not installed:
        fix = "pip install 'elsewhere[fast]', or unset it to score with numpy."
        raise InputError(Problem(VARIABLE, "numba, installed", "numba is not installed", fix))
    return "numba" if wanted == "numba" else "numpy"
