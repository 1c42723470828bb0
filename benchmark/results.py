"""`scores.json`: a row of the leaderboard with its provenance, checked when written and read."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from pydantic import ValidationError

from benchmark.case_table import load_table, table_hash
from benchmark.engine import Engine
from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.metric_table import Value, lacking
from benchmark.metrics import BOARDS, METRICS
from benchmark.mismatch import Mismatch
from benchmark.model_card import ModelCard, variant_suffix
from benchmark.statistics import STATISTICS
from benchmark.task import Task
from benchmark.task_files import contract_of
from benchmark.toml_model import Frozen

FORMAT: Literal[2] = 2
SCORES, CASES, CARD = "scores.json", "cases.zarr.zip", "model.toml"

Interval = tuple[float, float]


class Headline(Frozen):
    """Skill on one board, for one variable and split. Skills; intervals are of the mean skill."""

    board: Literal["deterministic", "probabilistic"]
    variable: str
    split: Literal["test_id", "test_ood"]
    metric: str
    reference: str
    skill: Value
    median: Value
    worst_region: str
    worst: Value
    regions: dict[str, Value]
    clusters: int
    these_regions: Interval | None
    """Days resampled; None below 10 blocks of days."""
    new_regions: Interval | None
    """Regions like these; None below 6 clusters."""


class Run(Frozen):
    """What may differ between identical runs."""

    date: datetime
    seconds: float
    peak_memory_mb: float
    memory_bound_mb: float
    """What scoring itself may take beyond the imported libraries, stated before it began."""
    hardware: str
    workers: int
    streamed: bool
    engine: Engine
    """Compiled kernels, or numpy."""


RowKey = tuple[str, int, str, bool, str, str, tuple[str, ...], bool]
"""What the seeds of one row share; see `Scores.key`."""


class Scores(Frozen):
    """One scored model. metrics: variable, metric, region, stratum to value.

    mismatch: of a real pair's products, by region and variable; empty on the perfect-model track,
    and in rows that were scored before it was recorded.
    """

    format: Literal[2] = FORMAT
    release: str
    task: str
    data_hash: str
    model: ModelCard
    members: int
    expected_cases: int
    scored_cases: int
    prediction_hash: str
    case_table_hash: str
    package_version: str
    commit: str
    packages: dict[str, str]
    headline: tuple[Headline, ...]
    metrics: dict[str, dict[str, dict[str, dict[str, Value]]]]
    mismatch: tuple[Mismatch, ...] = ()
    run: Run

    @property
    def key(self) -> RowKey:
        """What the seeds of one row share: all of its card that tells rows apart."""
        card = self.model
        variant = (card.constraint, card.skip, card.regime, card.exposure)
        return card.model, card.revision, *variant, card.sources, card.target_only


def row_folder(root: Path, scores: Scores) -> Path:
    """RELEASE/TASK/MODEL/CONSTRAINT-REGIME[-VARIANT]/seed-N; a skip is part of MODEL.

    VARIANT: see `variant_suffix`.
    """
    card = scores.model
    model = f"{card.model}-skip" if card.skip else card.model
    variant = f"{card.constraint}-{card.regime}{variant_suffix(card)}"
    return root / scores.release / scores.task / model / variant / f"seed-{card.seed}"


def write_scores(folder: Path, scores: Scores) -> None:
    """Write `scores.json` atomically; strict JSON: a missing value is null, never NaN."""
    table = scores.model_dump(mode="json", exclude=None if scores.mismatch else {"mismatch"})
    write_atomically(folder / SCORES, _lines(table, depth=3) + "\n")


def _lines(value: Any, *, depth: int) -> str:
    """JSON with a line for each entry down to a metric, whose regions share one: half the size."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    indent = " " * (4 - depth)
    entries = (
        f"{indent}{json.dumps(key)}: {_lines(entry, depth=depth - 1)}"
        for key, entry in value.items()
    )
    return "{\n" + ",\n".join(entries) + "\n" + indent[1:] + "}"


def read_scores(path: Path) -> Scores:
    """Read a `scores.json`.

    Errors: InputError when it is absent, of an older or newer format, or breaks the schema.
    """
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            Problem(str(path), "a scores.json", "no such file", "Check the path.")
        ) from None
    except (ValueError, IsADirectoryError) as error:
        raise InputError(Problem(str(path), "JSON", str(error), "Score again.")) from None
    found = table.get("format") if isinstance(table, dict) else None
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        fix = "Update the elsewhere package." if newer else "Score the predictions again."
        raise InputError(Problem(str(path), f"format {FORMAT}", f"format {found}", fix))
    try:
        return Scores.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        got = f"{error.error_count()} problems, first at {place}: {first['msg']}"
        raise InputError(
            Problem(str(path), f"a scores.json of format {FORMAT}", got, "Score again.")
        ) from None


def read_row(folder: Path) -> tuple[Scores, xr.Dataset, xr.Dataset]:
    """(scores, by case, totals) of a score folder; of the tables, what this package knows.

    Errors: InputError where the case table is not the one that the scores came from.
    """
    scores, (cases, totals) = read_scores(folder / SCORES), load_table(folder / CASES)
    found = table_hash(cases, totals)
    if found != scores.case_table_hash:
        raise InputError(
            Problem(
                str(folder / CASES),
                f"the case table of {SCORES}, {scores.case_table_hash}",
                f"another one, {found}",
                "Score the predictions again.",
            )
        )
    return scores, known_part(cases), known_part(totals)


def known_part(table: xr.Dataset) -> xr.Dataset:
    """A table without the statistics that only a newer package knows. Hash it before, whole."""
    return table.drop_vars([name for name in table.data_vars if str(name) not in STATISTICS])


def check_board_sums(where: Path, cases: xr.Dataset, totals: xr.Dataset) -> list[Problem]:
    """A problem where a table lacks a sum of the scores that boards rank by.

    Any other metric may be missing in a row; without these a row has no place on a board.
    """
    needed = [METRICS[score] for score, _ in BOARDS.values()]
    lacks = [name for found in needed for part in (cases, totals) for name in lacking(found, part)]
    if not lacks:
        return []
    scores = " and ".join(found.title for found in needed)
    return [
        Problem(
            str(where / CASES), f"the sums of {scores}, which boards are made from",
            f"a case table that lacks {', '.join(dict.fromkeys(lacks))}",
            "Score the predictions again: these sums cannot be derived from the others.",
        )
    ]  # fmt: skip


def check_same_ground(mine: Scores, other: Scores, where: Path, *, against: str) -> None:
    """InputError where two rows are not of one release, task and data; `where` holds `other`."""
    problems = [
        Problem(
            f"{where}: {name}", f"{getattr(mine, name)}, {against}", str(getattr(other, name)),
            "Score both models with one release on one pair store.",
        )
        for name in ("release", "task", "data_hash")
        if getattr(mine, name) != getattr(other, name)
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def contract_problems(first: Path, other: Path, task_id: str) -> list[Problem]:
    """A problem where the rows in two folders have other contracts under one task id.

    Contracts of tasks that do not ship lie beside the scores: nobody else keeps their revisions.
    """
    mine, theirs = contract_of(first, task_id), contract_of(other, task_id)
    changed = [key for key in Task.model_fields if getattr(mine, key) != getattr(theirs, key)]
    if not changed:
        return []
    return [
        Problem(
            str(other), f"the contract of {task_id} in {first}",
            f"another one, which differs in {', '.join(changed)}",
            "Give a changed task a new revision, build it and score its models again.",
        )
    ]  # fmt: skip


def find_scores(roots: Sequence[Path]) -> list[Path]:
    """Every scores.json below the given folders, sorted; InputError when a folder is absent."""
    missing = [root for root in roots if not root.is_dir()]
    if missing:
        raise InputError(
            [
                Problem(str(root), "a folder with results", "no such folder", "Check the path.")
                for root in missing
            ]
        )
    return sorted({path for root in roots for path in root.rglob(SCORES)})
