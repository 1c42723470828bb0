"""The transfer matrix: score for every (source set, target region) of a model, and its page.

A source set is the regions whose labelled training days a row was trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jinja2 import Environment

from benchmark.distance import box_distance_km
from benchmark.metrics import BOARDS, board_score
from benchmark.model_card import ModelCard
from benchmark.region import Region
from benchmark.skill import as_skill
from benchmark.task import TEST_SPLITS, Split, Task
from leaderboard.contrasts import region_names, score
from leaderboard.export import write_csv
from leaderboard.render import write_page
from leaderboard.rows import Group, TaskRows

Relation = Literal["source", "near", "held_out", "elsewhere"]
Kind = Literal["id_source", "id_held_out", "ood"]
MEANS: dict[Kind, str] = {
    "id_source": "ID, in the source set",
    "id_held_out": "ID, held out of it",
    "ood": "Elsewhere (OOD)",
}
"""Whose means stand beside the matrix; near targets are in none of them."""


@dataclass(frozen=True)
class Cell:
    """One target region of one row.

    relation: in the source set; not in it but within the task's buffer of a source (`near`: not
    unseen); a training region that keeps the buffer (`held_out`); a region of the OOD split.
    score: geometric mean over seeds; log_ratio: ln(S / S_ref), the mean over seeds;
    to_zero_shot: ln(S / S_zero_shot) against the row of all training regions, over the seeds that
    both have. NaN is missing.
    """

    target: str
    split: Split
    relation: Relation
    score: float
    log_ratio: float
    to_zero_shot: float

    @property
    def skill(self) -> float:
        """1 - S / S_ref."""
        return as_skill(self.log_ratio)

    @property
    def kind(self) -> Kind | None:
        """Which mean it is part of."""
        if self.split == "test_ood":
            return "ood"
        kinds: dict[Relation, Kind] = {"source": "id_source", "held_out": "id_held_out"}
        return kinds.get(self.relation)


@dataclass(frozen=True, eq=False)
class Line:
    """One source set of a model: a row of the matrix."""

    group: Group
    title: str
    cells: tuple[Cell, ...]

    def mean(self, kind: Kind) -> float:
        """1 - exp(mean ln(S / S_ref)) over targets of one kind; NaN without any."""
        ratios = [cell.log_ratio for cell in self.cells if cell.kind == kind]
        return as_skill(float(np.mean(ratios))) if ratios else math.nan


@dataclass(frozen=True, eq=False)
class Family:
    """The source sets of one model: all else but the regions trained on is the same."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, eq=False)
class Matrix:
    """The matrix of one board and variable, a block of lines for each family."""

    board: str
    variable: str
    targets: tuple[tuple[Split, tuple[str, ...]], ...]
    families: tuple[Family, ...]


def transfer_matrix(rows: TaskRows, board: str, variable: str) -> Matrix:
    """S of every trained row in every test region, beside the reference's and zero-shot's.

    Lines of a family: all training regions (zero_shot), each source set by size and name, the
    oracle, that of the targets only. Rows of other regimes are families of their own: target inputs
    are no source set, and labelled target days are a regime. Exposed rows are families apart.
    """
    targets = tuple((split, region_names(rows.task, split)) for split in TEST_SPLITS)
    found: dict[tuple[object, ...], list[Group]] = {}
    for group in rows.groups:
        if not group.card.null:
            found.setdefault(_family(group.card), []).append(group)
    return Matrix(
        board,
        variable,
        targets,
        tuple(_lines(rows, members, board, variable) for members in found.values()),
    )


def _family(card: ModelCard) -> tuple[object, ...]:
    regime = "zero_shot" if card.regime == "oracle" else card.regime
    return card.model, card.revision, card.skip, card.constraint, card.exposure, regime


def _lines(rows: TaskRows, members: Sequence[Group], board: str, variable: str) -> Family:
    def place(group: Group) -> tuple[int, int, tuple[str, ...]]:
        card = group.card
        last = 2 + card.target_only if card.regime == "oracle" else 1 if card.sources else 0
        return last, len(card.sources), card.sources

    ordered = sorted(members, key=place)
    whole = next((g for g in ordered if not g.card.sources and g.card.regime != "oracle"), None)
    lines = tuple(
        Line(group, _title(group.card), _cells(rows, group, whole, board, variable))
        for group in ordered
    )
    return Family(_name(ordered[0].card), lines)


def _name(card: ModelCard) -> str:
    words = [
        card.title,
        "with skip" if card.skip else "",
        "" if card.constraint == "none" else card.constraint,
        "" if card.regime in ("zero_shot", "oracle") else card.regime,
        "" if card.exposure == "none" else f"exposed to {card.exposure}",
    ]
    return ", ".join(word for word in words if word)


def _title(card: ModelCard) -> str:
    if card.sources:
        return " + ".join(card.sources)
    if card.target_only:
        return "OOD regions only (oracle)"
    return (
        "training and OOD regions (oracle)" if card.regime == "oracle" else "all training regions"
    )


def _cells(
    rows: TaskRows, group: Group, whole: Group | None, board: str, variable: str
) -> tuple[Cell, ...]:
    task, (reference_score, reference) = rows.task, BOARDS[board]
    regions = [name for split in TEST_SPLITS for name in region_names(task, split)]
    mine = _log_scores(group, board, variable, regions)
    base = score(rows.reference(reference), reference_score, variable, regions)
    other = {} if whole is None else _log_scores(whole, board, variable, regions)
    shared = sorted(mine.keys() & other.keys())
    logs = np.mean(list(mine.values()), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = logs - np.log(base)
        paired = [mine[seed] - other[seed] for seed in shared]
    to_whole = np.mean(paired, axis=0) if paired else np.full(len(regions), np.nan)
    splits = [split for split in TEST_SPLITS for _ in region_names(task, split)]
    return tuple(
        Cell(
            target=name,
            split=split,
            relation=relation(task, group.card, name),
            score=float(np.exp(logs[k])),
            log_ratio=float(ratios[k]),
            to_zero_shot=float(to_whole[k]),
        )
        for k, (name, split) in enumerate(zip(regions, splits, strict=True))
    )


def _log_scores(
    group: Group, board: str, variable: str, regions: Sequence[str]
) -> dict[int, np.ndarray]:
    """{seed: (region,) ln S}."""
    name = board_score(board, group.card.members)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {row.seed: np.log(score(row, name, variable, regions)) for row in group.rows}


def relation(task: Task, card: ModelCard, target: str) -> Relation:
    """What a target region is to the regions that a row was trained on."""
    region = task.region(target)
    own = task.regions_of("test_ood" if card.target_only else "train")
    trained = card.sources or tuple(r.name for r in own)
    if target in trained or (card.regime == "oracle" and region.role == "test_ood"):
        return "source"
    if region.role == "test_ood" or card.target_only:
        return "elsewhere"
    distances = [_distance_km(region, task.region(name)) for name in trained]
    return "near" if min(distances) < max(task.buffer_km, 1e-9) else "held_out"


@cache
def _distance_km(first: Region, second: Region) -> float:
    return box_distance_km(first, second)


def transfer_frame(task: Task, matrices: Sequence[Matrix]) -> pd.DataFrame:
    """One line a (board, variable, row, target); a missing number is NaN."""
    return pd.DataFrame(
        [
            {
                **_of_line(matrix, line),
                "units": task.variable(matrix.variable).units,
                "target": cell.target, "split": cell.split, "relation": cell.relation,
                "score": cell.score, "skill": cell.skill,
                "log_ratio_to_zero_shot": cell.to_zero_shot,
            }
            for matrix in matrices
            for family in matrix.families
            for line in family.lines
            for cell in line.cells
        ]
    )  # fmt: skip


def means_frame(matrices: Sequence[Matrix]) -> pd.DataFrame:
    """One line a (board, variable, row): the skill over each kind of target."""
    return pd.DataFrame(
        [
            {**_of_line(matrix, line), **{f"skill_{kind}": line.mean(kind) for kind in MEANS}}
            for matrix in matrices
            for family in matrix.families
            for line in family.lines
        ]
    )


def _of_line(matrix: Matrix, line: Line) -> dict[str, Any]:
    card = line.group.card
    return {
        "variable": matrix.variable,
        "board": matrix.board,
        "metric": board_score(matrix.board, card.members),
        "reference": BOARDS[matrix.board][1],
        "row": line.group.slug,
        "regime": card.regime,
        "sources": "+".join(card.sources),
        "seeds": len(line.group.rows),
    }


def write_transfer(made: Environment, rows: TaskRows, folder: Path, shared: dict[str, Any]) -> None:
    """`transfer.html`, `transfer.csv` and `transfer-means.csv`; nothing without a trained row.

    shared: holds the boards, whose order and words the page follows.
    """
    if all(group.card.null for group in rows.groups):
        return
    boards = shared["boards"]
    matrices = [transfer_matrix(rows, board.board, board.variable.name) for board in boards]
    write_page(
        made, "transfer.html.j2", folder / "transfer.html", root="",
        matrices=list(zip(boards, matrices, strict=True)), means=MEANS, **shared,
    )  # fmt: skip
    frames = {
        "transfer": transfer_frame(rows.task, matrices),
        "transfer-means": means_frame(matrices),
    }
    for name, frame in frames.items():
        write_csv(folder / f"{name}.csv", frame, rows.task, rows.data_hash)
