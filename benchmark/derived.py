"""What follows from a vector's components: speed, divergence and vorticity."""

import numpy as np
from numpy.typing import NDArray

from benchmark.geometry import EARTH_RADIUS_M
from benchmark.grid import Grid

Array = NDArray[np.float64]


def speed(u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.float32]:
    """sqrt(u^2 + v^2), of each member: the speed of a mean vector is another number."""
    return np.asarray(np.hypot(u, v), np.float32)


def divergence(u: NDArray[np.floating], v: NDArray[np.floating], grid: Grid) -> Array:
    """(1 / (R cos lat)) (du / dlon + d(v cos lat) / dlat) in s-1.

    u, v: (..., ny, nx) in m s-1, eastward and northward, at the centres of a lat-lon grid. Centred
    differences, one-sided at the border (second order). NaN spreads to its neighbours.
    Ref: Holton and Hakim, An Introduction to Dynamic Meteorology, ch. 4.
    """
    cosine = np.cos(np.deg2rad(grid.y.centres))[:, None]
    return (_along_lon(u, grid) + _along_lat(v * cosine, grid)) / (EARTH_RADIUS_M * cosine)


def vorticity(u: NDArray[np.floating], v: NDArray[np.floating], grid: Grid) -> Array:
    """(1 / (R cos lat)) (dv / dlon - d(u cos lat) / dlat) in s-1; as `divergence` otherwise."""
    cosine = np.cos(np.deg2rad(grid.y.centres))[:, None]
    return (_along_lon(v, grid) - _along_lat(u * cosine, grid)) / (EARTH_RADIUS_M * cosine)


def _along_lon(field: NDArray[np.floating], grid: Grid) -> Array:
    return np.asarray(
        np.gradient(field.astype(np.float64), np.deg2rad(grid.x.centres), axis=-1, edge_order=2)
    )


def _along_lat(field: NDArray[np.floating], grid: Grid) -> Array:
    return np.asarray(
        np.gradient(field.astype(np.float64), np.deg2rad(grid.y.centres), axis=-2, edge_order=2)
    )
