"""ERA5 from Google's public bucket (ARCO-ERA5), read without a key.

The store is one Zarr (format 2, in spite of its name) on 0.25 degree points: latitudes from 90 to
-90, longitudes from 0 to 359.75, hourly times. Variables have long names, such as
`2m_temperature` or `total_precipitation` (m, over the hour that ends at the time). A chunk is one
step of the whole globe, so a step costs the same for one region as for all: `fetch_many` reads it
once for all of them. Its time axis runs far past its data: only what is final, up to the
attribute `valid_time_stop`, is taken; preliminary ERA5T after it is not.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
import zarr
from zarr.storage import FsspecStore

from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen
from data_recipes.extra import require
from data_recipes.retries import Retries, check_name
from data_recipes.source import Advance, Load, Source, Window, no_report
from data_recipes.sources.lazy import Line, OpenStore, Shape, canonical, causes, fetch_pieces
from data_recipes.sources.pieces import (
    Piece,
    ReadFromPieces,
    box_bytes,
    folder_of,
    is_whole,
    pieces,
)

_STEP_BYTES = 2_000_000
"""What one variable of one step weighs on the way: 1.3 MB (rain) to 4 MB (uncompressed)."""
_URL = "https://storage.googleapis.com"
_CELL = 0.25
_STEPS_AT_ONCE = 24
_REQUESTS_AT_ONCE = 8
_RETRIES = Retries(attempts=3)


class ArcoOptions(Frozen):
    """Which public ERA5 store to read."""

    provider: Literal["arco"]
    store: str = "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"


@dataclass(frozen=True)
class ArcoSource(ReadFromPieces):
    """`data_recipes.source.Source` of ARCO-ERA5; pieces are kept under `cache`."""

    options: ArcoOptions
    cache: Path
    retries: Retries = _RETRIES

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The store; what it said of itself when it was read stays beside each piece."""
        return {"ARCO-ERA5": self.options.store}

    @property
    def folder(self) -> Path:
        """Where the pieces are."""
        return folder_of(self.cache, self.options.store)

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """About 2 MB for each variable and step, however small the window, or many."""
        missing = [piece for piece in pieces(window, self.folder) if not is_whole(piece)]
        steps = {f"{self.options.store} {p.name} {p.month}": Load(_cost(p), 0) for p in missing}
        return steps | {str(p.path): Load(0, box_bytes(p, _CELL)) for p in missing}

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Bring one window; see `fetch_many`."""
        self.fetch_many([window], advance=advance)

    def fetch_many(self, windows: Sequence[Window], *, advance: Advance = no_report) -> None:
        """Bring several windows, reading each step of the globe once for all that want it.

        Errors: InputError where the bucket refuses or keeps failing, or has no such variable.
        """
        every = [piece for window in windows for piece in pieces(window, self.folder)]
        missing = [piece for piece in every if not is_whole(piece, thorough=True)]
        if not missing:
            return
        require(self.options.store, "gcsfs.core")
        line = Line(_may_pass, self.retries, _cost)
        shape = Shape(steps=_STEPS_AT_ONCE, whole=True)
        check_name(os.environ.get("STORAGE_EMULATOR_HOST") or _URL, retries=self.retries)
        with _explained(self.options.store), _bounded():
            store = line.patiently(lambda: _open(self.options.store))
            fetch_pieces(missing, store, shape, line, advance=advance)


def open_source(options: ArcoOptions, *, cache: Path) -> Source:
    """ARCO-ERA5 as a source. STORAGE_EMULATOR_HOST names another server than Google's."""
    return ArcoSource(options, cache)


def _cost(piece: Piece) -> int:
    return _STEP_BYTES * max(1, len(piece.times))


def _open(url: str) -> OpenStore:
    from gcsfs.core import GCSFileSystem

    # The plain client: the package's default one first asks another service about the bucket.
    client = GCSFileSystem(token="anon", asynchronous=True)
    remote = FsspecStore(client, read_only=True, path=url.removeprefix("gs://"))
    opened = xr.open_zarr(remote, chunks=None)
    stop = str(opened.attrs.get("valid_time_stop", ""))
    last = _end_of(stop)
    if last is None:
        raise InputError(
            Problem(url, "the attribute valid_time_stop, a date", repr(stop),
                    "Without it, fill values cannot be told from data: use another store.")
        )  # fmt: skip
    said = ("valid_time_start", "valid_time_stop", "last_updated")
    return OpenStore(
        canonical(opened),
        last,
        {name: str(opened.attrs[name]) for name in said if name in opened.attrs},
    )


def _end_of(date: str) -> np.datetime64 | None:
    """The last second of a day: a date stands for its whole day."""
    try:
        day = np.datetime64(date, "D")
    except ValueError:
        return None
    return None if np.isnat(day) else np.datetime64(f"{day}T23:59:59", "s")


@contextmanager
def _bounded() -> Iterator[None]:
    """Few requests at a time, and the client's own accounts of failures left to us."""
    logger = logging.getLogger("gcsfs")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with zarr.config.set({"async.concurrency": _REQUESTS_AT_ONCE}):
            yield
    finally:
        logger.setLevel(level)


def _may_pass(error: BaseException) -> bool:
    """429, 5xx, timeouts and broken connections, after the client's own six tries."""
    from gcsfs.retry import is_retriable

    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or (is_retriable(cause) and _status(cause) != 401)
        for cause in causes(error)
    )


def _status(error: BaseException) -> int:
    code = str(getattr(error, "code", ""))
    if code.isdecimal():
        return int(code)
    return 403 if isinstance(error, OSError) and str(error).startswith("Forbidden") else 0


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """What the bucket says no to, as InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        statuses = {_status(cause) for cause in causes(error)}
        got = f"{type(error).__name__}: {error}"[:300]
        if statuses & {401, 403}:
            fix = "The store is public and read without a key: check its address, or a proxy."
            raise InputError(Problem(url, "anonymous access", got, fix)) from error
        if isinstance(error, FileNotFoundError):
            raise InputError(Problem(url, "a Zarr store", got, "Check its address.")) from error
        if _may_pass(error):
            fix = "Try again later: what has arrived is kept."
            raise InputError(Problem(url, "an answer", got, fix)) from error
        raise
