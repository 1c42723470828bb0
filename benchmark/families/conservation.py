"""How far predictions are from the coarse input, and from the coarsened truth.

On the perfect-model track the coarse input is the coarsened truth, and a residual violates a
constraint; on real pairs both residuals only describe.
"""

import numpy as np

from benchmark.coarsen import AreaOverlap
from benchmark.engine import compiled
from benchmark.families.base import Array, Field, Slab, Statistic, Sums

STATISTICS = (
    Statistic("residual_abs", "conservation", "mean_m |A x_m - x|", "block"),
    Statistic("residual_squared", "conservation", "mean_m (A x_m - x)^2", "block"),
    Statistic("truth_residual_abs", "conservation", "mean_m |A x_m - A t|", "whole_block"),
    Statistic("truth_residual_squared", "conservation", "mean_m (A x_m - A t)^2", "whole_block"),
    Statistic("mismatch_abs", "conservation", "|A t - x|: the task's own mismatch", "whole_block"),
    Statistic("residual_max", "conservation", "max over m, blocks |A x_m - x|", "none", "max"),
    Statistic("coarse_max", "conservation", "max over blocks |x|", "none", "max"),
)

COLUMNS = (
    "block_weight", "whole_block_weight", "residual_abs", "residual_squared",
    "truth_residual_abs", "truth_residual_squared", "mismatch_abs",
)  # fmt: skip
"""The sums of a step in the order of the compiled kernel."""


def reduce(slab: Slab) -> Sums:
    """(T,) sums over blocks and members, times the blocks' areas; a missing truth makes a block
    incomplete, so that it counts only where the coarse input is compared.
    """
    domain = slab.domain
    if not domain.conserves:
        names = (*COLUMNS, "residual_max", "coarse_max")
        return {name: np.zeros(len(slab.truth)) for name in names}
    sums, largest = residuals(
        slab.members, slab.truth, slab.coarse, overlap=domain.overlap, area=domain.coarse_area
    )
    named = {name: sums[:, k] for k, name in enumerate(COLUMNS)}
    return named | {"residual_max": largest[:, 0], "coarse_max": largest[:, 1]}


def residuals(
    members: Field, truth: Field, coarse: Field, *, overlap: AreaOverlap, area: Array
) -> tuple[Array, Array]:
    """((T, 7) sums in the order of COLUMNS, (T, 2) max |A x - coarse| and max |coarse|).

    members: (T, M, ny, nx); truth: (T, ny, nx), NaN where missing; coarse: (T, Ny, Nx); float32,
    C-contiguous. area: (Ny, Nx) weights of the blocks.
    """
    if compiled():
        from benchmark.kernels import conservation

        return conservation.residuals(members, truth, coarse, overlap, area)
    sums, largest = np.zeros((len(truth), len(COLUMNS))), np.zeros((len(truth), 2))
    for k in range(len(truth)):
        blocks, true_blocks = overlap(members[k]), overlap(truth[k])
        whole = np.isfinite(true_blocks)
        whole_area = np.where(whole, area, 0.0)
        known = np.where(whole, true_blocks, 0.0)
        from_coarse, from_truth = abs(blocks - coarse[k]), abs(blocks - known)
        sums[k] = [
            area.sum(),
            whole_area.sum(),
            (area * from_coarse.mean(axis=0)).sum(),
            (area * (from_coarse**2).mean(axis=0)).sum(),
            (whole_area * from_truth.mean(axis=0)).sum(),
            (whole_area * (from_truth**2).mean(axis=0)).sum(),
            (whole_area * abs(known - coarse[k])).sum(),
        ]
        largest[k] = from_coarse.max(), abs(coarse[k]).max()
    return sums, largest
