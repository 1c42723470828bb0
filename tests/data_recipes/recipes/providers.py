"""Payloads of played providers on the products' true grids, made of `weather`.

What no test reads is left out: chunks of Zarr stores and HDF5 files that are not there.
"""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray
from played.gcs import STORE
from played.huggingface import coordinates, netcdf
from xarray import Dataset

from data_recipes.sources.rainshift import REGIONS, SPLITS
from recipes import weather
from recipes.builds import times_of

Fields = NDArray[np.floating[Any]]
Times = NDArray[np.datetime64]
ARCO_LAT = 90 - 0.25 * np.arange(721)
ARCO_LON = 0.25 * np.arange(1440)
IMERG_LAT = -89.95 + 0.1 * np.arange(1800)
IMERG_LON = -179.95 + 0.1 * np.arange(3600)
TP_SCALE, TP_OFFSET = 2e-6, 0.0199993
"""Of RainShift's packed tp [m]; no rain is unpacked to -7e-7 m."""
TIME_CHUNK = 200
THREE = ("europe_west", "melanesia", "amazon-basin")
"""Boxes of RainShift for training, test and validation."""
PERIODS = (
    ("2001-01-09T00", "2001-01-09T11"),  # across the end of the first chunk, hour 200
    ("2001-01-20T00", "2001-01-20T05"),
    ("2021-01-01T00", "2021-01-01T05"),
)
TIMES = times_of(PERIODS, every_hours=1)
"""What the played data set holds values at."""
_G = 9.80665


def era5_tp(times: Times, lat: Any, lon: Any) -> Fields:
    """[m] of the hour that ends at each time: nine tenths of the rain that IMERG has."""
    return 0.9e-3 * imerg_hour(times, lat, lon)


def imerg_hour(times: Times, lat: Any, lon: Any) -> Fields:
    """[mm h-1] mean of the half-hours that start 60 and 30 minutes before the times."""
    starts = [np.asarray(times, "datetime64[s]") - np.timedelta64(s, "s") for s in (3600, 1800)]
    return (weather.rain(starts[0], lat, lon) + weather.rain(starts[1], lat, lon)) / 2


def tp_steps(tp: Fields) -> NDArray[np.int16]:
    """As RainShift packs it."""
    return np.rint((tp - TP_OFFSET) / TP_SCALE).astype(np.int16)


@dataclass(frozen=True)
class Globe:
    """A variable of ARCO-ERA5: its units, and (721, 1440) values at a time.

    times: what holds data; none for a field that does not change.
    """

    units: str
    values: Callable[[np.datetime64], Fields]
    times: Times | None = None


def ground() -> dict[str, Globe]:
    """Land and height of `weather`."""
    height = _G * weather.height(ARCO_LAT, ARCO_LON)
    return {
        "land_sea_mask": Globe("(0 - 1)", lambda _: weather.land(ARCO_LAT, ARCO_LON)),
        "geopotential_at_surface": Globe("m**2 s**-2", lambda _: height),
    }


def make_arco(folder: Path, first: str, last: str, variables: Mapping[str, Globe]) -> None:
    """ARCO-ERA5 with its grid, chunks and hourly axis."""
    axis = np.arange(first, np.datetime64(last, "h") + 1, dtype="datetime64[h]")
    hours = (axis - np.datetime64("1900-01-01T00", "h")).astype(np.int64)
    attributes = {"valid_time_start": "1940-01-01", "valid_time_stop": last[:10]}
    root = zarr.create_group(folder / STORE, zarr_format=2, attributes=attributes)
    for name, values, units in (
        ("time", hours, "hours since 1900-01-01"),
        ("latitude", ARCO_LAT.astype(np.float32), "degrees_north"),
        ("longitude", ARCO_LON.astype(np.float32), "degrees_east"),
    ):
        _array(root, name, (name,), values, units)
    for name, globe in variables.items():
        if globe.times is None:
            _array(root, name, _PLACE, globe.values(axis[0]), globe.units)
            continue
        array = root.create_array(
            name,
            shape=(len(axis), 721, 1440),
            chunks=(1, 721, 1440),
            dtype="float32",
            fill_value=float("nan"),
            attributes={"_ARRAY_DIMENSIONS": ["time", *_PLACE], "units": globe.units},
        )
        for time in globe.times:
            array[int((time - axis[0]) // np.timedelta64(1, "h"))] = globe.values(time)
    zarr.consolidate_metadata(folder / STORE, zarr_format=2)


_PLACE = ("latitude", "longitude")


def _array(root: zarr.Group, name: str, dims: Sequence[str], values: Any, units: str) -> None:
    kept = values if values.dtype.kind == "i" or len(dims) == 1 else values.astype(np.float32)
    array = root.create_array(
        name,
        shape=kept.shape,
        chunks=kept.shape,
        dtype=kept.dtype,
        fill_value=None,
        attributes={"_ARRAY_DIMENSIONS": list(dims), "units": units},
    )
    array[...] = kept


def rainshift_files(
    regions: Sequence[str], times: Times, gap: tuple[np.datetime64, slice, slice]
) -> dict[str, bytes]:
    """The data set's files of these regions, with values at these hours only.

    Both splits have their whole time axis in chunks of 200 hours. Inputs are packed; targets have
    no time axis. gap: the hour, rows and columns at which IMERG has none.
    """
    files = {}
    for region in regions:
        files |= region_files(region, times, gap=gap)
    return files


def region_files(
    region: str,
    times: Times,
    *,
    gap: tuple[np.datetime64, slice, slice] | None = None,
    tp_factor: float = 1.0,
    twice: np.datetime64 | None = None,
    without: np.datetime64 | None = None,
    turned: str = "",
    off: float = 0.0,
    labels_off: float = 0.0,
) -> dict[str, bytes]:
    """The five files of a region, right but for what is asked.

    tp_factor: 1000 for mm under the name of m; twice: an hour whose stamp the next one has, too;
    without: an hour that is not there; turned: "in" or "out", of which the rows of values lie from
    the south and their latitudes do not; off: degrees by which ERA5's values lie too far to
    the north-west of their coordinates; labels_off: or its coordinates of their places.
    """
    files = {}
    ground = Dataset(
        {
            "lsm": (_PLACE, weather.land(*_axes(region, "out"))),
            "z": (_PLACE, _G * weather.height(*_axes(region, "out"))),
        },
        coordinates(region, "out"),
    )
    files[f"{region}/static_variables.nc"] = netcdf(ground)
    packing = {"scale_factor": TP_SCALE * tp_factor, "add_offset": TP_OFFSET * tp_factor}
    lat, lon = _axes(region, "in")
    for split, (first, last) in SPLITS.items():
        axis = np.arange(first, last + np.timedelta64(1, "s"), np.timedelta64(3600, "s"))
        axis = axis[axis != without]
        if twice is not None and first <= twice <= last:
            axis[np.searchsorted(axis, twice) + 1] = twice
        held = times[(times >= first) & (times <= last) & (times != without)]
        places = np.searchsorted(axis, held)
        tp = tp_steps(era5_tp(held, lat - off, lon + off))
        hour = imerg_hour(held, *_axes(region, "out")).astype(np.float32)
        if gap is not None:
            hour[held == gap[0], gap[1], gap[2]] = np.nan
        tp, hour = (v[:, ::-1] if turned == s else v for s, v in (("in", tp), ("out", hour)))
        attributes = {"units": "m", **packing, "_FillValue": -32767}
        moved = {"latitude": lat + labels_off, "longitude": lon}
        steps = Steps("tp", len(axis), places, tp, attributes)
        files[f"{region}/{split}_data_in.zarr.zip"] = _zipped(moved, steps, axis)
        steps = Steps("precipitation", len(axis), places, hour, {})
        here = coordinates(region, "out")
        files[f"{region}/{split}_data_out.zarr.zip"] = _zipped(here, steps, None)
    return files


class Steps:
    """One variable of a store: its name, length in hours, and the steps that hold values."""

    def __init__(
        self, name: str, hours: int, places: Any, values: Fields, attributes: Mapping[str, Any]
    ) -> None:
        self.name, self.hours, self.places = name, hours, places
        self.values, self.attributes = values, dict(attributes)


def _axes(region: str, side: Any) -> tuple[Fields, Fields]:
    axes = coordinates(region, side)
    return axes["latitude"], axes["longitude"]


def _zipped(centres: Mapping[str, Fields], steps: Steps, axis: Times | None) -> bytes:
    """A zipped Zarr 2 store; axis: its hours, where it has them."""
    store = zarr.storage.MemoryStore()
    root = zarr.create_group(store, zarr_format=2)
    for name, values in centres.items():
        _array(root, name, (name,), values, "degrees")
    if axis is not None:
        hours = (axis - np.datetime64("2001-01-01", "s")) // np.timedelta64(3600, "s")
        _array(root, "time", ("time",), hours.astype(np.int64), "hours since 2001-01-01")
    shape = steps.values.shape[1:]
    fill = steps.attributes.pop("_FillValue", float("nan"))
    array = root.create_array(
        steps.name,
        shape=(steps.hours, *shape),
        chunks=(TIME_CHUNK, *shape),
        dtype=steps.values.dtype,
        fill_value=fill,
        attributes={"_ARRAY_DIMENSIONS": ["time", *_PLACE], **steps.attributes},
    )
    for number in np.unique(steps.places // TIME_CHUNK):
        inside = steps.places // TIME_CHUNK == number
        first = int(number) * TIME_CHUNK
        block = np.full((TIME_CHUNK, *shape), fill, steps.values.dtype)
        block[steps.places[inside] - first] = steps.values[inside]
        stop = min(first + TIME_CHUNK, steps.hours)
        array[first:stop] = block[: stop - first]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, value in store._store_dict.items():
            archive.writestr(zipfile.ZipInfo(key, (1980, 1, 1, 0, 0, 0)), value.to_bytes())
    return buffer.getvalue()


def _around(regions: Sequence[str]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows and columns of IMERG's globe around each of RainShift's boxes."""
    found = []
    for region in regions:
        south, north, west, east = REGIONS[region]
        rows = np.flatnonzero((south - 1 < IMERG_LAT) & (north + 1 > IMERG_LAT))
        found.append((rows, np.flatnonzero((west - 1 < IMERG_LON) & (east + 1 > IMERG_LON))))
    return found


def granule(start: np.datetime64, regions: Sequence[str], *, gap: Any = None) -> bytes:
    """IMERG V07 on its own grid; values around these boxes, none known elsewhere.

    gap: (south, north, west, east) of a box without values.
    """
    content = io.BytesIO()
    seconds = (start - np.datetime64("1980-01-06T00:00:00", "s")) / np.timedelta64(1, "s")
    fill = np.float32(-9999.9)
    with h5py.File(content, "w") as file:
        file.attrs["FileHeader"] = b"DOI=10.5067/GPM/IMERG/3B-HH/07;\nTimeInterval=HALF_HOUR;\n"
        grid = file.create_group("Grid")
        units = b"seconds since 1980-01-06 00:00:00 UTC"
        for name, values, attributes in (
            ("time", np.array([seconds], np.int32), {"units": units, "calendar": b"julian"}),
            ("lon", IMERG_LON.astype(np.float32), {"units": b"degrees_east"}),
            ("lat", IMERG_LAT.astype(np.float32), {"units": b"degrees_north"}),
        ):
            axis = grid.create_dataset(name, data=values)
            axis.make_scale(name)
            axis.attrs.update(attributes)
        data = grid.create_dataset(
            "precipitation",
            shape=(1, 3600, 1800),
            dtype="f4",
            chunks=(1, 145, 1800),
            compression=1,
            fillvalue=fill,
        )
        data.attrs.update({"units": b"mm/hr", "_FillValue": fill, "CodeMissingValue": b"-9999.9"})
        for row, column in _around(regions):
            values = weather.rain([start], IMERG_LAT[row], IMERG_LON[column])[0].astype("f4")
            if gap is not None:
                south, north, west, east = gap
                lat, lon = IMERG_LAT[row][:, None], IMERG_LON[column]
                values[(lat > south) & (lat < north) & (lon > west) & (lon < east)] = fill
            data[0, column[0] : column[-1] + 1, row[0] : row[-1] + 1] = values.T
        for position, name in enumerate(("time", "lon", "lat")):
            data.dims[position].attach_scale(grid[name])
    return content.getvalue()
