"""Separable interpolation between cell centres as one weight matrix an axis.

Each kernel returns the (n_fine, n_coarse) weights of one axis, rows summing to 1; a field is
`in_y @ coarse @ in_x'`. Edges are clamped: the outermost coarse value is repeated outwards.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmark.grid import RegionGrid
from benchmark.reference import linear_weights

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]

KEYS_A = -0.75
"""Coefficient of the cubic kernel; the one of torch and OpenCV (PIL uses -0.5)."""


def nearest_weights(source: Array, target: Array) -> Array:
    """The value of the coarse cell whose centre is nearest: "enlarge" of Harder et al. (2023)."""
    weights = np.zeros((target.size, source.size))
    chosen = np.abs(target[:, None] - source[None, :]).argmin(axis=1)
    weights[np.arange(target.size), chosen] = 1.0
    return weights


def cubic_weights(source: Array, target: Array) -> Array:
    """Cubic convolution (Keys 1981, doi 10.1109/TASSP.1981.1163711) with a = -0.75.

    Source coordinates must be equally spaced.
    """
    position = (target - source[0]) / (source[1] - source[0])
    base = np.floor(position).astype(int)
    weights = np.zeros((target.size, source.size))
    rows = np.arange(target.size)
    for offset in (-1, 0, 1, 2):
        column = np.clip(base + offset, 0, source.size - 1)
        np.add.at(weights, (rows, column), _keys(np.abs(position - (base + offset))))
    return weights


def _keys(distance: Array) -> Array:
    a, d = KEYS_A, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


KERNELS: dict[str, Kernel] = {
    "nearest": nearest_weights,
    "bilinear": linear_weights,
    "bicubic": cubic_weights,
}


def interpolate(kernel: Kernel, grid: RegionGrid, coarse: NDArray[np.floating]) -> Array:
    """Interpolate (..., Ny, Nx) coarse fields to (..., ny, nx) with one of `KERNELS`."""
    in_y = kernel(grid.coarse.y.centres, grid.fine.y.centres)
    in_x = kernel(grid.coarse.x.centres, grid.fine.x.centres)
    return np.asarray(in_y @ coarse.astype(np.float64) @ in_x.T)
