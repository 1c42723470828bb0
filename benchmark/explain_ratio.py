"""What compares two rows: skill, paired gap, transfer regret, or any ratio of their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.distance import cluster_labels
from benchmark.errors import InputError, Problem
from benchmark.explain_means import Array, by_seed, values_of
from benchmark.explain_one import Explanation
from benchmark.explain_rows import ScoredRow, find_beside, oracles_beside, own_oracle
from benchmark.metric_table import lacking
from benchmark.metrics import BOARDS, board_score, metric
from benchmark.skill import (
    Contrast,
    LogScores,
    as_gap,
    as_skill,
    blocks_of,
    contrast_of,
    failed,
    region_scores,
    resampled_log_scores,
)
from benchmark.task import TEST_SPLITS, Task

COMPARED = ("skill", "gap", "regret")
"""Names that are no metrics: a board's score against its reference, the row's own oracle, and the
best oracle."""

FORMULA = (
    "r = exp(mean over regions, equal weight, of ln(S / S_other)), each ln S the mean over seeds; "
    "skill = 1 - r, gap and regret = r - 1"
)


@dataclass(frozen=True)
class Side:
    """One of the two rows: the folder and the score; seeds: {seed: {region: what S is made of}}."""

    row: str
    metric: str
    seeds: dict[int, dict[str, Explanation]]

    @property
    def log_scores(self) -> dict[int, Array]:
        """(region,) ln S of each seed; -inf for a score of 0, NaN for a missing one."""
        with np.errstate(divide="ignore"):
            logs = np.log(values_of(self.seeds))
        return dict(zip(self.seeds, logs, strict=True))

    @property
    def mean_scores(self) -> Array:
        """(region,) exp of the mean over seeds of ln S."""
        return np.asarray(np.exp(np.mean(list(self.log_scores.values()), axis=0)))


@dataclass(frozen=True)
class Ratio:
    """S / S_other over regions and seeds. shown: what the site shows of it, `skill` or `gap`.

    contrast: the log-ratio of each region, and both intervals of their mean where they can be
    made; clusters: which regions count as one for new regions; seed_logs: the mean log-ratio of
    each seed of the first row.
    """

    name: str
    variable: str
    place: str
    stratum: str
    formula: str
    shown: str
    mine: Side
    other: Side
    contrast: Contrast
    clusters: dict[str, int]
    seed_logs: dict[int, float]

    @property
    def ratio(self) -> float:
        """exp of the mean log-ratio."""
        return float(np.exp(self.contrast.mean))

    @property
    def value(self) -> float | None:
        """The skill, or the gap; None where it is missing."""
        value = self.shown_of(self.contrast.mean)
        return None if np.isnan(value) else value

    @property
    def seed_spread(self) -> float | None:
        """Standard deviation over seeds of what is shown; None for one seed."""
        values = [self.shown_of(log) for log in self.seed_logs.values()]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def resolvable(self) -> dict[str, float | None]:
        """By which share the scores must differ for each claim to tell them apart, in four worlds
        of five; a table prints the median over the pairs of a section's rows."""
        errors = {
            "these_regions": self.contrast.days_error,
            "new_regions": self.contrast.regions_error,
        }
        return {
            claim: None if error is None else as_gap(error.resolvable())
            for claim, error in errors.items()
        }

    def shown_of(self, log_ratio: float) -> float:
        """A log-ratio as what the site shows of it."""
        return as_gap(log_ratio) if self.shown == "gap" else as_skill(log_ratio)


def explain_ratio(
    row: ScoredRow,
    name: str,
    regions: Sequence[str],
    *,
    place: str,
    variable: str,
    stratum: str = "all",
    against: str | None = None,
    board: str | None = None,
) -> Ratio:
    """A row against another one, region by region and seed by seed.

    name: `skill`, `gap` or `regret` of a board (the primary one by default); or a metric, and
    against: a path, or a row beside this one. Each row's ln S is the mean over its seeds; a gap
    takes the seeds that both have.
    Errors: InputError where there is no such other row; for names as in `explain_one`.
    """
    row, other, mine_score, other_score = _both(row, name, variable, against, board)
    sides, logs = [], []
    for one, score in ((row, mine_score), (other, other_score)):
        seeds = by_seed(one, score, regions, variable=variable, stratum=stratum)
        side = Side(str(one.folder), score, seeds)
        sides.append(side)
        logs.append(_log_scores(one, side, variable, regions, stratum))
    task = row.task
    chosen = [task.region(region) for region in regions]
    labels = cluster_labels(chosen, within_km=task.cluster_km)
    return Ratio(
        name=name,
        variable=variable,
        place=place,
        stratum=stratum,
        formula=FORMULA,
        shown="gap" if name in ("gap", "regret") else "skill",
        mine=sides[0],
        other=sides[1],
        contrast=contrast_of(
            regions, labels, logs[0] - logs[1], blocks=blocks_of(task, row.seeds[0].cases)
        ),
        clusters=dict(zip(regions, labels, strict=True)),
        seed_logs={
            number: float(np.mean(points - logs[1].points))
            for number, points in sides[0].log_scores.items()
        },
    )


def board_of(task: Task, board: str | None) -> str:
    """A board by its name; the one that ranks where none is named."""
    if board is None:
        return next(key for key, (score, _) in BOARDS.items() if score == task.primary.metric)
    if board not in BOARDS:
        known = " or ".join(BOARDS)
        raise InputError(Problem(f"board {board!r}", known, "this", "Leave --board out."))
    return board


def _both(
    row: ScoredRow,
    name: str,
    variable: str,
    against: str | None,
    board: str | None,
) -> tuple[ScoredRow, ScoredRow, str, str]:
    """(the row, the other one, the score of each)."""
    if name not in COMPARED:
        if board is not None:
            fix = f"Leave --board out: it is for {', '.join(COMPARED)}."
            raise InputError(Problem("--board", "none with a metric", board, fix))
        return row, find_beside(row, str(against)), name, name
    if against is not None:
        fix = f"Leave --against out, or name a metric, such as {row.task.primary.metric}."
        raise InputError(Problem("--against", f"none: {name} knows its other row", against, fix))
    key = board_of(row.task, board)
    score = board_score(key, row.card.members)
    if name == "skill":
        return row, find_beside(row, BOARDS[key][1]), score, BOARDS[key][0]
    if name == "gap":
        own = _own_oracle(row, key, variable)
        both = row.numbers & own.numbers
        return row.only(both), own.only(both), score, score  # other seeds have no oracle
    best = _best_oracle(row, key, variable)
    return row, best, score, board_score(key, best.card.members)


def _own_oracle(row: ScoredRow, board: str, variable: str) -> ScoredRow:
    card = row.card
    if card.regime == "zero_shot" and not card.null:
        found = own_oracle(row)
        if found is not None and found.numbers & row.numbers and _works(found, board, variable):
            return found
    beside = "none beside it that works"
    got = f"a row of regime {card.regime}" if card.regime != "zero_shot" else beside
    fix = "Ask for skill, or for regret, which every row has."
    raise InputError(Problem(f"gap of {row.folder}", "an oracle of this very row", got, fix))


def _best_oracle(row: ScoredRow, board: str, variable: str) -> ScoredRow:
    """The oracle with the lowest mean of ln S over the OOD regions, as the board has it."""
    beside = oracles_beside(row) if row.card.regime != "oracle" else []
    found = [one for one in beside if _works(one, board, variable)]
    if not found:
        got = "an oracle itself" if row.card.regime == "oracle" else "none beside it that works"
        fix = "Ask for skill, or name a row with --against."
        raise InputError(Problem(f"regret of {row.folder}", "another row, an oracle", got, fix))
    regions = [region.name for region in row.task.regions_of("test_ood")]

    def place(one: ScoredRow) -> float:
        with np.errstate(divide="ignore"):
            mean = float(np.log(_scores(one, board, variable, regions)).mean())
        return np.inf if np.isnan(mean) else mean

    return min(found, key=place)


def _works(row: ScoredRow, board: str, variable: str) -> bool:
    """Whether it failed in no test region: a failed oracle is no measure of others."""
    regions = [region.name for region in row.task.regions_of(*TEST_SPLITS)]
    score, reference = BOARDS[board]
    base = region_scores(find_beside(row, reference).seeds[0].cases, score, variable, regions)
    return not failed(_scores(row, board, variable, regions), base).any()


def _scores(row: ScoredRow, board: str, variable: str, regions: Sequence[str]) -> Array:
    """(seed, region) of a board."""
    score = board_score(board, row.card.members)
    return np.stack([region_scores(seed.cases, score, variable, regions) for seed in row.seeds])


def _log_scores(
    row: ScoredRow, side: Side, variable: str, regions: Sequence[str], stratum: str
) -> LogScores:
    """The mean over seeds of ln S, also under the task's draws of days where cases are kept."""
    found = metric(side.metric)
    plain = stratum == "all" and not found.over
    logs = []
    for seed, points in zip(row.seeds, side.log_scores.values(), strict=True):
        kept = plain and not lacking(found, seed.cases)
        resampled = (
            resampled_log_scores(row.task, seed.cases, side.metric, variable, regions)
            if kept
            else None
        )
        logs.append(LogScores(points, resampled))
    return LogScores.mean(logs)
