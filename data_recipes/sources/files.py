"""The user's own files: NetCDF, GRIB or Zarr on disk, one set for all regions or one for each."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field, field_validator

from benchmark.errors import InputError, Problem
from benchmark.hashing import text_digest
from benchmark.region import MapGrid, Slug
from benchmark.toml_model import Frozen, nearest
from data_recipes.fields import Names
from data_recipes.fingerprint import fingerprint
from data_recipes.grib import decode_grib
from data_recipes.problems import gathered, raise_all
from data_recipes.source import Advance, Load, Times, Window, no_report
from data_recipes.sources.own_file import (
    Choice,
    Place,
    count_frames,
    known_fields,
    opened,
    part_of,
    read_cells,
    read_clock,
    read_values,
    selected,
    time_dim,
)

_DECODED = 4
"""A decoded GRIB file against the file itself, about."""


class Placed(Frozen):
    """Files and where their cells lie.

    paths: files or patterns such as "era5/*.nc", from the recipe's folder, absolute or from "~". A
    Zarr store is one path. crs: the PROJ string in metres of a map, "" for latitude and longitude
    (default: what the file states as CF asks); y, x: the names of the coordinates, where they are
    not the usual ones; scale: metres (or degrees) in a unit of these, by default as their units
    say; origin: (y, x) that is added to them then.
    """

    paths: Names = ()
    crs: str | None = None
    y: str | None = None
    x: str | None = None
    scale: Annotated[float, Field(gt=0)] | None = None
    origin: tuple[float, float] = (0.0, 0.0)

    @field_validator("crs")
    @classmethod
    def _is_known_to_proj(cls, crs: str | None) -> str | None:
        """As for the grid of a region."""
        return MapGrid(name="files", crs=crs, spacing=1).crs if crs else crs


class Frames(Frozen):
    """A nominal clock: the k-th time of each region's files is `first` plus k times `hours`."""

    first: datetime
    hours: Annotated[float, Field(gt=0)] = 1.0


class FilesOptions(Placed):
    """Own files. engine: what reads them, always named. regions: where each has files of its own.

    time: the name of the time coordinate, where it is not a usual one. select: where along other
    dims, by name: the value of the coordinate there, as in { number = 0, isobaricInhPa = 850 }, or
    the position (from 0) along a dim without one; a dim of length 1 needs no choice. group: of a
    NetCDF or Zarr file. What `regions` do not say of a region is as for all. One file may hold all
    variables or one, and all times or some.
    """

    provider: Literal["files"]
    engine: Literal["netcdf4", "h5netcdf", "zarr", "grib"]
    time: str | None = None
    group: str = ""
    select: dict[str, Choice] = Field(default_factory=dict)
    frames: Frames | None = None
    regions: dict[Slug, Placed] = Field(default_factory=dict)


def open_source(options: FilesOptions, *, cache: Path, base: Path) -> "FilesSource":
    """The files that `options` name, from the folder `base`; GRIB is decoded once, to `cache`."""
    return FilesSource(options, cache / "files", base)


@dataclass(frozen=True, eq=False)
class _Held:
    """What one file holds. times: its own, none where it has no coordinate of them."""

    path: Path
    size: tuple[int, int]
    names: tuple[str, ...]
    times: Times


@dataclass(frozen=True)
class FilesSource:
    """See `source.Source`. Nothing is fetched; GRIB is decoded to NetCDF."""

    options: FilesOptions
    cache: Path
    base: Path

    def ids(self, region: str) -> Mapping[str, str]:
        """{file: BLAKE3 of its bytes}, named from the folder that holds all of a region's files."""
        paths = self._paths(region)
        top = os.path.commonpath([path.absolute().parent for path in paths])
        return {os.path.relpath(path.absolute(), top): self._fingerprint(path) for path in paths}

    def to_fetch(self, window: Window) -> Mapping[str, Load]:
        """Nothing comes, but GRIB is decoded."""
        if self.options.engine != "grib":
            return {}
        paths = [path for path in self._paths(window.region) if path.is_file()]
        todo = [path for path in paths if not self._readable(path).exists()]
        return {str(path): Load(0, _DECODED * path.stat().st_size) for path in todo}

    def fetch(self, window: Window, *, advance: Advance = no_report) -> None:
        """Decode GRIB, and see that the files can be read and hold what is wanted.

        Errors: InputError with all problems of all files.
        """
        self.look(window.region, window.names, advance=advance)

    def fetch_many(self, windows: Sequence[Window], *, advance: Advance = no_report) -> None:
        """The windows one by one. Errors: InputError with all problems of all regions' files."""
        problems: list[Problem] = []
        for window in windows:
            with gathered(problems):
                self.fetch(window, advance=advance)
        raise_all(problems)

    def look(self, region: str, names: tuple[str, ...], *, advance: Advance = no_report) -> None:
        """InputError with all that is wrong with a region's files but their cells and values."""
        problems: list[Problem] = []
        if self.options.engine == "grib":
            for path in self._paths(region):
                with gathered(problems):
                    self._decode(path, advance)
            raise_all(problems)
        looked: set[Path] = set()
        for name in names:
            with gathered(problems):
                first = self._of(name, region)[0][0].path
                if first not in looked:
                    looked.add(first)
                    with self._open(first) as dataset:
                        read_cells(first, dataset, self._place(region))
        raise_all(problems)

    def times(self, window: Window) -> Times:
        """Those of all variables within the window; nominal ones where `frames` are stated."""
        if not len(window.times):
            return window.times
        common: Times | None = None
        for name in window.names:
            clocks = [clock for _, clock in self._of(name, window.region)]
            times: Times = np.concatenate(clocks)
            times = times[(times >= window.times[0]) & (times <= window.times[-1])]
            if (np.diff(times) <= np.timedelta64(0, "s")).any():
                return times  # for the recipe to refuse
            common = times if common is None else np.intersect1d(common, times)
        return common if common is not None else window.times[:0]

    def read(self, window: Window, times: Times) -> xr.Dataset:
        """The window's variables, of whose files only the window's cells are read."""
        made: dict[str, list[tuple[Times, NDArray[np.floating]]]] = {n: [] for n in window.names}
        units: dict[str, str | None] = {}
        coords: dict[str, NDArray[np.float64]] = {}
        crs = ""
        for held, wanted in self._wanted(window, times):
            with self._open(held.path) as dataset:
                self._check_same(held)
                cells = read_cells(held.path, dataset, self._place(window.region))
                part = part_of(cells, window)
                if coords and not (
                    np.array_equal(coords["y"], part.y) and np.array_equal(coords["x"], part.x)
                ):
                    raise _refused(f"{held.path}: cells", "those of the other files", "others",
                                   "Give each grid a side, or a region, of its own.")  # fmt: skip
                coords, crs = {"y": part.y, "x": part.x}, cells.crs
                time = time_dim(dataset, self.options.time)
                for name, (steps, clock) in wanted.items():
                    values = read_values(
                        held.path, dataset, name, cells, part, steps=steps, time=time
                    )
                    made[name].append((clock, values))
                    units.setdefault(name, dataset[name].attrs.get("units"))
        fields = {}
        for name, parts in made.items():
            dims, values = self._joined(window, name, parts, times)
            said = {} if units[name] is None else {"units": str(units[name])}
            fields[name] = (dims, values, said)
        found = xr.Dataset(fields, coords=coords, attrs={"crs": crs})
        return found.assign_coords(time=times) if len(times) else found

    def _wanted(
        self, window: Window, times: Times
    ) -> Iterator[tuple[_Held, dict[str, tuple[NDArray[np.intp] | None, Times]]]]:
        """The files that are to be read, each with the steps of each variable."""
        wanted: dict[Path, tuple[_Held, dict[str, tuple[NDArray[np.intp] | None, Times]]]] = {}
        for name in window.names:
            for held, clock in self._of(name, window.region):
                steps = np.flatnonzero(np.isin(clock, times)) if len(times) else None
                if steps is None or len(steps):
                    there = clock[steps] if steps is not None else clock[:0]
                    wanted.setdefault(held.path, (held, {}))[1][name] = (steps, there)
                if steps is None:
                    break  # a field that does not change is the same in all files
        yield from wanted.values()

    def _joined(
        self,
        window: Window,
        name: str,
        parts: list[tuple[Times, NDArray[np.floating]]],
        times: Times,
    ) -> tuple[tuple[str, ...], NDArray[np.floating]]:
        """One variable of all files, in the order of `times`."""
        if not len(times):
            return ("y", "x"), parts[0][1]
        there = np.concatenate([clock for clock, _ in parts]) if parts else times[:0]
        absent = np.setdiff1d(times, there)
        if len(absent):
            raise _refused(
                f"own files of {window.region or 'all regions'}: {name}", f"{len(times)} times",
                f"no {absent[0]}" + (f" and {len(absent) - 1} others" * (len(absent) > 1)),
                "Add the files, or allow `gaps`.",
            )  # fmt: skip
        values = parts[0][1] if len(parts) == 1 else np.concatenate([v for _, v in parts])
        if values.ndim != 3:
            raise _refused(f"own files: {name}", "a field with times", "one that does not change",
                           "Choose another variable.")  # fmt: skip
        order = np.argsort(there, kind="stable")
        chosen = order[np.searchsorted(there[order], times)]
        whole = len(chosen) == len(values) and (np.diff(chosen) == 1).all()
        return ("time", "y", "x"), values if whole else values[chosen]

    def _of(self, name: str, region: str) -> list[tuple[_Held, Times]]:
        """The files that hold a variable, with its times, the first first."""
        inventory = self._inventory(region)
        found = [(held, held.times) for held in inventory if name in held.names]
        if not found:
            known = sorted({known for held in inventory for known in held.names})
            where = str(inventory[0].path) if len(inventory) == 1 else f"{len(inventory)} files"
            fix = nearest(name, known) if known else "Name other files."
            raise _refused(f"{where}: {name}", "a variable of the file", "none", fix)
        frames = self.options.frames
        if frames is None:
            dated = [item for item in found if len(item[1])]
            return sorted(dated, key=lambda item: item[1][0]) or found
        nominal, start = [], 0
        for held, times in found:
            seconds = (np.arange(len(times)) + start) * round(frames.hours * 3600)
            nominal.append((held, np.datetime64(frames.first, "s") + seconds))
            start += len(times)
        return nominal

    @cached_property
    def _inventories(self) -> dict[str, list[_Held]]:
        """What was looked up, by region; goes along to the user's workers."""
        return {}

    def _inventory(self, region: str) -> list[_Held]:
        """What each file of a region holds; looked up once."""
        key = region if self.options.regions else ""
        if key not in self._inventories:
            problems: list[Problem] = []
            found = []
            for path in self._paths(region):
                with gathered(problems), self._open(path) as dataset:
                    read = count_frames if self.options.frames else partial(read_clock, path)
                    times = read(dataset, self.options.time)
                    names = tuple(known_fields(dataset))
                    found.append(_Held(path, _size(path), names, times))
            raise_all(problems)
            self._inventories[key] = found
        return self._inventories[key]

    def _check_same(self, held: _Held) -> None:
        if _size(held.path) != held.size:
            raise _refused(str(held.path), "the file that was there when this began",
                           "one that has changed", "Repeat the command.")  # fmt: skip

    def _place(self, region: str) -> Place:
        place = self._placed(region)
        return Place(place.crs, place.y, place.x, place.scale, place.origin)

    def _placed(self, region: str) -> Placed:
        """What is said of a region, else of all."""
        common = {name: getattr(self.options, name) for name in Placed.model_fields}
        if not self.options.regions:
            return Placed(**common)
        if region not in self.options.regions:
            known = list(self.options.regions)
            where = f"source.regions.{region}"
            raise _refused(where, "the files of this region", "none", nearest(region, known))
        own = self.options.regions[region]
        return Placed(**(common | {name: getattr(own, name) for name in own.model_fields_set}))

    def _paths(self, region: str) -> list[Path]:
        """The files that the patterns name, sorted; every pattern must name one."""
        found: set[Path] = set()
        problems = []
        for pattern in self._placed(region).paths:
            path = self.base / _from_home(pattern)
            some = [path] if path.exists() else self._matching(pattern)
            if not some:
                fix = "Correct `paths`; they are taken from the recipe's own folder, or --files."
                expected = "a file, or a pattern of files"
                problems.append(Problem(str(path), expected, "nothing there", fix))
            found |= set(some)
        raise_all(problems)
        if not found:
            raise _refused("source.paths", "a file", "none", "Name the files: `paths = ...`.")
        return sorted(found)

    def _matching(self, pattern: str) -> list[Path]:
        # Path.glob takes no absolute patterns, and the base may have brackets in its name.
        names = glob.glob(_from_home(pattern), root_dir=self.base, recursive=True)  # noqa: PTH207
        return [self.base / name for name in names]

    def _fingerprint(self, path: Path) -> str:
        try:
            return fingerprint(path, kept=self.cache / "fingerprints.json")
        except PermissionError as error:
            fix = "Make it readable."
            raise _refused(str(path), "a file", str(error.strerror), fix) from None

    def _readable(self, path: Path) -> Path:
        """The file that is opened: of GRIB, what was decoded of these very bytes."""
        if self.options.engine != "grib":
            return path
        if not path.is_file():
            raise _refused(str(path), "a GRIB file", "a folder", f'paths = "{path.name}/*.grib"')
        return self.cache / f"{text_digest(self._fingerprint(path))[:16]}.nc"

    def _decode(self, path: Path, advance: Advance) -> None:
        made = self._readable(path)
        if not made.exists():
            with path.open("rb") as file:
                start = file.read(4)
            if start != b"GRIB":
                got = "an empty file" if not start else f"one that begins with {start!r}"
                raise _refused(str(path), "a GRIB file", got, "Correct `engine`, or the path.")
            decode_grib(path, made)
            advance(path.stat().st_size, path.name)

    @contextmanager
    def _open(self, path: Path) -> Iterator[xr.Dataset]:
        engine = "h5netcdf" if self.options.engine == "grib" else self.options.engine
        with opened(self._readable(path), engine, group=self.options.group) as dataset:
            yield selected(path, dataset, self.options.select)


def _from_home(pattern: str) -> str:
    """A pattern with "~" spelled out; as it is where there is no such home."""
    return os.path.expanduser(pattern)  # noqa: PTH111


def _size(path: Path) -> tuple[int, int]:
    """Size and time of change; of a folder its own, which tell little."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
