"""One of the user's own files: what is in it, where its cells lie, and a window of its values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from benchmark.errors import InputError, Problem
from benchmark.toml_model import nearest
from data_recipes.extra import require
from data_recipes.netcdf import ALONE
from data_recipes.problems import gathered, raise_all
from data_recipes.source import Times, Window
from data_recipes.sources.lat_lon_cells import Floats, Indices, Part, as_slice, columns, crop, rows
from data_recipes.sources.stated_map import stated_map

Y_NAMES = ("latitude", "lat")
X_NAMES = ("longitude", "lon")
MAP_Y_NAMES = ("y", "projection_y_coordinate")
MAP_X_NAMES = ("x", "projection_x_coordinate")
TIME_NAMES = ("valid_time", "time")

_METRES = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0,
           "kilometre": 1000.0, "kilometres": 1000.0, "kilometer": 1000.0}  # fmt: skip
_MAGIC = {b"GRIB": "grib", b"\x89HDF": "netcdf4", b"CDF\x01": "netcdf4", b"CDF\x02": "netcdf4",
          b"CDF\x05": "netcdf4"}  # fmt: skip
_MODULES = {"netcdf4": "netCDF4", "h5netcdf": "h5netcdf", "zarr": "zarr"}
_ZARR = ("zarr.json", ".zgroup", ".zmetadata")
_SHOWN = 12
_BEYOND = 2
"""Cells that are read beyond a window on a map: its sides are bent there."""

Choice = int | float | str
"""A value of a coordinate, or a position along a dim that has none."""


@dataclass(frozen=True)
class Place:
    """Where a file's cells lie: see `files.Placed`."""

    crs: str | None = None
    y: str | None = None
    x: str | None = None
    scale: float | None = None
    origin: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a file: the coordinates' names, centres in degrees or metres, a PROJ string."""

    names: tuple[str, str]
    dims: tuple[str, str]
    y: Floats
    x: Floats
    crs: str


@contextmanager
def opened(path: Path, engine: str, *, group: str = "") -> Iterator[xr.Dataset]:
    """A file open for reading, times as they are stored, one thread at a time.

    Errors: InputError where the engine does not read it, with the one that would.
    """
    options: Any = {"engine": engine, "decode_times": False}
    if engine == "zarr":
        options["consolidated"] = False
    if group:
        options["group"] = group
    require(str(path), _MODULES[engine])
    with ALONE:
        try:
            if engine != "zarr" and path.is_dir():
                raise IsADirectoryError("a folder")
            found = xr.open_dataset(path, **options)
        except (OSError, ValueError, KeyError, TypeError, BaseZarrError) as error:
            raise _refused(
                str(path), f"what the engine {engine!r} reads",
                f"{type(error).__name__}: {error}"[:200], _instead(path, engine),
            ) from None  # fmt: skip
        with found:
            yield found


def selected(path: Path, dataset: xr.Dataset, select: Mapping[str, Choice]) -> xr.Dataset:
    """A data set at one place along other dims; see `choices` for what there is to choose.

    A coordinate without a dim may be chosen as well: it must then have that very value.
    Errors: InputError where there is no such dim or value.
    """
    places: dict[str, int] = {}
    problems: list[Problem] = []
    for name, wanted in select.items():
        where = f"{path}: select.{name}"
        known = choices(dataset, name)
        if not known:
            named = [str(dim) for dim in dataset.dims]
            problems.append(Problem(where, "a dim of the file", "none", nearest(name, named)))
            continue
        at = [k for k, value in enumerate(known) if value == wanted or _close(value, wanted)]
        if len(at) != 1:
            expected = f"{'one of ' * (len(known) > 1)}{_some(known)}"
            problems.append(Problem(where, expected, _word(wanted), "Correct it."))
        else:
            dims = dataset.coords[name].dims if name in dataset.coords else (name,)
            places |= dict.fromkeys(map(str, dims), at[0])
    raise_all(problems)
    return dataset.isel(places)


def choices(dataset: xr.Dataset | xr.DataArray, name: str) -> list[Choice]:
    """The values of the coordinate `name`; else 0, 1, ... along the dim; nothing where no such."""
    if name in dataset.coords and dataset.coords[name].ndim < 2:
        return list(np.atleast_1d(dataset.coords[name].values).tolist())
    return list(range(dataset.sizes.get(name, 0)))


def _word(value: Choice) -> str:
    """As TOML has it."""
    return f"{value:.10g}" if isinstance(value, float) else repr(value)


def _close(value: Choice, wanted: Choice) -> bool:
    """Whether two numbers are one: a file may hold them as float32."""
    numbers = isinstance(value, int | float) and isinstance(wanted, int | float)
    return numbers and bool(np.isclose(float(value), float(wanted), rtol=1e-6, atol=0))


def _some(values: Sequence[Choice]) -> str:
    shown = ", ".join(map(_word, values[:_SHOWN]))
    return shown + (f", ... {_word(values[-1])}" if len(values) > _SHOWN else "")


def read_clock(path: Path, dataset: xr.Dataset, given: str | None) -> Times:
    """All times of a file, none where it has no coordinate of them.

    Errors: InputError where they cannot be told.
    """
    name = time_name(dataset, given)
    if name is None:
        if given:
            known = [str(known) for known in dataset.variables]
            raise _refused(f"{path}: time", f"the coordinate {given}", "none",
                           nearest(given, known))  # fmt: skip
        return np.empty(0, "datetime64[s]")
    stored = dataset[name].variable
    fix = "Give it units such as `hours since 2000-01-01`, or state `frames`."
    try:
        decoded = xr.decode_cf(xr.Dataset({name: stored}))[name].values
    except (ValueError, OverflowError) as error:
        got = str(error).partition("\n")[0][:150]
        raise _refused(f"{path}: {name}", "times that CF describes", got, fix) from None
    if not np.issubdtype(decoded.dtype, np.datetime64):
        got = f"units {stored.attrs.get('units', 'none')!r}"
        if "calendar" in stored.attrs:
            got += f", calendar {stored.attrs['calendar']!r}"
        raise _refused(f"{path}: {name}", "times of the standard calendar", got, fix)
    if np.isnat(decoded).any():
        raise _refused(f"{path}: {name}", "times", "missing ones", "Repair the file.")
    return np.atleast_1d(decoded).astype("datetime64[s]")


def time_name(dataset: xr.Dataset, given: str | None) -> str | None:
    """The coordinate of valid times: of one dim or none."""
    for name in (given,) if given else TIME_NAMES:
        if name in dataset.variables and dataset[name].ndim < 2:
            return name
    return None


def time_dim(dataset: xr.Dataset, given: str | None) -> str | None:
    """The dim along which times run; "" where a file is of one time, None where of none."""
    name = time_name(dataset, given)
    if name is not None:
        return str(dataset[name].dims[0]) if dataset[name].ndim else ""
    return next((n for n in ((given,) if given else TIME_NAMES) if n in dataset.dims), None)


def count_frames(dataset: xr.Dataset, given: str | None) -> Times:
    """As many times as a file has, without regard to what it says of them."""
    dim = time_dim(dataset, given)
    count = 0 if dim is None else dataset.sizes[dim] if dim else 1
    return np.arange(count).astype("datetime64[s]")


def read_cells(path: Path, dataset: xr.Dataset, place: Place) -> Cells:
    """Where a file's cells lie. Errors: InputError where that is not stated, or not regular."""
    crs = place.crs if place.crs is not None else stated_map(dataset)
    on_map = bool(crs)
    usual = ((*MAP_Y_NAMES, *Y_NAMES), (*MAP_X_NAMES, *X_NAMES)) if on_map else (
        (*Y_NAMES, *MAP_Y_NAMES), (*X_NAMES, *MAP_X_NAMES))  # fmt: skip
    problems: list[Problem] = []
    names = []
    for axis, given, known in (("y", place.y, usual[0]), ("x", place.x, usual[1])):
        with gathered(problems):
            names.append(_axis_name(path, dataset, axis, given, known))
    raise_all(problems)
    centres = []
    for name, axis, start in zip(names, ("y", "x"), place.origin, strict=True):
        with gathered(problems):
            centres.append(_centres(path, dataset[name], axis, place.scale, start, on_map=on_map))
    raise_all(problems)
    dims = tuple(str(dataset[name].dims[0]) for name in names)
    return Cells((names[0], names[1]), (dims[0], dims[1]), centres[0], centres[1], crs)


def part_of(cells: Cells, window: Window) -> Part:
    """The rows and columns that a window needs and half a cell around it.

    An axis that does not cover the window stays whole, so that it is clear what there is.
    """
    whole = Part(slice(0, len(cells.y)), np.arange(len(cells.x)), cells.y, cells.x)
    if cells.crs:
        return _part_of_map(cells, window, whole)
    row, y, column, x = whole.rows, whole.y, whole.columns, whole.x
    half = float(np.median(np.abs(np.diff(cells.y)))) / 2
    if cells.y.min() - half <= window.south and window.north <= cells.y.max() + half:
        row = rows(cells.y, window.south, window.north, where="cells")
        y = cells.y[row]
    try:
        found, degrees = columns(cells.x, window.west, window.east, where="cells")
    except InputError:
        return Part(row, column, y, x)
    half = float(np.median(np.diff(degrees))) / 2 if len(degrees) > 1 else 0.0
    if degrees[0] - half <= window.west + 1e-6 and window.east - 1e-6 <= degrees[-1] + half:
        column, x = found, cells.x[found]  # as stored: regridding knows of turns and of float32
    return Part(row, column, y, x)


def _part_of_map(cells: Cells, window: Window, whole: Part) -> Part:
    from benchmark.projection import Map

    south, north = np.full(181, window.south), np.full(181, window.north)
    up = np.linspace(window.south, window.north, 181)
    along = np.linspace(window.west, window.east, 181)
    lat = np.concatenate([south, north, up, up])
    lon = np.concatenate([along, along, np.full(181, window.west), np.full(181, window.east)])
    y, x = Map(cells.crs).points(lat, lon)
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        return whole
    row, column = _between(cells.y, y), _between(cells.x, x)
    if row is None or column is None:
        return whole
    return Part(row, np.arange(column.start, column.stop), cells.y[row], cells.x[column])


def _between(centres: Floats, points: Floats) -> slice | None:
    step = _BEYOND * float(np.abs(np.diff(centres)).max())
    found = np.flatnonzero((centres > points.min() - step) & (centres < points.max() + step))
    return slice(int(found.min()), int(found.max()) + 1) if found.size > 1 else None


def read_values(
    path: Path,
    dataset: xr.Dataset,
    name: str,
    cells: Cells,
    part: Part,
    *,
    steps: Indices | None,
    time: str | None,
) -> NDArray[Any]:
    """(time, y, x) of a part of a field, at some steps; (y, x) where steps is None.

    time: see `time_dim`.
    Missing data: NaN. Errors: InputError for a field of other dims, or one that cannot be read.
    """
    field = dataset[name]
    if time and time in field.dims:
        field = field.isel({time: 0 if steps is None else as_slice(steps)})
    needed = {*cells.dims, *([time] if time else [])}
    alone = [dim for dim in field.dims if dim not in needed and field.sizes[dim] == 1]
    field = field.squeeze(alone, drop=True)
    extra = {str(dim): choices(field, str(dim)) for dim in field.dims if dim not in needed}
    if extra:
        got = "; ".join(f"{dim} ({len(known)}): {_some(known)}" for dim, known in extra.items())
        one = ", ".join(f"{dim} = {_word(known[0])}" for dim, known in extra.items())
        fix = f"Choose where along {'it' if len(extra) == 1 else 'each'}: select = {{ {one} }}."
        raise _refused(f"{path}: {name}", "dims of time, y and x", f"also {got}", fix)
    lacking = [dim for dim in cells.dims if dim not in field.dims]
    if lacking:
        got = f"({', '.join(map(str, field.dims))})"
        raise _refused(f"{path}: {name}", f"dims {' and '.join(cells.dims)}", got,
                       "Choose another variable, or name its coordinates.")  # fmt: skip
    order = [time] if time and time in field.dims else []
    field = field.transpose(*order, *cells.dims)
    try:
        values = crop(field, part)
    except (OSError, RuntimeError, ValueError, BaseZarrError) as error:
        got = f"{type(error).__name__}: {error}"[:200]
        raise _refused(f"{path}: {name}", "readable values", got, "Replace the file.") from None
    if not np.issubdtype(values.dtype, np.floating):
        if not np.issubdtype(values.dtype, np.number):
            raise _refused(f"{path}: {name}", "numbers", str(values.dtype), "Choose another.")
        values = values.astype(np.float64)
    if steps is not None and values.ndim == 2 and time == "":
        return np.asarray(values[None])
    return np.asarray(values)


def known_fields(dataset: xr.Dataset) -> list[str]:
    """The names of what has two dims or more."""
    return [str(name) for name in dataset.variables if dataset[name].ndim >= 2]


def _axis_name(
    path: Path, dataset: xr.Dataset, axis: str, given: str | None, known: Sequence[str]
) -> str:
    """The 1-D coordinate of an axis."""
    names = (given,) if given else known
    for name in names:
        if name in dataset.variables and dataset[name].ndim == 1:
            return name
    bent = [n for n in (*names, *Y_NAMES, *X_NAMES) if n in dataset.variables]
    if bent:
        dims = ", ".join(map(str, dataset[bent[0]].dims))
        raise _refused(
            f"{path}: {axis}", "a coordinate of one dim", f"{bent[0]} of ({dims})",
            f"Only regular grids can be read: give the map's PROJ string as `crs`, and as `{axis}` "
            "the name of its coordinate in metres, or regrid the file first.",
        )  # fmt: skip
    have = [str(n) for n in dataset.variables if dataset[n].ndim == 1]
    fix = nearest(given, have) if given and have else f"Name it: `{axis} = ...`."
    expected = f"a coordinate of one dim, {' or '.join(names)}"
    raise _refused(f"{path}: {axis}", expected, ", ".join(have) or "none", fix)


def _centres(
    path: Path,
    coordinate: xr.DataArray,
    axis: str,
    scale: float | None,
    start: float,
    *,
    on_map: bool,
) -> Floats:
    """Centres along an axis, in metres or degrees."""
    units = str(coordinate.attrs.get("units", "")).strip()
    where = f"{path}: {coordinate.name}"
    named = str(coordinate.name) in (*Y_NAMES, *X_NAMES) or units.startswith("degree")
    if not on_map and (units in _METRES or (not named and scale is None)):
        raise _refused(
            where, "degrees, or metres of a map that is stated", units or "neither",
            "Give the PROJ string of the map in metres as `crs`; or `scale = 1` if these are "
            "degrees of latitude and longitude.",
        )  # fmt: skip
    if on_map and named and units not in _METRES:
        got = units or "degrees, by its name"
        raise _refused(where, "metres of the map `crs`", got, f"Name another: `{axis} = ...`.")
    stored = coordinate.values
    if stored.size < 2 or not np.issubdtype(stored.dtype, np.number):
        raise _refused(where, "two cells or more", f"{stored.size}", "Take a larger file.")
    if not np.isfinite(stored).all():
        raise _refused(where, "finite centres", "missing ones", "Repair the file.")
    factor = scale if scale is not None else _METRES.get(units, 1.0) if on_map else 1.0
    return stored.astype(np.float64) * factor + start


def _instead(path: Path, engine: str) -> str:
    """What would read a file."""
    if path.is_dir():
        if any((path / name).exists() for name in _ZARR):
            return 'It looks like Zarr: engine = "zarr".' if engine != "zarr" else "Replace it."
        return f'Name the files in it: paths = "{path.name}/*.nc".'
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return f"{error.strerror}: make it readable."
    if not start:
        return "It is empty: fetch it again."
    looks = _MAGIC.get(start)
    if looks and looks != engine and (looks, engine) != ("netcdf4", "h5netcdf"):
        return f'It looks as if engine = "{looks}" reads it.'
    return "Correct `engine`, or replace the file."


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
