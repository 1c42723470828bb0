"""NetCDF files, opened by one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from data_recipes.extra import require

ALONE = threading.RLock()
"""Held while a NetCDF file is open. The C library may not be called by two threads at once: that
ends the process. xarray locks the reading of values, but not opening, attributes and closing."""


@contextmanager
def open_netcdf(path: Path, **options: Any) -> Iterator[xr.Dataset]:
    """A NetCDF file of any format, open for reading; other threads wait until it is closed.

    options: those of `xarray.open_dataset`. Errors: as there (OSError, ValueError); InputError
    without the extra.
    """
    require(str(path), "netCDF4")
    with ALONE, xr.open_dataset(path, engine="netcdf4", **options) as data:
        yield data
