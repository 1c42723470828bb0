"""What stores must hold of the made-up Europe, by other ways than those of recipes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from recipes.builds import Job
from recipes.cerra_world import CRS, POINT_M, WINDOW, Floats, box, cerra, era5

PACKING = 3e-4
"""Of 16 bits, by the largest value; twice what rounding leaves."""


def in_box(job: Job, region: str, name: str, times: Any) -> NDArray[np.float32]:
    """(time, 160, 160) CERRA's own values of a request's variable in a region, the north first."""
    rows, columns = box(job.task.region(region).bounds)
    return np.array([cerra(name, time)[rows, columns][::-1] for time in times])


def between_points(name: str, time: np.datetime64, lat: Any, lon: Any) -> NDArray[np.float64]:
    """CERRA's field at any place, linear along x and y of its map."""
    rows, columns = WINDOW
    field = RegularGridInterpolator(
        (POINT_M[rows], POINT_M[columns]), cerra(name, time).astype(float)
    )
    x, y = pyproj.Proj(CRS)(*np.meshgrid(lon, lat))
    return np.asarray(field((y, x)))


def speeds(times: Any) -> Any:
    def at(lat: Any, lon: Any) -> Any:
        u, v = (era5(f"10m_{name}_component_of_wind", times, lat, lon) for name in "uv")
        return np.hypot(u.astype(float), v)

    return at


def daily(times: Any) -> Any:
    """[mm d-1] the sum of the 24 hours stamped 07 to 06 UTC."""

    def at(lat: Any, lon: Any) -> Any:
        total = 0.0
        for hour in range(24):
            then = times - np.timedelta64(hour, "h")
            total = total + 1000 * era5("total_precipitation", then, lat, lon).astype(float)
        return total

    return at


def temperatures(times: Any) -> Any:
    return lambda lat, lon: era5("2m_temperature", times, lat, lon)


ORACLES = {
    "cerra-wind": ("10m_wind_speed", speeds),
    "cerra-t2m": ("2m_temperature", temperatures),
    "cerra-precip": ("total_precipitation", daily),
}


def true_areas(data: Any, step: float) -> NDArray[np.float64]:
    """[m2] on the sphere: of each cell's corners, in an equal-area projection."""
    y = np.append(data["y"].values + step / 2, data["y"].values[-1] - step / 2)
    x = np.append(data["x"].values - step / 2, data["x"].values[-1] + step / 2)
    to_degrees, equal = (
        pyproj.Proj(CRS),
        pyproj.Proj("+proj=laea +lat_0=40 +lon_0=12 +R=6371229"),
    )
    across, up = equal(*to_degrees(*np.meshgrid(x, y), inverse=True))
    one = (across[1:, 1:] - across[:-1, :-1]) * (up[1:, :-1] - up[:-1, 1:])
    other = (across[1:, :-1] - across[:-1, 1:]) * (up[1:, 1:] - up[:-1, :-1])
    return np.abs(one - other) / 2


def cell_means(
    values_of: Callable[[Floats, Floats], Floats],
    bounds: tuple[tuple[float, float], tuple[float, float]],
    *,
    cell_m: float = 27_500.0,
    samples: int = 40,
) -> Floats:
    """(time, Y, X) means of ERA5's cells over square cells of the map, the north first.

    By samples x samples points in each, evenly on the map and weighted by true area. values_of:
    gives (time, points) values at the cells' centres.
    """
    (south, north), (west, east) = bounds
    shape = round((north - south) / cell_m), round((east - west) / cell_m)
    step = cell_m / samples
    y = north - step * (np.arange(shape[0] * samples) + 0.5)
    x = west + step * (np.arange(shape[1] * samples) + 0.5)
    projection = pyproj.Proj(CRS)
    lon, lat = projection(*np.meshgrid(x, y), inverse=True)
    # On a sphere the scale of this map depends on latitude alone.
    along = np.linspace(lat.min(), lat.max(), 2000)
    scale = projection.get_factors(np.full_like(along, 8.0), along).areal_scale
    weights = 1 / np.interp(lat, along, scale)
    cells = np.stack([np.round(4 * lat), np.round(4 * lon)]).reshape(2, -1).astype(int)
    code = (cells[0] + 1000) * 10_000 + cells[1] + 1000
    known, places = np.unique(code, return_inverse=True)
    values = values_of((known // 10_000 - 1000) / 4, (known % 10_000 - 1000) / 4)
    blocks = (shape[0], samples, shape[1], samples)
    weights = weights.reshape(blocks)
    found = []
    for of_time in values:
        weighted = of_time[places].reshape(blocks) * weights
        found.append(weighted.sum(axis=(1, 3)) / weights.sum(axis=(1, 3)))
    return np.array(found)
