"""The packages of the extra `elsewhere[recipes]`, asked for before they are needed."""

import importlib.util

from benchmark.errors import InputError, Problem


def require(where: str, *modules: str) -> None:
    """Errors: InputError that names the modules which are not installed, and the extra."""
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        fix = "pip install 'elsewhere[recipes]'"
        raise InputError(Problem(where, ", ".join(missing), "not installed", fix))


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # the package that holds it is not there
