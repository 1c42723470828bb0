"""Two scored models against each other: paired differences, region by region, with intervals."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import InputError, Problem
from benchmark.metrics import BOARDS, board_score
from benchmark.results import SCORES, Scores, read_row
from benchmark.skill import Contrast, as_gap, contrast
from benchmark.task import TEST_SPLITS, Split, load_task


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
    def interval(self) -> tuple[float, float] | None:
        """Of the change, when days are resampled; for new regions where that cannot be made."""
        claim = self.result.these_regions or self.result.new_regions
        return None if claim is None else (as_gap(claim[0]), as_gap(claim[1]))

    def is_worse(self, tolerance: float) -> bool:
        """Worse by more than `tolerance`, beyond doubt where an interval says so."""
        beyond = self.change > tolerance
        return beyond and (self.interval is None or self.interval[0] > 0)


def compare(old: Path, new: Path) -> list[Difference]:
    """Every board, variable and test split of two score folders (or their scores.json).

    Errors: InputError when they are not of the same release, task and data.
    """
    (old_scores, old_cases, _), (new_scores, new_cases, _) = (
        read_row(folder) for folder in (_folder(old), _folder(new))
    )
    _same_ground(old_scores, new_scores, new)
    task = load_task(new_scores.task.partition("@")[0])
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


def _same_ground(old: Scores, new: Scores, where: Path) -> None:
    problems = [
        Problem(
            f"{where}: {name}", f"{getattr(old, name)}, as in the old scores",
            str(getattr(new, name)), "Score both models with one release on one pair store.",
        )
        for name in ("release", "task", "data_hash")
        if getattr(old, name) != getattr(new, name)
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
