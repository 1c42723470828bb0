"""Pieces of a remote store on this machine: named, recorded, read.

A piece is one variable in one month (or a field that does not change), cropped to the window: a
zipped Zarr store and, written after it, `NAME.json` with its SHA-256 and what the store said of
itself. Pieces are whole or not there, and the same bytes whenever they are made from the same data.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.storage import ZipStore

from benchmark.errors import InputError, Problem
from benchmark.files import pack_groups, write_atomically
from data_recipes.source import Times, Window
from data_recipes.sources.lat_lon_cells import as_slice
from data_recipes.time_axis import by_month

STATIC = "static"
_STEPS_PER_CHUNK = 24


@dataclass(frozen=True, eq=False)
class Piece:
    """One variable of a window in one month; `times` is empty for a field that does not change."""

    path: Path
    name: str
    month: str
    window: Window
    times: Times


class ReadFromPieces:
    """What of a `data_recipes.source.Source` needs no network, where pieces are in `folder`."""

    @property
    def folder(self) -> Path:
        """Where the pieces of this store and version are."""
        raise NotImplementedError

    def times(self, window: Window) -> Times:
        """The wanted times that are here, up to the last that the store holds data of."""
        return read_times(window, self.folder)

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window from its pieces."""
        return read_window(window, times, self.folder)


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


def grown(piece: Piece) -> Piece:
    """The piece with the times that were asked for before: they stay in it."""
    record = _recorded(piece)
    if record is None:
        return piece
    return replace(piece, times=np.union1d(record.asked, piece.times).astype("datetime64[s]"))


def write_piece(
    piece: Piece, field: xr.DataArray, *, until: np.datetime64, said: Mapping[str, str]
) -> None:
    """Write a piece and, after it, its record. until: when the store ended; said: of itself."""
    units = str(field.attrs.get("units", ""))
    data = field.drop_attrs().assign_attrs(units=units).to_dataset(name=piece.name)
    encoding: dict[str, Any] = {}
    if "time" in field.dims:
        steps = min(_STEPS_PER_CHUNK, max(1, field.sizes["time"]))
        encoding[piece.name] = {"chunks": (steps, *field.shape[1:])}
        encoding["time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    _record(piece.path).unlink(missing_ok=True)  # never an older record beside a newer piece
    pack_groups({"": data}, piece.path, encoding=encoding)
    record = {
        "bytes": piece.path.stat().st_size,
        "sha256": _sha256(piece.path),
        "asked": piece.times.astype("datetime64[s]").astype(int).tolist(),
        "until": int(until.astype("datetime64[s]").astype(int)),
        "store": dict(said),
    }
    write_atomically(_record(piece.path), json.dumps(record) + "\n")


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
            field = field.isel(time=as_slice(chosen)).load()
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


def box_bytes(piece: Piece, cell: float) -> int:
    """Bytes that a piece takes at most: float32, and a cell more on each side. cell: degrees."""
    window = piece.window
    rows = (window.north - window.south) / cell + 2
    columns = (window.east - window.west) / cell + 2
    return round(4 * rows * columns * max(1, len(piece.times)))
