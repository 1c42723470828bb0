"""Ensemble statistics of members x_1..x_M against the truth t."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmark.engine import compiled
from benchmark.families.base import Array, Field, Statistic
from benchmark.families.lanes import ArrayOps, Lanes, Ops, add_up, rank

FORMULAS = {
    "member_abs_error": "mean_m |x_m - t|",
    "pair_spread": "sum_{i<j} |x_i - x_j|",
    "member_variance": "sum_m (x_m - p)^2 / (M - 1); 0 for M = 1",
    "negative": "share of members with x_m < 0",
}

RANKS = Statistic(
    "rank_weight", "ensemble", "share of the truth's rank among the members, ties evenly",
    dims=("rank",), strata=True,
)  # fmt: skip

STATISTICS = (
    *(Statistic(name, "ensemble", formula, strata=True) for name, formula in FORMULAS.items()),
    RANKS,
)


def mean(wide: Sequence[Lanes]) -> Lanes:
    """The ensemble mean p of float64 members."""
    return add_up(wide) * (1.0 / len(wide)) if len(wide) > 1 else wide[0]


def ensemble(
    members: Sequence[Lanes], ranked: Sequence[Lanes], p: Lanes, t: Lanes, ops: Ops
) -> dict[str, Lanes]:
    """The four statistics at every cell; members, ranked: float32; p, t: float64 lanes."""
    count = len(members)
    wide = [ops.wide(member) for member in members]
    variance = p - p
    if count > 1:
        deviations = [member - p for member in wide]
        variance = add_up([d * d for d in deviations]) * (1.0 / (count - 1))
    return {
        "member_abs_error": mean([abs(member - t) for member in wide]),
        "pair_spread": pair_spread([ops.wide(member) for member in ranked]) if count > 1 else p - p,
        "member_variance": variance,
        "negative": ops.number(ops.count([member < 0.0 for member in members])) * (1.0 / count),
    }


def pair_spread(ranked: Sequence[Lanes]) -> Lanes:
    """sum_{i<j} |x_i - x_j| of at least two ascending float64 members.

    The k-th pair from the outside is M + 1 - 2k times in the sum; differences of members are
    taken first, so nothing cancels.
    """
    count = len(ranked)
    return add_up(
        [(ranked[count - 1 - k] - ranked[k]) * float(count - 1 - 2 * k) for k in range(count // 2)]
    )


def ties_and_below(members: Sequence[Lanes], t: Lanes, ops: Ops) -> tuple[Lanes, Lanes]:
    """(members below the truth, members equal to it), int32, from float32 lanes."""
    below = ops.count([member < t for member in members])
    return below, ops.count([ops.equal(member, t) for member in members])


def crps_sums(
    members: Field, truth: Field, weights: Array, ends: NDArray[np.int64] | None = None
) -> Array:
    """(T, segments, 3) weighted sums: mean_m |x_m - t|, weight, sum_{i<j} |x_i - x_j|.

    members: (T, M, N); truth: (T, N), NaN where missing, which counts nowhere; float32,
    C-contiguous; weights: (N,) float64. ends: where segments of the N cells end, after a leading
    0; one segment by default. The fair and the ecdf CRPS follow from the three.
    """
    ends = np.array([0, truth.shape[1]]) if ends is None else ends
    if compiled():
        from benchmark.kernels import crps

        return crps.crps_sums(members, truth, weights, ends)
    sums = np.zeros((len(truth), len(ends) - 1, 3))
    for k in range(len(truth)):
        for segment, (start, stop) in enumerate(pairwise(ends)):
            cells = slice(start, stop)
            sums[k, segment] = _crps_terms(members[k, :, cells], truth[k, cells], weights[cells])
    return sums


def _crps_terms(members: Field, t: Field, weights: Array) -> tuple[float, float, float]:
    valid = np.isfinite(t)
    weight = np.where(valid, weights, 0.0)
    known = np.where(valid, t, np.float32(0)).astype(np.float64)
    distance = mean([abs(member.astype(np.float64) - known) for member in members])
    spread = 0.0 * known
    if len(members) > 1:
        spread = pair_spread([m.astype(np.float64) for m in rank(list(members), ArrayOps())])
    return (weight * distance).sum(), weight.sum(), (weight * spread).sum()
