"""Threshold statistics: exceedance, reliability, and the threshold-weighted CRPS."""

from collections.abc import Sequence

import numpy as np

from benchmark.families.base import Array, Statistic, Sums
from benchmark.families.ensemble import mean, pair_spread
from benchmark.families.lanes import Lanes, Ops

STATISTICS = (
    Statistic("event_p", "events", "f, share of members with x_m >= u", dims=("threshold",)),
    Statistic("event_t", "events", "o, 1 where t >= u", dims=("threshold",)),
    Statistic("event_pt", "events", "f o", dims=("threshold",)),
    Statistic("event_pp", "events", "f^2", dims=("threshold",)),
    Statistic("tw_abs_error", "events", "mean_m |v(x_m) - v(t)|, v = max(., u)",
              dims=("threshold",)),
    Statistic("tw_pair_spread", "events", "sum_{i<j} |v(x_i) - v(x_j)|", dims=("threshold",)),
    Statistic("reliability", "events", "1 where M f = j", dims=("threshold", "rank"),
              keep="period"),
    Statistic("reliability_event", "events", "o where M f = j", dims=("threshold", "rank"),
              keep="period"),
)  # fmt: skip


def threshold_weighted(
    members: Sequence[Lanes], t: Lanes, u: Lanes, ops: Ops
) -> tuple[Lanes, Lanes]:
    """(mean_m |v(x_m) - v(t)|, sum_{i<j} |v(x_i) - v(x_j)|), v(x) = max(x, u), float64.

    members: ascending, float32. v is monotonic, so the order of the members is that of v(x).
    Differences are float32, right to 1e-7 of themselves at a cell; sums over cells are float64.
    Ref: Allen et al. 2023, doi 10.1137/22M1532184.
    """
    chained = [ops.greater(member, u) for member in members]
    truth = ops.greater(t, u)
    spread = pair_spread(chained) if len(chained) > 1 else truth - truth
    return ops.wide(mean([abs(member - truth) for member in chained])), ops.wide(spread)


def from_tables(reliability: Array, weighted: Array) -> Sums:
    """The statistics from (T, J, 2, M + 1) reliability tables and (T, J, 2) weighted sums."""
    size = reliability.shape[-1] - 1
    share = np.arange(size + 1) / size
    forecasts, hits = reliability.sum(axis=2), reliability[:, :, 1]
    return {
        "event_p": (forecasts * share).sum(axis=-1),
        "event_t": hits.sum(axis=-1),
        "event_pt": (hits * share).sum(axis=-1),
        "event_pp": (forecasts * share**2).sum(axis=-1),
        "tw_abs_error": weighted[..., 0],
        "tw_pair_spread": weighted[..., 1],
        "reliability": forecasts,
        "reliability_event": hits,
    }
