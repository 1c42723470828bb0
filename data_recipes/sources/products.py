"""Precipitation products from plain HTTP servers: MRMS, CPC, CHIRPS, PRISM.

What differs between them is in `product_table.py`. A file is fetched whole and cut where it is
read, so regions share it.
"""

import gzip
import json
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import field_validator

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.toml_model import Frozen, nearest
from data_recipes.archives import unpack
from data_recipes.download import NotThereError, arrived, download, verify
from data_recipes.extra import require
from data_recipes.netcdf import open_netcdf
from data_recipes.problems import gathered, raise_all
from data_recipes.retries import PATIENT, Retries
from data_recipes.source import Advance, Load, Times, Window, no_report
from data_recipes.sources.lat_lon_cells import Part, check_spacing, crop, to_degrees, window_part
from data_recipes.sources.product_table import PRODUCTS, Product

_MAGIC = {"netcdf": (b"\x89HDF", b"CDF"), "grib2.gz": (b"\x1f\x8b",), "zip": (b"PK",)}
_PACKAGES = {
    "netcdf": ("netCDF4",),
    "zip": ("netCDF4",),
    "grib2.gz": ("eccodes", "h5netcdf", "netCDF4"),
}
_UNITS_OF_TIME = {"hour": "h", "day": "D", "month": "M", "year": "Y"}
_MOST_UNPACKED = 4 << 30
_WRONG_AT_MOST = 3
# So many files are not all missing by chance.
_MANY = 48
# A file that its provider lacks this long after its stamp will not come any more.
_SETTLED = np.timedelta64(30, "D")
_NAMES = {"y": ("lat", "latitude"), "x": ("lon", "longitude")}


class ProductOptions(Frozen):
    """A `[coarse]` or `[fine]` table whose provider is one of the table's products.

    base_url: of a mirror with the provider's own folders, instead of the provider.
    """

    provider: Literal["product"] = "product"
    product: str
    base_url: str | None = None

    @field_validator("product")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRODUCTS:
            raise ValueError(f"one of the products. {nearest(name, list(PRODUCTS))}")
        return name


def open_source(options: ProductOptions, *, cache: Path) -> "ProductFiles":
    """The source; its files come under `cache/products/NAME`."""
    row = PRODUCTS[options.product]
    return ProductFiles(row, (options.base_url or row.base).rstrip("/"), cache / "products")


@dataclass(frozen=True)
class ProductFiles:
    """A `Source` of one product.

    Coordinates: centres in degrees, rows in the file's order, longitudes counted on from the
    window's west whatever the file's convention. Values: amounts in `row.units` over the interval
    `row.covers_h`, float32; time stamps as the provider's. Missing data: NaN.
    """

    row: Product
    base: str
    folder: Path
    retries: Retries = PATIENT

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The product and its version."""
        return {self.row.name: self.row.version}

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """Files to come, by the size that a file of the product usually has; asks nobody."""
        todo = (period for period in self._periods(window) if not self._is_settled(period))
        size = Load(self.row.bytes_a_file, self.row.bytes_a_file)
        return {f"{self.row.name} {period}": size for period in todo}

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Bring the window's files, several at a time.

        Where the product has gaps, a file that the server lacks (404) is kept in mind as missing,
        and asked for again only if it was young. Errors: InputError where another file is not
        there, none of a window's is, or the server sends something else, such as a page that says
        that one has asked too often.
        """
        periods = self._periods(window)
        todo = [period for period in periods if not self._is_settled(period)]
        lock, stop = threading.Lock(), threading.Event()

        def report(size: int, what: str) -> None:
            if stop.is_set():
                raise InterruptedError("another download has failed")
            with lock:
                advance(size, what)

        with ThreadPoolExecutor(self.row.at_once) as pool:
            running = [pool.submit(self._bring, period, report) for period in todo]
            try:
                for future in as_completed(running):
                    future.result()
            except BaseException:
                stop.set()  # what is under way keeps what it has, and ends
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if len(periods) >= _MANY and not any(arrived(self._path(period)) for period in periods):
            raise InputError(
                Problem(
                    self.base, f"files of {self.row.name}", "none of this window's",
                    "Check the times, and the address of a mirror.",
                )
            )  # fmt: skip

    def times(self, window: Window) -> Times:
        """The stamps within the window's first and last of the files that are here."""
        here = [period for period in self._periods(window) if arrived(self._path(period))]
        found = [self._stamps(period) for period in here]
        stamps: Times = np.concatenate([np.empty(0, "datetime64[s]"), *found])
        inside: Times = stamps[(stamps >= window.times[0]) & (stamps <= window.times[-1])]
        return inside

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window's cells at `times`, decoded, with `units` and the interval of the sum.

        Errors: InputError where a file is damaged, is on another grid, or lacks a time.
        """
        self._check(replace(window, times=times))
        blocks, row = [], self.row
        y = x = np.empty(0)
        for period in self._periods_of(times):
            wanted = times[times.astype(period.dtype) == period]
            with self._opened(period) as field:
                part = self._part(field, window, self._path(period))
                values = _values(field, self._steps(field, period, wanted), part)
                y, x = part.y, part.x
            decoded = values.astype(np.float32)
            for value in row.missing:
                decoded[np.isclose(values, value, rtol=1e-5, atol=0.0)] = np.nan
            blocks.append(decoded)
        attrs = {"units": row.units, "cell_methods": row.cell_method}
        return xr.Dataset(
            {row.variable: (("time", "y", "x"), np.concatenate(blocks), attrs)},
            coords={"time": times.astype("datetime64[s]"), "y": y, "x": x},
            attrs={"crs": ""},
        )

    def _periods(self, window: Window) -> list[np.datetime64]:
        """What the window's files are named after."""
        self._check(window)
        return self._periods_of(window.times)

    def _periods_of(self, times: Times) -> list[np.datetime64]:
        unit = _UNITS_OF_TIME[self.row.period]
        return list(np.unique(times.astype(f"datetime64[{unit}]")))

    def _check(self, window: Window) -> None:
        """Errors: InputError where the product does not have what the window asks."""
        row, problems = self.row, list[Problem]()
        where = f"product {row.name}"
        south, north, west, east = row.box
        asked = (window.south, window.north, window.west, window.east)
        around = east - west >= 360.0
        start = west + (window.west - west + 1e-6) % 360.0 - 1e-6
        width = window.east - window.west
        if (
            window.south < south - 1e-6
            or window.north > north + 1e-6
            or (not around and start + width > east + 1e-6)
        ):
            expected = f"a box within {row.box} (south, north, west, east)"
            problems.append(Problem(where, expected, f"{asked}", "Choose regions that it covers."))
        if wrong := [name for name in window.names if name != row.variable]:
            fix = f"Ask for {row.variable}."
            problems.append(Problem(where, row.variable, ", ".join(wrong), fix))
        if not window.times.size:
            problems.append(Problem(where, "at least one time", "none", "Ask with times."))
        elif window.times[0] < np.datetime64(row.first):
            got = f"{window.times[0]}"
            problems.append(Problem(where, f"times from {row.first} on", got, "Begin later."))
        elif row.last and window.times[-1] > np.datetime64(row.last):
            got = f"{window.times[-1]}"
            problems.append(Problem(where, f"times up to {row.last}", got, "End earlier."))
        with gathered(problems):
            require(
                where, "netCDF4", *(("eccodes", "h5netcdf") if row.format == "grib2.gz" else ())
            )
        raise_all(problems)

    def _name(self, period: np.datetime64) -> str:
        stamp: datetime = period.astype("datetime64[s]").item()
        return stamp.strftime(self.row.path)

    def _path(self, period: np.datetime64) -> Path:
        name = self._name(period).partition("?")[0]
        suffix = ".zip" if self.row.format == "zip" and not name.endswith(".zip") else ""
        return self.folder / self.row.name / f"{name}{suffix}"

    def _absent(self, period: np.datetime64) -> Path:
        path = self._path(period)
        return path.with_name(f"{path.name}.absent.json")

    def _is_settled(self, period: np.datetime64) -> bool:
        """Whether a file is here, or was found not to exist when it was old enough."""
        if arrived(self._path(period)):
            return True
        path = self._absent(period)
        if not (self.row.gaps and path.is_file()):
            return False
        asked = np.datetime64(json.loads(path.read_text(encoding="utf-8"))["asked"])
        return bool(asked - period.astype("datetime64[s]") > _SETTLED)

    def _bring(self, period: np.datetime64, advance: Advance) -> None:
        path, url = self._path(period), f"{self.base}/{self._name(period)}"
        try:
            self._download(url, path, advance)
        except NotThereError:
            if not self.row.gaps:
                raise
            asked = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
            write_atomically(self._absent(period), json.dumps({"url": url, "asked": asked}) + "\n")
        if self.row.pause_s:
            self.retries.sleep(self.row.pause_s)

    def _download(self, url: str, path: Path, advance: Advance) -> None:
        """Bring a file, three times in all where it comes whole but damaged inside."""
        for attempt in range(1, _WRONG_AT_MOST + 1):
            record = download(url, path, advance=advance, retries=self.retries)
            self._check_kind(path, url)
            damage = _damage(path, self.row.format)
            if not damage:
                return
            path.unlink()
            advance(-record.bytes, path.name)
            self.retries.wait(attempt)
        got = f"{damage}, {_WRONG_AT_MOST} times"
        raise InputError(Problem(url, "an undamaged file", got, "Try again later."))

    def _check_kind(self, path: Path, url: str) -> None:
        """Refuse a page that was sent as if it were the file."""
        with path.open("rb") as file:
            start = file.read(600)
        if not start.startswith(_MAGIC[self.row.format]):
            path.unlink()
            said = " ".join(start.decode("utf-8", "replace").split())[:300]
            fix = f"Do as it says, or try again later. {self.row.note}"
            raise InputError(Problem(url, f"a {self.row.format} file", repr(said), fix))

    def _stamps(self, period: np.datetime64) -> Times:
        if self.row.period in ("hour", "day"):
            return np.array([period], "datetime64[s]")
        with self._opened(period) as field:
            if "time" not in field.coords:
                path = self._path(period)
                raise self._refused(path, "a coordinate time", f"{list(field.coords)}", "")
            stamps: Times = field["time"].values.astype("datetime64[s]")
        return stamps

    def _steps(self, field: xr.DataArray, period: np.datetime64, wanted: Times) -> NDArray[np.intp]:
        stamps, path = self._stamps(period), self._path(period)
        if "time" in field.dims and field.sizes["time"] != stamps.size:
            raise self._refused(path, f"{stamps.size} times", f"{field.sizes['time']}", "")
        found = np.searchsorted(stamps, wanted)
        here = found < stamps.size
        here[here] = stamps[found[here]] == wanted[here]
        if not here.all():
            raise self._refused(
                path, "every time that is read", f"none for {wanted[~here][0]}",
                "Ask for times that `times` gives.",
            )  # fmt: skip
        return found

    @contextmanager
    def _opened(self, period: np.datetime64) -> Iterator[xr.DataArray]:
        """The file's field, not yet read. What fails is an InputError; see `_reading`."""
        path = self._path(period)
        with self._reading(path), tempfile.TemporaryDirectory() as scratch:
            netcdf = self._as_netcdf(path, Path(scratch))
            with open_netcdf(netcdf) as opened:
                yield self._field(opened, path)

    def _as_netcdf(self, path: Path, scratch: Path) -> Path:
        if self.row.format == "netcdf" or not path.is_file():
            return path
        if self.row.format == "zip":
            inside = sorted(unpack(path, scratch / "zip", most_bytes=_MOST_UNPACKED).rglob("*.nc"))
            if len(inside) != 1:
                raise self._refused(path, "one NetCDF file in it", f"{len(inside)}", "")
            return inside[0]
        # Beside the file, since decoding a national grid takes seconds and regions share it.
        decoded = _decoded(path)
        if not decoded.is_file() or decoded.stat().st_mtime < path.stat().st_mtime:
            from data_recipes.grib import decode_grib

            folder = unpack(path, scratch / "grib", most_bytes=_MOST_UNPACKED, most_files=1)
            decode_grib(next(folder.iterdir()), decoded)
        return decoded

    def _field(self, opened: xr.Dataset, path: Path) -> xr.DataArray:
        """The product's variable with dims time (where it has one), y and x."""
        names = {
            known: axis
            for axis, spellings in _NAMES.items()
            for known in spellings
            if known in opened.coords and opened[known].dims == (known,)
        }
        fields = [
            str(name)
            for name, variable in opened.data_vars.items()
            if set(names) <= set(variable.dims) and self.row.in_file in ("", name)
        ]
        if sorted(names.values()) != ["x", "y"] or len(fields) != 1:
            got = f"variables {list(opened.data_vars)}, coordinates {list(opened.coords)}"
            raise self._refused(path, f"{self.row.variable} on latitude and longitude", got, "")
        return opened[fields[0]].rename(names)

    def _part(self, field: xr.DataArray, window: Window, path: Path) -> Part:
        y, x = (to_degrees(field[axis].values) for axis in ("y", "x"))
        check_spacing(y, x, self.row.cell, where=str(path))
        return window_part(y, x, window, where=str(path))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Turn what goes wrong in a file into an InputError; a file that has changed is removed."""
        try:
            yield
        except (InputError, OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
            if not path.is_file():
                raise self._refused(path, "a fetched file", "no file", "Build again.") from None
            _decoded(path).unlink(missing_ok=True)
            if not verify(path):
                path.unlink(missing_ok=True)
                got = f"{type(error).__name__}: {error}"[:300]
                fix = "It was removed: build again, and it is fetched again."
                raise self._refused(path, "the file as it arrived", got, fix) from error
            if isinstance(error, InputError):
                raise
            got = f"{type(error).__name__}: {error}"[:300]
            raise self._refused(path, "a readable file", got, "") from error

    def _refused(self, path: Path, expected: str, got: str, fix: str) -> InputError:
        fix = fix or f"Check that {self.base} serves {self.row.name} {self.row.version}."
        return InputError(Problem(str(path), expected, got, fix))


def _values(field: xr.DataArray, steps: NDArray[np.intp], part: Part) -> NDArray[np.floating]:
    """(time, y, x) of a part at positions in time, of no matter to a field without."""
    if "time" not in field.dims:
        alone = [dim for dim in field.dims if dim not in ("y", "x")]
        return crop(field.squeeze(alone).transpose("y", "x"), part)[None]
    first = int(steps.min())
    loaded = field.isel(time=slice(first, int(steps.max()) + 1)).transpose("time", "y", "x")
    return np.asarray(crop(loaded, part)[steps - first])


def _decoded(path: Path) -> Path:
    """Where the NetCDF file that was made of a GRIB file is."""
    return path.with_name(f"{path.name}.nc")


def _damage(path: Path, kind: str) -> str:
    """What is wrong inside a file that came whole, "" where nothing is."""
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                spoilt = archive.testzip()
            return f"{spoilt} in it is damaged" if spoilt else ""
        if kind == "grib2.gz":
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        else:
            with open_netcdf(path, decode_cf=False):
                pass
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""
