"""A failed row on a site: all that is shown of the other rows stays as it was."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.explain import explain
from leaderboard.boards import make_boards
from leaderboard.rows import load_rows
from leaderboard.site import build_site

FAILED = ("failed-none-zero_shot", "failed-none-oracle")
MARK = re.compile(r'<use xlink:href="#\w+" x="[^"]*" y="[^"]*" style="[^"]*"/>')


@pytest.fixture(scope="module")
def after(results: Path, maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the same rows and two that failed: OOD CRPS of 18113, and values of 1e30."""
    root = tmp_path_factory.mktemp("with-failed")
    shutil.copytree(results, root, dirs_exist_ok=True)
    home = {region.name for region in maker.task.regions_of("test_id")}
    words = {"model": "failed", "title": "failed", "constraint": "none"}
    maker.row(root, lambda name: 0.9 if name in home else 18113.0, **words)
    maker.row(root, lambda _: 1e30, regime="oracle", **words)
    return build_site([root], tmp_path_factory.mktemp("out") / "site").parent


def cells(page: Any) -> dict[tuple[str, int], list[tuple[str, dict[str, str]]]]:
    """Text and attributes of every cell of every table row that stands for a row."""
    found = {}
    for number, table in enumerate(page.all("table")):
        for line in (line for line in table.all("tr") if "data-row" in line.attrs):
            parts = [part for part in line.all() if part.tag in ("td", "th", "span", "abbr")]
            found[line.attrs["data-row"], number] = [(part.text, part.attrs) for part in parts]
    return found


@pytest.mark.parametrize(
    "name", ["index.html", "transfer.html", "regions/andes-south.html", "regions/europe-west.html"]
)
def test_every_number_of_the_others_stays(
    name: str, site: Path, after: Path, parse: Callable[[Path], Any]
) -> None:
    before, now = cells(parse(site / name)), cells(parse(after / name))
    assert before
    assert {row for row, _ in now.keys() - before.keys()} <= set(FAILED)
    assert {row for row, _ in now} > {row for row, _ in before}
    for key, line in before.items():
        assert now[key] == line, key


def test_every_table_and_export_of_the_others_stays(site: Path, after: Path) -> None:
    tables = [path.relative_to(site) for path in sorted(site.rglob("*.csv"))]
    assert len(tables) > 10
    for name in tables:
        lines = (site / name).read_text().splitlines()
        now = (after / name).read_text().splitlines()
        others = [line for line in now if not any(slug in line for slug in FAILED)]
        assert others == lines, name


def test_pages_curves_and_maps_of_the_others_stay(site: Path, after: Path) -> None:
    """Byte for byte: curves, spectra, colour scales and maps of every other row."""
    kept = [path.relative_to(site) for path in site.rglob("*") if path.suffix in (".svg", ".png")]
    for name in (name for name in kept if name.parent.name != "plots"):
        assert (after / name).read_bytes() == (site / name).read_bytes(), name
    for page in sorted((site / "models").glob("*.html")):
        assert (after / "models" / page.name).read_bytes() == page.read_bytes(), page.name


def marks(plot: Path) -> list[str]:
    """The marks within the axes; keys of the legend stand right of them."""
    found: list[str] = MARK.findall(plot.read_text())
    return [mark for mark in found if float(mark.split('x="')[1].split('"')[0]) < 360]


def test_the_scatter_keeps_every_other_mark_in_place(site: Path, after: Path) -> None:
    """Marks and ticks: two marks are new, and none has moved."""
    plots = sorted((site / "plots").glob("*.svg"))
    assert len(plots) == 6
    for plot in plots:
        old, new = marks(plot), marks(after / "plots" / plot.name)
        left = list(new)
        for mark in old:
            left.remove(mark)
        assert len(left) == 2, plot.name


def test_it_is_shown_as_failed(after: Path, parse: Callable[[Path], Any]) -> None:
    page = parse(after / "models" / f"{FAILED[0]}.html")
    (fact,) = (d for d in page.one("dl", class_="facts").all("div") if "Failed in" in d.text)
    assert "andes-south (t2m, wind_speed, precipitation)" in fact.text
    assert "europe-west" not in fact.text
    lines = [
        line
        for line in csv.DictReader(
            text for text in (after / "table.csv").read_text().splitlines() if text[0] != "#"
        )
        if line["row"] == FAILED[0] and line["primary"] == "True"
    ]
    assert len(lines) == 1
    assert float(lines[0]["skill_ood"]) < -10_000
    assert "andes-south" in lines[0]["failed_in"].split()
    index = parse(after / "index.html")
    for line in (tr for tr in index.all("tr") if tr.attrs.get("data-row") in FAILED):
        assert [mark.text for mark in line.all("strong", class_="failed")] == ["failed"]
    assert len(index.all("strong", class_="failed")) == 12, "two rows in each of six tables"


def test_a_failed_oracle_is_no_measure(nulls: Path, maker: Any, tmp_path: Path) -> None:
    """Where the only oracle failed there is no gap and no regret, rather than -100 %."""
    root = tmp_path / "results"
    shutil.copytree(nulls, root)
    maker.row(root, lambda _: 0.9, constraint="add")
    maker.row(root, lambda _: 1e30, constraint="add", regime="oracle")
    (rows,) = load_rows([root])
    for board in make_boards(rows):
        assert board.best_oracle is None
        assert [entry.gap for entry in board.entries] == [None] * 5
        assert [entry.regret for entry in board.entries] == [None] * 5
    (row,) = root.glob("*/*/srcnn/add-zero_shot")
    for name in ("gap", "regret"):
        with pytest.raises(InputError, match="none beside it that works"):
            explain(row, name, "test_ood")
