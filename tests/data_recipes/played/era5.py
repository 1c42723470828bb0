"""ERA5 as the Climate Data Store serves it since 2024: valid_time, number, expver, zips of two."""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

# Request name: (name in the file, units, accumulated, mean, amplitude).
NAMES = {
    "2m_temperature": ("t2m", "K", False, 280.0, 10.0),
    "10m_u_component_of_wind": ("u10", "m s**-1", False, 0.0, 8.0),
    "10m_v_component_of_wind": ("v10", "m s**-1", False, 1.0, 8.0),
    "total_precipitation": ("tp", "m", True, 2e-3, 2e-3),
    "land_sea_mask": ("lsm", "(0 - 1)", False, 0.5, 0.5),
    "geopotential": ("z", "m**2 s**-2", False, 5000.0, 5000.0),
}
ERA5T_FROM = np.datetime64("2024-06-01T00", "s")


def truth(name: str, times: Any, lat: Any, lon: Any) -> NDArray[np.float32]:
    """The value of a request's variable at any time and place; arrays are broadcast."""
    _, _, _, mean, amplitude = NAMES[name]
    hours = np.asarray(times, "datetime64[h]").astype(float)
    phase = 0.7 * hours + 3.1 * np.deg2rad(lat) + 2.0 * np.deg2rad(lon) + len(name)
    return (mean + amplitude * np.sin(phase)).astype(np.float32)


def request_times(request: dict[str, Any]) -> NDArray[np.datetime64]:
    """Every year, month, day and time of a request that exists."""
    found = []
    for year in np.atleast_1d(request["year"]):  # one year may be a word
        for month in request["month"]:
            for day in request["day"]:
                for clock in request.get("time", ["00:00"]):
                    try:
                        found.append(np.datetime64(f"{year}-{month}-{day}T{clock}", "s"))
                    except ValueError:
                        continue
    return np.array(sorted(found))


def payload(_: str, request: dict[str, Any]) -> bytes:
    """A NetCDF file, or a zip where instantaneous and accumulated variables are both asked for."""
    if request.get("data_format") != "netcdf":
        raise ValueError("this store makes NetCDF alone")
    files = {}
    for kind, accumulated in (("instant", False), ("accum", True)):
        names = [name for name in request["variable"] if NAMES[name][2] is accumulated]
        if names:
            files[f"data_stream-oper_stepType-{kind}.nc"] = _netcdf(request, names)
    if len(files) == 1:
        return next(iter(files.values()))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return held.getvalue()


def _netcdf(request: dict[str, Any], names: list[str]) -> bytes:
    north, west, south, east = request["area"]
    lat = north - 0.25 * np.arange(round((north - south) / 0.25) + 1)
    lon = west + 0.25 * np.arange(round((east - west) / 0.25) + 1)
    times = request_times(request)
    data = xr.Dataset(
        coords={
            "number": ((), 0, {"long_name": "ensemble member numerical id", "units": "1"}),
            "valid_time": ("valid_time", times.astype("datetime64[ns]")),
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
            "expver": ("valid_time", np.where(times < ERA5T_FROM, "0001", "0005").astype(object)),
        },
        attrs={"Conventions": "CF-1.7", "institution": "European Centre"},
    )
    for name in names:
        short, units, accumulated, _, _ = NAMES[name]
        values = truth(name, times[:, None, None], lat[:, None], lon)
        step = "accum" if accumulated else "instant"
        attributes = {"units": units, "long_name": name, "GRIB_stepType": step}
        data[short] = (("valid_time", "latitude", "longitude"), values, attributes)
    return netcdf_bytes(data)


def netcdf_bytes(data: xr.Dataset) -> bytes:
    """The data set as a NetCDF 4 file with whole seconds."""
    encoding = {}
    if "valid_time" in data.variables:
        encoding["valid_time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nc"
        data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
        return path.read_bytes()
