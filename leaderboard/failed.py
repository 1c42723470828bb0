"""Rows that failed: a region without a score, or one beyond all measure.

Such a row is shown, as failed; nothing that stands for another row may depend on it.
"""

import numpy as np

from benchmark.metrics import BOARDS, board_score
from benchmark.skill import failed
from leaderboard.contrasts import region_names, score
from leaderboard.rows import Group, TaskRows


def failed_in(rows: TaskRows, group: Group, board: str, variable: str) -> tuple[str, ...]:
    """The test regions in which some seed of a row failed, on one board and variable."""
    own, (reference_score, reference) = board_score(board, group.card.members), BOARDS[board]
    regions = region_names(rows.task, "test_id") + region_names(rows.task, "test_ood")
    base = score(rows.reference(reference), reference_score, variable, regions)
    mine = np.stack([score(row, own, variable, regions) for row in group.rows])
    where = failed(mine, base)
    return tuple(name for name, is_one in zip(regions, where, strict=True) if is_one)
