"""Packages that only some sources need, brought by the extra `recipes`."""

from importlib import import_module
from typing import Any

from benchmark.errors import InputError, Problem


def package(module: str) -> Any:
    """A module by its name; InputError that names the extra where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise InputError(
            Problem(name, "an installed package", "none", "pip install 'elsewhere[recipes]'")
        ) from None
