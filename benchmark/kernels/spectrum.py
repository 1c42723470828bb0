"""The two passes around the cosine transform of `benchmark.families.spectrum`, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmark.kernels import OPTIONS


@njit(**OPTIONS)
def centre(
    p: NDArray[np.float32], t: NDArray[np.float32], out: NDArray[np.float32]
) -> bool:  # pragma: no cover - compiled
    """Both (ny, nx) fields less their float64 means, into (2, ny, nx); False, and nothing, where
    the truth misses a cell."""
    ny, nx = t.shape
    total_p = 0.0
    total_t = 0.0
    missing = 0
    for i in range(ny):
        for j in range(nx):
            total_p += p[i, j]
            total_t += t[i, j]
            missing += np.isnan(t[i, j])
    if missing > 0:
        return False
    mean_p = np.float32(total_p / (ny * nx))
    mean_t = np.float32(total_t / (ny * nx))
    for i in range(ny):
        for j in range(nx):
            out[0, i, j] = p[i, j] - mean_p
            out[1, i, j] = t[i, j] - mean_t
    return True


@njit(**OPTIONS)
def group_sums(
    spectra: NDArray[np.float32],
    group: NDArray[np.int64],
    order: NDArray[np.uint32],
    starts: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Power of both spectra, (2, ny nx), and their product, summed by group into (3, groups).

    Coefficients are gathered group by group: scattering them into bins would wait for each
    bin's last addition.
    """
    for g in range(len(starts) - 1):
        power_p = 0.0
        power_t = 0.0
        cross = 0.0
        for n in range(starts[g], starts[g + 1]):
            # Unsigned: no test for indices that count from the end.
            c = order[n]
            a = np.float64(spectra[0, c])
            b = np.float64(spectra[1, c])
            power_p += a * a
            power_t += b * b
            cross += a * b
        out[0, g] = power_p
        out[1, g] = power_t
        out[2, g] = cross
