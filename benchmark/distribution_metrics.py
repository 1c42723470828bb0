"""Scores of pooled distributions, from summed counts in a variable's fixed bins.

`p` and `t` are (..., n) weighted counts of predictions (members pooled) and of the truth in the n
bins of `benchmark.bins.Bins`, over the same cells and times; only shares of their totals matter,
so the weights may be areas or ones. Within a bin values count as evenly spread, and the dry mass
of `log2` bins lies at 0. Every function returns (...), NaN where a total is 0.
"""

import numpy as np
from numpy.typing import NDArray

from benchmark.bins import Bins
from benchmark.errors import InputError, Problem

Array = NDArray[np.float64]

MIN_CELLS, MIN_CASES = 100, 10
"""A quantile is shown only where the truth exceeds it in as many cells and cases."""

LHD_COUNTS = 10
"""Fewest cells in a bin of the log histogram distance."""


def quantile(counts: Array, bins: Bins, q: float) -> Array:
    """The q-quantile inf {x: F(x) >= q}, F linear inside bins; 0 < q < 1, variable's unit.

    0 where it lies in the dry mass; NaN where in an open bin: outside the bins it is not known.
    Off by at most the width of one bin.
    """
    if not 0 < q < 1:
        raise InputError(Problem("q", "0 < q < 1", f"{q}", "Give a probability, as 0.99."))
    counts = _checked(counts, bins)
    cumulative = counts.cumsum(axis=-1)
    wanted = q * cumulative[..., -1:]
    b = np.argmax(cumulative >= wanted, axis=-1, keepdims=True)
    inside = np.take_along_axis(counts, b, axis=-1)
    # Backwards from the bin's end: its start is not in `cumulative` where it is the first.
    after = np.take_along_axis(cumulative, b, axis=-1) - wanted
    with np.errstate(invalid="ignore", divide="ignore"):
        found = bins.edges[b + 1] - after / inside * np.diff(bins.edges)[b]
    found = np.where(_is_open(bins)[b], np.nan, found)
    if bins.kind == "log2":
        found = np.where(b == 0, 0.0, found)
    return np.asarray(np.where(cumulative[..., -1:] > 0, found, np.nan)[..., 0])


def quantile_error(p: Array, t: Array, bins: Bins, q: float) -> Array:
    """Q_q(p) - Q_q(t): predicted minus true quantile, in the variable's unit."""
    return np.asarray(quantile(p, bins, q) - quantile(t, bins, q))


def relative_quantile_error(p: Array, t: Array, bins: Bins, q: float) -> Array:
    """(Q_q(p) - Q_q(t)) / Q_q(t); NaN where the true quantile is 0 or less."""
    true = quantile(t, bins, q)
    return np.asarray(quantile_error(p, t, bins, q) / np.where(true > 0, true, np.nan))


def share_at_least(counts: Array, bins: Bins, threshold: Array | float) -> Array:
    """P(X >= threshold) for thresholds (...), exact where one is an edge.

    At 0 of `log2` bins it is P(X > 0), what exceeds the dry mass. NaN where the threshold is NaN
    or lies in an open bin that is not empty.
    """
    counts = _checked(counts, bins)
    threshold = np.broadcast_to(np.asarray(threshold, np.float64), counts.shape[:-1])[..., None]
    b = np.clip(np.searchsorted(bins.edges, threshold, side="right") - 1, 0, len(bins) - 1)
    inside = np.take_along_axis(counts, b, axis=-1)
    upto = np.take_along_axis(counts.cumsum(axis=-1), b, axis=-1)
    with np.errstate(invalid="ignore"):
        part = (bins.edges[b + 1] - threshold) / np.diff(bins.edges)[b] * inside
    part = np.where(_is_open(bins)[b], np.where(inside > 0, np.nan, 0.0), part)
    if bins.kind == "log2":
        part = np.where(b == 0, inside, part)
    total = counts.sum(axis=-1, keepdims=True)
    above = _share(total - upto + part, total)
    return np.asarray(np.where(np.isnan(threshold), np.nan, above)[..., 0])


def wet_fraction(counts: Array, bins: Bins, threshold: float = 0.1) -> Array:
    """Share of cells at or above the threshold: wet ones, for precipitation in the task's unit.

    Interpolated inside the threshold's bin; exact where it is an edge.
    """
    return share_at_least(counts, bins, threshold)


def exceeding_cases(case_maxima: Array, value: Array) -> NDArray[np.int64]:
    """How many cases' largest truth exceeds a value (...); case_maxima: (..., cases).

    A case without a truth has NaN and never counts.
    """
    return np.asarray((np.asarray(case_maxima) > np.asarray(value)[..., None]).sum(axis=-1))


def enough(exceeding_cells: Array, exceeding_cases: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a quantile is shown: at least 100 cells in at least 10 cases exceed the true one.

    exceeding_cells: `share_at_least` of the truth's quantile times the cells with a truth.
    """
    cells, cases = np.asarray(exceeding_cells), np.asarray(exceeding_cases)
    return np.asarray((cells >= MIN_CELLS) & (cases >= MIN_CASES))


def wasserstein_1(p: Array, t: Array, bins: Bins) -> Array:
    """W1 = integral |F_p(x) - F_t(x)| dx, in the variable's unit; 0 is perfect.

    The cumulative distributions are linear inside bins; where they cross within one, the two
    triangles are summed. Values at or below 0 in `log2` bins lie at 0. NaN where either
    distribution reaches into an open bin: how far is not known.
    Source: Villani 2003, Topics in Optimal Transportation, sect. 2.2.
    """
    share_p, share_t = (_shares(counts, bins) for counts in (p, t))
    gap = share_p - share_t
    right = gap.cumsum(axis=-1)
    left = right - gap
    size = abs(left) + abs(right)
    triangles = (left**2 + right**2) / np.where(size > 0, size, 1.0)
    widths = np.where(np.isinf(np.diff(bins.edges)), 0.0, np.diff(bins.edges))
    area = np.where(left * right >= 0, size, triangles) / 2 * widths
    outside = ((share_p + share_t) * _is_open(bins)).sum(axis=-1)
    return np.asarray(np.where(outside > 0, np.nan, area.sum(axis=-1)))


def perkins(p: Array, t: Array, bins: Bins) -> Array:
    """Perkins skill score sum_g min(share_p, share_t); 1 is perfect, 0 is no overlap.

    g runs over groups of bins (`Bins.groups`: a quarter of an octave, or 1 in the variable's unit;
    the dry mass is one), because in narrow bins two samples of one distribution hardly overlap.
    The value depends on them. Source: Perkins et al. 2007, doi 10.1175/JCLI4253.1.
    """
    share_p, share_t = (
        np.add.reduceat(_shares(counts, bins), bins.groups, axis=-1) for counts in (p, t)
    )
    return np.asarray(np.minimum(share_p, share_t).sum(axis=-1))


def ganvsdiffusion_lhd(p: Array, t: Array, bins: Bins) -> Array:
    """Log histogram distance sqrt(mean_i (10 log10 g_t,i / g_p,i)^2) in dB; 0 is perfect.

    Only for precipitation in mm d-1: g are shares of all cells in bins i above 1 mm d-1 in which
    p and t have 10 cells each, so p and t are numbers of cells, not areas. NaN without such a bin.

    Published with 2512.13987 (an intercomparison of generative methods, New Zealand). Its bins are
    not stated and its code was not seen: a quarter of an octave here (`Bins.groups`). Nor is it
    stated which of the two must have 10 counts; both, here, so that the logarithm exists. Values
    therefore compare models with one another, not with the paper.
    """
    starts = bins.edges[bins.groups]
    if bins.kind != "log2" or 1.0 not in starts:
        got = f"{bins.kind} bins from {bins.low} to {bins.high}"
        fix = "Keep to precipitation in mm d-1."
        raise InputError(Problem("bins", "log2 bins with the edge 1 mm d-1", got, fix))
    g_p, g_t = (np.add.reduceat(_checked(c, bins), bins.groups, axis=-1) for c in (p, t))
    kept = (g_p >= LHD_COUNTS) & (g_t >= LHD_COUNTS)
    kept &= starts >= 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = g_t / g_t.sum(axis=-1, keepdims=True) / (g_p / g_p.sum(axis=-1, keepdims=True))
        squares = np.where(kept, (10 * np.log10(ratio)) ** 2, 0.0)
    count = kept.sum(axis=-1)
    return np.asarray(np.sqrt(squares.sum(axis=-1) / np.where(count > 0, count, np.nan)))


def _checked(counts: Array, bins: Bins) -> Array:
    counts = np.asarray(counts, dtype=np.float64)
    if counts.shape[-1] != len(bins):
        got, fix = f"{counts.shape[-1]}", "Count with the bins that are passed."
        raise InputError(Problem("counts, last axis", f"{len(bins)} bins", got, fix))
    return counts


def _shares(counts: Array, bins: Bins) -> Array:
    counts = _checked(counts, bins)
    return _share(counts, counts.sum(axis=-1, keepdims=True))


def _share(part: Array, total: Array) -> Array:
    return np.asarray(part / np.where(total > 0, total, np.nan))


def _is_open(bins: Bins) -> NDArray[np.bool_]:
    """(n,) bins without a finite width, in which nothing is known but the count."""
    is_open = np.isinf(np.diff(bins.edges))
    if bins.kind == "log2":
        is_open[0] = False  # the dry mass lies at 0
    return np.asarray(is_open)
