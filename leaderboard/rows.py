"""Committed rows, read and checked again: nothing is shown that its case table does not give."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from benchmark import RELEASE
from benchmark.case_table import geometry, load_table, table_hash, total
from benchmark.domain import scored_names
from benchmark.errors import InputError, Problem
from benchmark.invariants import check_invariants
from benchmark.metrics import BOARDS
from benchmark.model_card import ModelCard, check_sources, read_card, variant_suffix
from benchmark.results import (
    CARD,
    CASES,
    SCORES,
    RowKey,
    Scores,
    check_board_sums,
    contract_problems,
    find_scores,
    known_part,
    read_scores,
)
from benchmark.sample_fields import SAMPLE
from benchmark.task import Task
from benchmark.task_files import contract_of
from leaderboard.mismatches import check_mismatch, check_one_mismatch
from leaderboard.numbers import Numbers, lacks_of, numbers_of

Report = Callable[[int, int, str], None]
"""report(done, all, what): progress of one phase of a build."""

SAME = 1e-9
"""Numbers of one case table on two machines agree to this, relative (design: 1e-9)."""


@dataclass(frozen=True, eq=False)
class Row:
    """One scored seed. regions: as in `numbers`; spectra: `power_p`, `power_t` of the period.

    place: its folder below that of the results, for commands to copy; lacks: the statistics that
    its case table lacks, by metric (those metrics are NaN in `numbers`, the spectra too).
    """

    folder: Path
    scores: Scores
    cases: xr.Dataset
    numbers: Numbers
    regions: tuple[str, ...]
    spectra: xr.Dataset
    place: str = ""
    lacks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def why_missing(self, entry: str, otherwise: str = "not defined here") -> str:
        """Why an entry has no number here; otherwise: the reason if the sums are there."""
        lacks = self.lacks.get(entry.partition("[")[0], ())
        if not lacks:
            return otherwise
        return f"not in this row's case table: it lacks {' and '.join(lacks)}"

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.scores.model.seed

    @property
    def sample(self) -> Path:
        """The fields kept for pictures."""
        return self.folder / SAMPLE


@dataclass(frozen=True, eq=False)
class Group:
    """The seeds of one row of the leaderboard, by seed; they differ in nothing but the seed."""

    rows: tuple[Row, ...]

    @property
    def card(self) -> ModelCard:
        """The declaration of the lowest seed; it stands for all."""
        return self.rows[0].scores.model

    def why_missing(self, entry: str, otherwise: str = "not defined here") -> str:
        """Why an entry has no number, or no mean over seeds."""
        reasons = (row.why_missing(entry, "") for row in self.rows)
        return next((reason for reason in reasons if reason), otherwise)

    @property
    def place(self) -> str:
        """The folder of its seeds below that of the results, for commands to copy."""
        first = self.rows[0].place
        parents = {row.place.rpartition("/")[0] for row in self.rows}
        return parents.pop() if len(self.rows) > 1 and len(parents) == 1 else first

    @property
    def slug(self) -> str:
        """A name for files: MODEL[-skip]-CONSTRAINT-REGIME[-EXPOSURE][-VARIANT]."""
        card = self.card
        model = f"{card.model}-skip" if card.skip else card.model
        exposed = "" if card.exposure == "none" else f"-{card.exposure}"
        return f"{model}-{card.constraint}-{card.regime}{exposed}{variant_suffix(card)}"

    @property
    def name(self) -> str:
        """A short name for plots and captions."""
        card = self.card
        words = [card.title, "with skip" if card.skip else "", _spoken(card)]
        return ", ".join(word for word in words if word)


def _spoken(card: ModelCard) -> str:
    constraint = "" if card.null or card.constraint == "none" else card.constraint
    regime = "" if card.regime == "zero_shot" else card.regime
    origin = f"from {' + '.join(card.sources)}" if card.sources else ""
    origin = "targets only" if card.target_only else origin
    return ", ".join(word for word in (constraint, regime, origin) if word)


@dataclass(frozen=True, eq=False)
class TaskRows:
    """All rows of one task at one revision, over one data hash."""

    task: Task
    data_hash: str
    groups: tuple[Group, ...]

    @property
    def nulls(self) -> tuple[Group, ...]:
        """Rows that need no training."""
        return tuple(group for group in self.groups if group.card.null)

    def reference(self, name: str) -> Row:
        """The row that a board measures skill against."""
        return next(g.rows[0] for g in self.nulls if g.card.model == name)


def load_rows(results: Sequence[Path], *, report: Report = lambda *_: None) -> list[TaskRows]:
    """Every row below the folders `results`, by task.

    Errors: InputError with every problem of every row: an unreadable or altered file, another
    release or task revision than this package computes, a broken invariant, a number in
    `scores.json` that its case table does not give, a case table without the sums of the scores
    that boards rank by (any other metric may be missing); and of the rows together: no row, a seed
    twice, cards of one row that differ, two data hashes, contracts or mismatches of products in one
    task, a missing reference.
    """
    paths = find_scores(results)
    if not paths:
        folders = ", ".join(str(folder) for folder in results) or "no folder"
        raise InputError(
            Problem(
                folders, f"at least one {SCORES} below it", "none",
                "Score a model with `elsewhere score`, or check the path.",
            )
        )  # fmt: skip
    rows: list[Row] = []
    problems: list[Problem] = []
    for done, path in enumerate(paths, start=1):
        try:
            root = next(root for root in results if path.is_relative_to(root))
            rows.append(_read_row(path.parent, path.parent.relative_to(root).as_posix()))
        except InputError as error:
            problems += error.problems
        report(done, len(paths), "rows")
    if problems:
        raise InputError(problems)
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.scores.task, []).append(row)
    found = {task: _group(members) for task, members in sorted(by_task.items())}
    problems = [p for task, groups in found.items() for p in _check_together(task, groups)]
    if problems:
        raise InputError(problems)
    return [
        TaskRows(_task(groups), groups[0].rows[0].scores.data_hash, groups)
        for groups in found.values()
    ]


def _task(groups: tuple[Group, ...]) -> Task:
    row = groups[0].rows[0]
    return contract_of(row.folder, row.scores.task)


def _read_row(folder: Path, place: str) -> Row:
    where = str(folder)
    scores = read_scores(folder / SCORES)
    if scores.release != RELEASE:
        raise InputError(
            Problem(
                where, f"release {RELEASE}, which this package computes",
                f"release {scores.release}",
                f"Scores of releases are never mixed: build from the folder of {RELEASE} only, "
                f"or build the site of {scores.release} with the package of that release.",
            )
        )  # fmt: skip
    task = contract_of(folder, scores.task)
    whole = load_table(folder / CASES)
    cases, totals = (known_part(part) for part in whole)
    problems = check_board_sums(folder, cases, totals)
    if problems:
        raise InputError(problems)
    row = Row(
        folder=folder,
        scores=scores,
        cases=cases,
        numbers=numbers_of(task, totals),
        regions=tuple(str(name) for name in cases["region"].values),
        spectra=_spectra(task, totals),
        place=place,
        lacks=lacks_of(totals),
    )
    problems = [
        *_check_files(task, row, table_hash(*whole), total(cases), totals),
        *_check_invariants(task, row, totals),
        *check_mismatch(task, scores, folder),
    ]
    if not problems:
        problems = _check_metrics(row)
    if problems:
        raise InputError(problems)
    return row


def _spectra(task: Task, totals: xr.Dataset) -> xr.Dataset:
    """The mean spectra with their wavenumbers; NaN where the table lacks either."""
    names = ["power_p", "power_t"]
    if all(name in totals.data_vars for name in names):
        return totals[names]
    k = geometry(task, [str(name) for name in totals["region"].values])["wavenumber"]
    shape = (totals.sizes["variable"], *np.shape(k[1]))
    nowhere = (("variable", "region", "ring"), np.full(shape, np.nan))
    return xr.Dataset(dict.fromkeys(names, nowhere), coords={"wavenumber": k})


def _check_files(
    task: Task, row: Row, found_hash: str, pooled: xr.Dataset, totals: xr.Dataset
) -> list[Problem]:
    """The three files of a row must speak of the same model, task and table.

    found_hash: of the whole table; pooled: the cases, added here; totals: as they were written
    beside the cases.
    """
    scores, cases, fix = row.scores, row.cases, "Commit the files of one run, unchanged."
    regions = [region.name for region in task.regions_of("test_id", "test_ood")]
    card = read_card(row.folder / CARD)
    changed = [k for k in ModelCard.model_fields if getattr(card, k) != getattr(scores.model, k)]
    facts: list[tuple[str, object, object]] = [
        (f"{CARD}: keys that differ from {SCORES}", [], changed),
        (f"{SCORES}: task of the model", scores.task, scores.model.task),
        (f"{CASES}: hash", scores.case_table_hash, found_hash),
        (f"{CASES}: task", scores.task, cases.attrs.get("task")),
        (f"{CASES}: members", scores.members, cases.attrs.get("members")),
        (f"{CASES}: cases", scores.expected_cases, cases.sizes["case"]),
        (f"{CASES}: variables", list(scored_names(task)), cases["variable"].values.tolist()),
        (f"{CASES}: regions", regions, cases["region"].values.tolist()),
    ]
    problems = [
        Problem(f"{row.folder}/{what}", str(expected), str(got), fix)
        for what, expected, got in facts
        if expected != got
    ]
    problems += check_sources(task, card.sources, where=f"{row.folder}/{CARD}: sources")
    if not all(
        name in totals.data_vars and _close(pooled[name], _part(totals[name]))
        for name in pooled.data_vars
    ):
        problems.append(
            Problem(f"{row.folder}/{CASES}", "totals that are sums of the cases", "others", fix)
        )
    return problems


def _part(totals: xr.DataArray) -> xr.DataArray:
    return totals.sel(stratum=["all"]) if "stratum" in totals.dims else totals


def _close(first: xr.DataArray, second: xr.DataArray) -> bool:
    if first.shape != second.shape:
        return False
    return bool(np.allclose(first.values, second.values, rtol=SAME, atol=0, equal_nan=True))


def _check_invariants(task: Task, row: Row, totals: xr.Dataset) -> list[Problem]:
    found = check_invariants(task, row.scores.model, row.cases, totals)
    return [Problem(f"{row.folder}: {p.where}", p.expected, p.got, p.fix) for p in found]


def _check_metrics(row: Row) -> list[Problem]:
    """`scores.json` against the case table: what both have must agree.

    It may lack a newer metric, and list one that this package no longer knows; a number whose
    sums the table lacks is no number of that table.
    """
    problems = []
    for variable, metrics in row.scores.metrics.items():
        for name in sorted(metrics.keys() & row.numbers.get(variable, {}).keys()):
            mine = row.numbers[variable][name].tolist()
            for region, value in zip(row.regions, mine, strict=True):
                written = metrics[name].get(region, {}).get("all")
                if not same(value, written):
                    where = f"{row.folder}/{SCORES}: metrics, {variable}, {name}, {region}"
                    problems.append(disagreement(where, value, written))
    return problems


def disagreement(where: str, computed: object, written: object) -> Problem:
    """A number of `scores.json` that its case table does not give."""
    fix = "Score the model again: scores.json is never edited."
    return Problem(where, f"{computed}, recomputed from {CASES}", str(written), fix)


def same(computed: float, written: float | None) -> bool:
    """Whether two values agree to 1e-9 relative; a missing value only equals a missing one."""
    if written is None or not math.isfinite(computed):
        return written is None and not math.isfinite(computed)
    # Skills near 0 come out of 1 - exp(...), so their rounding errors are relative to 1.
    return math.isclose(computed, written, rel_tol=SAME, abs_tol=1e-12)


def _group(rows: list[Row]) -> tuple[Group, ...]:
    groups: dict[RowKey, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.scores.key, []).append(row)
    ordered = sorted(groups.items())
    return tuple(Group(tuple(sorted(g, key=lambda row: row.seed))) for _, g in ordered)


def _check_together(task: str, groups: tuple[Group, ...]) -> list[Problem]:
    problems = []
    rows = [row for group in groups for row in group.rows]
    hashes: dict[str, list[str]] = {}
    for row in rows:
        hashes.setdefault(row.scores.data_hash, []).append(str(row.folder))
    if len(hashes) > 1:
        got = "; ".join(
            f"{value[:12]} in {len(where)} rows, e.g. {where[0]}" for value, where in hashes.items()
        )
        fix = "Score all models on the same pair store."
        problems.append(Problem(f"rows of {task}", "one data hash", got, fix))
    first = rows[0]
    for row in rows:
        problems += contract_problems(first.folder, row.folder, task)
        if not np.array_equal(row.cases["case"].values, first.cases["case"].values):
            got = f"other ones than {first.folder}"
            fix = "Score all models on the same cases."
            problems.append(Problem(str(row.folder), "the cases that all rows share", got, fix))
    problems += check_one_mismatch([(row.folder, row.scores) for row in rows])
    for group in groups:
        problems += _check_seeds(group)
    known = {group.card.model for group in groups if group.card.null}
    for _, reference in BOARDS.values():
        if reference not in known:
            problems.append(
                Problem(
                    f"rows of {task}", f"the null {reference!r}, which skill is measured against",
                    "no such row", f"Score {reference!r} too, or add the folder with the nulls.",
                )
            )  # fmt: skip
    return problems


def _check_seeds(group: Group) -> list[Problem]:
    problems = []
    by_seed: dict[int, Row] = {}
    for row in group.rows:
        if row.seed in by_seed:
            where, got = str(row.folder), f"also in {by_seed[row.seed].folder}"
            fix = "Remove one of the two."
            problems.append(Problem(where, f"seed {row.seed} of this row once", got, fix))
        by_seed[row.seed] = row
        card = row.scores.model.model_copy(update={"seed": group.card.seed})
        if card != group.card:
            got = "another declaration"
            fix = "Give another model its own name; score all seeds of a row with one revision."
            problems.append(
                Problem(str(row.folder), f"the card of {group.rows[0].folder}", got, fix)
            )
    return problems
