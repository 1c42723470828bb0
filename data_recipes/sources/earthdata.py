"""IMERG half-hourly granules from NASA's Earthdata, with a free key.

Each granule is one half hour of the globe (0.1 degree, 5 to 10 MB of HDF5), so it is brought once
for all regions and cropped when it is read. Group `Grid`, dims (time, lon, lat), latitudes rise
from -89.95, longitudes from -179.95; `precipitation` in mm/hr; -9999.9 where there is none. Its
time is the start of the half hour, in seconds since 1980-01-06 without leap seconds; the calendar
is called julian, though days are counted as everywhere. Granules are found by NASA's catalogue
(CMR), which also has their checksums; a granule that the catalogue lacks is a missing interval.
The Final Run of version 07 ends on 2025-09-30.
"""

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import requests
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.toml_model import Frozen, nearest
from data_recipes.download import arrived, download
from data_recipes.extra import require
from data_recipes.retries import Retries, check_name
from data_recipes.source import Advance, Load, Source, Times, Window, no_report
from data_recipes.sources.lat_lon_cells import runs, to_degrees, window_part
from data_recipes.time_axis import by_month

_GRANULE_BYTES = 8_000_000
_AT_ONCE = 4
_RETRIES = Retries()
_LOGIN_URL = "https://urs.earthdata.nasa.gov"
_CATALOGUE_URL = "https://cmr.earthdata.nasa.gov"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}

KEY_HELP = (
    "Get a free account at https://urs.earthdata.nasa.gov, approve the application 'NASA GESDISC "
    "DATA ARCHIVE' in its profile, and write `machine urs.earthdata.nasa.gov login NAME password "
    "WORD` into ~/.netrc, or set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD."
)


class EarthdataOptions(Frozen):
    """Which collection of granules to read; the group is that of its HDF5 files."""

    provider: Literal["earthdata"]
    short_name: str = "GPM_3IMERGHH"
    version: str = "07"
    doi: str = "10.5067/GPM/IMERG/3B-HH/07"
    group: str = "Grid"


@dataclass(frozen=True)
class Granule:
    """One file as the catalogue knows it; start: "2020-01-01T00:00:00"; checksum: "md5:HEX"."""

    start: str
    url: str
    bytes: int | None = None
    checksum: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class EarthdataSource:
    """`data_recipes.source.Source` of one collection; granules are kept whole under `cache`."""

    options: EarthdataOptions
    cache: Path
    retries: Retries = _RETRIES

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The collection with its version and DOI."""
        return {self.options.short_name: f"version {self.options.version}, {self.options.doi}"}

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """The catalogue's sizes of granules that are not here; about 8 MB each where unknown."""
        found: dict[str, Load] = {}
        about = Load(_GRANULE_BYTES, _GRANULE_BYTES)
        for month, times in by_month(window.times):
            listed = _listing(self, month)
            if listed is None:
                found |= {f"{self.options.short_name} {time}": about for time in times}
                continue
            absent = [g for g in _of(listed, times) if arrived(_path(self, g)) is None]
            found |= {g.url: Load(g.bytes, g.bytes) if g.bytes else about for g in absent}
        return found

    def check_key(self) -> None:
        """Refuse where the client or the key is missing; see `source.KeyedSource`."""
        require("NASA Earthdata", "earthaccess")
        words = (os.environ.get(f"EARTHDATA_{name}") for name in ("USERNAME", "PASSWORD"))
        stated = os.environ.get("EARTHDATA_TOKEN") or all(words)
        if not stated and requests.utils.get_netrc_auth(_LOGIN_URL) is None:
            raise _no_key()

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Ask the catalogue, a month at a time, and bring the granules that are not here.

        Errors: InputError without a key, or where a server refuses or keeps failing.
        """
        if not len(window.times):
            raise InputError(
                Problem(", ".join(window.names), "fields with times", "fields that do not change",
                        "Granules hold none: take them from another source.")
            )  # fmt: skip
        wanted, auth = [], None
        for month, times in by_month(window.times):
            listed = _listing(self, month)
            if listed is None or str(times[-1]) not in {granule.start for granule in listed}:
                auth = auth or _login(self)
                listed = _search(self, auth, month)
            wanted += [g for g in _of(listed, times) if arrived(_path(self, g)) is None]
        if wanted:
            _bring(self, auth or _login(self), wanted, advance)

    def times(self, window: Window) -> Times:
        """The wanted times whose granules are here; each the start of its half hour."""
        found = [np.datetime64(g.start, "s") for g in _held(self, window.times)]
        return np.sort(np.array(found, "datetime64[s]"))

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """Crop the granules of `times`; fill values become NaN."""
        granules = {granule.start: granule for granule in _held(self, times)}
        absent = [str(time) for time in times if str(time) not in granules]
        if absent or not len(times):
            raise InputError(
                Problem(
                    f"granules in {self.cache}", f"all {len(times)} times asked for",
                    f"none of {', '.join(absent[:3])}", "Read only what `times` says is there.",
                )
            )  # fmt: skip
        steps = [_read(self, granules[str(time)], window) for time in times]
        fields = {}
        for name in window.names:
            values = np.stack([step[name].values for step in steps])
            fields[name] = (("time", "y", "x"), values, steps[0][name].attrs)
        coordinates = {
            "time": times.astype("datetime64[s]"),
            "y": steps[0]["y"],
            "x": steps[0]["x"],
        }
        return xr.Dataset(fields, coordinates, {"crs": ""})


def open_source(options: EarthdataOptions, *, cache: Path) -> Source:
    """One Earthdata collection of half-hourly granules as a source."""
    return EarthdataSource(options, cache)


def _no_key() -> InputError:
    return InputError(Problem("NASA Earthdata", "a key", "none", KEY_HELP))


def _login(source: EarthdataSource) -> Any:
    """An Earthdata session's owner: from the environment, else from netrc."""
    where = "NASA Earthdata"
    source.check_key()
    check_name(_LOGIN_URL, retries=source.retries)
    import earthaccess
    from earthaccess import exceptions

    for strategy in ("environment", "netrc"):
        try:
            return earthaccess.Auth().login(strategy=strategy)
        except exceptions.LoginStrategyUnavailable:
            continue
        except exceptions.LoginAttemptFailure as error:
            got = " ".join(str(error).split())[:200]
            raise InputError(Problem(where, "an accepted key", got, KEY_HELP)) from None
        except requests.RequestException as error:
            got = f"{type(error).__name__}: {error}"[:200]
            raise InputError(Problem(where, "a login", got, "Try again later.")) from None
    raise _no_key()


def _search(source: EarthdataSource, auth: Any, month: str) -> list[Granule]:
    """The month's granules from the catalogue, kept beside them."""
    from earthaccess import DataGranules

    check_name(_CATALOGUE_URL, retries=source.retries)
    options = source.options
    first = np.datetime64(month, "M")
    last = (first + 1).astype("datetime64[s]") - np.timedelta64(1, "s")
    query = DataGranules(auth).parameters(
        short_name=options.short_name,
        version=options.version,
        temporal=(str(first.astype("datetime64[s]")), str(last)),
    )
    failures = 0
    while True:
        try:
            items = query.get_all()
            break
        except (RuntimeError, ValueError, KeyError, requests.RequestException) as error:
            failures += 1
            if failures >= source.retries.attempts:
                got = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                raise InputError(
                    Problem(f"NASA's catalogue, {month}", "an answer", got, "Try again later.")
                ) from None
            source.retries.wait(failures)
    listed = sorted((_granule(item) for item in items), key=lambda granule: granule.start)
    listed = [granule for granule in listed if granule.start.startswith(month)]
    content = json.dumps([asdict(granule) for granule in listed], indent=0)
    write_atomically(_listing_path(source, month), content + "\n")
    return listed


def _granule(item: Any) -> Granule:
    """What is needed of a granule's record (UMM-G)."""
    umm = item["umm"]
    start = umm["TemporalExtent"]["RangeDateTime"]["BeginningDateTime"]
    links = [link for link in item.data_links() if link.startswith("https://")]
    url = next((link for link in links if re.search(r"\.(HDF5|h5|nc4?)$", link)), links[0])
    name = url.rsplit("/", 1)[-1]
    files = umm.get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    file = next((f for f in files if f.get("Name") == name), files[0] if len(files) == 1 else {})
    stated = file.get("Checksum", {})
    algorithm = _ALGORITHMS.get(stated.get("Algorithm", ""))
    checksum = f"{algorithm}:{stated['Value']}" if algorithm else None
    return Granule(
        str(np.datetime64(start.rstrip("Z"), "s")), url, file.get("SizeInBytes"), checksum
    )


def _bring(source: EarthdataSource, auth: Any, wanted: list[Granule], advance: Advance) -> None:
    local = threading.local()
    with ExitStack() as sessions:

        def bring(granule: Granule) -> None:
            if not hasattr(local, "session"):
                # One a thread: a session is not made for several.
                local.session = sessions.enter_context(auth.get_session())
            path = _path(source, granule)
            download(
                granule.url, path, session=local.session, expected_bytes=granule.bytes,
                checksum=granule.checksum, key_help=KEY_HELP, advance=advance,
                retries=source.retries,
            )  # fmt: skip
            with path.open("rb") as file:
                if file.read(len(_HDF5)) == _HDF5:
                    return
            path.unlink()
            raise InputError(
                Problem(
                    granule.url, "an HDF5 file", "something else, perhaps a login page", KEY_HELP
                )
            )

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            running = [pool.submit(bring, granule) for granule in wanted]
            try:
                for each in running:
                    each.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _listing_path(source: EarthdataSource, month: str) -> Path:
    options = source.options
    return source.cache / f"{options.short_name}.{options.version}" / f"{month}.json"


def _listing(source: EarthdataSource, month: str) -> list[Granule] | None:
    """What the catalogue said of a month; None where it was not asked."""
    try:
        records = json.loads(_listing_path(source, month).read_text(encoding="utf-8"))
        return [Granule(**record) for record in records]
    except (OSError, ValueError, TypeError):
        return None  # it can be asked again


def _path(source: EarthdataSource, granule: Granule) -> Path:
    return _listing_path(source, granule.start[:7]).with_suffix("") / granule.name


def _of(listed: list[Granule], times: Times) -> list[Granule]:
    wanted = set(map(str, times.astype("datetime64[s]")))
    return [granule for granule in listed if granule.start in wanted]


def _held(source: EarthdataSource, times: Times) -> Iterator[Granule]:
    for month, wanted in by_month(times):
        for granule in _of(_listing(source, month) or [], wanted):
            if arrived(_path(source, granule)) is not None:
                yield granule


def _read(source: EarthdataSource, granule: Granule, window: Window) -> xr.Dataset:
    path = _path(source, granule)
    require(str(path), "h5py")
    import h5py

    try:
        with h5py.File(path) as file:
            return _cropped(file[source.options.group], granule, window)
    except (OSError, KeyError) as error:
        raise InputError(
            Problem(str(path), f"HDF5 with group {source.options.group}", f"{error}"[:200],
                    "Remove this file and build again.")
        ) from None  # fmt: skip


def _cropped(group: Any, granule: Granule, window: Window) -> xr.Dataset:
    start = _time(group["time"])
    if start != np.datetime64(granule.start, "s"):
        raise InputError(
            Problem(granule.name, f"the time {granule.start}", str(start),
                    "Catalogue and file disagree: report it to NASA.")
        )  # fmt: skip
    y, x = to_degrees(group["lat"][:]), to_degrees(group["lon"][:])
    part = window_part(y, x, window, where=granule.name)
    fields = {}
    for name in window.names:
        if name not in group:
            raise InputError(
                Problem(f"variable {name!r}", "one of the granule", "an unknown one",
                        nearest(name, sorted(group)))
            )  # fmt: skip
        data = group[name]
        pieces = [data[0, run, part.rows] for run in runs(part.columns)]
        values: NDArray[Any] = np.concatenate(pieces).T
        if "_FillValue" in data.attrs:
            fill = values.dtype.type(np.ravel(data.attrs["_FillValue"])[0])
            values = np.where(values == fill, np.float32(np.nan), values)
        units = data.attrs.get("units", b"")
        units = units.decode() if isinstance(units, bytes) else str(units)
        fields[name] = xr.DataArray(values, {"y": part.y, "x": part.x}, ("y", "x"))
        fields[name].attrs["units"] = units
    return xr.Dataset(fields)


def _time(data: Any) -> np.datetime64:
    """Decoded by hand: a julian calendar would make it another type, for the same days."""
    units = data.attrs["units"]
    units = units.decode() if isinstance(units, bytes) else str(units)
    since = re.fullmatch(r"seconds since (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?: UTC)?", units)
    if since is None:
        raise KeyError(f"time in seconds since a date, not {units!r}")
    return np.datetime64(f"{since[1]}T{since[2]}", "s") + np.timedelta64(int(data[0]), "s")
