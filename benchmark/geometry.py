"""Boxes and cells on the sphere: areas, distances, clusters."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.task import Region

EARTH_RADIUS_M = 6_371_229.0
"""Radius of ERA5's and CERRA's spherical earth."""

COARSE_STEP, FINE_STEP = 0.5, 0.01
"""Degrees between the border points that distances are taken from."""

Array = NDArray[np.float64]


def cell_area(lat_edges: Array, lon_edges: Array) -> Array:
    """Area of each lat-lon cell in m2: R^2 * d(lon) * |sin(lat_2) - sin(lat_1)|.

    lat_edges: (ny + 1,) and lon_edges: (nx + 1,), degrees. Returns (ny, nx).
    """
    bands = np.abs(np.diff(np.sin(np.deg2rad(lat_edges))))
    widths = np.abs(np.diff(np.deg2rad(lon_edges)))
    return np.asarray(EARTH_RADIUS_M**2 * bands[:, None] * widths[None, :])


def lambert_cell_area(
    y_edges: Array, x_edges: Array, *, parallel: float, radius: float = EARTH_RADIUS_M
) -> Array:
    """Area of each cell of a tangent Lambert conformal conic grid in m2: dx dy / k^2.

    y_edges: (ny + 1,), x_edges: (nx + 1,) in m from the point where the central meridian crosses
    the standard parallel (degrees). k is the map scale at the cell's centre, so the error is that
    of the midpoint rule: below 1e-6 for cells of 5.5 km. Returns (ny, nx).
    Ref: Snyder 1987, USGS Professional Paper 1395, eqs. 15-1 to 15-5.
    """
    n = np.sin(np.deg2rad(parallel))
    apex = radius / np.tan(np.deg2rad(parallel))
    y, x = (y_edges[1:] + y_edges[:-1]) / 2, (x_edges[1:] + x_edges[:-1]) / 2
    rho = np.sign(n) * np.hypot(x[None, :], apex - y[:, None])
    # rho = apex (tan(pi/4 + lat0/2) / tan(pi/4 + lat/2))^n
    ratio = np.tan(np.pi / 4 + np.deg2rad(parallel) / 2) * (apex / rho) ** (1 / n)
    lat = 2 * np.arctan(ratio) - np.pi / 2
    scale = n * rho / (radius * np.cos(lat))
    on_map = np.abs(np.diff(y_edges))[:, None] * np.abs(np.diff(x_edges))
    return np.asarray(on_map / scale**2)


@cache
def box_distance_km(first: Region, second: Region) -> float:
    """Smallest great-circle distance between two lat-lon boxes in km; 0 where they overlap.

    The smallest distance between disjoint boxes is attained on their borders (haversine formula).
    They are sampled every 0.5 degrees, and every 0.01 degrees around the closest pair of points.
    """
    if _overlap(first, second):
        return 0.0
    points = _border(first, COARSE_STEP), _border(second, COARSE_STEP)
    _, near = _closest(*points)
    fine = [
        _around(_border(region, FINE_STEP), point)
        for region, point in zip((first, second), near, strict=True)
    ]
    return _closest(fine[0], fine[1])[0]


def cluster_labels(regions: Sequence[Region], *, within_km: float) -> list[int]:
    """Single-linkage clusters of boxes closer than `within_km`; one label a region.

    Labels count from 0 in the order of first appearance.
    """
    labels = list(range(len(regions)))
    for i, first in enumerate(regions):
        for j in range(i):
            if labels[i] != labels[j] and box_distance_km(first, regions[j]) < within_km:
                old, new = labels[i], labels[j]
                labels = [new if label == old else label for label in labels]
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]


def _overlap(first: Region, second: Region) -> bool:
    lat = first.lat[0] < second.lat[1] and second.lat[0] < first.lat[1]
    lon = first.lon[0] < second.lon[1] and second.lon[0] < first.lon[1]
    return lat and lon


def _closest(first: Array, second: Array) -> tuple[float, tuple[Array, Array]]:
    """The smallest distance in km between two sets of (2, n) points, and the pair that has it."""
    half = (first[:, :, None] - second[:, None, :]) / 2
    cosines = np.cos(first[0])[:, None] * np.cos(second[0])[None, :]
    chord = np.sin(half[0]) ** 2 + cosines * np.sin(half[1]) ** 2
    i, j = divmod(int(chord.argmin()), chord.shape[1])
    distance = 2 * EARTH_RADIUS_M / 1000 * np.arcsin(np.sqrt(chord[i, j]))
    return float(distance), (first[:, i], second[:, j])


def _around(points: Array, centre: Array) -> Array:
    """The points within one coarse step of `centre` in latitude and longitude."""
    near = np.abs(points - centre[:, None]).max(axis=0) <= np.deg2rad(1.001 * COARSE_STEP)
    return np.asarray(points[:, near])


def _border(region: Region, step: float) -> Array:
    """(2, n) latitudes and longitudes along the four edges of a box, in radians."""
    (south, north), (west, east) = region.lat, region.lon
    lat = np.linspace(south, north, max(2, round((north - south) / step) + 1))
    lon = np.linspace(west, east, max(2, round((east - west) / step) + 1))
    lats = np.concatenate([lat, lat, np.full_like(lon, south), np.full_like(lon, north)])
    lons = np.concatenate([np.full_like(lat, west), np.full_like(lat, east), lon, lon])
    points: Array = np.deg2rad(np.stack([lats, lons]))
    return points
