"""Rows that failed: a region without a score, or one beyond all measure.

Such a row is shown, as failed; nothing that stands for another row may depend on it.
"""

import numpy as np

from benchmark.metrics import BOARDS, board_score
from leaderboard.contrasts import region_names, score
from leaderboard.rows import Group, TaskRows

FAILED = 100.0
"""A score of more than this many times the reference's, in one region and seed, is a failure."""


def failed_in(rows: TaskRows, group: Group, board: str, variable: str) -> tuple[str, ...]:
    """The test regions in which some seed of a row failed, on one board and variable.

    There S is not finite although the reference's is, or S > FAILED S_ref. A region where the
    reference has no error or no score says nothing.
    """
    own, (reference_score, reference) = board_score(board, group.card.members), BOARDS[board]
    regions = region_names(rows.task, "test_id") + region_names(rows.task, "test_ood")
    base = score(rows.reference(reference), reference_score, variable, regions)
    mine = np.stack([score(row, own, variable, regions) for row in group.rows])
    # NaN is not below anything.
    failed = ~(mine <= FAILED * base).all(axis=0)
    known = np.isfinite(base) & (base > 0)
    return tuple(name for name, is_one in zip(regions, failed & known, strict=True) if is_one)
