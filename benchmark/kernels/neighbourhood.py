"""Fractions of events in moving windows, compiled: one summed-area table a threshold, all windows.

Members' and truth's events share a word (see `neighbourhood_lanes`). Tables wrap around, which is
exact for every window whose own counts fit.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmark.kernels import OPTIONS
from benchmark.kernels.lanes import WIDTH
from benchmark.kernels.neighbourhood_lanes import (
    PAIR,
    TOGETHER,
    add_up_row,
    count_row,
    square_cells,
    square_windows,
)

ROWS = 8
"""Rows of windows squared together: sums stay in registers for long, tables near the core."""


@njit(**OPTIONS)
def _reduce_steps(members, truth, nx, thresholds, windows, word, sums, counts):
    """`fss_kernel` of fields with their cells in one axis: members (T, M, N), truth (T, N)."""
    steps, count, cells = members.shape
    ny = cells // nx
    levels, scales = len(thresholds), len(windows)
    none = word.dtype.type(0)
    every = ~none
    width = (nx + PAIR - 1) // PAIR * PAIR
    # A ring of rows, whole ROWS, so that rows squared together follow each other.
    depth = (min(windows.max(), ny) + 2 * ROWS - 1) // ROWS * ROWS
    # A column of zeros to the left; one level more than thresholds: where the truth is missing.
    table = np.zeros((levels + 1, depth, width + 2 * WIDTH), word.dtype)
    latest = np.zeros(levels + 1, np.int64)
    events = np.zeros((ROWS, max(levels, TOGETHER) + 1, width), word.dtype)
    bounds = np.full(max(levels, TOGETHER), np.nan, np.float32)
    bounds[:levels] = thresholds
    last = np.zeros((count, PAIR), np.float32)
    last_truth = np.zeros(PAIR, np.float32)
    inside = np.zeros((scales, ROWS, width), word.dtype)
    squares = np.zeros((levels, scales, 3, WIDTH), np.int64)
    for step in range(steps):
        total_truth = truth.dtype.type(0)
        for n in range(cells):
            total_truth += truth[step, n]
        holes = total_truth != total_truth
        table[:, depth - 1] = none
        latest[:] = -1
        squares[:] = 0
        for s in range(scales):
            inside[s, :, : max(nx - windows[s] + 1, 0)] = every
        above = depth - 1
        for top in range(0, ny, ROWS):
            bottom = min(top + ROWS, ny)
            start = top % depth
            for y in range(top, bottom):
                here = start + y - top
                first, row = y * nx, events[y - top]
                # Vectors run on into the next row, but not beyond the field: no window is there.
                whole = min(width, (cells - first) // PAIR * PAIR)
                rest = nx - whole
                for x in range(rest):
                    last_truth[x] = truth[step, first + whole + x]
                    for m in range(count):
                        last[m, x] = members[step, m, first + whole + x]
                for group in range(0, levels, TOGETHER):
                    j = max(min(group, levels - TOGETHER), 0)
                    count_row(members[step], truth[step], bounds, j, first, whole, row, 0)
                    if rest > 0:
                        count_row(last, last_truth, bounds, j, 0, PAIR, row, whole)
                for j in range(levels):
                    if add_up_row(row[j], table[j], above, here, width):
                        latest[j] = y
                if holes:
                    for x in range(nx):
                        row[levels, x] = truth[step, first + x] != truth[step, first + x]
                    add_up_row(row[levels], table[levels], above, here, width)
                above = here
            for s in range(scales):
                side = windows[s]
                wide = nx - side + 1
                begin = max(top, side - 1)
                if begin >= bottom or wide < 1:
                    continue
                clear = wide * (bottom - begin)
                if holes:
                    clear = 0
                    for y in range(begin, bottom):
                        here = start + y - top
                        old = here - side if here >= side else here - side + depth
                        a, b = table[levels, old], table[levels, old, side:]
                        c, d = table[levels, here], table[levels, here, side:]
                        mask = inside[s, y - top]
                        for x in range(wide):
                            kept = a[x] + d[x] == b[x] + c[x]
                            mask[x] = every if kept else none
                            clear += kept
                counts[step, s] += clear
                # As many vectors as lanes of half a word can add up.
                vectors = (wide + WIDTH - 1) // WIDTH
                height, chunk = ROWS, vectors
                if word.itemsize == 4:
                    most = (2**32 - 1) // max((count * side * side) ** 2, 1)
                    height = ROWS if most >= ROWS * vectors else 1
                    chunk = min(most, vectors)
                for j in range(levels):
                    # No event in any of these rows, no sum.
                    if latest[j] <= begin - side:
                        continue
                    for y in range(begin - top, bottom - top, height):
                        for x in range(0, wide, chunk * WIDTH):
                            stop = min(x + chunk * WIDTH, wide)
                            masked = x if holes else x + (stop - x) // PAIR * PAIR
                            area = (y, min(y + height, bottom - top), x, masked, stop)
                            if side == 1:
                                square_cells(events[:, j], inside[s], area, squares[j, s])
                            else:
                                square_windows(
                                    table[j], side, start, inside[s], area, squares[j, s]
                                )
        for j in range(levels):
            for s in range(scales):
                pp, tt, pt = squares[j, s, 0].sum(), squares[j, s, 1].sum(), squares[j, s, 2].sum()
                # Integers: exactly 0 where both agree.
                sums[step, j, s, 0] = pp - 2 * count * pt + count * count * tt
                sums[step, j, s, 1] = pp
                sums[step, j, s, 2] = tt


def fss_kernel(
    members: NDArray[np.float32],
    truth: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    windows: NDArray[np.int64],
    word: NDArray[Any],
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None:
    """Fill sums (T, J, S, 3): (C_p - M C_t)^2, C_p^2 and C_t^2; and counts (T, S) of windows.

    members (T, M, ny, nx), truth (T, ny, nx); C_p, C_t: events in a window, of all members and of
    the truth; word: an empty array of the unsigned type to count in, unless that is too short.
    """
    steps, count, ny, nx = members.shape
    largest = count * int(windows[windows <= min(ny, nx)].max(initial=1)) ** 2
    if largest >= 2 ** (4 * word.itemsize - 1):
        word = np.empty(0, np.uint64)
    _reduce_steps(
        members.reshape(steps, count, ny * nx), truth.reshape(steps, ny * nx), nx, thresholds,
        windows, word, sums, counts,
    )  # fmt: skip
