"""A window's cells of a field on latitudes and longitudes."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from data_recipes.source import Window

Degrees = NDArray[np.float64]

_FIX = "Check that it is the product, and whole."


def cut(
    field: xr.DataArray, window: Window, steps: NDArray[np.intp], *, cell: float, where: Path
) -> tuple[Degrees, Degrees, NDArray[Any]]:
    """Centres (y) and (x) in degrees, and values (time, y, x), of a window and a cell around it.

    field: with dims y, x and maybe time, not yet read; only what is wanted is. steps: positions in
    time, of no matter to a field without. cell: degrees between centres. Rows keep their order;
    longitudes are counted on from the window's west, so that a window may lie across the edge of
    the file. Errors: InputError, about `where`, for other cells or too few of them.
    """
    y, x = _degrees(field["y"].values), _degrees(field["x"].values)
    for axis, centres in (("latitudes", y), ("longitudes", x)):
        apart = np.abs(np.diff(centres))
        if not np.allclose(apart, cell, rtol=0.0, atol=0.01 * cell):
            got = f"{apart.min():.6g} to {apart.max():.6g}" if apart.size else "one"
            raise InputError(Problem(str(where), f"{axis} {cell:.6g} degrees apart", got, _FIX))
    start = window.west - 1.5 * cell
    x = start + (x - start) % 360.0
    # Less than a whole cell, so that rounding does not decide.
    rows = np.flatnonzero((y > window.south - 0.9 * cell) & (y < window.north + 0.9 * cell))
    columns = np.flatnonzero((x > window.west - 0.9 * cell) & (x < window.east + 0.9 * cell))
    if not (
        _covers(y[rows], window.south, window.north, cell)
        and _covers(x[columns], window.west, window.east, cell)
    ):
        got = f"latitudes {y.min():.6g} to {y.max():.6g}, longitudes {field['x'].values.min():.6g}"
        got += f" to {field['x'].values.max():.6g}"
        raise InputError(Problem(str(where), "cells that cover the window", got, _FIX))
    runs = np.split(columns, np.flatnonzero(np.diff(columns) != 1) + 1)
    runs.sort(key=lambda run: float(x[run[0]]))
    pieces = [_values(field.isel(y=_slice(rows), x=_slice(run)), steps) for run in runs]
    return y[rows], x[np.concatenate(runs)], np.concatenate(pieces, axis=-1)


def _values(field: xr.DataArray, steps: NDArray[np.intp]) -> NDArray[Any]:
    if "time" not in field.dims:
        alone = [dim for dim in field.dims if dim not in ("y", "x")]
        return np.asarray(field.squeeze(alone).transpose("y", "x").values)[None]
    first = int(steps.min())
    loaded = field.isel(time=slice(first, int(steps.max()) + 1)).transpose("time", "y", "x")
    return np.asarray(loaded.values[steps - first])


def _covers(centres: Degrees, low: float, high: float, cell: float) -> bool:
    half = 0.501 * cell
    return bool(centres.size and centres.min() - half <= low and centres.max() + half >= high)


def _slice(run: NDArray[np.intp]) -> slice:
    return slice(int(run[0]), int(run[-1]) + 1)


def _degrees(stored: NDArray[Any]) -> Degrees:
    """Centres as float64; of float32, four decimals are what was meant."""
    wide = stored.astype(np.float64)
    return np.round(wide, 4) if stored.dtype == np.float32 else wide
