"""A made-up Europe, as ERA5, CERRA and CERRA-Land of a played Climate Data Store show it.

The weather is known at any place; each product adds roughness of its own, so that no interpolation
of it can be taken for another. ERA5 is on its 0.25 degree points, in zips of NetCDF as the store
makes them; CERRA on all its 1069 x 1069 points, in GRIB, but with weather only in a window.
"""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from numpy.typing import NDArray
from played.cds import KEY, PlayedCds
from played.era5 import netcdf_bytes, request_times
from played.gribs import LAMBERT, grib_bytes

from recipes.providers import Globe

Floats = NDArray[np.floating[Any]]
Times = NDArray[np.datetime64]
CRS = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
SIZE = 1069
POINT_M = (np.arange(SIZE) - 534) * 5500.0
"""x, and y, of CERRA's points."""
WINDOW = slice(205, 640), slice(210, 760)
"""Rows and columns where CERRA's fields have weather."""
_HOUR = np.timedelta64(3600, "s")


@cache
def points() -> tuple[Floats, Floats]:
    """(1069, 1069) latitudes and longitudes of CERRA's points, rows from the south."""
    x, y = np.meshgrid(POINT_M, POINT_M)
    lon, lat = pyproj.Proj(CRS)(x, y, inverse=True)
    return lat, lon


@cache
def window() -> tuple[Floats, Floats]:
    """`points` in the window."""
    lat, lon = points()
    return lat[WINDOW], lon[WINDOW]


def waves(times: Any, lat: Any, lon: Any, *, seed: int, hours: int = 1) -> Floats:
    """(time, *points) plane waves of 6 to 20 degrees that travel; -1 to 1.

    lat, lon: degrees, of shapes that can be broadcast. hours: mean over so many, the last at times.
    """
    t = (np.asarray(times, "datetime64[s]") - np.datetime64("2001-01-01", "s")) / _HOUR
    found = _window_places(seed) if lat is window()[0] else _places(seed, lat, lon)
    speeds = np.random.default_rng(100 + seed).uniform(0.2, 0.6, len(found))
    total: Any = 0.0
    for speed, place in zip(speeds, found, strict=True):
        turns = np.exp(1j * speed * (t[:, None] - np.arange(hours))).mean(axis=1)
        turns = turns.reshape(-1, *([1] * place.ndim))
        total = total + turns.real * place.imag + turns.imag * place.real
    return np.asarray(total / len(found))


def _places(seed: int, lat: Any, lon: Any) -> list[NDArray[np.complexfloating[Any]]]:
    draw = np.random.default_rng(seed)
    found = []
    for k in range(4):
        ky, kx = draw.integers(18, 60) * (-1) ** k, draw.integers(18, 60)
        phase = draw.uniform(0, 2 * np.pi)
        found.append(np.exp(1j * (ky * np.radians(lat) + kx * np.radians(lon) + phase)))
    return found


@cache
def _window_places(seed: int) -> list[NDArray[np.complexfloating[Any]]]:
    return _places(seed, *window())


def wind(times: Any, lat: Any, lon: Any) -> tuple[Floats, Floats]:
    """[m s-1] to the east and to the north."""
    return 4 + 9 * waves(times, lat, lon, seed=1), 9 * waves(times, lat, lon, seed=2)


def temperature(times: Any, lat: Any, lon: Any) -> Floats:
    """[K]"""
    return 285 - 0.6 * (np.asarray(lat) - 45) + 9 * waves(times, lat, lon, seed=3)


def rain(times: Any, lat: Any, lon: Any, *, hours: int = 1) -> Floats:
    """[mm h-1] mean over so many hours to the times."""
    return 0.5 + 0.5 * waves(times, lat, lon, seed=4, hours=hours)


def land(lat: Any, lon: Any) -> Floats:
    """Share of a cell that is land."""
    return np.clip(0.5 + 2 * waves(["2001-01-01"], lat, lon, seed=5)[0], 0, 1)


def height(lat: Any, lon: Any) -> Floats:
    """[m]"""
    return 1500 * np.maximum(0, waves(["2001-01-01"], lat, lon, seed=5)[0])


def rough(name: str, times: Any, lat: Any, lon: Any) -> Floats:
    """-1 to 1 at each place and time, without likeness to its neighbours'."""
    hours = (np.asarray(times, "datetime64[s]") - np.datetime64("2001-01-01", "s")) / _HOUR
    at = 7.13 * np.asarray(lat) + 3.37 * np.asarray(lon) + sum(name.encode())
    mixed = 4375.8 * np.sin(12.9898 * at + (hours % 977).reshape(-1, *([1] * at.ndim)))
    return 2 * (mixed - np.floor(mixed)) - 1


# Request name of ERA5: (name in the file, units, accumulated).
_ERA5 = {
    "10m_u_component_of_wind": ("u10", "m s**-1", False),
    "10m_v_component_of_wind": ("v10", "m s**-1", False),
    "2m_temperature": ("t2m", "K", False),
    "total_precipitation": ("tp", "m", True),
}


def era5(name: str, times: Times, lat: Any, lon: Any) -> NDArray[np.float32]:
    """(time, *points) ERA5's variable of a request; precipitation [m] of the hour to each time."""
    noise = rough(name, times, lat, lon)
    found = {
        "10m_u_component_of_wind": lambda: wind(times, lat, lon)[0] + 2 * noise,
        "10m_v_component_of_wind": lambda: wind(times, lat, lon)[1] + 2 * noise,
        "2m_temperature": lambda: temperature(times, lat, lon) + noise,
        "total_precipitation": lambda: 1e-3 * rain(times, lat, lon) * (1 + noise / 2),
    }
    return np.asarray(found[name](), np.float32)


def _level(kind: str, level: int, name: str) -> dict[str, Any]:
    return {"typeOfLevel": kind, "level": level, "shortName": name}


# Request name of CERRA: (GRIB keys, value outside the window). Its rain is in kg m-2, not in m.
_CERRA = {
    "10m_wind_speed": (_level("heightAboveGround", 10, "10si"), 5.0),
    "2m_temperature": (_level("heightAboveGround", 2, "2t"), 280.0),
    "total_precipitation": ({"productDefinitionTemplateNumber": 8, "paramId": 228228}, 1.0),
    "land_sea_mask": (_level("surface", 0, "lsm"), 0.0),
    "orography": (_level("surface", 0, "orog"), 0.0),
}


@cache
def cerra(name: str, time: np.datetime64) -> NDArray[np.float32]:
    """CERRA's variable of a request in the window; rain [kg m-2] of 24 hours, NaN at sea."""
    lat, lon = window()
    times = np.array([time])
    noise = rough(name, times, lat, lon)[0]
    if name == "10m_wind_speed":
        return np.asarray(np.hypot(*wind(times, lat, lon))[0] + 0.5 + 0.5 * noise, np.float32)
    if name == "2m_temperature":
        return np.asarray(temperature(times, lat, lon)[0] + 0.5 * noise, np.float32)
    if name == "total_precipitation":
        fell = 24 * rain(times, lat, lon, hours=24)[0] * (1 + noise / 4)
        return np.where(land(lat, lon) < 0.3, np.nan, fell).astype(np.float32)
    return np.asarray({"land_sea_mask": land, "orography": height}[name](lat, lon), np.float32)


def box(bounds: tuple[tuple[float, float], tuple[float, float]]) -> tuple[slice, slice]:
    """Rows and columns, of the window, of the points in a box of map metres; rows to the north."""
    found = []
    for (low, high), part in zip(bounds, WINDOW, strict=True):
        inside = np.flatnonzero((low < POINT_M) & (high > POINT_M)) - part.start
        assert 0 <= inside[0] < inside[-1] < part.stop - part.start
        found.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return found[0], found[1]


@dataclass
class World:
    """The products at `times`; nothing else is there.

    era5_change: done to each of ERA5's files; era5_moved: degrees of latitude by which its values
    lie north of where they should.
    """

    times: Times
    era5_change: Callable[[xr.Dataset], xr.Dataset] = lambda data: data
    era5_moved: float = 0.0
    _made: dict[str, bytes] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def payload(self, dataset: str, request: dict[str, Any]) -> bytes:
        """The result of a request."""
        with self._lock:
            key = json.dumps([dataset, request], sort_keys=True)
            if key not in self._made:
                make = self._era5 if "era5" in dataset else self._cerra
                self._made[key] = make(request)
            return self._made[key]

    def held(self, request: dict[str, Any]) -> Times:
        """The request's times that are there."""
        return np.intersect1d(request_times(request), self.times)

    def _era5(self, request: dict[str, Any]) -> bytes:
        assert request["data_format"] == "netcdf"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as zipped:
            for kind, accumulated in (("instant", False), ("accum", True)):
                names = [name for name in request["variable"] if _ERA5[name][2] is accumulated]
                if names:
                    member = f"data_stream-oper_stepType-{kind}.nc"
                    data = self.era5_change(self._era5_file(request, names))
                    zipped.writestr(
                        zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), netcdf_bytes(data)
                    )
        return content.getvalue()

    def _era5_file(self, request: dict[str, Any], names: Sequence[str]) -> xr.Dataset:
        north, west, south, east = request["area"]
        assert all(4 * edge == round(4 * edge) for edge in request["area"])
        lat = north - 0.25 * np.arange(round((north - south) * 4) + 1)
        lon = west + 0.25 * np.arange(round((east - west) * 4) + 1)
        times = self.held(request)
        data = xr.Dataset(
            coords={
                "number": ((), 0, {"long_name": "ensemble member numerical id", "units": "1"}),
                "valid_time": ("valid_time", times.astype("datetime64[ns]")),
                "latitude": ("latitude", lat, {"units": "degrees_north"}),
                "longitude": ("longitude", lon, {"units": "degrees_east"}),
                "expver": ("valid_time", np.full(len(times), "0001", object)),
            },
            attrs={"Conventions": "CF-1.7"},
        )
        for name in names:
            short, units, _ = _ERA5[name]
            values = era5(name, times, lat[:, None] - self.era5_moved, lon[None, :])
            data[short] = (("valid_time", "latitude", "longitude"), values, {"units": units})
        return data

    def _cerra(self, request: dict[str, Any]) -> bytes:
        assert "area" not in request
        assert request["data_format"] == "grib"
        lat, lon = points()
        grid = LAMBERT | {
            "bitsPerValue": 16, "Nx": SIZE, "Ny": SIZE, "DxInMetres": 5500.0, "DyInMetres": 5500.0,
            "latitudeOfFirstGridPointInDegrees": float(lat[0, 0]),
            "longitudeOfFirstGridPointInDegrees": float(lon[0, 0]) % 360,
        }  # fmt: skip
        is_static = set(request["variable"]) == {"land_sea_mask", "orography"}
        times = request_times(request) if is_static else self.held(request)
        keys, every = [], []
        for time in times:
            for name in request["variable"]:
                known, outside = _CERRA[name]
                values = np.full((SIZE, SIZE), outside, np.float32)
                values[WINDOW] = cerra(name, time)
                span = 24 if name == "total_precipitation" else 0
                base = str(time - span * _HOUR)
                clock = {
                    "dataDate": int(base[:10].replace("-", "")),
                    "dataTime": int(base[11:13]) * 100,
                }
                step = {"stepRange": f"0-{span}"} if span else {}
                keys.append(grid | clock | known | step)
                every.append(values)
        return grib_bytes(keys, every)


@contextmanager
def played(world: World, **options: Any) -> Iterator[PlayedCds]:
    """The store, where the client looks for it."""
    with PlayedCds(world.payload, **options) as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMWF_DATASTORES_URL", store.url)
        patch.setenv("ECMWF_DATASTORES_KEY", KEY)
        yield store


def on_the_globe(name: str, times: Times) -> Globe:
    """ERA5's variable of a request as ARCO-ERA5 has it, around Europe; 0 elsewhere."""
    lat, columns = 90 - 0.25 * np.arange(80, 260), np.arange(-120, 160)
    there = era5(name, times, lat[:, None], columns / 4)

    def values(time: np.datetime64) -> Floats:
        globe = np.zeros((721, 1440), np.float32)
        globe[80:260, columns] = there[int(np.flatnonzero(times == time)[0])]
        return globe

    return Globe(_ERA5[name][1], values, times)


def every(first: str, count: int, hours: int) -> Times:
    """So many times, so far apart."""
    return np.datetime64(first, "s") + np.arange(count) * np.timedelta64(hours * 3600, "s")


def spans(*runs: Times) -> tuple[tuple[str, str], ...]:
    """(first, last) of each period."""
    assert all(one[-1] < other[0] for one, other in pairwise(runs))
    return tuple((str(run[0]), str(run[-1])) for run in runs)
