"""Distances between boxes on the sphere, and the clusters that they make."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.geometry import EARTH_RADIUS_M
from benchmark.region import Region

COARSE_STEP, FINE_STEP = 0.5, 0.01
"""Degrees between the border points that distances are taken from."""

METRES_PER_DEGREE = 100_000.0
"""What stands for a degree on a map."""

Array = NDArray[np.float64]


@cache
def box_distance_km(first: Region, second: Region) -> float:
    """Smallest great-circle distance between two boxes in km; 0 where they overlap.

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
    if first.projection == second.projection:
        return all(
            mine[0] < other[1] and other[0] < mine[1]
            for mine, other in zip(first.bounds, second.bounds, strict=True)
        )
    return _enters(first, second) or _enters(second, first)


def _enters(first: Region, second: Region) -> bool:
    """Whether a point of the first box's border, or its centre, lies within the second.

    Boxes whose borders cross enter one another; only a corner of less than the step is missed.
    """
    lat, lon = np.rad2deg(_border(first, FINE_STEP))
    centre = first.centre
    points = second.projection.points(np.append(lat, centre[0]), np.append(lon, centre[1]))
    inside = [
        (low < values) & (values < high)
        for values, (low, high) in zip(points, second.bounds, strict=True)
    ]
    return bool((inside[0] & inside[1]).any())


def _closest(first: Array, second: Array) -> tuple[float, tuple[Array, Array]]:
    """The smallest distance in km between two sets of (2, n) points, and the pair that has it."""
    half = (first[:, :, None] - second[:, None, :]) / 2
    cosines = np.cos(first[0])[:, None] * np.cos(second[0])[None, :]
    chord = np.sin(half[0]) ** 2 + cosines * np.sin(half[1]) ** 2
    i, j = divmod(int(chord.argmin()), chord.shape[1])
    distance = 2 * EARTH_RADIUS_M / 1000 * np.arcsin(np.sqrt(chord[i, j]))
    return float(distance), (first[:, i], second[:, j])


def _around(points: Array, centre: Array) -> Array:
    """The points within one coarse step of `centre`, south to north and west to east."""
    away = np.abs(points - centre[:, None])
    away[1] *= np.cos(centre[0])
    near = away.max(axis=0) <= np.deg2rad(1.001 * COARSE_STEP)
    return np.asarray(points[:, near])


def _border(region: Region, step: float) -> Array:
    """(2, n) latitudes and longitudes along the four edges of a box, in radians."""
    (south, north), (west, east) = region.bounds
    if region.grid:
        step = step * METRES_PER_DEGREE
    y = np.linspace(south, north, max(2, round((north - south) / step) + 1))
    x = np.linspace(west, east, max(2, round((east - west) / step) + 1))
    ys = np.concatenate([y, y, np.full_like(x, south), np.full_like(x, north)])
    xs = np.concatenate([np.full_like(y, west), np.full_like(y, east), x, x])
    points: Array = np.deg2rad(np.stack(region.projection.lat_lon(ys, xs)))
    return points
