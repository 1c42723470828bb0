"""The tables: one for each board and variable, its rows in sections, ranked where they may be.

Seeds of a row are averaged as regions are: in ln S. Missing is NaN or None here and a dash on the
page, never 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np

from benchmark.inference import new_regions_interval
from benchmark.metrics import BOARDS, Metric, board_score, metric
from benchmark.model_card import ModelCard
from benchmark.skill import Contrast, as_skill
from benchmark.task import TEST_SPLITS, Split, Task, Variable
from leaderboard.contrasts import Array, Pair, between, clusters, region_names, score
from leaderboard.rows import Group, Row, TaskRows

SECTIONS: tuple[tuple[str, str, bool], ...] = (
    ("null", "Nulls: need no training, pinned", False),
    ("zero_shot", "Zero-shot: nothing seen of the target regions", True),
    ("target_inputs", "Target inputs seen: ranked apart", True),
    ("few_shot", "Few-shot: the task's labelled target days seen, ranked apart", True),
    ("oracle", "Oracle: trained on the target regions too; a reference, not ranked", False),
    ("exposed-zero_shot", "Exposed by pretraining, zero-shot: ranked apart", True),
    ("exposed-target_inputs", "Exposed by pretraining, target inputs: ranked apart", True),
    ("exposed-few_shot", "Exposed by pretraining, few-shot: ranked apart", True),
    ("exposed-oracle", "Exposed by pretraining, oracle: a reference, not ranked", False),
)
"""(key, heading, ranked) of each section of a table, in order; empty ones are left out."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of a table. gap, regret: log-ratios against oracles over the OOD regions.

    variance: geometric mean over regions and seeds, as resolution_km of the OOD ones; fss: mean
    over OOD regions and seeds; residual_ulps: the largest over test regions and seeds; residual,
    negatives: mean over test regions and seeds.
    """

    group: Group
    rank: int | None
    skill: dict[Split, Contrast]
    seed_skills: dict[int, float]
    """OOD skill of each seed."""
    beats_null: bool
    gap: Contrast | None
    gap_seeds: tuple[int, ...]
    regret: Contrast | None
    variance: dict[Split, float]
    resolution_km: float
    fss: float
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


def section_of(card: ModelCard) -> str:
    """Which section a row stands in: regimes, and exposed models, are never mixed."""
    if card.null:
        return "null"
    return card.regime if card.exposure == "none" else f"exposed-{card.regime}"


def make_boards(rows: TaskRows) -> tuple[Board, ...]:
    """Every board and variable, the task's primary first."""
    task = rows.task
    keys = [(board, variable) for board in BOARDS for variable in task.variables]
    primary = next(
        (board, task.variable(task.primary.variable))
        for board, (name, _) in BOARDS.items()
        if name == task.primary.metric
    )
    order = _ranking(rows, primary[0], primary[1].name)
    keys = [primary, *(key for key in keys if key != primary)]
    return tuple(_board(rows, board, variable, key == 0, order)
                 for key, (board, variable) in enumerate(keys))  # fmt: skip


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


def _pairs(rows: TaskRows, group: Group, board: str) -> list[Pair]:
    """Each seed of a row against the board's reference."""
    reference_score, reference = BOARDS[board]
    other = (rows.reference(reference), reference_score)
    return [((row, board_score(board, group.card.members)), other) for row in group.rows]


def _ranking(rows: TaskRows, board: str, variable: str) -> dict[str, tuple[int | None, float]]:
    """(rank within its section or None, OOD skill) of each row, on the primary board."""
    skills = {
        group.slug: as_skill(
            between(rows.task, "test_ood", variable, _pairs(rows, group, board)).mean
        )
        for group in rows.groups
    }
    ranked = {key for key, _, is_ranked in SECTIONS if is_ranked}
    found: dict[str, tuple[int | None, float]] = {}
    for group in rows.groups:
        mine, section = skills[group.slug], section_of(group.card)
        rivals = [skills[g.slug] for g in rows.groups if section_of(g.card) == section]
        above = sum(other > mine for other in rivals)
        can = section in ranked and math.isfinite(mine)
        found[group.slug] = (1 + above if can else None, mine)
    return found


def _board(
    rows: TaskRows,
    board: str,
    variable: Variable,
    primary: bool,
    order: dict[str, tuple[int | None, float]],
) -> Board:
    task, name = rows.task, variable.name
    pairs = {group.slug: _pairs(rows, group, board) for group in rows.groups}
    skills = {
        group.slug: {split: between(task, split, name, pairs[group.slug]) for split in TEST_SPLITS}
        for group in rows.groups
    }

    def ood(group: Group) -> float:
        mean = skills[group.slug]["test_ood"].mean
        return mean if math.isfinite(mean) or mean < 0 else math.inf

    oracles = [g for g in rows.groups if g.card.regime == "oracle" and g.card.exposure == "none"]
    best_null = min(rows.nulls, key=ood)
    best_oracle = min(oracles, key=ood, default=None)
    elsewhere = region_names(task, "test_ood")
    regions = region_names(task, "test_id") + elsewhere
    events = fss_entry(task, variable)
    scores = {g.slug: _region_scores(g, board, name, regions) for g in rows.groups}
    best_by_region = np.nanmin([scores[group.slug] for group in rows.nulls], axis=0)

    def entry(group: Group) -> Entry:
        mine = skills[group.slug]
        gap, seeds = _gap(rows, group, board, name)
        return Entry(
            group=group,
            rank=order[group.slug][0] if primary else None,
            skill=mine,
            seed_skills={
                pair[0][0].seed: as_skill(between(task, "test_ood", name, [pair]).mean)
                for pair in pairs[group.slug]
            },
            beats_null=ood(group) < ood(best_null),
            gap=gap,
            gap_seeds=seeds,
            regret=_regret(task, mine, skills, group, best_oracle),
            variance={
                split: _geometric(_values(group, "variance_ratio", name, region_names(task, split)))
                for split in TEST_SPLITS
            },
            resolution_km=_geometric(_values(group, "effective_resolution", name, elsewhere)),
            fss=math.nan
            if events is None
            else float(_values(group, events, name, elsewhere).mean()),
            residual_ulps=_largest(_values(group, "residual_ulps", name, regions)),
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
        skill = order[group.slug][1]
        return (-skill if math.isfinite(skill) else math.inf, group.slug)

    sections = {
        key: tuple(entry(g) for g in sorted(rows.groups, key=place) if section_of(g.card) == key)
        for key, _, _ in SECTIONS
    }
    filled = {key: entries for key, entries in sections.items() if entries}
    return Board(task, board, variable, primary, filled, best_null, best_oracle)


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


def _region_scores(group: Group, board: str, variable: str, regions: Sequence[str]) -> Array:
    """(region,) scores, geometric mean over seeds."""
    values = _values(group, board_score(board, group.card.members), variable, regions)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(values).mean(axis=0)))


def _gap(
    rows: TaskRows, group: Group, board: str, variable: str
) -> tuple[Contrast | None, tuple[int, ...]]:
    """ln(S_zero_shot / S_oracle) and its seeds; None where no seed has an oracle of its own."""
    card = group.card
    if card.null or card.regime != "zero_shot":
        return None, ()
    twin = card.model_copy(update={"regime": "oracle", "seed": 0})
    oracle: dict[int, Row] = {
        row.seed: row
        for other in rows.groups
        if other.card.model_copy(update={"seed": 0}) == twin
        for row in other.rows
    }
    name = board_score(board, card.members)
    pairs: list[Pair] = [
        ((row, name), (oracle[row.seed], name)) for row in group.rows if row.seed in oracle
    ]
    if not pairs:
        return None, ()
    seeds = tuple(mine[0].seed for mine, _ in pairs)
    return between(rows.task, "test_ood", variable, pairs), seeds


def _regret(
    task: Task,
    mine: dict[Split, Contrast],
    skills: dict[str, dict[Split, Contrast]],
    group: Group,
    best: Group | None,
) -> Contrast | None:
    """ln(S / S_best oracle): both against one reference, which drops out. None for oracles."""
    if best is None or group.card.regime == "oracle":
        return None
    first, other = mine["test_ood"], skills[best.slug]["test_ood"]
    ratios = np.subtract(first.log_ratios, other.log_ratios)
    new_regions = new_regions_interval(ratios, clusters(task, "test_ood"))
    return Contrast(first.regions, tuple(ratios.tolist()), first.clusters, None, new_regions)
