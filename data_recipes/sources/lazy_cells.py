"""Which cells of a regular latitude-longitude grid a window takes, and which months."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from data_recipes.source import Times

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


def to_degrees(centres: NDArray[Any]) -> Floats:
    """Cell centres as float64: a float32 179.95 as 179.95, not as 179.9499969."""
    if centres.dtype == np.float32:
        return centres.astype(str).astype(np.float64)
    return centres.astype(np.float64)


def rows(centres: Floats, south: float, north: float) -> Indices:
    """Indices of the latitudes whose cells cover the box and half a cell around it, in order."""
    step = float(np.abs(np.diff(centres)).max())
    chosen = np.flatnonzero((centres > south - step) & (centres < north + step))
    if not len(chosen):
        raise _outside("latitudes", south, north, centres)
    return chosen


def columns(centres: Floats, west: float, east: float) -> tuple[Indices, Floats]:
    """Columns that cover the box and half a cell around it, from west to east, and their degrees.

    The degrees rise without a jump and are those of the box, whatever turn the store counts from.
    Around the whole globe, the outermost columns come twice.
    """
    step = float(np.abs(np.diff(centres)).max())
    turns = np.round(np.concatenate([centres + t for t in (-360.0, 0.0, 360.0, 720.0)]), 9)
    indices = np.tile(np.arange(len(centres)), 4)
    within = np.flatnonzero((turns > west - step) & (turns < east + step))
    if not len(within):
        raise _outside("longitudes", west, east, centres)
    chosen = within[np.argsort(turns[within], kind="stable")]
    return indices[chosen], turns[chosen]


def runs(indices: Indices) -> Iterator[slice]:
    """Consecutive indices as slices, in order."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        if len(run):
            yield slice(int(run[0]), int(run[-1]) + 1)


def by_month(times: Times) -> list[tuple[str, Times]]:
    """(month, its times) in order; the month as "2020-01"."""
    months = times.astype("datetime64[M]")
    return [(str(month), times[months == month]) for month in np.unique(months)]


def _outside(axis: str, first: float, last: float, centres: Floats) -> InputError:
    return InputError(
        Problem(
            axis, f"some between {first:g} and {last:g}",
            f"{centres.min():g} to {centres.max():g}", "Check the region and the product.",
        )
    )  # fmt: skip
