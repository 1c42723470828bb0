"""Structural similarity, compiled: u = p - t and v = p + t are filtered instead of p and t.

With U and V the variances of u and v in a window, 1 - cs = U / ((U + V) / 2 + C2), and
1 - l = mu_u^2 / ((mu_u^2 + mu_v^2) / 2 + C1). So four fields are filtered and not five, and float32
loses nothing where p is near t. Each step's means are taken off u and v, and put back for l alone.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import WIDTH
from benchmark.kernels.structure_lanes import FIELDS, TAPS, TILE, add_losses, centre_row, filter_row

Field = NDArray[np.float32]


@njit(**OPTIONS)
def _loss_sums(u, v, ny, nx, half, filtered, constants, partial):
    """Sums over windows of 1 - l cs and of 1 - cs."""
    partial[:] = 0.0
    for left in range(0, nx - TAPS + 1, TILE):
        width = min(TILE, nx - TAPS + 1 - left)
        row = 0
        for y in range(ny):
            filter_row(u, y, left, width, half, filtered, row, 0)
            filter_row(v, y, left, width, half, filtered, row, 1)
            row = row + 1 if row + 1 < TAPS else 0
            if y >= TAPS - 1:
                add_losses(filtered, row, width, half, constants, partial)
    return partial[0].sum(), partial[1].sum()


@njit(**OPTIONS)
def _pool(fine: Field, coarse: Field, ny: int, nx: int, quarter: float) -> None:
    """Means of 2 x 2 cells; an odd last row or column is left out."""
    for y in range(ny):
        upper, lower, out = fine[2 * y], fine[2 * y + 1], coarse[y]
        for x in range(nx):
            pair = upper[2 * x] + upper[2 * x + 1]
            out[x] = quarter * (pair + lower[2 * x] + lower[2 * x + 1])


@njit(**OPTIONS)
def _reduce_steps(p, t, low, taps, c1, c2, losses, whole):
    """What `ssim_kernel` says."""
    steps, ny, nx = p.shape
    single = p.dtype.type
    half = (taps[0], taps[1], taps[2], taps[3], taps[4], taps[5])
    # Windows are filtered in whole lanes; the columns beyond the field are never summed.
    stride = (nx + 2 * WIDTH - 1) // WIDTH * WIDTH
    u = np.zeros((ny, stride), np.float32)
    v = np.zeros((ny, stride), np.float32)
    u2 = np.zeros((ny // 2, stride), np.float32)
    v2 = np.zeros((ny // 2, stride), np.float32)
    filtered = np.zeros((TAPS, FIELDS * TILE), np.float32)
    partial = np.zeros((2, WIDTH))
    for step in range(steps):
        total_p, total_t = 0.0, 0.0
        for y in range(ny):
            row_p, row_t = single(0), single(0)
            for x in range(nx):
                row_p += p[step, y, x]
                row_t += t[step, y, x]
            total_p += row_p
            total_t += row_t
        whole[step] = not np.isnan(total_t)
        if not whole[step]:
            continue
        # Any number near the mean would do: it is put back for l, and cancels in cs.
        mean_p, mean_t = single(total_p / (ny * nx)), single(total_t / (ny * nx))
        mean_u = mean_p - mean_t
        flat_p, flat_t = p[step].reshape(ny * nx), t[step].reshape(ny * nx)
        for y in range(ny):
            # Vectors run on into the next row, but not beyond the field.
            vectors = min((nx + WIDTH - 1) // WIDTH, (ny - y) * nx // WIDTH) * WIDTH
            centre_row(flat_p, flat_t, y * nx, vectors, (mean_p, mean_t, mean_u), u, v, y)
            for x in range(vectors, nx):
                u[y, x] = (p[step, y, x] - t[step, y, x]) - mean_u
                v[y, x] = (p[step, y, x] - mean_p) + (t[step, y, x] - mean_t)
        mean_v = single((np.float64(mean_p) - low) + (np.float64(mean_t) - low))
        constants = (single(c1), single(c2), mean_u, mean_v, single(0.5))
        height, width = ny, nx
        fine_u, fine_v, coarse_u, coarse_v = u, v, u2, v2
        for scale in range(losses.shape[1]):
            if height >= TAPS and width >= TAPS:
                sums = _loss_sums(fine_u, fine_v, height, width, half, filtered, constants, partial)
                losses[step, scale, 0], losses[step, scale, 1] = sums
            height, width = height // 2, width // 2
            if scale + 1 < losses.shape[1]:
                _pool(fine_u, coarse_u, height, width, single(0.25))
                _pool(fine_v, coarse_v, height, width, single(0.25))
                fine_u, fine_v, coarse_u, coarse_v = coarse_u, coarse_v, fine_u, fine_v


def ssim_kernel(
    p: Field,
    t: Field,
    low: float,
    taps: Field,
    c1: float,
    c2: float,
    losses: NDArray[np.float64],
    whole: NDArray[np.bool_],
) -> None:
    """Fill whole (T,), and losses (T, scales, 2) with sums over windows of 1 - l cs and 1 - cs.

    0 where the truth of a step is not complete, and at scales that have no window.
    """
    _reduce_steps(p, t, low, taps, c1, c2, losses, whole)
