"""What a newcomer types first: help, version, lists, one task, mistakes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmark import __version__
from benchmark.cli.main import app
from benchmark.task import Task

Command = Callable[..., CompletedProcess[str]]
VERBS = sorted(str(command.name) for command in app.registered_commands)


def test_every_verb_of_the_flow_is_there() -> None:
    """The verbs of the design, as far as they exist."""
    flow = {"demo", "tasks", "task", "build", "models", "train", "predict", "template"}
    assert flow | {"validate", "score", "compare", "site"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, elsewhere: Command) -> None:
    """Every verb explains itself with a command to copy."""
    done = elsewhere(verb, "--help")
    assert done.returncode == 0
    assert "Example:" in done.stdout
    assert f"elsewhere {verb}" in done.stdout.partition("Example:")[2]


def test_version(executable: Command) -> None:
    """One line, nothing else."""
    done = executable("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_no_verb_shows_the_help(elsewhere: Command) -> None:
    """The bare command lists the verbs."""
    done = elsewhere()
    assert all(verb in done.stdout + done.stderr for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate", "era5-sample", "p", "--bogus"], "--bogus"),
        (["validate", "era5-sample"], "predictions"),
        (["score", "era5-sample", "p", "--out", "s", "--workers", "0"], "--workers"),
        (["scoer"], "scoer"),
    ],
)
def test_wrong_usage_is_one_message(words: list[str], said: str, elsewhere: Command) -> None:
    """An unknown option, a missing argument, a value out of range, an unknown verb: exit 2."""
    done = elsewhere(*words)
    assert done.returncode == 2
    assert said in done.stderr.lower()


def test_tasks(elsewhere: Command, task: Task) -> None:
    """The list names the task with its revision, for a reader and for a program."""
    done = elsewhere("tasks")
    assert done.returncode == 0
    assert task.id in done.stdout
    listed = json.loads(elsewhere("tasks", "--json").stdout)
    assert {"name": task.name, "revision": task.revision, "title": task.title} in listed


def test_one_task(elsewhere: Command, task: Task) -> None:
    """The contract names every region, unit, period and licence, and carries the banner."""
    done = elsewhere("task", "era5-sample")
    assert done.returncode == 0
    for word in [region.name for region in task.regions] + ["mm h-1", "smoke test", "CC-BY 4.0"]:
        assert word in done.stdout
    assert "Neither the European Commission" in " ".join(done.stdout.split())
    as_json = elsewhere("task", "era5-sample", "--json")
    assert Task.model_validate(json.loads(as_json.stdout)) == task
    assert as_json.stderr == ""


def test_a_mistyped_task_is_suggested(elsewhere: Command, executable: Command) -> None:
    """Exit 2 and the nearest name; no traceback."""
    for done in (executable("task", "era5-sampel"), elsewhere("build", "era5-sampel")):
        assert done.returncode == 2
        assert "Did you mean 'era5-sample'?" in done.stderr
        assert "Traceback" not in done.stderr


def test_models(elsewhere: Command) -> None:
    """Nulls and networks are told apart."""
    listed = json.loads(elsewhere("models", "--json").stdout)
    assert {"nearest", "bilinear", "bicubic", "bilinear-projected"} <= set(listed["nulls"])
    assert {"bilinear-dressed", "zero-rain"} <= set(listed["nulls"])
    assert "srcnn" in listed["networks"]
    text = elsewhere("models").stdout
    assert "needs no training" in text
    assert "Harder" in text


def test_a_reader_that_stops_reading_is_no_error(shell: dict[str, str]) -> None:
    """`elsewhere task NAME --json | head -1` ends quietly."""
    program = Path(sys.executable).with_name("elsewhere")
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [program, "task", "era5-sample", "--json"],
            env=shell, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr


def test_a_long_path_is_not_broken_into_lines(executable: Command, tmp_path: Path) -> None:
    """What a problem names can be copied, also from a log without a terminal's width."""
    folder = tmp_path / ("a-folder-with-a-rather-long-name-" * 4)
    done = executable("validate", "era5-sample", "p", "--data", folder, env={"COLUMNS": "80"})
    assert done.returncode == 2
    assert str(folder / "era5-sample@1") in done.stderr


def test_brackets_in_a_path_are_shown(elsewhere: Command, tmp_path: Path) -> None:
    """rich reads [red] as markup and would swallow it."""
    folder = tmp_path / "[red]runs[/]" / "[0]\\"
    done = elsewhere("validate", "era5-sample", "p", "--data", folder)
    assert done.returncode == 2
    assert str(folder) in done.stderr


WITHOUT = "import sys; sys.modules[{module!r}] = None; from benchmark.cli import main; main()"


@pytest.mark.parametrize("words", [["models"], ["train", "era5-sample", "srcnn", "--out", "x"]])
def test_without_torch_the_extra_is_named(
    words: list[str], shell: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """One line that says what to install; exit 2."""
    if words[0] == "train":
        words = [*words, "--data", str(data)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module="torch"), *words],
        env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'elsewhere[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_torch_a_null_is_predicted_and_scored(
    shell: dict[str, str], data: Path, bilinear_scores: Path, tmp_path: Path
) -> None:
    """Scoring and the nulls need no torch: streamed, the score is the one of the stored path."""
    words = ["predict", "era5-sample", "bilinear", "--score-only"]
    words += ["--out", "s", "--data", str(data)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module="torch"), *words],
        env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = json.loads((tmp_path / "s" / "scores.json").read_bytes())
    there = json.loads((bilinear_scores / "scores.json").read_bytes())
    for key in ("case_table_hash", "prediction_hash", "metrics", "headline"):
        assert here[key] == there[key], key
