"""Log-ratios of two rows over the regions of a split, averaged over their seeds.

The arithmetic is `benchmark.skill`; here several seeds count as one row, which is one mean more:
ln S of a region is the mean over seeds of ln S, for the days as they are and for each draw of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.distance import cluster_labels
from benchmark.inference import FEWEST_BLOCKS
from benchmark.metrics import BOARDS, board_score
from benchmark.skill import Contrast, LogScores, blocks_of, contrast_of, resampled_log_scores
from benchmark.task import TEST_SPLITS, Split, Task
from leaderboard.rows import Group, Row, TaskRows

Array = NDArray[np.float64]
BySplit = dict[Split, LogScores]


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


def log_scores(task: Task, split: Split, variable: str, row: Row, name: str) -> LogScores:
    """ln S of one seed in each region of a split."""
    regions = region_names(task, split)
    with np.errstate(divide="ignore"):
        points = np.log(score(row, name, variable, regions))
    return LogScores(points, resampled_log_scores(task, row.cases, name, variable, regions))


def between(task: Task, split: Split, row: Row, mine: LogScores, other: LogScores) -> Contrast:
    """ln(S / S_other) over the regions of a split; row: any, as all share their cases.

    One seed gives exactly `benchmark.skill.contrast`.
    """
    regions, labels = region_names(task, split), clusters(task, split)
    return contrast_of(regions, labels, mine - other, blocks=blocks_of(task, row.cases))


def has_blocks(task: Task, row: Row) -> bool:
    """Whether the cases span enough blocks of days for a claim about these regions."""
    return blocks_of(task, row.cases) >= FEWEST_BLOCKS


@dataclass(frozen=True, eq=False)
class BoardLogs:
    """ln S of every row on one board for one variable, computed once for all comparisons.

    seeds: by slug and seed; groups: by slug, the mean over seeds.
    """

    rows: TaskRows
    board: str
    variable: str
    seeds: dict[str, dict[int, BySplit]]
    groups: dict[str, BySplit]

    @classmethod
    def of(cls, rows: TaskRows, board: str, variable: str) -> "BoardLogs":
        """From the case tables of all rows."""
        seeds = {
            group.slug: {
                row.seed: {
                    split: log_scores(rows.task, split, variable, row, score_of(group, board))
                    for split in TEST_SPLITS
                }
                for row in group.rows
            }
            for group in rows.groups
        }
        means = {
            slug: {
                split: LogScores.mean([logs[split] for logs in found.values()])
                for split in TEST_SPLITS
            }
            for slug, found in seeds.items()
        }
        return cls(rows, board, variable, seeds, means)

    @property
    def reference(self) -> BySplit:
        """Of the null that skill is measured against."""
        name = BOARDS[self.board][1]
        return self.groups[next(g.slug for g in self.rows.nulls if g.card.model == name)]

    def skill(self, slug: str, split: Split) -> Contrast:
        """A row against the board's reference."""
        return self.between(self.groups[slug][split], self.reference[split], split)

    def between(self, mine: LogScores, other: LogScores, split: Split = "test_ood") -> Contrast:
        """ln(S / S_other) of two rows, or of two means over some of their seeds."""
        return between(self.rows.task, split, self.rows.groups[0].rows[0], mine, other)


def score_of(group: Group, board: str) -> str:
    """The metric that a row is scored by on a board."""
    return board_score(board, group.card.members)
