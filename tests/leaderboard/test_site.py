"""The folder as a whole: links, no network, the same bytes twice, replaced only when whole."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import leaderboard.rows
import leaderboard.site
from benchmark.errors import InputError
from benchmark.task_files import load_task
from leaderboard.site import MARKER, build_site

Parse = Callable[[Path], Any]


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_link_resolves_and_nothing_is_loaded_from_outside(site: Path, parse: Parse) -> None:
    trees = {page: parse(page).all() for page in pages(site)}
    ids = {page: {n.attrs["id"] for n in tree if "id" in n.attrs} for page, tree in trees.items()}
    assert len(ids) == 2 + 21 + 7
    for page, tree in trees.items():
        for node in tree:
            for name in ("src", "href"):
                link = urlsplit(node.attrs.get(name, ""))
                if name not in node.attrs or (link.scheme == "data" and not link.path[1:]):
                    continue
                assert not link.scheme, f"{page.name} loads {node.attrs[name]}"
                assert not link.netloc
                target = (page.parent / unquote(link.path)).resolve() if link.path else page
                assert target.is_file(), f"{page.name}: {node.attrs[name]}"
                assert not link.fragment or link.fragment in ids[target]
    for style in site.rglob("*.css"):
        assert "url(" not in style.read_text()
        assert "@import" not in style.read_text()
    for plot in site.rglob("*.svg"):
        loaded = re.findall(r'(?:href|src)="(?!#)([^"]*)"', plot.read_text())
        assert loaded == []


def test_every_page_has_banner_licences_and_accessible_tables(site: Path, parse: Parse) -> None:
    task = load_task("era5-sample")
    for path in pages(site):
        page = parse(path)
        assert " ".join(task.banner.split()) in page.one("div", class_="banner").text
        footer = page.one("footer").text
        for source in task.sources:
            assert source.licence in footer
            assert " ".join(source.attribution.split()) in footer
        for table in page.all("table"):
            assert table.one("caption").text
            assert all(head.attrs.get("scope") for head in table.all("th"))
        assert all(image.attrs.get("alt") for image in page.all("img"))
        assert len(page.all("h1")) == 1


def test_pictures_are_small(site: Path) -> None:
    sizes = [path.stat().st_size for path in site.rglob("*") if path.suffix in (".png", ".svg")]
    assert len(sizes) == 21 * (4 + 2 * 5) + 6 + 2 * 7
    assert max(sizes) < 400_000


def test_the_same_results_give_the_same_bytes(
    site: Path, results: Path, tmp_path: Path, files_of: Callable[[Path], dict[str, bytes]]
) -> None:
    again = build_site([results], tmp_path / "again").parent
    assert files_of(again) == files_of(site)


def test_an_earlier_site_stays_until_the_new_one_is_whole(
    nulls: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).touch()
    (out / "index.html").write_text("old")

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(leaderboard.site, "draw_region", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            build_site([nulls], out)
    assert (out / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    phases: list[str] = []
    index = build_site([nulls], out, report=lambda *step: phases.append(step[2]))
    assert index == out / "index.html"
    assert "Elsewhere" in (out / "index.html").read_text()
    assert list(dict.fromkeys(phases)) == ["rows", "plots", "regions", "models"]
    assert (site / MARKER).is_file()


def test_a_foreign_folder_is_left_alone(results: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="expected a new folder"):
        build_site([results], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_results_are_never_replaced(copied: Path) -> None:
    (copied / MARKER).touch()
    with pytest.raises(InputError, match="a folder that holds"):
        build_site([copied], copied)
    assert list(copied.rglob("scores.json"))


def test_two_tasks_never_share_a_table(
    nulls: Path, maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parse: Parse
) -> None:
    other = maker.task.model_copy(update={"name": "other-sample", "title": "Another task"})
    known = {task.name: task for task in (maker.task, other)}
    monkeypatch.setattr("benchmark.task_files.load_task", known.__getitem__)
    root = tmp_path / "results"
    shutil.copytree(nulls, root)
    # The same sums stand for both references: skill is then that of the dressed bilinear's board.
    twin = {"bilinear": maker.table, "bilinear-dressed": maker.table}
    made = type(maker)(maker.task, maker.template, maker.table, twin, maker.sample)
    for name in twin:
        made.row(root, lambda _: 1.0, task=other, model=name, null=True)
    index = build_site([root], tmp_path / "site")
    links = [a.attrs["href"] for a in parse(index).one("main").all("a")]
    assert links == ["era5-sample@1/index.html", "other-sample@1/index.html"]
    tables = [
        parse(index.parent / link).one("table", id="table-t2m-deterministic") for link in links
    ]
    found = [len(table.all("tr", data_row="nearest-none-zero_shot")) for table in tables]
    assert found == [1, 0]
