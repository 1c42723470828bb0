"""A world whose truth is known: pseudo-models with errors dialled by region, scored for real.

The truth of a region is a level in time plus c_k (-1, -1, 1, 1) along each row of coarse column k,
c_k = b (k + 1) / 8: block means see the level alone, so bilinear interpolation is the level, its
error is |c_k| in every cell, and b dials it by region. A pseudo-model is the truth plus an error.
All values are multiples of 1/64, exact in float32, so scores are known to the last digits.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.nulls import null
from benchmark.case_table import by_case, load_table, total
from benchmark.evaluate import score
from benchmark.hashing import text_digest
from benchmark.invariants import check_invariants
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import Steps, write_region
from benchmark.predictor import Predictor
from benchmark.results import CASES
from benchmark.scoring import score_cases
from benchmark.skill import FAILED
from benchmark.sources import StreamedPredictions
from benchmark.task import TEST_SPLITS, Task
from leaderboard.boards import Board, Entry, make_boards
from leaderboard.curves import BlockSkill, Curves, scale_of_trust, trust_km, trusted_down_to
from leaderboard.failed import failed_in
from leaderboard.models import trust_words
from leaderboard.numbers import numbers_of
from leaderboard.rows import Group, Row, TaskRows
from leaderboard.transfer import Cell, Line, means_frame, transfer_frame, transfer_matrix

SIDE, FACTOR, MEMBERS = 48, 4, 4
TRAIN, TEST = 4, 12
HOME = ("home-a", "home-b", "home-c")
AWAY = ("away-1", "away-2", "away-3", "away-4", "away-5", "away-6")
BOXES = {
    "home-a": ("train", 10, 0), "home-b": ("train", 10, 12), "home-c": ("train", 10, 60),
    "val": ("val_ood", 60, 150),
    "away-1": ("test_ood", -40, -150), "away-2": ("test_ood", -40, -100),
    "away-3": ("test_ood", -40, -50), "away-4": ("test_ood", -40, 0),
    "away-5": ("test_ood", -40, 50), "away-6": ("test_ood", -40, 100),
}  # fmt: skip
B = {name: 4.0 + k for k, name in enumerate(BOXES)}
"""b of each region: bilinear's error grows from region to region."""

COLUMNS = np.arange(1, SIDE // FACTOR - 1)
"""The scored coarse columns: all but the margin."""
MAE_OF_B = float((COLUMNS + 1).mean()) / 8
RMS_OF_B = float(np.sqrt(((COLUMNS + 1.0) ** 2).mean())) / 8
# Blocks of 2 cells start half a coarse cell in: column 1 has one of them in a row, others two.
PAIRS_OF_B = float((2 * (COLUMNS + 1).sum() - 2) / (2 * len(COLUMNS) - 1)) / 8
LARGE_OF_B = 1 / 16
"""Blocks of 4, 8 and 16 cells hold (c_k - c_(k + n / 4)) / (n / 2): the same b / 16 for each."""

Errors = Callable[[str], float]
Array = NDArray[np.float64]


def world(*, block_days: int = 1) -> Task:
    start = np.datetime64("2020-01-01T00", "h")

    def period(first: int, count: int) -> dict[str, str]:
        ends = (start + 24 * first, start + 24 * (first + count - 1))
        return {"first": f"{ends[0]}:00:00", "last": f"{ends[1]}:00:00"}

    return Task.model_validate(
        {
            "name": "known-world", "revision": 1, "title": "known world", "summary": "known",
            "track": "perfect_model", "factor": FACTOR, "spacing": 0.25, "margin": 1,
            "members": MEMBERS, "case": "day", "season_coverage": "partial", "buffer_km": 500,
            "block_days": block_days, "primary": {"variable": "level", "metric": "rmse"},
            "sources": [{"product": "made", "licence": "none", "attribution": "none"}],
            "image_every": 6,
            "variables": [
                {
                    "name": "level", "long_name": "level", "units": "K", "nonnegative": False,
                    "standard_name": "air_temperature", "cell_methods": "time: mean",
                    "data_range": [200, 400], "thresholds": [290.0],
                    "bins": {"kind": "linear", "low": -1000, "high": 1000, "width": 1.0},
                }
            ],
            "periods": {
                "embargo_hours": 1, "train": period(0, TRAIN), "val": period(TRAIN + 1, 2),
                "test": period(TRAIN + 4, TEST),
            },
            "regions": [
                {"name": name, "role": role, "lat": [lat, lat + SIDE / 4],
                 "lon": [lon, lon + SIDE / 4]}
                for name, (role, lat, lon) in BOXES.items()
            ],
        }
    )  # fmt: skip


def fine_fields(region: str, count: int) -> NDArray[np.float32]:
    """(time, y, x); in training the pattern is eight times as strong: dressing is a bad null."""
    c = B[region] * (np.arange(SIDE // FACTOR) + 1) / 8
    pattern = (c[:, None] * np.array([-1, -1, 1, 1])).ravel()
    t = np.arange(count)
    strength = np.where(t < TRAIN, 8.0, 1.0) * (-1.0) ** t
    row = 280.0 + t[:, None] + strength[:, None] * pattern
    return np.repeat(row[:, None, :], SIDE, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    task = world()
    made = PairStore(task, tmp_path_factory.mktemp("world") / task.id)
    count = TRAIN + 4 + TEST
    times = np.datetime64("2020-01-01T00", "s") + np.arange(count) * np.timedelta64(86400, "s")
    flat = np.zeros((SIDE, SIDE), np.float32)
    for name in BOXES:
        fine = fine_fields(name, count)
        coarse = made.region(name).grid.overlap(fine).astype(np.float32)
        steps = Steps(coarse={"level": coarse}, fine={"level": fine})
        write_region(
            task, name, made.folder, times=times, source_ids={}, recipe={},
            static={"land_fraction": flat + 1, "orography": flat}, blocks=[(0, steps)],
        )  # fmt: skip
    return made


@dataclass(frozen=True)
class Pseudo:
    """The truth plus `error(region)`, times `shape` along x, times `wobble` in time.

    spread: half of the members stand this much above it, half below.
    """

    card: ModelCard
    error: Errors
    spread: Errors | None = None
    shape: tuple[float, ...] = (1.0,)
    wobble: tuple[float, ...] = (1.0,)

    @property
    def member_count(self) -> int:
        return 1 if self.spread is None else MEMBERS

    def predict(self, region: RegionStore, steps: slice) -> Mapping[str, NDArray[np.float32]]:
        truth = region.read("fine", "level", steps)[:, None]
        start = steps.indices(len(region.times))[0]
        wobble = np.resize(self.wobble, start + len(truth))[start:, None, None, None]
        error = self.error(region.name) * np.resize(self.shape, SIDE) * wobble
        if self.spread is not None:
            signs = np.resize([1.0, -1.0], MEMBERS)[:, None, None]
            error = error + self.spread(region.name) * signs
        return {"level": (truth + error).astype(np.float32)}


def by_region(home: float, away: float, **others: float) -> Errors:
    """Errors by region: a little more from one to the next, unless they are given."""

    def error(name: str) -> float:
        base = home if name in HOME else away
        return others.get(name.replace("-", "_"), base + list(BOXES).index(name) / 4)

    return error


ZS = (by_region(2.0, 4.0), by_region(2.5, 6.0))
ORACLE = (by_region(1.5, 3.0), by_region(1.75, 3.5))
ENS, ENS_ORACLE, SPREAD = by_region(1.0, 8.0), by_region(1.0, 1.5), by_region(0.25, 0.75)
FROM = {
    ("home-a",): by_region(5.0, 9.0, home_a=1.0, home_b=3.0),
    ("home-a", "home-c"): by_region(5.0, 7.0, home_a=1.25, home_c=1.5),
}
SCALES: dict[str, dict[str, Any]] = {
    # + + - - from the block's start: blocks of 2 keep it, blocks of 4 lose it. Errors here are
    # shares of b, and so of bilinear's.
    "fine-noise": {"error": lambda name: B[name] * 1.5, "shape": (-1.0, -1.0, 1.0, 1.0)},
    "shifted": {"error": lambda name: B[name] / 8},
    "good": {"error": lambda name: B[name] / 32},
    "home-only": {"error": lambda name: B[name] / (32 if name in HOME else 8)},
}


def models(task: Task) -> Iterator[Predictor]:
    def card(model: str, **more: Any) -> ModelCard:
        return ModelCard(task=task.id, model=model, title=model, reference="-", **more)

    for seed in (0, 1):
        yield Pseudo(card("dialled", seed=seed), ZS[seed])
        yield Pseudo(card("dialled", seed=seed, regime="oracle"), ORACLE[seed])
    for sources, error in FROM.items():
        yield Pseudo(card("dialled", sources=sources), error)
    yield Pseudo(card("spread", members="exchangeable"), ENS, SPREAD)
    yield Pseudo(card("spread", members="exchangeable", regime="oracle"), ENS_ORACLE, SPREAD)
    yield Pseudo(card("wobbly"), by_region(3.0, 5.0), wobble=(0.5, 1.0, 2.0, 1.5))
    yield Pseudo(card("wobblier"), by_region(3.0, 6.0), wobble=(0.25, 3.0, 1.0))
    for name, how in SCALES.items():
        yield Pseudo(card(name), **how)


@pytest.fixture(scope="module")
def first(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Row:
    """Bilinear, scored into a result folder."""
    out = tmp_path_factory.mktemp("rows")
    scores = score(store, StreamedPredictions(null("bilinear", store), identity="bilinear"), out)
    cases, totals = load_table(out / CASES)
    return Row(
        folder=out, scores=scores, cases=cases, numbers=numbers_of(store.task, totals),
        regions=tuple(str(name) for name in cases["region"].values),
        spectra=totals[["power_p", "power_t"]],
    )  # fmt: skip


def scored(store: PairStore, first: Row, work: Path, model: Predictor) -> Row:
    """A model's row by the harness's own reduction; without files, which are slow."""
    source = StreamedPredictions(model, identity=repr(model.card))
    table = score_cases(store, source, work=work / text_digest(repr(model.card))).table
    cases, totals = by_case(table), total(table)
    assert check_invariants(store.task, model.card, cases, totals) == []
    scores = first.scores.model_copy(update={"model": model.card, "members": model.member_count})
    return replace(
        first, scores=scores, cases=cases, numbers=numbers_of(store.task, totals),
        spectra=totals[["power_p", "power_t"]],
    )  # fmt: skip


def grouped(store: PairStore, found: Sequence[Row]) -> TaskRows:
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(row.scores.key, []).append(row)
    made = (Group(tuple(members)) for members in groups.values())
    return TaskRows(store.task, store.data_hash, tuple(sorted(made, key=lambda group: group.slug)))


@pytest.fixture(scope="module")
def scored_rows(
    store: PairStore, first: Row, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Row, ...]:
    work = tmp_path_factory.mktemp("work")
    known = [null("bilinear-dressed", store), *models(store.task)]
    return (first, *(scored(store, first, work, model) for model in known))


@pytest.fixture(scope="module")
def rows(store: PairStore, scored_rows: tuple[Row, ...]) -> TaskRows:
    return grouped(store, scored_rows)


@pytest.fixture(scope="module")
def boards(rows: TaskRows) -> dict[str, Board]:
    return {board.board: board for board in make_boards(rows)}


def group_of(rows: TaskRows, slug: str) -> Group:
    return next(group for group in rows.groups if group.slug == slug)


def entry_of(board: Board, slug: str) -> Entry:
    return next(entry for entry in board.entries if entry.group.slug == slug)


def logs(errors: Errors, regions: tuple[str, ...]) -> Array:
    return np.log([errors(name) for name in regions])


def fair_crps(error: Errors) -> Errors:
    """Of members e - d and e + d, half of them each, d < e: e less 2 d / 3 for four members."""
    return lambda name: error(name) - 2 * SPREAD(name) / 3


def reference_log(board: str, store: PairStore, regions: tuple[str, ...]) -> Array:
    """ln S of the board's reference by region: bilinear by construction, dressing by hand."""
    if board == "deterministic":
        return np.log([RMS_OF_B * B[name] for name in regions])
    found = []
    for name in regions:
        region = store.region(name)
        steps = region.steps(store.task.periods.test)
        x = null("bilinear-dressed", store).predict(region, steps)["level"].astype(np.float64)
        t = region.read("fine", "level", steps)[:, None].astype(np.float64)
        pairs = abs(x[:, :, None] - x[:, None, :]).sum(axis=(1, 2)) / 2
        crps = abs(x - t).mean(axis=1) - pairs / (MEMBERS * (MEMBERS - 1))
        area = region.grid.fine.area[FACTOR:-FACTOR, FACTOR:-FACTOR]
        inner = crps[:, FACTOR:-FACTOR, FACTOR:-FACTOR]
        found.append((inner * area).sum() / (area.sum() * len(t)))
    return np.log(found)


@pytest.mark.parametrize("board", ["deterministic", "probabilistic"])
def test_skill_median_and_worst(board: str, boards: dict[str, Board], store: PairStore) -> None:
    """One member: RMSE and CRPS are both the error that was dialled."""
    for split, regions in zip(TEST_SPLITS, (HOME, AWAY), strict=True):
        base = reference_log(board, store, regions)
        mine = np.mean([logs(error, regions) for error in ZS], axis=0) - base
        found = entry_of(boards[board], "dialled-none-zero_shot").skill[split]
        assert found.regions == regions
        assert found.mean == pytest.approx(mine.mean(), abs=1e-6)
        assert found.median == pytest.approx(np.median(mine), abs=1e-6)
        assert found.worst == (regions[mine.argmax()], pytest.approx(mine.max(), abs=1e-6))


def test_skill_of_an_ensemble(boards: dict[str, Board], store: PairStore) -> None:
    """Members spread evenly round a shift: the mean's RMSE is the shift, the CRPS is lower."""
    for board, error in (("deterministic", ENS), ("probabilistic", fair_crps(ENS))):
        expected = (logs(error, AWAY) - reference_log(board, store, AWAY)).mean()
        found = entry_of(boards[board], "spread-none-zero_shot").skill["test_ood"].mean
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("board", ["deterministic", "probabilistic"])
def test_paired_gap(board: str, boards: dict[str, Board]) -> None:
    """Each seed against its own oracle, on both boards; an ensemble by the board's own score."""
    found = entry_of(boards[board], "dialled-none-zero_shot")
    pairs = zip(ZS, ORACLE, strict=True)
    gap = np.mean([logs(a, AWAY) - logs(b, AWAY) for a, b in pairs])
    assert found.gap is not None
    assert found.gap_seeds == (0, 1)
    assert found.gap.mean == pytest.approx(gap, abs=1e-9)
    turn = fair_crps if board == "probabilistic" else lambda error: error
    spread = entry_of(boards[board], "spread-none-zero_shot").gap
    assert spread is not None
    expected = (logs(turn(ENS), AWAY) - logs(turn(ENS_ORACLE), AWAY)).mean()
    assert spread.mean == pytest.approx(expected, abs=1e-6)
    assert entry_of(boards[board], "wobbly-none-zero_shot").gap is None


@pytest.mark.parametrize("board", ["deterministic", "probabilistic"])
def test_transfer_regret_is_against_the_best_oracle(board: str, boards: dict[str, Board]) -> None:
    best = boards[board].best_oracle
    assert best is not None
    assert best.slug == "spread-none-oracle"
    turn = fair_crps if board == "probabilistic" else lambda error: error
    mine = np.mean([logs(error, AWAY) for error in ZS], axis=0)
    found = entry_of(boards[board], "dialled-none-zero_shot").regret
    assert found is not None
    assert found.mean == pytest.approx((mine - logs(turn(ENS_ORACLE), AWAY)).mean(), abs=1e-6)
    assert entry_of(boards[board], "dialled-none-oracle").regret is None


def lines_of(rows: TaskRows, board: str) -> dict[str, Line]:
    (family,) = (
        f
        for f in transfer_matrix(rows, board, "level").families
        if f.lines[0].group.card.model == "dialled"
    )
    assert [line.title for line in family.lines] == [
        "all training regions", "home-a", "home-a + home-c", "training and OOD regions (oracle)",
    ]  # fmt: skip
    return {line.group.slug: line for line in family.lines}


def cells_of(line: Line) -> dict[str, Cell]:
    return {cell.target: cell for cell in line.cells}


@pytest.mark.parametrize("board", ["deterministic", "probabilistic"])
def test_transfer_matrix(board: str, rows: TaskRows, store: PairStore) -> None:
    """Every (source set, target region) is the error that was dialled, over the reference's."""
    whole = HOME + AWAY
    base = dict(zip(whole, reference_log(board, store, whole), strict=True))
    lines = lines_of(rows, board)
    expected = {
        "dialled-none-zero_shot": ZS,
        "dialled-none-oracle": ORACLE,
        "dialled-none-zero_shot-from-home-a": (FROM[("home-a",)],),
        "dialled-none-zero_shot-from-home-a+home-c": (FROM[("home-a", "home-c")],),
    }
    assert lines.keys() == expected.keys()
    for slug, errors in expected.items():
        found = cells_of(lines[slug])
        assert tuple(found) == whole
        for name in whole:
            mine = np.mean([math.log(error(name)) for error in errors])
            assert found[name].score == pytest.approx(math.exp(mine), rel=1e-9)
            assert found[name].skill == pytest.approx(1 - math.exp(mine - base[name]), abs=1e-6)
            seeds = ZS[: len(errors)]
            other = np.mean([math.log(error(name)) for error in seeds])
            assert found[name].to_zero_shot == pytest.approx(mine - other, abs=1e-9)


def test_transfer_relations_and_means(rows: TaskRows) -> None:
    """home-b touches home-a: it is nobody's unseen region, and in no mean, unless trained on."""
    lines = lines_of(rows, "deterministic")
    relations = {
        slug: [cells_of(line)[name].relation for name in (*HOME, "away-1")]
        for slug, line in lines.items()
    }
    assert relations == {
        "dialled-none-zero_shot": ["source"] * 3 + ["elsewhere"],
        "dialled-none-oracle": ["source"] * 4,
        "dialled-none-zero_shot-from-home-a": ["source", "near", "held_out", "elsewhere"],
        "dialled-none-zero_shot-from-home-a+home-c": ["source", "near", "source", "elsewhere"],
    }
    one = lines["dialled-none-zero_shot-from-home-a"]

    def expected(names: tuple[str, ...]) -> float:
        ratios = [math.log(FROM[("home-a",)](name) / (RMS_OF_B * B[name])) for name in names]
        return 1 - math.exp(float(np.mean(ratios)))

    assert one.mean("id_source") == pytest.approx(expected(("home-a",)), abs=1e-9)
    assert one.mean("id_held_out") == pytest.approx(expected(("home-c",)), abs=1e-9)
    assert one.mean("ood") == pytest.approx(expected(AWAY), abs=1e-9)
    assert math.isnan(lines["dialled-none-zero_shot"].mean("id_held_out"))
    matrix = transfer_matrix(rows, "deterministic", "level")
    frame, means = transfer_frame(rows.task, [matrix]), means_frame([matrix])
    assert len(frame) == len(means) * 9
    (line,) = frame[(frame["sources"] == "home-a") & (frame["target"] == "home-b")].to_dict(
        "records"
    )
    assert (line["relation"], line["score"]) == ("near", pytest.approx(3.0))
    assert means[means["sources"] == "home-a"]["skill_ood"].item() == one.mean("ood")


def skills_by_hand(model: str, split: str) -> list[float]:
    """1 - S_n / S_n of bilinear at 1, 2, 4, 8, 16 cells: errors are shares of b in each region."""
    null_scores = [MAE_OF_B, PAIRS_OF_B, LARGE_OF_B, LARGE_OF_B, LARGE_OF_B]
    mine = {
        "fine-noise": [1.5, 1.5, 0, 0, 0],
        "shifted": [1 / 8] * 5,
        "good": [1 / 32] * 5,
        "home-only": [1 / 32 if split == "test_id" else 1 / 8] * 5,
    }[model]
    return [1 - one / other for one, other in zip(mine, null_scores, strict=True)]


@pytest.mark.parametrize("split", TEST_SPLITS)
@pytest.mark.parametrize(
    ("model", "at_home", "elsewhere"),
    [("fine-noise", 4, 4), ("shifted", None, None), ("good", 1, 1), ("home-only", 1, None)],
)
def test_scale_of_trust(
    model: str, at_home: int | None, elsewhere: int | None, split: Any, rows: TaskRows
) -> None:
    """Errors that cancel in blocks of 4; errors that do not; and what a row may claim of either."""
    group = group_of(rows, f"{model}-none-zero_shot")
    points = scale_of_trust(rows, group, "level", split)
    assert [point.null for point in points] == ["bilinear-none-zero_shot"] * 5
    assert [p.skill for p in points] == pytest.approx(skills_by_hand(model, split), abs=2e-5)
    cells = at_home if split == "test_id" else elsewhere
    cell_km = points[0].km
    found = trust_km(rows, group, "level", split)
    assert found == pytest.approx(math.nan if cells is None else cells * cell_km, nan_ok=True)


def test_scale_of_trust_in_words(rows: TaskRows) -> None:
    def words(model: str) -> str:
        group = group_of(rows, f"{model}-none-zero_shot")
        scales = {s: scale_of_trust(rows, group, "level", s) for s in TEST_SPLITS}
        return trust_words(Curves("level", "level", scales, {}))

    km = scale_of_trust(rows, rows.groups[0], "level", "test_id")[0].km
    assert words("home-only") == (
        f"adds value: down to {km:.1f} km at home (ID), at no scale elsewhere (OOD)"
    )
    assert words("fine-noise").count("down to") == 2


@pytest.mark.parametrize(
    ("skills", "cells"),
    [
        ([0.1, 0.2, 0.3, 0.1, 0.2], 1),
        ([0.1, -0.2, 0.3, 0.1, 0.2], 4),
        ([-0.1, -0.2, 0.3, -0.1, 0.2], 16),
        ([0.1, 0.2, 0.3, 0.1, 0.0], None),
        ([0.1, 0.2, -math.inf, 0.1, 0.2], 8),
        ([0.1, 0.2, 0.3, 0.1, math.nan], None),
        ([0.1, math.nan, math.nan, math.nan, math.nan], None),
    ],
)
def test_what_may_be_claimed(skills: list[float], cells: int | None) -> None:
    """Skill there and at every larger size; a size that only this row lacks ends every claim."""
    points = [BlockSkill(2**k, 10.0 * 2**k, skill, "null") for k, skill in enumerate(skills)]
    found = trusted_down_to(points)
    assert found == pytest.approx(math.nan if cells is None else 10.0 * cells, nan_ok=True)


def test_sizes_that_no_region_holds_are_left_out() -> None:
    small = [BlockSkill(1, 10.0, -0.1, "null"), BlockSkill(2, 20.0, 0.1, "null")]
    assert trusted_down_to([*small, BlockSkill(4, 40.0, math.nan, "")]) == 20.0
    assert math.isnan(trusted_down_to([small[1], BlockSkill(4, 40.0, math.nan, "")]))


def broken(kind: str, store: PairStore, first: Row, work: Path) -> Row:
    """A row that failed: CRPS of 18113 elsewhere, on one day alone, larger, or missing."""
    card = ModelCard(task=store.task.id, model="failed", title="failed", reference="-")
    if kind == "oracle":
        card = card.model_copy(update={"regime": "oracle"})
    size = {"huge": 1e15, "missing": 2.0}.get(kind, 18113.0)
    days = (12.0, *[1 / 1024] * (TEST - 1)) if kind == "one day" else (1.0,)
    row = scored(store, first, work, Pseudo(card, by_region(1.0, size), wobble=days))
    if kind != "missing":
        return row
    at = row.regions.index("away-3")
    numbers = {"level": {k: v.copy() for k, v in row.numbers["level"].items()}}
    for values in numbers["level"].values():
        values[at] = math.nan
    cases = row.cases.copy(deep=True)
    for name in ("weight", "squared_error", "member_abs_error"):
        cases[name].loc[{"region": "away-3"}] = 0.0
    return replace(row, numbers=numbers, cases=cases)


def shown(board: Board, slug: str) -> dict[str, Any]:
    """All that a table shows of a row."""
    entry = entry_of(board, slug)
    return {
        "rank": entry.rank, "tie": entry.rank_group, "skill": entry.skill, "gap": entry.gap,
        "seeds": entry.seed_skills, "regret": entry.regret, "beats": entry.beats_null,
        "beats in": entry.beats_null_in, "scores": entry.scores, "variance": entry.variance,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["crps of 18113", "one day", "huge", "missing", "oracle"])
def test_a_failed_row_disturbs_no_other(
    kind: str,
    rows: TaskRows,
    scored_rows: tuple[Row, ...],
    boards: dict[str, Board],
    store: PairStore,
    first: Row,
    tmp_path: Path,
) -> None:
    """Numbers, ranks, ties, both intervals, the transfer matrix and the scale of trust."""
    after = grouped(store, [*scored_rows, broken(kind, store, first, tmp_path)])
    slug = "failed-none-oracle" if kind == "oracle" else "failed-none-zero_shot"
    for board in make_boards(after):
        before = boards[board.board]
        assert board.best_null.slug == before.best_null.slug
        for entry in before.entries:
            name = entry.group.slug
            np.testing.assert_equal(shown(board, name), shown(before, name), err_msg=name)
        assert failed_in(after, group_of(after, slug), board.board, "level") == (
            ("away-3",) if kind == "missing" else AWAY
        )
        matrix, old = (transfer_matrix(part, board.board, "level") for part in (after, rows))
        kept = tuple(f for f in matrix.families if f.lines[0].group.card.model != "failed")
        for family, other in zip(kept, old.families, strict=True):
            found = [[line.cells for line in part.lines] for part in (family, other)]
            np.testing.assert_equal(*found)
    for group in rows.groups:
        assert failed_in(rows, group, "deterministic", "level") == ()
        for split in TEST_SPLITS:
            np.testing.assert_equal(
                scale_of_trust(after, group, "level", split),
                scale_of_trust(rows, group, "level", split),
            )


def test_the_world_has_intervals_and_ties_to_disturb(boards: dict[str, Board]) -> None:
    primary = boards["deterministic"]
    found = entry_of(primary, "wobbly-none-zero_shot").skill["test_ood"]
    assert found.these_regions is not None
    assert found.these_regions[0] < found.mean < found.these_regions[1]
    assert found.new_regions is not None
    assert entry_of(primary, "wobbly-none-zero_shot").rank_group is not None
    assert all(entry.rank is None for entry in boards["probabilistic"].entries)


@pytest.mark.parametrize(("size", "failed"), [(0.9, ()), (1.1, AWAY)])
def test_what_counts_as_failed(
    size: float, failed: tuple[str, ...], rows: TaskRows, first: Row
) -> None:
    """More than 100 times the reference in a region."""
    group = group_of(rows, "good-none-zero_shot")
    numbers = {"level": dict(group.rows[0].numbers["level"])}
    places = [first.regions.index(name) for name in AWAY]
    numbers["level"]["rmse"] = first.numbers["level"]["rmse"].copy()
    numbers["level"]["rmse"][places] *= FAILED * size
    row = replace(group.rows[0], numbers=numbers)
    assert failed_in(rows, Group((row,)), "deterministic", "level") == failed
