"""Bilinear interpolation between cell centres, the reference of the deterministic board."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.grid import RegionGrid

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bilinear:
    """B_y c B_x': piecewise linear between coarse cell centres, clamped beyond the outermost.

    in_y: (ny, Ny), in_x: (nx, Nx), rows summing to 1. Missing data: NaN spreads to the fine
    cells that would have used it.
    """

    in_y: Array
    in_x: Array

    @classmethod
    def on(cls, grid: RegionGrid) -> "Bilinear":
        """The interpolation from a region's coarse to its fine cell centres."""
        return cls(
            in_y=linear_weights(grid.coarse.y.centres, grid.fine.y.centres),
            in_x=linear_weights(grid.coarse.x.centres, grid.fine.x.centres),
        )

    def __call__(self, coarse: NDArray[np.floating]) -> Array:
        """Interpolate (..., Ny, Nx) to (..., ny, nx) in float64."""
        return np.asarray(self.in_y @ coarse.astype(np.float64) @ self.in_x.T)


def linear_weights(source: Array, target: Array) -> Array:
    """(len(target), len(source)) weights of clamped linear interpolation along one axis.

    source and target are monotonic coordinates; weights of a target inside [s_k, s_k+1] are
    (s_k+1 - t) / (s_k+1 - s_k) and its complement.
    """
    if source[0] > source[-1]:
        return linear_weights(-source, -target)
    inside = np.clip(target, source[0], source[-1])
    left = np.clip(np.searchsorted(source, inside, side="right") - 1, 0, source.size - 2)
    share = (inside - source[left]) / (source[left + 1] - source[left])
    weights = np.zeros((target.size, source.size))
    rows = np.arange(target.size)
    weights[rows, left] = 1 - share
    weights[rows, left + 1] += share
    return weights
