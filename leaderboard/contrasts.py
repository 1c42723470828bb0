"""Log-ratios of two rows over the regions of a split, averaged over their seeds.

The arithmetic is `benchmark.skill.contrast`; here several seeds count as one row, which is one
mean more: ln S of a region is the mean over seeds of ln S.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.geometry import cluster_labels
from benchmark.inference import FEWEST_BLOCKS, new_regions_interval
from benchmark.skill import Contrast, contrast
from benchmark.task import Split, Task
from leaderboard.rows import Row

Array = NDArray[np.float64]
Pair = tuple[tuple[Row, str], tuple[Row, str]]
"""((row, metric), (other row, metric))."""


def region_names(task: Task, split: Split) -> tuple[str, ...]:
    """The regions of a split, sorted."""
    return tuple(region.name for region in task.regions_of(split))


@cache
def clusters(task: Task, split: Split) -> tuple[int, ...]:
    """The cluster of each region of a split; computed once, since distances are slow."""
    return tuple(cluster_labels(task.regions_of(split), within_km=task.cluster_km))


def score(row: Row, name: str, variable: str, regions: Sequence[str]) -> Array:
    """(region,) values of a metric's entry; NaN where it is missing."""
    return row.numbers[variable][name][[row.regions.index(region) for region in regions]]


def between(task: Task, split: Split, variable: str, pairs: Sequence[Pair]) -> Contrast:
    """ln(S / S_other) over the regions of a split, the mean over pairs of rows (one a seed).

    One pair gives exactly `benchmark.skill.contrast`. The interval over new regions is that of
    the mean; with several pairs the one over days spans the seeds' own intervals (the widest
    claim), and is None where any of them is.
    """
    regions = region_names(task, split)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.mean(
            [
                np.log(score(*mine, variable, regions) / score(*other, variable, regions))
                for mine, other in pairs
            ],
            axis=0,
        )
    labels = clusters(task, split)
    return Contrast(
        regions=regions,
        log_ratios=tuple(float(ratio) for ratio in ratios),
        clusters=len(set(labels)),
        these_regions=_these_regions(task, split, variable, pairs),
        new_regions=new_regions_interval(np.asarray(ratios), labels),
    )


def has_blocks(task: Task, row: Row) -> bool:
    """Whether the cases span enough blocks of days for a claim about these regions."""
    days = np.unique(row.cases["case"].values.astype("datetime64[D]"))
    return len(days) >= FEWEST_BLOCKS * task.block_days


def _these_regions(
    task: Task, split: Split, variable: str, pairs: Sequence[Pair]
) -> tuple[float, float] | None:
    if not all(has_blocks(task, mine[0]) for mine, _ in pairs):
        return None
    intervals = [
        contrast(
            task, split, variable, (mine[0].cases, mine[1]), (other[0].cases, other[1])
        ).these_regions
        for mine, other in pairs
    ]
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(intervals):
        return None
    return min(low for low, _ in known), max(high for _, high in known)
