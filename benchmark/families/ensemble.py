"""Ensemble statistics of members x_1..x_M against the truth t."""

import numpy as np

from benchmark.families.base import Array, Statistic, Step, cell_sums

STATISTICS = (
    Statistic("member_abs_error", "ensemble", "mean_m |x_m - t|"),
    Statistic("pair_spread", "ensemble", "sum_{i<j} |x_i - x_j|"),
    Statistic("member_variance", "ensemble", "sum_m (x_m - p)^2 / (M - 1); 0 for M = 1"),
    Statistic(
        "rank_weight",
        "ensemble",
        "share of the truth's rank among the members, ties evenly",
        ranks=True,
    ),
)


def reduce(step: Step) -> dict[str, Array]:
    """(strata,) sums, and (strata, M + 1) for the ranks."""
    members, truth = step.members, step.truth
    count = len(members)
    ranked = np.sort(members, axis=0)
    # sum_{i<j} |x_i - x_j| of sorted members: the k-th smallest is counted 2k - M - 1 times.
    factors = 2 * np.arange(1, count + 1) - count - 1
    spread = (factors[:, None, None] * ranked).sum(axis=0)
    variance = members.var(axis=0, ddof=1) if count > 1 else np.zeros_like(truth)
    return {
        "member_abs_error": cell_sums(step, abs(members - truth).mean(axis=0)),
        "pair_spread": cell_sums(step, spread),
        "member_variance": cell_sums(step, variance),
        "rank_weight": _ranks(step),
    }


def _ranks(step: Step) -> Array:
    """A truth that ties with n members is spread evenly over the n + 1 ranks it could have."""
    below = (step.members < step.truth).sum(axis=0)
    ties = (step.members == step.truth).sum(axis=0)
    shares = [
        np.where((below <= rank) & (rank <= below + ties), 1.0 / (ties + 1), 0.0)
        for rank in range(len(step.members) + 1)
    ]
    return np.stack([cell_sums(step, share) for share in shares], axis=1)
