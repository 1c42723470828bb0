"""Rank groups, both claims and the resolvable difference on a site of 160 days of weather."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from baselines.nulls import null
from benchmark import RELEASE
from benchmark.case_table import by_case
from benchmark.confidence_set import confidence_set
from benchmark.inference import day_draws
from benchmark.pair_store import PairStore
from benchmark.scoring import score_cases
from benchmark.sources import StreamedPredictions
from benchmark.statistics import STATISTICS
from leaderboard import export
from leaderboard.boards import Board, make_boards
from leaderboard.rows import load_rows
from leaderboard.site import build_site

Array = NDArray[np.float64]
NULLS = ("bilinear", "bilinear-dressed", "nearest")
DAYS = 160
ROWS = {
    "one": (0.80, 1), "two": (0.80, 2), "three": (0.83, 3), "far": (1.10, 4), "lost": (18113.0, 5),
}  # fmt: skip
"""{model: (errors in units of bilinear's, its own weather)}: the first two are equal by design."""


def long(table: xr.Dataset) -> xr.Dataset:
    """The eight snapshots again and again, as DAYS daily cases."""
    short = table.sizes["case"]
    days = np.datetime64("2001-01-01", "s") + np.arange(DAYS) * np.timedelta64(86400, "s")
    made = table.isel(case=np.arange(DAYS) % short).assign_coords(case=days)
    for name, values in made.data_vars.items():
        if "case" not in values.dims and STATISTICS[str(name)].fold != "max":
            made[name] = values * (DAYS / short)
    return made


def weather(seed: int) -> Array:
    """(day,) log-errors that last for days, and whose mean square changes no RMSE."""
    noise = np.random.default_rng(seed).normal(size=DAYS + 4)
    found = 0.1 * np.convolve(noise, np.ones(5) / np.sqrt(5), mode="valid")
    return np.asarray(found - 0.5 * np.log(np.exp(2 * found).mean()))


def with_weather(table: xr.Dataset, seed: int) -> xr.Dataset:
    """The errors of each day times exp(weather)."""
    factor = xr.DataArray(np.exp(weather(seed)), dims="case")
    made = table.copy(deep=True)
    for name, power in (("error", 1), ("abs_error", 1), ("member_abs_error", 1),
                        ("scale_abs_error", 1), ("squared_error", 2)):  # fmt: skip
        made[name] = (table[name] * factor**power).transpose(*table[name].dims)
    return made


@pytest.fixture(scope="module")
def world(
    store: PairStore, maker: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """(a maker of daily rows, results with nulls and rows)."""
    task = maker.task.model_copy(update={"name": "daily", "case": "day"})
    root, tables = tmp_path_factory.mktemp("daily"), {}
    for name in NULLS:
        source = StreamedPredictions(null(name, store), identity=name)
        found = score_cases(store, source, work=tmp_path_factory.mktemp("work"))
        tables[name] = long(found.table), source.card
    references = {name: by_case(table) for name, (table, _) in tables.items()}
    counted = {"expected_cases": DAYS, "scored_cases": DAYS}
    template = maker.template.model_copy(update=counted)
    daily = replace(maker, task=task, references=references, template=template)
    for table, card in tables.values():
        same = {
            key: value for key, value in card.model_dump().items() if key not in ("task", "sources")
        }
        members = template.model_copy(update={"members": int(table.attrs["members"])})
        replace(daily, table=table, template=members).row(root, lambda _: 1.0, **same)
    for name, (factor, seed) in ROWS.items():
        table = with_weather(tables["bilinear"][0], seed)
        by_region = _by_region(factor, seed)
        replace(daily, table=table).row(root, by_region, model=name, title=name.capitalize())
    return daily, root


def _by_region(factor: float, seed: int) -> Callable[[str], float]:
    """Half a per cent more or less by region: equal rows are not multiples of each other."""
    return lambda name: factor * (1 + 0.005 * np.sin(seed + sum(name.encode())))


@pytest.fixture(scope="module")
def known(world: tuple[Any, Path]) -> Iterator[Path]:
    """The results, read with their own task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.task_files.load_task", lambda _: world[0].task)
        yield world[1]


@pytest.fixture(scope="module")
def page(
    known: Path, tmp_path_factory: pytest.TempPathFactory, parse: Callable[[Path], Any]
) -> Any:
    """The index of their site."""
    return parse(build_site([known], tmp_path_factory.mktemp("site") / "site"))


@pytest.fixture(scope="module")
def whole(known: Path) -> Board:
    """The primary board of all rows."""
    return board(known)


def board(results: Path) -> Board:
    """The primary board."""
    (rows,) = load_rows([results])
    return make_boards(rows)[0]


def line(page: Any, name: str) -> Any:
    table = page.one("table", id="table-t2m-deterministic")
    return table.one("tr", data_row=f"{name}-none-zero_shot")


def test_groups_on_the_page(page: Any) -> None:
    """The two equal rows share group 1, the far one and the lost one stand in groups behind."""
    groups = {name: line(page, name).one("td", data_column="group").text for name in ROWS}
    assert groups["one"] == groups["two"] == "1"
    assert 1 < int(groups["far"]) < int(groups["lost"])
    heads = [head.text for head in page.one("table", id="table-t2m-deterministic").all("th")]
    assert heads[:2] == ["Rank", "Rank group"]
    for name in ROWS:
        cell = line(page, name).one("td", data_column="ood")
        assert [claim.text for claim in cell.all("span", class_="claim")] == [
            "new regions", "these regions",
        ]  # fmt: skip
        assert len(cell.all("span", class_="bounds")) == 2, "both claims have numbers"


def test_groups_from_case_tables_by_hand(whole: Board) -> None:
    """Losses resampled one draw at a time from the saved sums give the groups of the board."""
    found = {e.group.card.model: e for e in whole.entries if not e.group.card.null}
    draws = day_draws(DAYS, block_days=15, seed=f"daily@1 {RELEASE}")
    assert draws is not None
    losses, drawn = [], []
    names = [name for name in ROWS if name != "lost"]
    for name in names:
        row = found[name].group.rows[0]
        regions = list(found[name].skill["test_ood"].regions)
        chosen = row.cases.sel(variable="t2m", stratum="all", region=regions)
        squares, weights = chosen["squared_error"].values, chosen["weight"].values
        losses.append(np.log(np.sqrt(squares.sum(1) / weights.sum(1))).mean())
        each = [
            np.log(np.sqrt((squares @ count) / (weights @ count))).mean() for count in draws.counts
        ]
        drawn.append(each)
    p = confidence_set(np.array(losses), np.array(drawn).T, draws.widths)
    first = {name for name, value in zip(names, p, strict=True) if value >= 0.05}
    assert {name for name in names if found[name].rank_group == 1} == first
    assert {"one", "two"} <= first
    assert "far" not in first
    assert [found[name].rank for name in ("far", "lost")] == [4, 5]


def test_a_diverged_row_changes_no_other(known: Path, whole: Board, tmp_path: Path) -> None:
    """Without it every other row has the same rank, group, claims; so has the resolvable one."""
    alone = tmp_path / "without"
    shutil.copytree(known, alone, ignore=shutil.ignore_patterns("lost"))
    rest = board(alone)
    assert len(whole.entries) == len(rest.entries) + 1
    mine = {e.group.slug: e for e in whole.entries}
    for other in rest.entries:
        same = mine[other.group.slug]
        assert (same.rank, same.rank_group) == (other.rank, other.rank_group)
        assert same.skill == other.skill
        assert same.regret == other.regret
    assert whole.resolvable == rest.resolvable


def test_resolvable_difference(whole: Board, page: Any) -> None:
    """Printed with every table: the median over pairs, from the errors of both claims."""
    found = whole
    days, regions = [], []
    healthy = [e for e in found.entries if e.group.card.model in ("one", "two", "three", "far")]
    assert len(healthy) == 4
    for k, first in enumerate(healthy):
        for second in healthy[k + 1 :]:
            ratios = np.subtract(
                first.skill["test_ood"].log_ratios, second.skill["test_ood"].log_ratios
            )
            assert ratios.shape == (12,)
            a, b = (e.group.rows[0] for e in (first, second))
            rows = _mean_log_ratios(a.cases, b.cases, list(first.skill["test_ood"].regions))
            days.append(rows)
            regions.append(ratios)
    critical = stats.t.ppf(0.975, DAYS / 15 - 1)
    errors = np.median([np.std(values, ddof=1) for values in days]) * np.sqrt(160 / 145)
    assert found.resolvable.days is not None
    shift = found.resolvable.days / errors
    assert stats.nct.sf(critical, DAYS / 15 - 1, shift) == pytest.approx(0.8, abs=0.01)
    assert found.resolvable.regions is not None
    lines = export.table([whole])
    percents = lines["resolvable_percent_these_regions"].unique().tolist()
    assert percents == [pytest.approx(100 * np.expm1(found.resolvable.days))]
    notes = page.all("p", class_="resolvable")
    assert len(notes) == 6, "every table has its own"
    shown = notes[0].one("span", data_claim="these regions").attrs["data-value"]
    assert float(shown) == pytest.approx(found.resolvable.days, rel=1e-9)


def _mean_log_ratios(first: xr.Dataset, second: xr.Dataset, regions: list[str]) -> Array:
    """(resample,) means over regions of the log-ratio of two RMSE, by hand."""
    draws = day_draws(DAYS, block_days=15, seed=f"daily@1 {RELEASE}")
    assert draws is not None
    squares = [
        table["squared_error"].sel(variable="t2m", stratum="all", region=regions).values
        for table in (first, second)
    ]
    logs = [0.5 * np.log(values @ draws.counts.T) for values in squares]
    return np.asarray((logs[0] - logs[1]).mean(axis=0))
