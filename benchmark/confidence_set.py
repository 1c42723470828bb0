"""Which rows cannot be told apart: the model confidence set, and the rank groups made of it.

Hansen, Lunde and Nason 2011, doi 10.3982/ECTA5771, with the range statistic. A loss is what a
board ranks by: the mean over regions of ln S. Only pairs are compared, so that a row which
diverged changes nothing between two others.
"""

import numpy as np
from numpy.typing import NDArray

from benchmark.inference import LEVEL

Array = NDArray[np.float64]


def confidence_set(losses: Array, resampled: Array, widths: Array) -> Array:
    """(row,) p values; the rows with p >= 1 - level are the confidence set at that level.

    losses: (row,) finite; resampled: (resample, row) the same under common draws of days; widths:
    (resample,) of `DayDraws`. With t_ij = (l_i - l_j) / se_ij, the statistic of the rows left is
    max |t_ij|; its distribution where all are equal is that of max |(l*_i - l_i) - (l*_j - l_j)|
    / se_ij over resamples, widened for few blocks. The row with the largest t_ij over its rivals
    is left out, and so on; p is the largest seen until a row is left out, 1 for the last.
    A pair whose difference no resample changes is told apart by any difference there is.
    """
    rows = len(losses)
    spread = np.zeros((rows, rows))
    for i in range(rows):
        spread[i] = (resampled[:, [i]] - resampled).std(axis=0, ddof=1)
    away = losses[:, None] - losses[None, :]
    # Rounding is no spread: a row against its copy, or against a multiple of itself.
    known = spread > 1e-12 * (1 + abs(away))
    t = np.divide(away, spread, where=known, out=np.sign(away) * np.where(away == 0, 0.0, np.inf))
    centred = (resampled - losses) * widths[:, None]
    p, highest, left = np.ones(rows), 0.0, list(range(rows))
    while len(left) > 1:
        pair = np.ix_(left, left)
        drawn = np.zeros(len(resampled))
        for i in left:
            scale = np.where(known[i, left], spread[i, left], np.inf)
            drawn = np.maximum(drawn, (abs(centred[:, [i]] - centred[:, left]) / scale).max(axis=1))
        found = float((drawn >= t[pair].max()).mean())
        highest = max(highest, found)
        worst = left[int(np.argmax(t[pair].max(axis=1)))]
        p[worst] = highest
        left.remove(worst)
    return p


def rank_groups(
    losses: Array, resampled: Array, widths: Array, *, level: float = LEVEL
) -> list[int]:
    """(row,) 1 for the confidence set of all rows, 2 for that of the rest, and so on.

    Rows of group 1 cannot be told from the best; a row of group 2 can, but not from the best of
    what remains.
    """
    groups = [0] * len(losses)
    left = list(range(len(losses)))
    group = 1
    while left:
        p = confidence_set(losses[left], resampled[:, left], widths)
        tied = [row for row, value in zip(left, p, strict=True) if value >= 1 - level]
        for row in tied:
            groups[row] = group
        left = [row for row in left if row not in tied]
        group += 1
    return groups
