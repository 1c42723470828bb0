"""Bilinear interpolation of a slab's coarse fields.

The same numbers as `benchmark.reference.Bilinear` (to rounding), from two coarse cells along each
axis rather than from matrices: matrix products would wake the threads of the linear algebra.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.engine import compiled
from benchmark.families.base import Array, Field
from benchmark.grid import RegionGrid
from benchmark.reference import linear_weights


@dataclass(frozen=True, eq=False)
class Taps:
    """For each fine cell of an axis: the coarse cell before it, and the share of the next one."""

    before: NDArray[np.int64]
    share: Array

    @classmethod
    def between(cls, coarse: Array, fine: Array) -> "Taps":
        """Taps of coordinates `fine` in `coarse`, clamped at the ends."""
        weights = linear_weights(coarse, fine)
        before = np.minimum((weights > 0).argmax(axis=1), len(coarse) - 2)
        return cls(before, weights[np.arange(len(fine)), before + 1])


@lru_cache(maxsize=64)
def taps(grid: RegionGrid) -> tuple[Taps, Taps]:
    """Along y and x, from the coarse to the fine cells of a box."""
    fine, coarse = grid.fine, grid.coarse
    return (
        Taps.between(coarse.y.centres, fine.y.centres),
        Taps.between(coarse.x.centres, fine.x.centres),
    )


def interpolate(coarse: Field, grid: RegionGrid) -> Array:
    """(T, Ny, Nx) coarse to (T, ny, nx) fine fields of a box, in float64."""
    y, x = taps(grid)
    if compiled():
        from benchmark.kernels import bilinear

        return bilinear.interpolate(coarse, y, x)
    fields = coarse.astype(np.float64)
    rows = (1 - y.share)[:, None] * fields[:, y.before] + y.share[:, None] * fields[:, y.before + 1]
    found = (1 - x.share) * rows[..., x.before] + x.share * rows[..., x.before + 1]
    return np.ascontiguousarray(found)
