"""The Climate Data Store's NetCDF files, read into one form: time, y, x."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from data_recipes.source import Times, Window
from data_recipes.sources.cds_requests import CERRA_CRS, CERRA_SPACING_M, CdsOptions

Axis = NDArray[np.float64]
Index = NDArray[np.intp]
_TOLERANCE_DEG = 0.01
_EDGE_POINTS = 200


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """A file as it lies, closed afterwards. Errors: InputError where it cannot be read."""
    with path.open("rb") as file:
        engine = "h5netcdf" if file.read(4) == b"\x89HDF" else "netcdf4"
    try:
        data = xr.open_dataset(path, engine=engine, decode_timedelta=False)
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, str(error)) from None
    with data:
        try:
            yield data
        except (OSError, RuntimeError) as error:
            raise damaged(path, str(error)) from None


class WrongGridError(InputError):
    """A whole file on another grid than it should be: fetching again changes nothing."""


def damaged(path: Path, got: str) -> InputError:
    """What is said of a file that is not as the store makes them."""
    return InputError(
        Problem(
            str(path), "a NetCDF file of the Climate Data Store", got[:300],
            f"Delete {path.parent} and fetch again.",
        )
    )  # fmt: skip


def valid_times(data: xr.Dataset) -> Times:
    """The file's valid times in its own order; of forecasts, base times are the outer loop."""
    for name in ("valid_time", "time"):
        if name in data.variables and data[name].dtype.kind == "M":
            return np.atleast_1d(data[name].values.astype("datetime64[s]")).ravel()
    return np.array([], "datetime64[s]")


def read_field(
    data: xr.Dataset,
    name: str,
    steps: NDArray[np.intp],
    *,
    where: Path,
    options: CdsOptions,
    window: Window,
) -> xr.DataArray:
    """One variable in the window, in memory: (time, y, x), with y and x.

    steps: which of `valid_times(data)`; [0] where there is no time.
    Coordinates such as `number` are left out; the attribute `expver` says which streams there are.
    Errors: InputError for further dimensions, or where the grid is not what the options say.
    """
    variable = data[name]
    spatial = variable.dims[-2:]
    y, x, rows, columns = (
        _cerra_axes(data, where, options, window)
        if options.grid == "cerra"
        else _lat_lon_axes(data, spatial, where, options, window)
    )
    times = _time_dims(data)
    for dim in variable.dims[:-2]:
        if dim not in times and variable.sizes[dim] > 1:
            raise damaged(where, f"{name} with {variable.sizes[dim]} of {dim}")
    extra = [dim for dim in variable.dims[:-2] if dim not in times]
    taken = variable.isel({spatial[0]: rows, spatial[1]: columns, **dict.fromkeys(extra, 0)})
    if len(times) == 1 and times[0] in taken.dims:
        values = taken.isel({times[0]: steps}).values
    else:
        ordered = taken.transpose(*(dim for dim in times if dim in taken.dims), ...)
        values = ordered.values.reshape(-1, len(y), len(x))[steps]
    attributes = {
        key: str(variable.attrs[key])
        for key in ("units", "long_name", "standard_name")
        if key in variable.attrs
    }
    field = xr.DataArray(
        values, dims=("time", "y", "x"), coords={"y": y, "x": x}, attrs=attributes, name=name
    )
    if "expver" in data.variables:
        field.attrs["expver"] = ",".join(np.unique(data["expver"].values.astype(str)).tolist())
    return field


def check_cerra_grid(data: xr.Dataset, where: Path, options: CdsOptions) -> None:
    """Compare all 2-D latitudes and longitudes with the map's. Errors: InputError."""
    size = options.size
    _compare_cerra(data, where, options, np.arange(size), np.arange(size))


def _time_dims(data: xr.Dataset) -> tuple[str, ...]:
    for name in ("valid_time", "time"):
        if name in data.variables and data[name].dtype.kind == "M":
            return tuple(str(dim) for dim in data[name].dims) or (name,)
    return ()


def _lat_lon_axes(
    data: xr.Dataset, dims: tuple[object, ...], where: Path, options: CdsOptions, window: Window
) -> tuple[Axis, Axis, Index, Index]:
    """(y, x, rows, columns) of the window and 1.5 cells around it; x continues across 180."""
    if any(dim not in data.variables or data[dim].ndim != 1 for dim in dims):
        raise damaged(where, f"no coordinates of {dims}")
    lat: Axis = data[dims[0]].values.astype(np.float64)
    lon: Axis = data[dims[1]].values.astype(np.float64)
    step_y, step_x = (
        abs(axis[1] - axis[0]) if len(axis) > 1 else options.spacing for axis in (lat, lon)
    )
    first = window.west - 1.5 * step_x
    turned = np.round((lon - first) % 360 + first, 9)
    columns = np.flatnonzero(turned <= window.east + 1.5 * step_x)
    columns = columns[np.argsort(turned[columns], kind="stable")]
    inside = (lat >= window.south - 1.5 * step_y) & (lat <= window.north + 1.5 * step_y)
    rows = np.flatnonzero(inside)
    return lat[rows], turned[columns], rows, columns


def _cerra_axes(
    data: xr.Dataset, where: Path, options: CdsOptions, window: Window
) -> tuple[Axis, Axis, Index, Index]:
    import pyproj

    size = options.size
    along = np.linspace(0, 1, _EDGE_POINTS)
    lat = window.south + (window.north - window.south) * along
    lon = window.west + (window.east - window.west) * along
    edge_lon = np.concatenate(
        [lon, lon, np.full_like(lat, window.west), np.full_like(lat, window.east)]
    )
    edge_lat = np.concatenate(
        [np.full_like(lon, window.south), np.full_like(lon, window.north), lat, lat]
    )
    box = pyproj.Proj(CERRA_CRS)(edge_lon, edge_lat)
    centres = np.asarray((np.arange(size) - (size - 1) / 2) * CERRA_SPACING_M, np.float64)
    x_inside, y_inside = (
        np.flatnonzero((centres >= edge.min() - 1.5 * CERRA_SPACING_M)
                       & (centres <= edge.max() + 1.5 * CERRA_SPACING_M))
        for edge in box
    )  # fmt: skip
    # The file's corners tell whether its rows are the map's; all of it was compared on arrival.
    _compare_cerra(data, where, options, np.array([0, size - 1]), np.array([0, size - 1]))
    rows, columns = y_inside.astype(np.intp), x_inside.astype(np.intp)
    return centres[y_inside], centres[x_inside], rows, columns


def _compare_cerra(
    data: xr.Dataset,
    where: Path,
    options: CdsOptions,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> None:
    import pyproj

    size = options.size
    expected = f"CERRA's grid of {size} x {size} points, rows from the south ({CERRA_CRS}, 5500 m)"
    fix = "The provider may have changed its files: report it, with this file."
    if "latitude" not in data.variables or data["latitude"].shape != (size, size):
        found = dict(data.sizes)
        raise WrongGridError(Problem(str(where), expected, f"dimensions {found}", fix))
    x, y = np.meshgrid(
        (columns - (size - 1) / 2) * CERRA_SPACING_M, (rows - (size - 1) / 2) * CERRA_SPACING_M
    )
    lon, lat = pyproj.Proj(CERRA_CRS)(x, y, inverse=True)
    at = np.ix_(rows, columns)
    off_lat = np.abs(data["latitude"].values[at] - lat).max()
    off_lon = np.abs((data["longitude"].values[at] - lon + 180) % 360 - 180).max()
    if not max(off_lat, off_lon) <= _TOLERANCE_DEG:
        got = f"points up to {off_lat:.3f} degrees of latitude, {off_lon:.3f} of longitude off"
        raise WrongGridError(Problem(str(where), expected, got, fix))
