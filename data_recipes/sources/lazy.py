"""Windows of a remote Zarr store, read over a line that may fail, and kept as `pieces`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.toml_model import nearest
from data_recipes.retries import Retries
from data_recipes.source import Advance, Times
from data_recipes.sources.lat_lon_cells import (
    Indices,
    Part,
    as_slice,
    crop,
    to_degrees,
    window_part,
)
from data_recipes.sources.pieces import STATIC, Piece, grown, write_piece

Values = NDArray[np.floating[Any]]
T = TypeVar("T")

_DIMS = {"time": ("time",), "y": ("latitude", "lat"), "x": ("longitude", "lon")}


@dataclass(frozen=True, eq=False)
class OpenStore:
    """A remote store open for reading.

    data: its variables, not yet loaded, with dims time, y, x in any order (see `canonical`);
    last: the last time that holds data; said: what is kept beside each piece.
    """

    data: xr.Dataset
    last: np.datetime64
    said: Mapping[str, str]


@dataclass(frozen=True)
class Shape:
    """How a store is best read.

    steps: how many at a time; whole: a chunk is a whole step, so that all of it is read once and
    then cropped, for every window that wants it; otherwise only the window's rows and columns are.
    """

    steps: int
    whole: bool


@dataclass(frozen=True)
class Line:
    """The way to a store: which failures may pass, how patient to be, what a piece weighs."""

    transient: Callable[[BaseException], bool]
    retries: Retries
    cost: Callable[[Piece], int]

    def patiently(self, call: Callable[[], T]) -> T:
        """Call again after a wait while the failure is one that may pass; then let it through."""
        failures = 0
        while True:
            try:
                return call()
            except Exception as error:
                failures += 1
                if failures >= self.retries.attempts or not self.transient(error):
                    raise
                self.retries.wait(failures)


def canonical(data: xr.Dataset) -> xr.Dataset:
    """The store's dims and coordinates under the names time, y and x; times as datetime64[s]."""
    names = {
        str(known): ours for ours, all_ in _DIMS.items() for known in all_ if known in data.dims
    }
    if {"y", "x"} - set(names.values()):
        raise InputError(
            Problem("the store", "dims latitude and longitude", str(tuple(data.dims)), "Check it.")
        )
    return data.rename(names)


def fetch_pieces(
    wanted: Sequence[Piece], store: OpenStore, shape: Shape, line: Line, *, advance: Advance
) -> None:
    """Read pieces from an open store and write them, one name and month at a time.

    A step without one value in the window counts as absent: so does one that was never written.
    Errors: InputError for an unknown name, a box outside the store, or a field with times where
    one without is due, and the reverse.
    """
    known = [str(name) for name in store.data.data_vars]
    for name in {piece.name for piece in wanted} - set(known):
        raise InputError(
            Problem(
                f"variable {name!r}", "one of the store", "an unknown one", nearest(name, known)
            )
        )
    for group in _groups(map(grown, wanted), together=shape.whole):
        for piece, field in _read_group(group, store, shape, line, advance):
            write_piece(piece, field, until=store.last, said=store.said)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _groups(wanted: Iterable[Piece], *, together: bool) -> list[list[Piece]]:
    """Pieces that are read at once: those of one name and month, or each by itself."""
    groups: dict[tuple[object, ...], list[Piece]] = {}
    for piece in wanted:
        key = (piece.name, piece.month) if together else (piece.path,)
        groups.setdefault(key, []).append(piece)
    return list(groups.values())


def _read_group(
    group: Sequence[Piece], store: OpenStore, shape: Shape, line: Line, advance: Advance
) -> Iterator[tuple[Piece, xr.DataArray]]:
    first = group[0]
    array = store.data[first.name]
    y, x = (to_degrees(store.data[d].values) for d in ("y", "x"))
    boxes = [window_part(y, x, piece.window, where=f"{piece.name} of the store") for piece in group]
    wanted, axis = _steps(array, group, store.last)
    parts: list[list[Values]] = [[] for _ in group]
    told = 0
    for block in _blocks(wanted, shape.steps):
        steps = array if wanted is None else array.isel(time=as_slice(block))
        if shape.whole:
            steps = line.patiently(steps.load)
        for into, piece, box in zip(parts, group, boxes, strict=True):
            mine = steps if wanted is None else _only(steps, axis[block], piece.times)
            into.append(line.patiently(partial(_crop, mine, box)))
        share = (
            1.0
            if wanted is None
            else (int(block[-1]) - int(wanted[0]) + 1) / (int(wanted[-1]) - int(wanted[0]) + 1)
        )
        arrived = int(share * max(map(line.cost, group)))
        advance(arrived - told, f"{first.name} {first.month}")
        told = arrived
    for into, piece, box in zip(parts, group, boxes, strict=True):
        coordinates: dict[str, Any] = {"y": box.y, "x": box.x}
        if wanted is None:
            yield piece, xr.DataArray(into[0], coordinates, ("y", "x"), attrs=array.attrs)
            continue
        into.append(np.empty((0, len(box.y), len(box.x)), array.dtype))
        values = np.concatenate(into)
        held = np.flatnonzero(~np.isnan(values).all(axis=(1, 2)))
        times = axis[wanted][np.isin(axis[wanted], piece.times)]
        coordinates["time"] = times[held]
        dims = ("time", "y", "x")
        yield piece, xr.DataArray(values[held], coordinates, dims, attrs=array.attrs)


def _steps(
    array: xr.DataArray, group: Sequence[Piece], last: np.datetime64
) -> tuple[Indices | None, Times]:
    """Positions of the wanted steps in the store (None: a field without time), and its times."""
    static = group[0].month == STATIC
    if "time" not in array.dims:
        if static:
            return None, np.array([], "datetime64[s]")
        raise InputError(
            Problem(str(array.name), "a variable with times", "one that does not change",
                    "Ask for it among the static fields.")
        )  # fmt: skip
    if static:
        raise InputError(
            Problem(str(array.name), "a field that does not change", "one with times",
                    "Ask for it with the times.")
        )  # fmt: skip
    axis = array["time"].values.astype("datetime64[s]")
    wanted = np.unique(np.concatenate([piece.times for piece in group]))
    return np.flatnonzero(np.isin(axis, wanted) & (axis <= last)), axis


def _blocks(wanted: Indices | None, size: int) -> Iterator[Indices]:
    if wanted is None:
        yield np.zeros(1, np.intp)
        return
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]


def _only(steps: xr.DataArray, times: Times, wanted: Times) -> xr.DataArray:
    keep = np.flatnonzero(np.isin(times, wanted))
    return steps if len(keep) == len(times) else steps.isel(time=as_slice(keep))


def _crop(field: xr.DataArray, box: Part) -> Values:
    """(time, y, x) or (y, x), read where it is not in memory."""
    return crop(field.transpose("time", "y", "x", missing_dims="ignore"), box)
