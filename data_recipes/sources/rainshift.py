"""RainShift: ERA5 and IMERG precipitation on 18 boxes, from the Hugging Face data set.

Harder et al. (Scientific Reports 16, 3733, 2026; arXiv 2507.04930): `{region}/{split}_data_in` is
ERA5 at 80 x 80 points of 0.25 degrees, `{split}_data_out` IMERG at 200 x 200 pixels of 0.1 degrees,
both hourly and in zipped Zarr stores, which are read where they lie.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import StringConstraints
from zarr.storage import ZipStore

from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen
from data_recipes.download import arrived, verify
from data_recipes.netcdf import open_netcdf
from data_recipes.retries import PATIENT, Retries
from data_recipes.source import Advance, Load, Times, Window, no_report
from data_recipes.sources.huggingface import Listing, fetch_file, listing
from data_recipes.sources.lat_lon_cells import as_slice, to_degrees, window_part

DATA_SET = "RainShift/rainshift"

# South, north, west, east: outer edges of the fine pixels, read from the stores of the data set by
# SarahZhang25/downscaling_transferability_with_geographic_features and rounded to degrees.
REGIONS: dict[str, tuple[float, float, float, float]] = {
    "africa-south": (-40, -20, 18, 38),
    "amazon-basin": (-20, 0, -60, -40),
    "arabian-peninsula": (15, 35, 40, 60),
    "australasia-east": (-40, -20, 137, 157),
    "blacksea": (35, 55, 22, 42),
    "cape-horn": (-56, -36, -80, -60),
    "caribbean": (5, 25, -80, -60),
    "east-asia-north-east": (30, 50, 130, 150),
    "east-asia-south": (20, 40, 100, 120),
    "europe_west": (40, 60, -5, 15),
    "horn-of-africa": (-5, 15, 32, 52),
    "melanesia": (-15, 5, 130, 150),
    "northamerica-east": (30, 50, -90, -70),
    "northamerica-west": (40, 60, -130, -110),
    "southamerica-east": (-40, -20, -60, -40),
    "southeastasia-west": (-2, 18, 90, 110),
    "tibetan-plateau": (30, 50, 75, 95),
    "west-africa": (4, 24, -10, 10),
}

# First and last hour of a split. The stores have no other statement of their years than their time
# axes, which are compared with these.
SPLITS: dict[str, tuple[np.datetime64, np.datetime64]] = {
    "train": (np.datetime64("2001-01-01T00", "s"), np.datetime64("2020-12-31T23", "s")),
    "test": (np.datetime64("2021-01-01T00", "s"), np.datetime64("2022-12-31T23", "s")),
}

# Used where a variable states no units. Of the target nobody states them: every user of the data
# set takes it for mm/h.
_UNITS = {
    "cape": "J kg-1", "cp": "m", "sp": "Pa", "tclw": "kg m-2", "tcw": "kg m-2", "tisr": "J m-2",
    "tp": "m", "u": "m s-1", "v": "m s-1", "precipitation": "mm h-1", "lsm": "1", "z": "m2 s-2",
}  # fmt: skip
_HALF_ERA5_CELL = 0.125
_DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError)


class RainShiftOptions(Frozen):
    """A `[coarse]` or `[fine]` table whose provider is RainShift.

    side: "in" (ERA5), "out" (IMERG) or "static" (`lsm`, `z` on the fine grid). revision: a branch
    or, better, a commit of the data set; a branch is looked up once for each cache folder, whose
    files so all come from one commit. The environment's HF_ENDPOINT goes before `endpoint`.
    """

    provider: Literal["rainshift"] = "rainshift"
    side: Literal["in", "out", "static"]
    revision: Annotated[str, StringConstraints(pattern=r"^\w[\w./-]*$")] = "main"
    endpoint: str = "https://huggingface.co"


def open_source(options: RainShiftOptions, *, cache: Path) -> "RainShift":
    """The source; its files come under `cache/rainshift`, which both sides of a pair share."""
    return RainShift(options, cache / "rainshift" / options.revision.replace("/", "--"))


def region_of(window: Window) -> str:
    """The region that holds a window; half a cell of ERA5 beyond its edges is forgiven.

    Errors: InputError, with the boxes of all regions, where no region does.
    """
    for name, (south, north, west, east) in REGIONS.items():
        shift = 360.0 * round(((west + east) - (window.west + window.east)) / 720.0)
        outside = max(
            south - window.south, window.north - north,
            west - window.west - shift, window.east + shift - east,
        )  # fmt: skip
        if outside <= _HALF_ERA5_CELL + 1e-6:
            return name
    known = ", ".join(f"{name} {box}" for name, box in REGIONS.items())
    raise InputError(
        Problem(
            "the window of RainShift", "a box within one of its regions",
            f"{(window.south, window.north, window.west, window.east)}",
            f"Choose one of them (south, north, west, east): {known}.",
        )
    )  # fmt: skip


@dataclass(frozen=True)
class RainShift:
    """A `Source` of one side of RainShift.

    Coordinates: centres in degrees, longitudes counted on from the window's west. ERA5 points run
    from the box's north-west corner and end 0.25 degrees short of its south and east edges, so of
    side "in" the box's last half cell (and what a window asks beyond the box) is not there.
    Missing data: NaN, of which IMERG has some.
    """

    options: RainShiftOptions
    folder: Path
    retries: Retries = PATIENT

    def ids(self, region: str) -> Mapping[str, str]:  # noqa: ARG002
        """The data set and its revision."""
        return {DATA_SET: self.options.revision}

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """The files that are not here; asks the Hub only where one is missing."""
        missing = [name for name in self._files(window) if not _is_here(self.folder / name)]
        sizes = {name: self._listing().file(name).bytes for name in missing}
        return {name: Load(size, size) for name, size in sizes.items()}

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Bring the window's files, each whole, with the SHA-256 that the Hub states.

        Errors: InputError where the Hub refuses, keeps failing, or lacks a file.
        """
        for name in self._files(window):
            if not _is_here(self.folder / name):
                fetch_file(
                    self._listing(), name, self.folder,
                    endpoint=self.options.endpoint, advance=advance, retries=self.retries,
                )  # fmt: skip

    def times(self, window: Window) -> Times:
        """The hours between the window's first and last, from the time axes of side "in"."""
        self._check_times(window.times)
        region = region_of(window)
        if self.options.side == "static":
            return np.empty(0, "datetime64[s]")
        axes = [self._axis(region, split) for split in _splits(window.times)]
        hours: Times = np.concatenate([np.empty(0, "datetime64[s]"), *axes])
        asked: Times = hours[(hours >= window.times[0]) & (hours <= window.times[-1])]
        return asked

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window's variables; each time chunk of the store is decoded once a call.

        Errors: InputError where a file is damaged, or lacks a variable, a coordinate or an hour.
        """
        self._check_times(times)
        region = region_of(window)
        if self.options.side == "static":
            path = self.folder / region / "static_variables.nc"
            with _reading(path), open_netcdf(path) as static:
                return _fields(self._cut(static, window, path), window.names, None)
        parts = []
        for split in _splits(times):
            path = self._store(region, split, self.options.side)
            first, last = SPLITS[split]
            chosen = times[(times >= first) & (times <= last)]
            steps = _positions(chosen, self._axis(region, split), path)
            with _reading(path), _zipped(path) as opened:
                part = _fields(self._cut(opened, window, path), window.names, steps)
            parts.append(part.assign_coords(time=chosen.astype("datetime64[s]")))
        covered = sum(part.sizes["time"] for part in parts)
        if covered != times.size:
            raise _absent(times[(times < SPLITS["train"][0]) | (times > SPLITS["test"][1])])
        if len(parts) == 1:
            return parts[0]
        return xr.concat(parts, "time", coords="minimal", compat="override", join="exact")

    def _store(self, region: str, split: str, side: str) -> Path:
        return self.folder / region / f"{split}_data_{side}.zarr.zip"

    def _files(self, window: Window) -> list[str]:
        self._check_times(window.times)
        region = region_of(window)
        if self.options.side == "static":
            return [f"{region}/static_variables.nc"]
        # The targets have no time axis: theirs is that of the inputs.
        sides = ("in",) if self.options.side == "in" else ("in", "out")
        splits = _splits(window.times)
        return [f"{region}/{split}_data_{side}.zarr.zip" for split in splits for side in sides]

    def _check_times(self, times: Times) -> None:
        if (self.options.side == "static") == bool(times.size):
            wanted = "no times" if times.size else "at least one time"
            where, fix = f"RainShift, side {self.options.side}", f"Ask with {wanted}."
            raise InputError(Problem(where, wanted, f"{times.size}", fix))

    def _listing(self) -> Listing:
        return listing(
            DATA_SET, self.options.revision, self.folder,
            endpoint=self.options.endpoint, retries=self.retries,
        )  # fmt: skip

    def _axis(self, region: str, split: str) -> Times:
        """The hours of a split, checked. Errors: InputError where it is not what it should be."""
        path = self._store(region, split, "in")
        with _reading(path), _zipped(path) as opened:
            stored = opened["time"].values if "time" in opened.coords else np.empty(0)
        first, last = SPLITS[split]
        if not np.issubdtype(stored.dtype, np.datetime64) or not stored.size:
            raise _wrong(path, "a time axis", f"time of {stored.dtype}, {stored.size} long")
        axis: Times = stored.astype("datetime64[s]")
        if np.any(np.diff(axis) < np.timedelta64(0)) or axis[0] < first or axis[-1] > last:
            raise _wrong(path, f"ascending hours of {first} to {last}", f"{axis[0]} to {axis[-1]}")
        if self.options.side == "out":
            target = self._store(region, split, "out")
            with _reading(target), _zipped(target) as opened:
                length = opened.sizes.get("time", 0)
            if length != axis.size:
                raise _wrong(target, f"{axis.size} hours, as in {path.name}", f"{length}")
        return axis

    def _cut(self, opened: xr.Dataset, window: Window, path: Path) -> xr.Dataset:
        """The window's rows and columns, not yet read, as (..., y, x)."""
        missing = [name for name in window.names if name not in opened.data_vars]
        if missing:
            held = ", ".join(sorted(map(str, opened.data_vars)))
            raise _wrong(path, f"the variables {missing}", held)
        names = {}
        for axis, spellings in {"y": ("latitude", "lat"), "x": ("longitude", "lon")}.items():
            found = [name for name in spellings if name in opened.coords]
            if len(found) != 1 or opened[found[0]].dims != (found[0],):
                raise _wrong(path, f"one coordinate of {spellings}", f"{list(opened.coords)}")
            names[found[0]] = axis
        data = opened[list(window.names)].rename(names)
        y, x = (to_degrees(data[axis].values) for axis in ("y", "x"))
        part = window_part(y, x, window, where=str(path))
        cut = data.isel(y=part.rows, x=as_slice(part.columns))
        return cut.assign_coords(y=part.y, x=part.x)


def _splits(times: Times) -> list[str]:
    return [
        split
        for split, (first, last) in SPLITS.items()
        if np.any((times >= first) & (times <= last))
    ]


def _fields(data: xr.Dataset, names: Sequence[str], steps: NDArray[np.intp] | None) -> xr.Dataset:
    """Decoded fields in memory: (y, x), or the given steps as (time, y, x)."""
    dims = ("y", "x") if steps is None else ("time", "y", "x")
    fields: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]] = {}
    for name in names:
        variable = data[name].transpose(*dims)
        values = variable.values if steps is None else _take(variable, steps)
        kept = ("units", "long_name", "standard_name")
        stated = {key: str(variable.attrs[key]) for key in kept if variable.attrs.get(key)}
        fields[name] = (dims, values, {"units": _UNITS.get(name, ""), **stated})
    return xr.Dataset(
        fields, coords={"y": data["y"].values, "x": data["x"].values}, attrs={"crs": ""}
    )


def _take(variable: xr.DataArray, steps: NDArray[np.intp]) -> NDArray[Any]:
    """The values at `steps`, of which one chunk after another is decoded, each once."""
    chunk = int((variable.encoding.get("preferred_chunks") or {}).get("time", 200))
    numbers = steps // chunk
    pieces = []
    for number in np.unique(numbers):
        wanted = steps[numbers == number]
        first = int(wanted.min())
        block = variable.isel(time=slice(first, int(wanted.max()) + 1)).values
        pieces.append(block[wanted - first])
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _positions(times: Times, axis: Times, path: Path) -> NDArray[np.intp]:
    found = np.searchsorted(axis, times)
    here = found < axis.size
    here[here] = axis[found[here]] == times[here]
    if not here.all():
        raise _absent(times[~here], str(path))
    return found


@contextmanager
def _zipped(path: Path) -> Iterator[xr.Dataset]:
    """A zipped Zarr store, version 2 or 3, at the archive's root or in a folder of it."""
    # Opened here first: zarr's own store fails in closing what it could not open.
    with zipfile.ZipFile(path) as archive:
        marks = [name for name in archive.namelist() if name.endswith((".zgroup", "zarr.json"))]
    if not marks:
        raise ValueError("no Zarr group in the archive")
    group = min(marks, key=lambda name: name.count("/")).rpartition("/")[0]
    with ZipStore(path, mode="r") as store:
        yield xr.open_zarr(store, group=group or None, consolidated=False, chunks=None)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong in a file into an InputError; a file that has changed is thrown away.

    Compared with the checksum it arrived with, so that the next fetch brings it again.
    """
    try:
        yield
    except _DAMAGED as error:
        got = f"{type(error).__name__}: {error}"[:300]
        if not path.is_file():
            raise _wrong(path, "a fetched file", "no file", "Build again.") from None
        if verify(path):
            raise _wrong(path, "a readable file", got) from error
        path.unlink(missing_ok=True)
        fix = "It was removed: build again, and it is fetched again."
        raise _wrong(path, "the file as it arrived", got, fix) from error


def _is_here(path: Path) -> bool:
    """Whether a file is here whole, by its size and, of an archive, its list of members."""
    return arrived(path) is not None and (path.suffix != ".zip" or zipfile.is_zipfile(path))


def _wrong(path: Path, expected: str, got: str, fix: str = "") -> InputError:
    return InputError(
        Problem(
            str(path), expected, got,
            fix or "Choose another revision, or report this: the data set has changed.",
        )
    )  # fmt: skip


def _absent(times: Times, where: str = "RainShift") -> InputError:
    named = ", ".join(str(time) for time in times[:3])
    return InputError(
        Problem(
            where, "every hour that is read", f"none for {named}"
            + (f" and {times.size - 3} more" if times.size > 3 else ""),
            "Ask for hours that `times` gives.",
        )
    )  # fmt: skip
