"""Squared differences over lags, compiled: see `benchmark.structure_functions`."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmark.kernels import OPTIONS


@njit(**OPTIONS)
def structure(
    p: NDArray[np.float32],
    t: NDArray[np.float32],
    lags: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """One step (ny, nx): sums of p, of t and pairs, into (3, axis, nlag)."""
    ny, nx = t.shape
    for number in range(len(lags)):
        for axis in range(2):
            down = lags[number] if axis == 0 else 0
            right = min(lags[number], nx) if axis == 1 else 0
            sum_p = 0.0
            sum_t = 0.0
            pairs = 0
            for i in range(ny - down):
                near_p, far_p = p[i, : nx - right], p[i + down, right:]
                near_t, far_t = t[i, : nx - right], t[i + down, right:]
                row_pairs = np.int32(0)
                for j in range(len(near_t)):
                    dp = far_p[j] - near_p[j]
                    dt = far_t[j] - near_t[j]
                    known = np.int32(1)
                    # Zeroed in float32, sixteen lanes at once, before the float64 sums.
                    if np.isnan(dt):
                        dp = np.float32(0)
                        dt = np.float32(0)
                        known = np.int32(0)
                    sum_p += np.float64(dp) * np.float64(dp)
                    sum_t += np.float64(dt) * np.float64(dt)
                    row_pairs += known
                pairs += int(row_pairs)
            out[0, axis, number] = sum_p
            out[1, axis, number] = sum_t
            out[2, axis, number] = pairs
