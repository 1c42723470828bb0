"""CERRA as the store serves it, NetCDF or GRIB, on a small domain about the true centre."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from played.era5 import netcdf_bytes, request_times
from played.gribs import LAMBERT, write_grib

CRS = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
# Request name: (name in the file, shortName in GRIB, units, mean, amplitude).
NAMES = {
    "10m_wind_speed": ("si10", "10si", "m s**-1", 9.0, 8.0),
    "10m_wind_direction": ("wdir10", "10wdir", "Degree true", 180.0, 170.0),
    "2m_temperature": ("t2m", "2t", "K", 280.0, 10.0),
    "total_precipitation": ("tp", "tp", "kg m**-2", 10.0, 10.0),
}


def axis(size: int) -> NDArray[np.float64]:
    """x, and y, of the centres in metres."""
    return (np.arange(size) - (size - 1) / 2) * 5500.0


def truth(name: str, times: Any, size: int) -> NDArray[np.float64]:
    """(time, y, x) values of a request's variable."""
    _, _, _, mean, amplitude = NAMES[name]
    y, x = np.meshgrid(axis(size), axis(size), indexing="ij")
    hours = np.asarray(times, "datetime64[h]").astype(float)[:, None, None]
    return mean + amplitude * np.sin(0.3 * hours + x / 3e4 + y / 5e4 + len(name))


def payload(size: int, *, shift_m: float = 0.0) -> Callable[[str, dict[str, Any]], bytes]:
    """A maker of results; shift_m: how far the grid lies east of where it should."""

    def make(_: str, request: dict[str, Any]) -> bytes:
        if "area" in request:
            raise ValueError("MARS cannot crop a Lambert grid")
        leads = [int(lead) for lead in request.get("leadtime_hour", ["0"])]
        bases = request_times(request)
        if request["data_format"] == "grib":
            return _grib(request, bases, leads, size, shift_m)
        return _netcdf(request, bases, leads, size, shift_m)

    return make


def _degrees(size: int, shift_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.meshgrid(axis(size) + shift_m, axis(size))
    lon, lat = pyproj.Proj(CRS)(x, y, inverse=True)
    return lat, lon % 360


def _netcdf(request: Any, bases: Any, leads: list[int], size: int, shift_m: float) -> bytes:
    lat, lon = _degrees(size, shift_m)
    leap = np.array(leads).astype("timedelta64[h]")
    times = (bases[:, None] + leap).astype("datetime64[ns]")
    coords: dict[str, Any] = {"latitude": (("y", "x"), lat), "longitude": (("y", "x"), lon)}
    if len(leads) == 1:
        dims: tuple[str, ...] = ("valid_time",)
        coords |= {"valid_time": (dims, times[:, 0]), "expver": (dims, ["prod"] * len(times))}
    else:
        dims = ("forecast_period", "forecast_reference_time")
        coords |= {
            "forecast_reference_time": ("forecast_reference_time", bases.astype("datetime64[ns]")),
            "forecast_period": ("forecast_period", np.array(leads, float), {"units": "hours"}),
            "valid_time": (dims[::-1], times),
        }
    data = xr.Dataset(coords=coords)
    shape = [len(leads), len(bases)] if len(leads) > 1 else [len(bases)]
    ordered = times.T if len(leads) > 1 else times[:, 0]
    for name in request["variable"]:
        short, _, units, _, _ = NAMES[name]
        values = truth(name, ordered.ravel(), size).reshape(*shape, size, size)
        data[short] = ((*dims, "y", "x"), values.astype(np.float32), {"units": units})
    return netcdf_bytes(data)


def _grib(request: Any, bases: Any, leads: list[int], size: int, shift_m: float) -> bytes:
    lat, lon = _degrees(size, shift_m)
    grid = LAMBERT | {
        "Nx": size, "Ny": size, "DxInMetres": 5500.0, "DyInMetres": 5500.0,
        "latitudeOfFirstGridPointInDegrees": float(lat[0, 0]),
        "longitudeOfFirstGridPointInDegrees": float(lon[0, 0]),
    }  # fmt: skip
    messages = []
    for base in bases:
        for lead in leads:
            time = base + np.timedelta64(lead, "h")
            for name in request["variable"]:
                text = str(base)
                keys = {
                    "dataDate": int(text[:10].replace("-", "")), "dataTime": int(text[11:13]) * 100,
                    "typeOfLevel": "heightAboveGround", "level": 2 if name[0] == "2" else 10,
                    "shortName": NAMES[name][1], "step": lead,
                }  # fmt: skip
                values = truth(name, [time], size).ravel().tolist()
                messages.append({"keys": keys, "values": values})
    with tempfile.TemporaryDirectory() as folder:
        write_grib(Path(folder) / "a.grib", grid, messages)
        return (Path(folder) / "a.grib").read_bytes()
