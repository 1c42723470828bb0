"""The rows that an explanation is of: a folder with its seeds, and what lies beside it.

A results tree is RELEASE/TASK/MODEL/CONSTRAINT-REGIME/seed-N, as `results.row_folder` makes it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xarray as xr

from benchmark.errors import InputError, Problem
from benchmark.model_card import ModelCard
from benchmark.results import (
    SCORES,
    Scores,
    check_same_ground,
    contract_problems,
    read_row,
    read_scores,
)
from benchmark.task import Task
from benchmark.task_files import contract_of
from benchmark.toml_model import nearest


@dataclass(frozen=True, eq=False)
class Seed:
    """One scored seed: its scores and both parts of its case table."""

    folder: Path
    scores: Scores
    cases: xr.Dataset
    totals: xr.Dataset


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """The seeds of one row, by seed; a score folder alone is a row of one seed."""

    seeds: tuple[Seed, ...]

    @property
    def card(self) -> ModelCard:
        """The declaration of the lowest seed; it stands for all."""
        return self.seeds[0].scores.model

    @property
    def folder(self) -> Path:
        """The folder of the seeds, or that of the only one."""
        first = self.seeds[0].folder
        return first.parent if len(self.seeds) > 1 else first

    @cached_property
    def task(self) -> Task:
        """The task that it was scored on."""
        return contract_of(self.seeds[0].folder, self.seeds[0].scores.task)

    def only(self, numbers: set[int]) -> "ScoredRow":
        """The row with some of its seeds."""
        return ScoredRow(tuple(s for s in self.seeds if s.scores.model.seed in numbers))

    @property
    def numbers(self) -> set[int]:
        """Its seeds as numbers."""
        return {seed.scores.model.seed for seed in self.seeds}


def find_row(where: Path) -> ScoredRow:
    """The row at a path: a score folder, its scores.json, or a folder of `seed-N` folders.

    Errors: InputError where there is none, with the nearest name that is there; where the folders
    are of several rows; and for what `results.read_row` refuses.
    """
    folders = seed_folders(where)
    if not folders:
        raise InputError(_no_row(where))
    seeds = sorted((_read(folder) for folder in folders), key=lambda seed: seed.scores.model.seed)
    keys = {(seed.scores.release, seed.scores.task, *seed.scores.key) for seed in seeds}
    if len(keys) > 1:
        got = f"{len(keys)} rows, in {', '.join(folder.name for folder in folders)}"
        raise InputError(Problem(str(where), "the seeds of one row", got, "Name one of them."))
    return ScoredRow(tuple(seeds))


def seed_folders(where: Path) -> list[Path]:
    """The score folders that a path stands for; empty where it stands for none."""
    folder = where.parent if where.name == SCORES else where
    if (folder / SCORES).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"seed-*/{SCORES}"))


def _read(folder: Path) -> Seed:
    return Seed(folder, *read_row(folder))


def _no_row(where: Path) -> Problem:
    expected = f"a score folder with {SCORES}, or a folder of seed-N folders with one each"
    parent = where
    while not parent.exists():
        parent = parent.parent
    if parent != where:
        lost = where.relative_to(parent).parts[0]
        known = sorted(path.name for path in parent.iterdir() if path.is_dir())
        fix = f"In {parent}: {nearest(lost, known)}" if known else f"{parent} has no folders."
        return Problem(str(where), expected, "no such folder", fix)
    inside = sorted(path.parent for path in where.rglob(SCORES))[:1] if where.is_dir() else []
    fix = f"Name a row below it, such as {inside[0]}." if inside else "Check the path."
    return Problem(str(where), expected, "neither", fix)


def beside(row: ScoredRow) -> dict[str, Path]:
    """{MODEL/CONSTRAINT-REGIME: folder} of the rows of the same task in the row's results tree.

    Errors: InputError where the row does not lie in such a tree.
    """
    first = row.seeds[0]
    folder = first.folder if len(first.folder.parents) > 4 else first.folder.resolve()
    parents = folder.parents
    known = (first.scores.task, first.scores.release)
    if len(parents) < 4 or (parents[2].name, parents[3].name) != known:
        raise InputError(
            Problem(
                str(row.folder), "a row in a results tree: RELEASE/TASK/MODEL/CONSTRAINT-REGIME",
                "a folder elsewhere", "Name the other row's folder: --against FOLDER.",
            )
        )  # fmt: skip
    return {
        f"{model.name}/{variant.name}": variant
        for model in sorted(parents[2].iterdir())
        if model.is_dir()
        for variant in sorted(model.iterdir())
        if seed_folders(variant)
    }


def find_beside(row: ScoredRow, name: str) -> ScoredRow:
    """Another row: a path, MODEL/CONSTRAINT-REGIME beside the row, or MODEL if it has one variant.

    Errors: InputError with the nearest name where there is none, where it is of several rows, or
    where the two were not scored with one release on one data.
    """
    path = Path(name)
    if not seed_folders(path):
        known = beside(row)
        variants = [key for key in known if name in (key, key.partition("/")[0])]
        if len(variants) != 1:
            models = [key.partition("/")[0] for key in known]
            alone = [model for model in models if models.count(model) == 1]
            fix = nearest(name, variants or [*alone, *known])
            got = "several rows" if variants else "no such folder, and no such row beside it"
            raise InputError(Problem(f"row {name!r}", "one other row", got, fix))
        path = known[variants[0]]
    other = find_row(path)
    mine, theirs = row.seeds[0].scores, other.seeds[0].scores
    check_same_ground(mine, theirs, other.folder, against=f"as of {row.folder}")
    problems = contract_problems(row.seeds[0].folder, other.seeds[0].folder, mine.task)
    if problems:
        raise InputError(problems)
    return other


def oracles_beside(row: ScoredRow) -> list[ScoredRow]:
    """The oracle rows beside a row that know the sources too and have no pretraining."""
    cards = _oracle_cards(row)
    honest = {k: c for k, c in cards.items() if c.exposure == "none" and not c.target_only}
    return [find_beside(row, key) for key in honest]


def own_oracle(row: ScoredRow) -> ScoredRow | None:
    """The row that differs in having seen the OOD regions, and nothing else; None without one."""
    twin = row.card.model_copy(update={"regime": "oracle", "seed": 0})
    for key, card in _oracle_cards(row).items():
        if card.model_copy(update={"seed": 0}) == twin:
            return find_beside(row, key)
    return None


def _oracle_cards(row: ScoredRow) -> dict[str, ModelCard]:
    """{MODEL/CONSTRAINT-REGIME: card} of the oracles beside a row: folders say the regime."""
    return {
        key: read_scores(seed_folders(folder)[0] / SCORES).model
        for key, folder in beside(row).items()
        if folder.name.split("-")[1:2] == ["oracle"]
    }
