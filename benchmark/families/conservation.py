"""How far predictions are from the coarse input, and from the coarsened truth.

On the perfect-model track the coarse input is the coarsened truth, and a residual violates a
constraint; on real pairs both residuals only describe.
"""

import numpy as np

from benchmark.families.base import Array, Statistic, Step, cell_sums

STATISTICS = (
    Statistic("residual_abs", "conservation", "mean_m |A x_m - x|", "block"),
    Statistic("residual_squared", "conservation", "mean_m (A x_m - x)^2", "block"),
    Statistic("truth_residual_abs", "conservation", "mean_m |A x_m - A t|", "whole_block"),
    Statistic("truth_residual_squared", "conservation", "mean_m (A x_m - A t)^2", "whole_block"),
    Statistic("negative", "conservation", "share of members with x_m < 0"),
    Statistic("residual_max", "conservation", "max over m, blocks |A x_m - x|", "none", "max"),
    Statistic("coarse_max", "conservation", "max over blocks |x|", "none", "max"),
)


def reduce(step: Step) -> dict[str, Array]:
    """Scalars over blocks (no strata), and (strata,) sums of `negative`."""
    coarsened = step.overlap(step.members)
    residual = coarsened - step.coarse
    against_truth = coarsened - step.overlap(step.truth)
    whole_area = np.where(step.whole, step.block_area, 0.0)
    return {
        "residual_abs": _block_sum(step.block_area, abs(residual)),
        "residual_squared": _block_sum(step.block_area, residual**2),
        "truth_residual_abs": _block_sum(whole_area, abs(against_truth)),
        "truth_residual_squared": _block_sum(whole_area, against_truth**2),
        "negative": cell_sums(step, (step.members < 0).mean(axis=0)),
        "residual_max": np.asarray(abs(residual).max()),
        "coarse_max": np.asarray(abs(step.coarse).max()),
    }


def _block_sum(area: Array, fields: Array) -> Array:
    """sum over blocks of area times the mean over members."""
    return np.asarray((area * fields.mean(axis=0)).sum())
