"""`elsewhere compare` as a gate in CI, and a smoke test of `site`."""

import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]


def strict(text: str) -> Any:
    """JSON as other languages read it: NaN and Infinity are errors."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def edited(source: Path, target: Path, **changes: object) -> Path:
    """A copy of a score folder with other values in its scores.json."""
    folder = shutil.copytree(source, target)
    table = json.loads((folder / "scores.json").read_bytes()) | changes
    (folder / "scores.json").write_text(json.dumps(table))
    return folder


def test_a_model_is_not_worse_than_itself(elsewhere: Command, bilinear_scores: Path) -> None:
    """Exit 0 also with `--fail-on worse`; each change is 0. The folder or its scores.json do."""
    path = bilinear_scores / "scores.json"
    done = elsewhere("compare", path, bilinear_scores, "--fail-on", "worse", "--json")
    assert done.returncode == 0
    rows = strict(done.stdout)
    assert len(rows) == 12
    assert {(row["change"], row["worse"]) for row in rows} == {(0.0, False)}


def test_worse_is_said_and_fails_where_asked(
    elsewhere: Command, bilinear_scores: Path, nearest_scores: Path
) -> None:
    """nearest after bilinear: exit 1 and a table that says what got worse; no exit 1 unasked."""
    done = elsewhere("compare", bilinear_scores, nearest_scores, "--fail-on", "worse")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "worse" in line]
    assert any("t2m" in line and "test_ood" in line for line in lines)
    unasked = elsewhere("compare", bilinear_scores, nearest_scores, "--json")
    assert unasked.returncode == 0
    back = strict(elsewhere("compare", nearest_scores, bilinear_scores, "--json").stdout)
    forth = strict(unasked.stdout)
    for better, worse in zip(back, forth, strict=True):
        assert not (better["worse"] and worse["worse"])
        assert (1 + better["change"]) * (1 + worse["change"]) == pytest.approx(1, rel=1e-12)


def test_the_change_is_the_mean_log_ratio(
    elsewhere: Command, bilinear_scores: Path, nearest_scores: Path
) -> None:
    """Recomputed from the RMSEs in the two scores.json, and inside its interval."""
    rows = strict(elsewhere("compare", bilinear_scores, nearest_scores, "--json").stdout)
    old, new = (
        json.loads((folder / "scores.json").read_bytes())
        for folder in (bilinear_scores, nearest_scores)
    )
    regions = next(h for h in old["headline"] if h["split"] == "test_ood")["regions"]
    ratios = [
        math.log(new["metrics"]["t2m"]["rmse"][r]["all"] / old["metrics"]["t2m"]["rmse"][r]["all"])
        for r in regions
    ]
    change = math.exp(sum(ratios) / len(ratios)) - 1
    place = {"board": "deterministic", "variable": "t2m", "split": "test_ood"}
    row = next(row for row in rows if place.items() <= row.items())
    assert row["metric"] == "rmse"
    assert row["change"] == pytest.approx(change, rel=1e-12)
    assert row["interval"][0] < change < row["interval"][1]
    assert row["these_regions"] is None, "fewer than ten blocks of days"
    assert row["interval"] == row["new_regions"]
    assert row["resolvable"] > 0


def test_a_tolerance_lets_small_changes_pass(
    elsewhere: Command, bilinear_scores: Path, nearest_scores: Path
) -> None:
    """Above the largest change: exit 0; just below it: exit 1."""
    words = ("compare", nearest_scores, bilinear_scores, "--fail-on", "worse")
    rows = strict(elsewhere(*words, "--json").stdout)
    largest = max(row["change"] for row in rows if row["worse"])
    assert 0 < largest < 0.1
    assert elsewhere(*words, "--tolerance", str(1.01 * largest)).returncode == 0
    assert elsewhere(*words, "--tolerance", str(0.99 * largest)).returncode == 1


def test_scores_of_different_ground_are_refused(
    elsewhere: Command, bilinear_scores: Path, tmp_path: Path
) -> None:
    """Another release and another pair store: both named, exit 2, no table."""
    other = edited(bilinear_scores, tmp_path / "other", release="1999.1", data_hash="0" * 64)
    done = elsewhere("compare", bilinear_scores, other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("2 problems")
    assert "1999.1" in done.stderr
    assert "0" * 64 in done.stderr


def test_a_case_table_of_another_model_is_refused(
    elsewhere: Command, bilinear_scores: Path, nearest_scores: Path, tmp_path: Path
) -> None:
    """scores.json says which case table it was made from; another one beside it is a mistake."""
    mixed = shutil.copytree(bilinear_scores, tmp_path / "mixed")
    shutil.copy(nearest_scores / "cases.zarr.zip", mixed)
    done = elsewhere("compare", bilinear_scores, mixed)
    assert done.returncode == 2
    assert str(mixed) in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 3}, "Update the elsewhere package"),
        ({"format": 1}, "Score the predictions again"),
        ({"extra": 1}, "extra"),
    ],
)
def test_scores_of_another_format_are_refused(
    changes: dict[str, object],
    said: str,
    elsewhere: Command,
    bilinear_scores: Path,
    tmp_path: Path,
) -> None:
    """Older, newer or not of the schema: exit 2 with what to do."""
    other = edited(bilinear_scores, tmp_path / "other", **changes)
    done = elsewhere("compare", bilinear_scores, other)
    assert done.returncode == 2
    assert said in done.stderr


def test_mistakes_are_named(elsewhere: Command, bilinear_scores: Path, tmp_path: Path) -> None:
    """An unknown `--fail-on`, a folder without scores, a damaged case table."""
    odd = elsewhere("compare", bilinear_scores, bilinear_scores, "--fail-on", "wors")
    assert (odd.returncode, "--fail-on" in odd.stderr) == (2, True)
    empty = elsewhere("compare", bilinear_scores, tmp_path)
    assert (empty.returncode, str(tmp_path / "scores.json") in empty.stderr) == (2, True)
    cut = shutil.copytree(bilinear_scores, tmp_path / "cut")
    content = (cut / "cases.zarr.zip").read_bytes()
    (cut / "cases.zarr.zip").write_bytes(content[:1000])
    damaged = elsewhere("compare", bilinear_scores, cut)
    assert (damaged.returncode, "Score the predictions again" in damaged.stderr) == (2, True)


@pytest.mark.skipif(importlib.util.find_spec("leaderboard.site") is None, reason="no site yet")
def test_a_site_is_written(
    elsewhere: Command,
    data: Path,
    bilinear_scores: Path,
    nearest_scores: Path,
    dressed_predictions: Path,
    tmp_path: Path,
) -> None:
    """Rows from three folders (two are the boards' references); the printed path holds them."""
    dressed = tmp_path / "dressed"
    words = ["score", "era5-sample", dressed_predictions, "--out", dressed, "--data", data]
    assert elsewhere(*words).returncode == 0
    folders = [bilinear_scores, nearest_scores, dressed]
    results = [word for folder in folders for word in ("--results", folder)]
    done = elsewhere("site", *results, "--out", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.strip()).read_text(encoding="utf-8")
    assert "bilinear" in page
    assert "nearest" in page
    assert "smoke test" in page


@pytest.mark.skipif(importlib.util.find_spec("leaderboard.site") is None, reason="no site yet")
def test_a_site_of_nothing_is_refused(elsewhere: Command, tmp_path: Path) -> None:
    """A folder that is not there: exit 2."""
    words = ("--results", tmp_path / "none", "--out", tmp_path / "site")
    done = elsewhere("site", *words)
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert not (tmp_path / "site").exists()
