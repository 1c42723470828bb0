"""A window's rows and columns of a regular latitude-longitude grid, across any of its seams."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from data_recipes.source import Window

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]

_REACH = 0.999
"""Cells between a window's edge and the farthest centre taken: below 1, so that rounding does not
decide of a centre that is exactly a cell away."""
_REGULAR = 0.01
_DECIMALS = 4
_FLOAT32_STEPS = 3
_FIX = "Check the region and the product."


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a grid's cells: rows from first to stop, columns in order, and their centres."""

    rows: slice
    columns: Indices
    y: Floats
    x: Floats


def to_degrees(centres: NDArray[Any]) -> Floats:
    """Cell centres as float64: a float32 179.95 as 179.95, not as 179.9499969.

    Of float32, four decimals are what was meant, wherever they are as near as its last bits;
    otherwise (thirds of a degree) the shortest decimal that is the same float32.
    """
    wide = centres.astype(np.float64)
    if centres.dtype != np.float32:
        return wide
    rounded = np.round(wide, _DECIMALS)
    if (np.abs(rounded - wide) <= _FLOAT32_STEPS * np.spacing(np.abs(centres))).all():
        return np.asarray(rounded)
    return centres.astype(str).astype(np.float64)


def window_part(y: Floats, x: Floats, window: Window, *, where: str) -> Part:
    """The cells that cover a window and half a cell around it; see `rows` and `columns`."""
    row = rows(y, window.south, window.north, where=where)
    column, degrees = columns(x, window.west, window.east, where=where)
    return Part(row, column, y[row], degrees)


def rows(centres: Floats, south: float, north: float, *, where: str) -> slice:
    """The rows whose cells cover the box and half a cell around it, as far as there are any.

    centres: latitudes, rising or falling. Errors: InputError, about `where`, where there is none.
    """
    reach = _REACH * _step(centres, where=f"{where}: latitudes")
    found = np.flatnonzero((centres > south - reach) & (centres < north + reach))
    if not len(found):
        raise _outside(f"{where}: latitudes", south, north, centres)
    return slice(int(found[0]), int(found[-1]) + 1)


def columns(centres: Floats, west: float, east: float, *, where: str) -> tuple[Indices, Floats]:
    """Columns that cover the box and half a cell around it, from west to east, and their degrees.

    The degrees rise without a jump and are those of the box, whatever turn the product counts from
    and wherever its seam is. Around the whole globe, the outermost columns come twice.
    Errors: InputError, about `where`, where there is none.
    """
    reach = _REACH * _step(centres, where=f"{where}: longitudes")
    start = west - reach
    turned = centres - 360.0 * np.floor((centres - start) / 360.0)
    turns = np.round(np.concatenate([turned, turned + 360.0]), 9)
    within = np.flatnonzero((turns > start) & (turns < east + reach))
    if not len(within):
        raise _outside(f"{where}: longitudes", west, east, centres)
    chosen = within[np.argsort(turns[within], kind="stable")]
    return chosen % len(centres), turns[chosen]


def crop(field: xr.DataArray, part: Part) -> NDArray[Any]:
    """(..., y, x) values of a part of a field whose last dims are y and x, and of no more of it."""
    y, x = field.dims[-2:]
    inside = field.isel({y: part.rows})
    pieces = [inside.isel({x: run}).values for run in runs(part.columns)]
    return np.asarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1))


def check_spacing(y: Floats, x: Floats, cell: float, *, where: str) -> None:
    """Errors: InputError, about `where`, unless all centres are so many degrees apart."""
    for axis, centres in (("latitudes", y), ("longitudes", x)):
        apart = np.abs(np.diff(centres))
        if not apart.size or not np.allclose(apart, cell, rtol=0.0, atol=_REGULAR * cell):
            got = f"{apart.min():.6g} to {apart.max():.6g}" if apart.size else "one"
            fix = "Check that it is the product, and whole."
            raise InputError(Problem(where, f"{axis} {cell:.6g} degrees apart", got, fix))


def runs(indices: Indices) -> Iterator[slice]:
    """Consecutive indices as slices, in order."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        if len(run):
            yield slice(int(run[0]), int(run[-1]) + 1)


def as_slice(indices: Indices) -> slice | Indices:
    """Indices as one slice where they are consecutive: stores read that faster."""
    found = list(runs(indices))
    return found[0] if len(found) == 1 else indices


def _step(centres: Floats, *, where: str) -> float:
    """Degrees between neighbours, whatever seam is between two of them."""
    if len(centres) < 2:
        raise InputError(Problem(where, "two cells or more", f"{len(centres)}", _FIX))
    return float(np.median(np.abs(np.diff(centres))))


def _outside(where: str, first: float, last: float, centres: Floats) -> InputError:
    got = f"{centres.min():g} to {centres.max():g}"
    return InputError(Problem(where, f"some between {first:g} and {last:g}", got, _FIX))
