"""A public Icechunk store read without a key; by default IMERG of dynamical.org on AWS.

Known of the default (their source code and the AWS registry, November 2026; not read from here):
bucket `dynamical-nasa-imerg` in us-west-2, half-hourly IMERG V07 of the *Late* Run from 1998 on
(prefix `nasa-imerg-analysis-early` for the Early Run). No public store of the Final Run, the one
with monthly gauges, is known: it takes a free Earthdata key (`earthdata.py`). Its variable is
`precipitation_surface` (kg m-2 s-1: mm/h are 3600 times as much), rounded to 7 bits of mantissa,
dims time, latitude (89.95 to -89.95), longitude (-179.95 to 179.95); chunks of 30 days on 10 by
10 degrees. A time is the start of its half hour. Pixels and half hours without data are NaN.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
import zarr

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

_CELL = 0.1
_TILE_BYTES = 2_400_000
_TILE_DEGREES = 10.0
_REQUESTS_AT_ONCE = 4
_RETRIES = Retries()


class IcechunkOptions(Frozen):
    """Which store to read, of whom, and which version of it.

    snapshot: an id, so that the same data is read for ever; without it, the newest of `branch`.
    virtual: URL prefixes ("s3://bucket/") of public buckets that hold the store's virtual chunks.
    endpoint: another S3 server than Amazon's.
    """

    provider: Literal["icechunk"]
    bucket: str = "dynamical-nasa-imerg"
    prefix: str = "nasa-imerg-analysis-late/v0.1.0.icechunk"
    region: str = "us-west-2"
    branch: str = "main"
    snapshot: str = ""
    virtual: tuple[str, ...] = ()
    endpoint: str = ""


@dataclass(frozen=True)
class IcechunkSource(ReadFromPieces):
    """`data_recipes.source.Source` of one Icechunk store; pieces are kept under `cache`."""

    options: IcechunkOptions
    cache: Path
    retries: Retries = _RETRIES

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The store and its version; the snapshot that was read stays beside each piece."""
        return {_url(self.options): _version(self.options)}

    @property
    def folder(self) -> Path:
        """Where the pieces of this store and version are."""
        return folder_of(self.cache, f"{_url(self.options)} {_version(self.options)}")

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """About 2.4 MB for each chunk of 30 days and 10 by 10 degrees that the window touches."""
        missing = (piece for piece in pieces(window, self.folder) if not is_whole(piece))
        return {str(p.path): Load(_cost(p), box_bytes(p, _CELL)) for p in missing}

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Bring one window, a month at a time.

        Errors: InputError where the store refuses, keeps failing, or has no such variable.
        """
        every = pieces(window, self.folder)
        missing = [piece for piece in every if not is_whole(piece, thorough=True)]
        if not missing:
            return
        require(_url(self.options), "icechunk")
        line = Line(_may_pass, self.retries, _cost)
        # A month at once: a chunk holds 30 days, and would be fetched again for each part of it.
        shape = Shape(steps=31 * 48, whole=False)
        amazon = f"https://s3.{self.options.region}.amazonaws.com"
        check_name(self.options.endpoint or amazon, retries=self.retries)
        with _explained(self.options), zarr.config.set({"async.concurrency": _REQUESTS_AT_ONCE}):
            store = line.patiently(lambda: _open(self.options))
            fetch_pieces(missing, store, shape, line, advance=advance)


def open_source(options: IcechunkOptions, *, cache: Path) -> Source:
    """A public Icechunk store as a source."""
    return IcechunkSource(options, cache)


def _url(options: IcechunkOptions) -> str:
    return f"s3://{options.bucket}/{options.prefix}"


def _version(options: IcechunkOptions) -> str:
    return options.snapshot or f"branch {options.branch}"


def _cost(piece: Piece) -> int:
    window = piece.window
    tall = math.ceil((window.north - window.south) / _TILE_DEGREES) + 1
    wide = math.ceil((window.east - window.west) / _TILE_DEGREES) + 1
    return 2 * tall * wide * _TILE_BYTES


def _open(options: IcechunkOptions) -> OpenStore:
    import icechunk

    storage = icechunk.s3_storage(
        bucket=options.bucket,
        prefix=options.prefix,
        region=options.region,
        endpoint_url=options.endpoint or None,
        allow_http=options.endpoint.startswith("http://"),
        anonymous=True,
        force_path_style=bool(options.endpoint),
    )
    config = icechunk.RepositoryConfig.default()
    for prefix in options.virtual:
        place = icechunk.s3_store(
            region=options.region,
            endpoint_url=options.endpoint or None,
            allow_http=options.endpoint.startswith("http://"),
            anonymous=True,
            force_path_style=bool(options.endpoint),
        )
        config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, place))
    repository = icechunk.Repository.open(
        storage,
        config=config,
        authorize_virtual_chunk_access=icechunk.containers_credentials(
            {prefix: icechunk.s3_anonymous_credentials() for prefix in options.virtual}
        ),
    )
    if options.snapshot:
        session = repository.readonly_session(snapshot_id=options.snapshot)
    else:
        session = repository.readonly_session(options.branch)
    opened = xr.open_zarr(session.store, consolidated=False, chunks=None)
    data = canonical(opened)
    last = np.datetime64(data["time"].values.max(), "s")
    return OpenStore(data, last, {"snapshot": str(session.snapshot_id)})


def _may_pass(error: BaseException) -> bool:
    """Broken connections only: after 429 and 5xx the client itself tries again, ten times."""
    return any(isinstance(cause, ConnectionError | TimeoutError) for cause in causes(error))


@contextmanager
def _explained(options: IcechunkOptions) -> Iterator[None]:
    """What the store says no to, as InputError."""
    import icechunk

    try:
        yield
    except icechunk.IcechunkError as error:
        said = str(error).lower()
        got = "; ".join(re.findall(r"->\s*(.+)", str(error)) or [str(error)])[:300]
        if "v2 format" in said:
            expected = "a store that icechunk 1 can read"
            fix = "Use Python 3.12 with `pip install 'icechunk>=2'`, or granules of Earthdata."
        elif any(
            word in said for word in ("403", "401", "access denied", "accessdenied", "forbidden")
        ):
            expected = "anonymous access"
            fix = "The store should be public: check bucket, prefix and region."
        elif any(word in said for word in ("not found", "doesn't exist", "does not exist", "404")):
            expected = "an Icechunk store"
            fix = "Check bucket, prefix, branch and snapshot."
        else:
            expected = "an answer"
            fix = "Try again later: what has arrived is kept."
        raise InputError(Problem(_url(options), expected, got, fix)) from error
