"""Windows of a remote Zarr store, brought to this machine piece by piece and read from there.

A piece is one variable in one month (or a field that does not change), cropped to the window: a
zipped Zarr store and, written after it, `NAME.json` with its SHA-256 and what the store said of
itself. Pieces are whole or not there, and the same bytes whenever they are made from the same data.
"""

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.storage import ZipStore

from benchmark.errors import InputError, Problem
from benchmark.files import pack_folder, write_atomically
from benchmark.toml_model import nearest
from data_recipes.retries import Retries
from data_recipes.source import Advance, Times, Window
from data_recipes.sources.lazy_cells import Indices, by_month, columns, rows, runs, to_degrees

Values = NDArray[np.floating[Any]]
T = TypeVar("T")

STATIC = "static"
_DIMS = {"time": ("time",), "y": ("latitude", "lat"), "x": ("longitude", "lon")}
_STEPS_PER_CHUNK = 24


@dataclass(frozen=True, eq=False)
class OpenStore:
    """A remote store open for reading.

    data: its variables, not yet loaded, with dims time, y, x in any order (see `canonical`);
    last: the last time that holds data; said: what is kept beside each piece.
    """

    data: xr.Dataset
    last: np.datetime64
    said: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Piece:
    """One variable of a window in one month; `times` is empty for a field that does not change."""

    path: Path
    name: str
    month: str
    window: Window
    times: Times


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


def folder_of(cache: Path, store: str) -> Path:
    """Where the pieces of one store, and version of it, are kept."""
    return cache / re.sub(r"[^A-Za-z0-9.]+", "-", store)


def pieces(window: Window, folder: Path) -> list[Piece]:
    """All pieces of a window, name by name and month by month."""
    months = by_month(window.times) if len(window.times) else [(STATIC, window.times)]
    box = "_".join(f"{v:.10g}" for v in (window.south, window.north, window.west, window.east))
    return [
        Piece(folder / name / box / f"{month}.zarr.zip", name, month, window, times)
        for name in window.names
        for month, times in months
    ]


def is_whole(piece: Piece, *, thorough: bool = False) -> bool:
    """Whether all that is wanted of a piece was asked for and is here; thorough: unaltered, too.

    False where the store ended before the last wanted time: it may have grown since.
    """
    record = _recorded(piece)
    if record is None or not np.isin(piece.times, record.asked).all():
        return False
    if len(piece.times) and piece.times[-1] > record.until:
        return False
    try:
        if record.bytes != piece.path.stat().st_size:
            return False
        return not thorough or record.sha256 == _sha256(piece.path)
    except OSError:
        return False


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
    for group in _groups(map(_grown, wanted), together=shape.whole):
        for piece, field in _read_group(group, store, shape, line, advance):
            _write(piece, field, store)


def read_times(window: Window, folder: Path) -> Times:
    """The wanted times that every variable has, ascending; those that come twice stay so."""
    if not len(window.times):
        return window.times
    held = window.times
    for name in window.names:
        found = [_times_of(piece) for piece in pieces(window, folder) if piece.name == name]
        times = np.concatenate(found)
        held = times[np.isin(times, held)]
    return np.sort(held)


def read_window(window: Window, times: Times, folder: Path) -> xr.Dataset:
    """The window's variables at `times` from their pieces, in memory, as `Source.read` wants it.

    Errors: InputError where a piece is not here or is damaged, or a time is absent.
    """
    window = replace(window, times=times)
    fields: dict[str, xr.DataArray] = {}
    for name in window.names:
        mine = [piece for piece in pieces(window, folder) if piece.name == name]
        parts = [_read_piece(piece, times) for piece in mine]
        held = sum(part.sizes["time"] for part in parts) if len(times) else 0
        if held != len(times):
            raise InputError(
                Problem(
                    f"{name} in {folder}", f"all {len(times)} times asked for",
                    f"{held} of them", "Read only what `times` says is there.",
                )
            )  # fmt: skip
        whole = parts[0] if len(parts) == 1 else xr.concat(parts, "time", join="exact")
        fields[name] = whole.assign_attrs(parts[0].attrs)
    return xr.Dataset(fields, attrs={"crs": ""})


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
    latitude, longitude = (to_degrees(store.data[d].values) for d in ("y", "x"))
    boxes = []
    for piece in group:
        window = piece.window
        row = rows(latitude, window.south, window.north)
        boxes.append((row, *columns(longitude, window.west, window.east)))
    wanted, axis = _steps(array, group, store.last)
    parts: list[list[Values]] = [[] for _ in group]
    told = 0
    for block in _blocks(wanted, shape.steps):
        steps = array if wanted is None else array.isel(time=_as_slice(block))
        if shape.whole:
            steps = line.patiently(steps.load)
        for into, piece, (row, column, _) in zip(parts, group, boxes, strict=True):
            mine = steps if wanted is None else _only(steps, axis[block], piece.times)
            into.append(line.patiently(partial(_crop, mine, row, column)))
        share = (
            1.0
            if wanted is None
            else (int(block[-1]) - int(wanted[0]) + 1) / (int(wanted[-1]) - int(wanted[0]) + 1)
        )
        arrived = int(share * max(map(line.cost, group)))
        advance(arrived - told, f"{first.name} {first.month}")
        told = arrived
    for into, piece, (row, _, x) in zip(parts, group, boxes, strict=True):
        coordinates: dict[str, Any] = {"y": latitude[row], "x": x}
        if wanted is None:
            yield piece, xr.DataArray(into[0], coordinates, ("y", "x"), attrs=array.attrs)
            continue
        into.append(np.empty((0, len(row), len(x)), array.dtype))
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


def _as_slice(indices: Indices) -> slice | Indices:
    found = list(runs(indices))
    return found[0] if len(found) == 1 else indices


def _only(steps: xr.DataArray, times: Times, wanted: Times) -> xr.DataArray:
    keep = np.flatnonzero(np.isin(times, wanted))
    return steps if len(keep) == len(times) else steps.isel(time=_as_slice(keep))


def _crop(field: xr.DataArray, row: Indices, column: Indices) -> Values:
    """Rows and columns of a field, read where it is not in memory: (time, y, x) or (y, x)."""
    field = field.transpose("time", "y", "x", missing_dims="ignore")
    inside = field.isel(y=slice(int(row[0]), int(row[-1]) + 1))
    return np.concatenate([inside.isel(x=run).values for run in runs(column)], axis=-1)


def _write(piece: Piece, field: xr.DataArray, store: OpenStore) -> None:
    units = str(field.attrs.get("units", ""))
    data = field.drop_attrs().assign_attrs(units=units).to_dataset(name=piece.name)
    encoding: dict[str, Any] = {}
    if "time" in field.dims:
        steps = min(_STEPS_PER_CHUNK, max(1, field.sizes["time"]))
        encoding[piece.name] = {"chunks": (steps, *field.shape[1:])}
        encoding["time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    piece.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=piece.path.parent) as folder:
        data.to_zarr(Path(folder) / "piece", zarr_format=3, consolidated=False, encoding=encoding)
        _record(piece.path).unlink(missing_ok=True)  # never an older record beside a newer piece
        pack_folder(Path(folder) / "piece", piece.path)
    record = {
        "bytes": piece.path.stat().st_size,
        "sha256": _sha256(piece.path),
        "asked": piece.times.astype("datetime64[s]").astype(int).tolist(),
        "until": int(store.last.astype("datetime64[s]").astype(int)),
        "store": dict(store.said),
    }
    write_atomically(_record(piece.path), json.dumps(record) + "\n")


def _times_of(piece: Piece) -> Times:
    with _opened(piece) as data:
        times: Times = data["time"].values.astype("datetime64[s]")
    return times[np.isin(times, piece.times)]


def _read_piece(piece: Piece, times: Times) -> xr.DataArray:
    with _opened(piece) as data:
        field: xr.DataArray = data[piece.name]
        if len(times):
            held = data["time"].values.astype("datetime64[s]")
            _, first = np.unique(held, return_index=True)
            chosen = first[np.isin(held[first], times)]
            field = field.isel(time=_as_slice(chosen)).load()
            return field.assign_coords(time=held[chosen])
        return field.load()


@dataclass(frozen=True, eq=False)
class _Recorded:
    """What stands beside a piece: the times asked for so far, and when the store then ended."""

    bytes: int
    sha256: str
    asked: Times
    until: np.datetime64


def _recorded(piece: Piece) -> _Recorded | None:
    try:
        record = json.loads(_record(piece.path).read_text(encoding="utf-8"))
        asked = np.array(record["asked"], "datetime64[s]")
        until = np.datetime64(record["until"], "s")
        return _Recorded(record["bytes"], record["sha256"], asked, until)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what cannot be recognised is fetched again


def _grown(piece: Piece) -> Piece:
    """The piece with the times that were asked for before: they stay in it."""
    record = _recorded(piece)
    if record is None:
        return piece
    return replace(piece, times=np.union1d(record.asked, piece.times).astype("datetime64[s]"))


@contextmanager
def _opened(piece: Piece) -> Iterator[xr.Dataset]:
    """A piece open for reading. Errors: InputError where it is not here or is damaged."""
    try:
        # Opened here first: zarr's own store fails in closing what it could not open.
        with zipfile.ZipFile(piece.path):
            pass
        with ZipStore(piece.path, mode="r") as store:
            yield xr.open_zarr(store, consolidated=False, chunks=None)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(
            Problem(
                str(piece.path), "a piece as it was fetched", f"{error}"[:200], "Fetch it again."
            )
        ) from None


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
