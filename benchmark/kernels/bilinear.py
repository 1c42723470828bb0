"""Bilinear interpolation, row by row."""

import numpy as np
from numba import njit

from benchmark.families.base import Array, Field
from benchmark.families.bilinear import Taps
from benchmark.kernels import OPTIONS


@njit(**OPTIONS)
def _interpolate(coarse, rows, row_shares, columns, column_shares, row, fine):
    """fine (T, ny, nx) from coarse (T, Ny, Nx); columns: unsigned; row: (Nx,) scratch."""
    for k in range(len(coarse)):
        for y in range(fine.shape[1]):
            above, share = rows[y], row_shares[y]
            for x in range(row.size):
                row[x] = (1.0 - share) * coarse[k, above, x] + share * coarse[k, above + 1, x]
            for x in range(fine.shape[2]):
                left, part = columns[x], column_shares[x]
                fine[k, y, x] = (1.0 - part) * row[left] + part * row[left + np.uint32(1)]


def interpolate(coarse: Field, y: Taps, x: Taps) -> Array:
    """What `benchmark.families.bilinear.interpolate` says."""
    fine = np.empty((len(coarse), len(y.before), len(x.before)))
    _interpolate(
        np.ascontiguousarray(coarse), y.before, y.share, x.before.astype(np.uint32), x.share,
        np.empty(coarse.shape[2]), fine,
    )  # fmt: skip
    return fine
