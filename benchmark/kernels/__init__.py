"""Compiled kernels (numba): the same sums as the numpy code of `benchmark.families`, fused.

Imported only by that code, and only where `benchmark.engine.compiled()`. Every kernel releases
the GIL, works on one step at a time, so that chunks cannot change a bit, and sums over cells in
float64.
"""

from pathlib import Path
from typing import Any

from blake3 import blake3

OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    # Sums may be regrouped into vector lanes; NaN and infinity keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz"},
}
"""What every kernel is compiled with."""


def _drop_stale_kernels() -> None:
    """Delete compiled kernels that were made from other formulas.

    numba looks only at the file of the kernel itself, but formulas of `benchmark.families` and
    the lanes are compiled into it too.
    """
    here = Path(__file__).parent
    sources = sorted([*here.glob("*.py"), *here.parent.joinpath("families").glob("*.py")])
    digest = blake3(b"".join(path.read_bytes() for path in sources)).hexdigest()
    record = here / "__pycache__" / "sources.blake3"
    try:
        if record.is_file() and record.read_text() == digest:
            return
        for compiled in record.parent.glob("*.nb[ci]"):
            compiled.unlink(missing_ok=True)
        record.parent.mkdir(exist_ok=True)
        record.write_text(digest)
    except OSError:
        # A package that nobody may write to keeps its sources, and numba its cache elsewhere.
        return


_drop_stale_kernels()
