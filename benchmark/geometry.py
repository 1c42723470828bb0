"""Boxes and cells on the sphere: areas, distances, clusters."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.task import Region

EARTH_RADIUS_M = 6_371_229.0
"""Radius of ERA5's and CERRA's spherical earth."""

Array = NDArray[np.float64]


def cell_area(lat_edges: Array, lon_edges: Array) -> Array:
    """Area of each lat-lon cell in m2: R^2 * d(lon) * |sin(lat_2) - sin(lat_1)|.

    lat_edges: (ny + 1,) and lon_edges: (nx + 1,), degrees. Returns (ny, nx).
    """
    bands = np.abs(np.diff(np.sin(np.deg2rad(lat_edges))))
    widths = np.abs(np.diff(np.deg2rad(lon_edges)))
    return np.asarray(EARTH_RADIUS_M**2 * bands[:, None] * widths[None, :])


@cache
def box_distance_km(first: Region, second: Region, *, step: float = 0.5) -> float:
    """Smallest great-circle distance between two lat-lon boxes in km; 0 where they overlap.

    The smallest distance between disjoint boxes is attained on their borders, which are sampled
    every `step` degrees (haversine formula).
    """
    if _overlap(first, second):
        return 0.0
    lat_1, lon_1 = _border(first, step)
    lat_2, lon_2 = _border(second, step)
    half_lat = (lat_1[:, None] - lat_2[None, :]) / 2
    half_lon = (lon_1[:, None] - lon_2[None, :]) / 2
    chord = (
        np.sin(half_lat) ** 2
        + np.cos(lat_1)[:, None] * np.cos(lat_2)[None, :] * np.sin(half_lon) ** 2
    )
    return float(2 * EARTH_RADIUS_M / 1000 * np.arcsin(np.sqrt(chord.min())))


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


def _border(region: Region, step: float) -> tuple[Array, Array]:
    """Points along the four edges of a box, in radians."""
    (south, north), (west, east) = region.lat, region.lon
    lat = np.linspace(south, north, max(2, round((north - south) / step) + 1))
    lon = np.linspace(west, east, max(2, round((east - west) / step) + 1))
    lats = np.concatenate([lat, lat, np.full_like(lon, south), np.full_like(lon, north)])
    lons = np.concatenate([np.full_like(lat, west), np.full_like(lat, east), lon, lon])
    return np.deg2rad(lats), np.deg2rad(lons)
