"""What is refused: rows that do not agree with themselves, with each other, or are not there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from benchmark.case_table import table_hash
from benchmark.errors import InputError
from benchmark.results import CASES
from leaderboard.headlines import check_headlines
from leaderboard.rows import load_rows


@pytest.fixture
def few(nulls: Path, tmp_path: Path) -> Path:
    """A copy of the nulls' results that a test may spoil."""
    target = tmp_path / "results"
    shutil.copytree(nulls, target)
    return target


def folder_of(root: Path, model: str) -> Path:
    (folder,) = root.glob(f"*/*/{model}/*/seed-0")
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "scores.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def refused(*roots: Path) -> str:
    """The text of what `load_rows` and `check_headlines` say."""

    def check() -> None:
        for rows in load_rows(list(roots)):
            check_headlines(rows)

    with pytest.raises(InputError) as caught:
        check()
    assert all(p.expected and p.got and p.fix for p in caught.value.problems)
    return str(caught.value)


def test_the_rows_themselves_are_fine(few: Path) -> None:
    (rows,) = load_rows([few])
    check_headlines(rows)
    assert len(rows.groups) == 3


def test_missing_folder(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_no_rows(tmp_path: Path) -> None:
    assert "at least one scores.json" in refused(tmp_path)
    with pytest.raises(InputError, match="at least one"):
        load_rows([])


def test_another_case_table(few: Path) -> None:
    shutil.copy(folder_of(few, "bilinear") / CASES, folder_of(few, "nearest") / CASES)
    message = refused(few)
    assert "nearest" in message
    assert f"{CASES}: hash" in message


def test_damaged_case_table(few: Path) -> None:
    path = folder_of(few, "nearest") / CASES
    path.write_bytes(path.read_bytes()[:1000])
    assert "a case table (cases.zarr.zip)" in refused(few)


def test_edited_metric(few: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        table["metrics"]["t2m"]["rmse"]["andes-south"]["all"] *= 0.9

    edit(folder_of(few, "nearest"), change)
    assert "metrics, t2m, rmse, andes-south" in refused(few)


def test_edited_headline(few: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        table["headline"][1]["skill"] += 0.01

    edit(folder_of(few, "nearest"), change)
    assert "headline, deterministic, t2m, test_ood, skill" in refused(few)


def test_edited_interval(few: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        table["headline"][0]["new_regions"] = [-0.1, 0.1]

    edit(folder_of(few, "nearest"), change)
    assert "new_regions[0]" in refused(few)


def test_a_broken_invariant(few: Path, maker: Any) -> None:
    """A claimed hard layer with a residual, consistently hashed."""
    folder = maker.row(few, lambda _: 1.0, constraint="none")
    card = folder / "model.toml"
    card.write_text(card.read_text().replace('constraint = "none"', 'constraint = "add"'))
    edit(folder, lambda table: table["model"].update(constraint="add"))
    assert "max |A y - x| <= 4 eps32 max |x|" in refused(few)


def test_another_card(few: Path) -> None:
    card = folder_of(few, "nearest") / "model.toml"
    card.write_text(card.read_text().replace("nearest neighbour", "a network"))
    assert "['title']" in refused(few)


def test_mixed_data_hashes(few: Path) -> None:
    edit(folder_of(few, "nearest"), lambda table: table.update(data_hash="f" * 64))
    message = refused(few)
    assert "one data hash" in message
    assert "ffffffffffff" in message


def test_another_release(few: Path) -> None:
    edit(folder_of(few, "nearest"), lambda table: table.update(release="2031.7"))
    assert "release 2031.7" in refused(few)


def test_another_task_revision(few: Path) -> None:
    edit(folder_of(few, "nearest"), lambda table: table.update(task="era5-sample@99"))
    assert "era5-sample@99" in refused(few)


def test_a_seed_twice(few: Path) -> None:
    shutil.copytree(folder_of(few, "nearest"), few / "again" / "seed-0")
    assert "seed 0 of this row once" in refused(few)


def test_a_missing_reference(few: Path) -> None:
    shutil.rmtree(folder_of(few, "bilinear-dressed"))
    assert "the null 'bilinear-dressed'" in refused(few)


def test_every_problem_at_once(few: Path) -> None:
    edit(folder_of(few, "nearest"), lambda table: table.update(release="2031.7"))
    (folder_of(few, "bilinear") / CASES).unlink()
    message = refused(few)
    assert "2031.7" in message
    assert "a case table" in message


def test_the_hash_is_of_values(maker: Any) -> None:
    table: xr.Dataset = maker.table
    changed = table.copy(deep=True)
    changed["error"][0, 0, 0, 0] += 1e-3
    assert table_hash(changed) != table_hash(table)
