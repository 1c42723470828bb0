"""Two scored models against each other: paired differences, region by region, with intervals."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import InputError
from benchmark.metrics import BOARDS, board_score
from benchmark.results import (
    SCORES,
    check_board_sums,
    check_same_ground,
    contract_problems,
    read_row,
)
from benchmark.skill import Contrast, as_gap, contrast
from benchmark.task import TEST_SPLITS, Split
from benchmark.task_files import contract_of

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """ln(S_new / S_old) on one board, for one variable and split."""

    board: str
    variable: str
    split: Split
    metric: str
    result: Contrast

    @property
    def change(self) -> float:
        """By which share the new score is larger (worse)."""
        return as_gap(self.result.mean)

    @property
    def these_regions(self) -> Interval | None:
        """Of the change, when days are resampled."""
        return _changes(self.result.these_regions)

    @property
    def new_regions(self) -> Interval | None:
        """Of the change, for regions like these."""
        return _changes(self.result.new_regions)

    @property
    def interval(self) -> Interval | None:
        """What decides: the claim about these regions; about new ones where that is missing."""
        return self.these_regions or self.new_regions

    @property
    def resolvable(self) -> float | None:
        """The smallest change that the deciding interval finds in four worlds of five."""
        error = self.result.days_error or self.result.regions_error
        return None if error is None else as_gap(error.resolvable())

    def is_worse(self, tolerance: float) -> bool:
        """Worse by more than `tolerance`, beyond doubt where an interval says so."""
        beyond = self.change > tolerance
        return beyond and (self.interval is None or self.interval[0] > 0)


def _changes(log_ratios: Interval | None) -> Interval | None:
    return None if log_ratios is None else (as_gap(log_ratios[0]), as_gap(log_ratios[1]))


def compare(old: Path, new: Path) -> list[Difference]:
    """Every board, variable and test split of two score folders (or their scores.json).

    Errors: InputError when they are not of the same release, task, contract and data, or where a
    case table lacks a sum that a board's score needs.
    """
    (old_scores, old_cases, old_totals), (new_scores, new_cases, new_totals) = (
        read_row(folder) for folder in (_folder(old), _folder(new))
    )
    problems = [
        *check_board_sums(_folder(old), old_cases, old_totals),
        *check_board_sums(_folder(new), new_cases, new_totals),
    ]
    if problems:
        raise InputError(problems)
    check_same_ground(old_scores, new_scores, new, against="as in the old scores")
    problems = contract_problems(_folder(old), _folder(new), new_scores.task)
    if problems:
        raise InputError(problems)
    task = contract_of(_folder(new), new_scores.task)
    differences = []
    for board in BOARDS:
        old_metric = board_score(board, old_scores.model.members)
        new_metric = board_score(board, new_scores.model.members)
        for variable in task.variable_names:
            for split in TEST_SPLITS:
                result = contrast(
                    task, split, variable, (new_cases, new_metric), (old_cases, old_metric)
                )
                differences.append(Difference(board, variable, split, new_metric, result))
    return differences


def _folder(path: Path) -> Path:
    return path.parent if path.name == SCORES else path
