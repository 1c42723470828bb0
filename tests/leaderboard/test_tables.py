"""Numbers on the pages against arithmetic by hand on the committed sums."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.task import Task
from benchmark.task_files import load_task
from leaderboard.boards import make_boards
from leaderboard.render import plain, signed
from leaderboard.rows import load_rows

ADD, NONE = "srcnn/add-zero_shot", "srcnn-skip/none-zero_shot"
Hand = Callable[[Path, str, str], float]


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("era5-sample")


@pytest.fixture(scope="module")
def index(site: Path, parse: Callable[[Path], Any]) -> Any:
    return parse(site / "index.html")


def seed(results: Path, row: str, number: int = 0) -> Path:
    (folder,) = results.glob(f"*/*/{row}/seed-{number}")
    return folder


def line(page: Any, row: str, table: str = "table-t2m-deterministic") -> Any:
    return page.one("table", id=table).one("tr", data_row=row)


def column(page: Any, row: str, name: str) -> Any:
    return line(page, row).one("td", data_column=name)


def log_ratios(
    rms: Hand, pairs: list[tuple[Path, Path]], regions: tuple[Any, ...]
) -> "np.ndarray[Any, Any]":
    """(region,) mean over seeds of ln(S / S_other) for t2m."""
    return np.array(
        [
            np.mean([math.log(rms(a, "t2m", r.name) / rms(b, "t2m", r.name)) for a, b in pairs])
            for r in regions
        ]
    )


@pytest.mark.parametrize(("split", "name"), [("test_id", "id"), ("test_ood", "ood")])
def test_skill_is_one_minus_exp_mean_log_ratio(
    split: Any, name: str, index: Any, results: Path, rms: Hand, task: Task
) -> None:
    bilinear = seed(results, "bilinear/none-zero_shot")
    pairs = [(seed(results, ADD, k), bilinear) for k in (0, 1)]
    skill = 1 - math.exp(log_ratios(rms, pairs, task.regions_of(split)).mean())
    cell = column(index, "srcnn-add-zero_shot", name)
    assert float(cell.attrs["data-value"]) == pytest.approx(skill, rel=1e-12)
    assert cell.one("span", class_="value").text == signed(skill)
    # 8 snapshots are never 10 blocks of days; the 9 ID boxes are too few clusters.
    marks = [mark.text for mark in cell.all("abbr") if mark.attrs.get("class") is None]
    assert marks == (["‡", "†"] if name == "id" else ["†"])


def test_new_regions_interval_is_a_clustered_t_interval(
    index: Any, results: Path, rms: Hand, task: Task
) -> None:
    from scipy.stats import t

    from benchmark.distance import cluster_labels

    bilinear = seed(results, "bilinear/none-zero_shot")
    pairs = [(seed(results, NONE), bilinear)]
    ratios = log_ratios(rms, pairs, task.regions_of("test_ood"))
    labels = np.array(cluster_labels(task.regions_of("test_ood"), within_km=task.cluster_km))
    count = labels.max() + 1
    sums = np.array([(ratios[labels == g] - ratios.mean()).sum() for g in range(count)])
    half = t.ppf(0.975, count - 1) * math.sqrt(count / (count - 1) * (sums**2).sum()) / len(ratios)
    bounds = column(index, "srcnn-skip-none-zero_shot", "ood").one("span", class_="bounds")
    expected = [1 - math.exp(ratios.mean() + half), 1 - math.exp(ratios.mean() - half)]
    shown = [float(bounds.attrs[name]) for name in ("data-low", "data-high")]
    assert shown == pytest.approx(expected, rel=1e-9)


def test_gap_pairs_seeds_with_their_oracle(
    index: Any, results: Path, rms: Hand, task: Task
) -> None:
    pair = (seed(results, ADD, 1), seed(results, "srcnn/add-oracle", 1))
    gap = math.exp(log_ratios(rms, [pair], task.regions_of("test_ood")).mean()) - 1
    cell = column(index, "srcnn-add-zero_shot", "gap")
    assert float(cell.attrs["data-value"]) == pytest.approx(gap, rel=1e-12)
    assert cell.one("span", class_="value").text == signed(100 * gap, 1)
    assert cell.attrs["title"] == "seeds 1"


def test_no_oracle_no_gap_but_a_regret(index: Any, results: Path, rms: Hand, task: Task) -> None:
    gap = column(index, "srcnn-skip-none-zero_shot", "gap")
    assert (gap.attrs["data-value"], gap.text) == ("", "–")
    assert gap.one("span").attrs["title"] == "no oracle of this row"
    pair = (seed(results, NONE), seed(results, "srcnn/add-oracle", 1))
    regret = math.exp(log_ratios(rms, [pair], task.regions_of("test_ood")).mean()) - 1
    cell = column(index, "srcnn-skip-none-zero_shot", "regret")
    assert float(cell.attrs["data-value"]) == pytest.approx(regret, rel=1e-12)


def test_worst_region(index: Any, results: Path, rms: Hand, task: Task) -> None:
    bilinear = seed(results, "bilinear/none-zero_shot")
    regions = task.regions_of("test_ood")
    ratios = log_ratios(rms, [(seed(results, NONE), bilinear)], regions)
    cell = column(index, "srcnn-skip-none-zero_shot", "worst")
    assert cell.one("a").text == regions[int(ratios.argmax())].name
    assert float(cell.attrs["data-value"]) == pytest.approx(1 - math.exp(ratios.max()), rel=1e-12)


def test_region_page(
    site: Path, parse: Callable[[Path], Any], results: Path, rms: Hand, task: Task
) -> None:
    name = task.regions_of("test_ood")[3].name
    page = parse(site / "regions" / f"{name}.html")
    cells = line(page, "srcnn-add-zero_shot").all("td")
    values = [rms(seed(results, ADD, k), "t2m", name) for k in (0, 1)]
    mean = math.sqrt(values[0] * values[1])
    assert float(cells[0].attrs["data-value"]) == pytest.approx(mean, rel=1e-12)
    assert cells[0].text == plain(mean)
    reference = rms(seed(results, "bilinear/none-zero_shot"), "t2m", name)
    assert float(cells[1].attrs["data-value"]) == pytest.approx(1 - mean / reference, rel=1e-9)
    nulls = ("bilinear", "bilinear-dressed", "nearest")
    best = min(rms(seed(results, f"{null}/none-zero_shot"), "t2m", name) for null in nulls)
    below = bool(line(page, "srcnn-skip-none-zero_shot").all("abbr", class_="below"))
    assert below == (rms(seed(results, NONE), "t2m", name) >= best)
    assert len(page.all("figure", class_="map")) == 2 + 2 * (3 + 2)


def test_exports_hold_the_same_numbers(site: Path, index: Any) -> None:
    lines = (site / "table.csv").read_text().splitlines()
    comment = [text for text in lines if text.startswith("# ")]
    assert comment[0] == "# release: 2026.1"
    assert any("smoke test" in text for text in comment)
    rows = list(csv.DictReader(text for text in lines if not text.startswith("# ")))
    (row,) = (r for r in rows if r["row"] == "srcnn-add-zero_shot" and r["primary"] == "True")
    cell = column(index, "srcnn-add-zero_shot", "ood")
    assert float(row["skill_ood"]) == float(cell.attrs["data-value"])
    table = json.loads((site / "table.json").read_text())
    assert len(table["rows"]) == len(rows)
    assert table["task"] == "era5-sample@1"
    (same,) = (r for r in table["rows"] if r["row"] == row["row"] and r["primary"])
    assert same["skill_ood"] == float(row["skill_ood"])
    assert same["skill_id_new_regions_low"] is None
    tex = (site / "table.tex").read_text()
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == 6
    assert f"${float(row['skill_ood']):.3f}$" in tex


def test_sections_and_ranks(index: Any) -> None:
    table = index.one("table", id="table-t2m-deterministic")
    bodies = [body for body in table.all("tbody") if "data-section" in body.attrs]
    names = [body.attrs["data-section"] for body in bodies]
    assert names == ["null", "zero_shot", "oracle", "exposed-zero_shot"]
    ranks = {
        row.attrs["data-row"]: row.all("td")[0].attrs["data-value"]
        for body in bodies
        for row in body.all("tr")
    }
    assert ranks["srcnn-add-zero_shot"] == "1"
    assert ranks["srcnn-skip-none-zero_shot"] == "2"
    assert ranks["srcnn-none-zero_shot-target_labels"] == "1"
    assert ranks["srcnn-add-oracle"] == ranks["bilinear-none-zero_shot"] == ""
    below = [row.attrs["data-row"] for row in table.all("tr") if row.all("abbr", class_="below")]
    assert below == ["srcnn-skip-none-zero_shot"]
    others = [t for t in index.all("table") if t.attrs.get("id", "").startswith("table-")]
    assert len(others) == 6
    assert all(not t.all("td", class_="num rank") for t in others[1:])


def test_a_diverged_row_changes_no_other_row(copied: Path, maker: Any, results: Path) -> None:
    maker.row(copied, lambda _: 1e9, constraint="none", model="diverged", title="diverged")
    (before,), (after,) = load_rows([results]), load_rows([copied])
    for old, new in zip(make_boards(before), make_boards(after), strict=True):
        found = {entry.group.slug: entry for entry in new.entries}
        assert len(found) == len(old.entries) + 1
        for entry in old.entries:
            other = found[entry.group.slug]
            assert entry.skill == other.skill
            assert (entry.gap, entry.regret, entry.rank) == (other.gap, other.regret, other.rank)
            assert (entry.beats_null, entry.scores) == (other.beats_null, other.scores)
    assert signed(-1e9) == "−1.00e9"
