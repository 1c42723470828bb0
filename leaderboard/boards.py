"""The tables: one for each board and variable, its rows in sections, ranked where they may be.

Seeds of a row are averaged as regions are: in ln S. Missing is NaN or None here and a dash on the
page, never 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np

from benchmark.metrics import BOARDS, Metric, metric
from benchmark.skill import Contrast, LogScores, as_skill
from benchmark.task import TEST_SPLITS, Split, Task, Variable
from leaderboard.contrasts import Array, BoardLogs, region_names, score
from leaderboard.curves import trust_km
from leaderboard.failed import failed_in
from leaderboard.ranks import SECTIONS, Resolvable, Standing, resolvable, section_of, standings
from leaderboard.rows import Group, TaskRows


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of a table. gap, regret: log-ratios against oracles over the OOD regions.

    variance: geometric mean over regions and seeds, as resolution_km of the OOD ones; fss: mean
    over OOD regions and seeds; residual_ulps: the largest over test regions and seeds; residual,
    negatives: mean over test regions and seeds.
    """

    group: Group
    rank: int | None
    rank_group: int | None
    """Rows of one group cannot be told apart; None where the days hold too few blocks."""
    skill: dict[Split, Contrast]
    seed_skills: dict[int, float]
    """OOD skill of each seed."""
    beats_null: bool
    failed: tuple[str, ...]
    """Test regions without a score, or with one beyond all measure."""
    gap: Contrast | None
    gap_seeds: tuple[int, ...]
    regret: Contrast | None
    variance: dict[Split, float]
    resolution_km: float
    fss: float
    trust_km: dict[Split, float]
    """Down to which size of blocks the row adds value; NaN where at none."""
    residual_ulps: float
    residual: float
    negatives: float
    scores: dict[str, float]
    """The score in each test region, geometric mean over seeds."""
    beats_null_in: dict[str, bool]

    @property
    def seed_spread(self) -> float:
        """Standard deviation over seeds of the OOD skill; NaN for one seed."""
        values = list(self.seed_skills.values())
        return stdev(values) if len(values) > 1 else math.nan


@dataclass(frozen=True, eq=False)
class Board:
    """A table: lines by section. best_null: the highest mean OOD skill without training."""

    task: Task
    board: str
    variable: Variable
    primary: bool
    sections: dict[str, tuple[Entry, ...]]
    best_null: Group
    best_oracle: Group | None
    resolvable: Resolvable

    @property
    def slug(self) -> str:
        """A name for links and files."""
        return f"{self.variable.name}-{self.board}"

    @property
    def metric(self) -> Metric:
        """The score S of this board."""
        return metric(BOARDS[self.board][0])

    @property
    def reference(self) -> str:
        """The null that skill is measured against."""
        return BOARDS[self.board][1]

    @property
    def fss(self) -> str | None:
        """The entry of the fractions skill score that stands in the table; None without events."""
        return fss_entry(self.task, self.variable)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every line, in the order of the sections."""
        return tuple(entry for entries in self.sections.values() for entry in entries)


def make_boards(rows: TaskRows) -> tuple[Board, ...]:
    """Every board and variable, the task's primary first."""
    task = rows.task
    keys = [(board, variable) for board in BOARDS for variable in task.variables]
    primary = next(
        (board, task.variable(task.primary.variable))
        for board, (name, _) in BOARDS.items()
        if name == task.primary.metric
    )
    keys = [primary, *(key for key in keys if key != primary)]
    logs = [BoardLogs.of(rows, board, variable.name) for board, variable in keys]
    order = standings(logs[0])
    return tuple(
        _board(one, variable, one is logs[0], order)
        for one, (_, variable) in zip(logs, keys, strict=True)
    )


def fss_entry(task: Task, variable: Variable) -> str | None:
    """`fss[>= P95, 5 cells]`: the first percentile, in the first window of a coarse cell or more.

    A percentile is passed in every region, an absolute threshold is not; without percentiles the
    last absolute threshold stands.
    """
    known = variable.threshold_names
    if not known or not task.windows:
        return None
    label = known[len(variable.thresholds)] if variable.percentiles else known[-1]
    wide = [window for window in task.windows if window >= task.factor]
    return f"fss[{label}, {wide[0] if wide else task.windows[-1]} cells]"


def _board(logs: BoardLogs, variable: Variable, primary: bool, order: dict[str, Standing]) -> Board:
    rows, name = logs.rows, variable.name
    task = rows.task
    skills = {
        group.slug: {split: logs.skill(group.slug, split) for split in TEST_SPLITS}
        for group in rows.groups
    }

    def ood(group: Group) -> float:
        mean = skills[group.slug]["test_ood"].mean
        return mean if math.isfinite(mean) or mean < 0 else math.inf

    failed = {g.slug: failed_in(rows, g, logs.board, name) for g in rows.groups}
    # A failed oracle is no measure of others; one of the targets alone is there for reference.
    oracles = [
        group
        for group in rows.groups
        if group.card.regime == "oracle"
        and group.card.exposure == "none"
        and not group.card.target_only
        and not failed[group.slug]
    ]
    best_null = min(rows.nulls, key=ood)
    best_oracle = min(oracles, key=ood, default=None)
    elsewhere = region_names(task, "test_ood")
    regions = region_names(task, "test_id") + elsewhere
    events = fss_entry(task, variable)
    scores = {
        group.slug: np.exp(
            np.concatenate([logs.groups[group.slug][split].points for split in TEST_SPLITS])
        )
        for group in rows.groups
    }
    best_by_region = np.nanmin([scores[group.slug] for group in rows.nulls], axis=0)

    def entry(group: Group) -> Entry:
        mine = skills[group.slug]
        gap, seeds = _gap(logs, group, [slug for slug, where in failed.items() if where])
        standing = order[group.slug]
        return Entry(
            group=group,
            rank=standing.rank if primary else None,
            rank_group=standing.group if primary else None,
            skill=mine,
            seed_skills={
                seed: as_skill(logs.between(one["test_ood"], logs.reference["test_ood"]).mean)
                for seed, one in logs.seeds[group.slug].items()
            },
            beats_null=ood(group) < ood(best_null),
            failed=failed[group.slug],
            gap=gap,
            gap_seeds=seeds,
            regret=_regret(logs, group, best_oracle),
            variance={
                split: _geometric(_values(group, "variance_ratio", name, region_names(task, split)))
                for split in TEST_SPLITS
            },
            resolution_km=_geometric(_values(group, "effective_resolution", name, elsewhere)),
            fss=math.nan
            if events is None
            else float(_values(group, events, name, elsewhere).mean()),
            trust_km={split: trust_km(rows, group, name, split) for split in TEST_SPLITS},
            residual_ulps=math.nan
            if group.why_missing("residual_ulps", "")
            else _largest(_values(group, "residual_ulps", name, regions)),
            residual=float(_values(group, "residual", name, regions).mean()),
            negatives=float(_values(group, "negatives", name, regions).mean())
            if variable.nonnegative
            else math.nan,
            scores=dict(zip(regions, scores[group.slug].tolist(), strict=True)),
            beats_null_in=dict(
                zip(regions, (scores[group.slug] < best_by_region).tolist(), strict=True)
            ),
        )

    def place(group: Group) -> tuple[float, str]:
        skill = order[group.slug].skill
        return (-skill if math.isfinite(skill) else math.inf, group.slug)

    sections = {
        key: tuple(entry(g) for g in sorted(rows.groups, key=place) if section_of(g.card) == key)
        for key, _, _ in SECTIONS
    }
    return Board(
        task=task,
        board=logs.board,
        variable=variable,
        primary=primary,
        sections={key: entries for key, entries in sections.items() if entries},
        best_null=best_null,
        best_oracle=best_oracle,
        resolvable=resolvable(logs),
    )


def _values(group: Group, name: str, variable: str, regions: Sequence[str]) -> Array:
    """(seed, region) values of a metric."""
    return np.stack([score(row, name, variable, regions) for row in group.rows])


def _geometric(values: Array) -> float:
    """exp of the mean log; 0 where a value is 0, NaN where one is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values).mean()))


def _largest(values: Array) -> float:
    """The largest value there is; a region whose coarse field is 0 throughout has none."""
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else math.nan


def _gap(
    logs: BoardLogs, group: Group, failed: Sequence[str]
) -> tuple[Contrast | None, tuple[int, ...]]:
    """ln(S_zero_shot / S_oracle) and its seeds; None where no seed has an oracle that works."""
    card = group.card
    if card.null or card.regime != "zero_shot":
        return None, ()
    twin = card.model_copy(update={"regime": "oracle", "seed": 0})
    oracle = {
        seed: found["test_ood"]
        for other in logs.rows.groups
        if other.card.model_copy(update={"seed": 0}) == twin and other.slug not in failed
        for seed, found in logs.seeds[other.slug].items()
    }
    mine = logs.seeds[group.slug]
    seeds = tuple(seed for seed in mine if seed in oracle)
    if not seeds:
        return None, ()
    first = LogScores.mean([mine[seed]["test_ood"] for seed in seeds])
    return logs.between(first, LogScores.mean([oracle[seed] for seed in seeds])), seeds


def _regret(logs: BoardLogs, group: Group, best: Group | None) -> Contrast | None:
    """ln(S / S_best oracle). None for oracles, and where there is none."""
    if best is None or group.card.regime == "oracle":
        return None
    return logs.between(logs.groups[group.slug]["test_ood"], logs.groups[best.slug]["test_ood"])
