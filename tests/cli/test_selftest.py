"""`elsewhere selftest`: this installation, and scores that another harness wrote."""

import csv
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def sound(elsewhere: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """(the answer of `selftest --json`, the folder that it kept): all models, all engines."""
    folder = tmp_path_factory.mktemp("selftest")
    done = elsewhere("selftest", "--out", folder, "--json")
    assert done.returncode == 0, done.stdout[:2000] + done.stderr
    return json.loads(done.stdout), folder


@pytest.fixture
def fork(sound: tuple[Any, Path], tmp_path: Path) -> Path:
    """A kit with scores beside it, as a fork would leave it: ours with numpy."""
    folder = tmp_path / "kit"
    folder.mkdir()
    for name in ("answers.json", "answers.csv", "task.json"):
        shutil.copy(sound[1] / name, folder)
    shutil.copytree(sound[1] / "scores-numpy", folder / "scores")
    return folder


def edit(folder: Path, model: str, change: Callable[[Any], None]) -> None:
    """Change the metrics of one pseudo-model."""
    path = folder / "scores" / model / "scores.json"
    content = json.loads(path.read_text())
    change(content["metrics"])
    path.write_text(json.dumps(content))


def test_this_installation_gives_every_answer_with_every_engine(sound: tuple[Any, Path]) -> None:
    """No answer is missed, and there are thousands for each engine that is installed."""
    found, folder = sound
    engines = 2 if find_spec("numba") else 1
    assert found["missed"] == []
    assert found["met"] == found["answers"] > 10_000 * engines
    assert len(list(folder.glob("scores-*/*/scores.json"))) == 14 * engines
    with (folder / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) * engines == found["answers"]
    assert {row["expected"] == "missing" for row in rows} == {True, False}


def test_a_fork_that_gives_every_answer_passes(elsewhere: Command, fork: Path) -> None:
    """Exit 0 and a line for each pseudo-model."""
    done = elsewhere("selftest", "--check", fork)
    assert done.returncode == 0, done.stdout
    assert "every answer came out" in done.stdout
    assert "scaled-bilinear" in done.stdout


def test_a_wrong_number_is_named_with_what_was_expected_and_why(
    elsewhere: Command, fork: Path
) -> None:
    """Exit 1; where, expected, got and why; the other pseudo-models are not blamed."""

    def spoil(metrics: Any) -> None:
        metrics["t2m"]["rmse"]["home"]["all"] = 4.0

    edit(fork, "offset", spoil)
    done = elsewhere("selftest", "--check", fork)
    assert done.returncode == 1
    assert "offset: rmse of t2m (home, all" in done.stdout
    assert "expected  5 within" in done.stdout
    assert "got       4\n" in done.stdout
    assert "not the mean of 1 and 7" in done.stdout
    listed = json.loads(elsewhere("selftest", "--check", fork, "--json").stdout)
    assert [(row["pseudo_model"], row["metric"]) for row in listed["missed"]] == [
        ("offset", "rmse")
    ]


def test_zero_for_missing_missing_for_a_number_and_nothing_at_all_are_misses(
    elsewhere: Command, fork: Path
) -> None:
    """Each of the three is told apart."""

    def spoil(metrics: Any) -> None:
        metrics["precipitation"]["csi[>= 500 mm h-1]"]["home"]["all"] = 0.0
        metrics["precipitation"]["mae"]["home"]["all"] = None
        del metrics["precipitation"]["bias"]["home"]["all"]

    edit(fork, "perfect", spoil)
    listed = json.loads(elsewhere("selftest", "--check", fork, "--json").stdout)
    rows = {
        row["metric"]: (row["expected"], row["got"], row["problem"]) for row in listed["missed"]
    }
    assert rows == {
        "csi[>= 500 mm h-1]": (None, 0.0, ""),
        "mae": (0.0, None, ""),
        "bias": (0.0, None, "not given"),
    }
    only = elsewhere("selftest", "--check", fork, "--family", "neighbourhood")
    assert only.returncode == 0, only.stdout


def test_scores_that_cannot_be_read_are_wrong_input_all_at_once(
    elsewhere: Command, fork: Path
) -> None:
    """Exit 2, every file named; so is a folder without a kit."""
    (fork / "scores" / "perfect" / "scores.json").unlink()
    (fork / "scores" / "drawn" / "scores.json").write_text("[]")
    edit(fork, "ladder", lambda metrics: metrics["t2m"]["mae"]["home"].update(all="1.0"))
    done = elsewhere("selftest", "--check", fork)
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    assert all(f"{name}/scores.json" in done.stderr for name in ("perfect", "drawn", "ladder"))
    answers = json.loads((fork / "answers.json").read_text())
    answers["answers"][0]["expected"] = "five"
    (fork / "answers.json").write_text(json.dumps(answers))
    edited = elsewhere("selftest", "--check", fork)
    assert edited.returncode == 2
    assert "answers.json" in edited.stderr
    nothing = elsewhere("selftest", "--check", fork / "scores")
    assert nothing.returncode == 2
    assert "--write" in nothing.stderr


def test_write_gives_a_fork_what_it_needs(elsewhere: Command, tmp_path: Path) -> None:
    """Task, pair store, prediction stores and answers, and no scores."""
    kit = tmp_path / "kit"
    done = elsewhere("selftest", "--write", kit, "--model", "constant", "--family", "moments")
    assert done.returncode == 0, done.stderr
    assert (kit / "data" / "conformance@1" / "polar.zarr").is_dir()
    assert (kit / "predictions" / "constant" / "model.toml").is_file()
    assert "selftest --check" in (kit / "README.md").read_text()
    assert json.loads((kit / "task.json").read_text())["name"] == "conformance"
    content = json.loads((kit / "answers.json").read_text())["answers"]
    assert {row["pseudo_model"] for row in content} == {"constant"}
    assert f"{len(content)} answers" in done.stdout
    assert not list(kit.glob("scores*"))


def test_options_that_exclude_each_other_are_refused(elsewhere: Command, tmp_path: Path) -> None:
    """Exit 2 and both named."""
    done = elsewhere("selftest", "--write", tmp_path / "a", "--check", tmp_path / "b")
    assert done.returncode == 2
    assert "--write and --check" in done.stderr
    unscored = elsewhere("selftest", "--write", tmp_path / "a", "--engine", "numpy")
    assert unscored.returncode == 2
    assert "--write and --engine" in unscored.stderr
    assert not (tmp_path / "a").exists()


def test_a_folder_with_something_else_is_left_alone(elsewhere: Command, tmp_path: Path) -> None:
    """A project's own README.md stays, for --write and --out; an earlier kit is written again."""
    (tmp_path / "README.md").write_text("mine")
    for option in ("--write", "--out"):
        done = elsewhere("selftest", option, tmp_path, "--model", "perfect")
        assert done.returncode == 2
        assert "something else that is there" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
    words = ("--model", "perfect", "--family", "moments")
    for _ in range(2):
        assert elsewhere("selftest", "--write", tmp_path / "kit", *words).returncode == 0
