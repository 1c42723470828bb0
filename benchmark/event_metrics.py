"""Scores of threshold exceedance, from means over cells: contingency, Brier, reliability.

An event is a value at or above the threshold u. With M members, i of which are at or above u, the
predicted share is i / M and the truth's is 0 or 1; <.> is the area-weighted mean over cells and
times, all cells with a truth. Every function takes arrays of one shape (or that broadcast) and
returns that shape; NaN where an argument is NaN, as the mean over no cell is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NOTHING = 1e-13
"""Shares below this are rounding: one cell of 1e12 is more."""


class Contingency(NamedTuple):
    """The 2 x 2 table as shares that add up to 1, members pooled: each is a forecast of its own."""

    hits: Array
    false_alarms: Array
    misses: Array
    correct_negatives: Array


class Reliability(NamedTuple):
    """The Murphy decomposition: Brier score = reliability - resolution + uncertainty."""

    reliability: Array
    resolution: Array
    uncertainty: Array


def contingency(f: Array, o: Array, fo: Array) -> Contingency:
    """The table of f = <i / M>, o = <truth at or above u> and fo = <the product of both>."""
    f, o, fo = (np.asarray(mean, dtype=np.float64) for mean in (f, o, fo))
    return Contingency(fo, f - fo, o - fo, 1 - f - o + fo)


def csi(f: Array, o: Array, fo: Array) -> Array:
    """Critical success index (threat score): hits / (hits + false alarms + misses).

    1 is perfect. NaN where neither truth nor prediction has an event. Source: Wilks, Statistical
    Methods in the Atmospheric Sciences, ch. 9.
    """
    table = contingency(f, o, fo)
    return _ratio(table.hits, table.hits + table.false_alarms + table.misses)


def ets(f: Array, o: Array, fo: Array) -> Array:
    """Equitable threat score (Gilbert): (hits - r) / (hits + false alarms + misses - r).

    r = f o is the share of hits by chance. 1 is perfect, 0 is chance. NaN where neither has an
    event, or both have it everywhere. Source: Wilks, ch. 9.
    """
    table = contingency(f, o, fo)
    chance = (table.hits + table.false_alarms) * (table.hits + table.misses)
    events = table.hits + table.false_alarms + table.misses
    return _ratio(table.hits - chance, events - chance)


def hss(f: Array, o: Array, fo: Array) -> Array:
    """Heidke skill score: 2 (ad - bc) / ((a + c)(c + d) + (a + b)(b + d)).

    a hits, b false alarms, c misses, d correct negatives. 1 is perfect, 0 is chance. NaN where
    neither has an event, or both have it everywhere. Source: Wilks, ch. 9.
    """
    a, b, c, d = contingency(f, o, fo)
    return _ratio(2 * (a * d - b * c), (a + c) * (c + d) + (a + b) * (b + d))


def frequency_bias(f: Array, o: Array) -> Array:
    """(hits + false alarms) / (hits + misses) = f / o; 1 is unbiased. NaN where o is 0.

    Source: Wilks, ch. 9.
    """
    return _ratio(np.asarray(f, dtype=np.float64), np.asarray(o, dtype=np.float64))


def brier(f: Array, o: Array, fo: Array, ff: Array) -> Array:
    """Brier score <(i / M - o)^2> = ff - 2 fo + o, ff = <(i / M)^2>; 0 is perfect.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    f, o, fo, ff = (np.asarray(mean, dtype=np.float64) for mean in (f, o, fo, ff))
    return np.where(np.isnan(f), np.nan, ff - 2 * fo + o)


def brier_fair(f: Array, o: Array, fo: Array, ff: Array, *, members: int) -> Array:
    """Fair Brier score <(i / M - o)^2 - i (M - i) / (M^2 (M - 1))> = Brier - (f - ff) / (M - 1).

    What the Brier score of the same model would be with ever more members, on average, if they
    are exchangeable; it may be negative. One member is a point forecast: its Brier score.
    Source: Ferro 2014, doi 10.1002/qj.2270.
    """
    score = brier(f, o, fo, ff)
    return score if members == 1 else score - (np.asarray(f) - ff) / (members - 1)


def brier_skill(score: Array, o: Array) -> Array:
    """1 - Brier / (o (1 - o)): skill over the sample's own climatology. NaN where o is 0 or 1.

    Source: Wilks, ch. 9.
    """
    o = np.asarray(o, dtype=np.float64)
    return 1 - _ratio(np.asarray(score, dtype=np.float64), o * (1 - o))


def reliability_curve(forecasts: Array, events: Array) -> tuple[Array, Array]:
    """The reliability diagram: predicted shares j / M (M + 1,), observed shares (..., M + 1).

    forecasts: (..., M + 1) weight of cells where j of the M members are at or above u; events: of
    those where the truth is too. Observed shares are NaN for a j that was never forecast.
    Source: Wilks, ch. 9.
    """
    forecasts, events = np.asarray(forecasts, np.float64), np.asarray(events, np.float64)
    members = forecasts.shape[-1] - 1
    return np.arange(members + 1) / members, _over_positive(events, forecasts)


def murphy(forecasts: Array, events: Array) -> Reliability:
    """Reliability sum n_j (j/M - o_j)^2 / n, resolution sum n_j (o_j - o)^2 / n, o (1 - o).

    Arguments as in `reliability_curve`; n_j are the forecasts, o_j the observed shares, n and o
    those of all cells. Each of the M + 1 shares is a bin of its own, so that the decomposition is
    exact. Returns (...) each; NaN where n is 0. Source: Murphy 1973,
    doi 10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2.
    """
    forecasts, events = np.asarray(forecasts, np.float64), np.asarray(events, np.float64)
    predicted, observed = reliability_curve(forecasts, events)
    total = forecasts.sum(axis=-1)
    share = _over_positive(events.sum(axis=-1), total)
    observed = np.where(forecasts > 0, observed, predicted)  # of no weight in both sums

    def mean(squares: Array) -> Array:
        return _over_positive((forecasts * squares).sum(axis=-1), total)

    return Reliability(
        mean((predicted - observed) ** 2),
        mean((observed - share[..., None]) ** 2),
        share * (1 - share),
    )


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole of shares; NaN where the whole is nothing up to rounding."""
    return np.asarray(part / np.where(whole > _NOTHING, whole, np.nan))


def _over_positive(part: Array, whole: Array) -> Array:
    """part / whole of weights; NaN where there is no weight."""
    return np.asarray(part / np.where(whole > 0, whole, np.nan))
