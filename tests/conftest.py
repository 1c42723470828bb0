"""What most tests start from: the era5-sample task, its pair store, two prediction stores.

Built once a session. Treat all of it as read-only: a test that breaks a store copies it first.
`elsewhere` runs the command line in this process (fast), `executable` as a user's shell would.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from baselines.nulls import null
from benchmark.cli.main import _run
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.prediction_store import write_predictions
from benchmark.task import Task
from benchmark.task_files import load_task
from data_recipes.build import build

Command = Callable[..., CompletedProcess[str]]
"""elsewhere("validate", "era5-sample", folder, ...): its exit code, stdout and stderr."""


SIMULATION = "simulation"


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Keeps a line for the end of the tests' output: what a simulation found."""
    return partial(record_property, SIMULATION)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The lines that tests kept, in whichever process, also where all pass."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = sorted(
        str(line)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, line in report.user_properties
        if name == SIMULATION
    )
    if lines:
        terminalreporter.section("simulations")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def task() -> Task:
    """The embedded task."""
    return load_task("era5-sample")


@pytest.fixture(scope="session")
def data(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the pair store of era5-sample."""
    folder = tmp_path_factory.mktemp("data")
    build(task, folder)
    return folder


@pytest.fixture(scope="session")
def store(task: Task, data: Path) -> PairStore:
    """The pair store of era5-sample."""
    return open_pair_store(task, data)


def _predictions(name: str, store: PairStore, folder: Path) -> Path:
    for _ in write_predictions(null(name, store), store, folder):
        pass
    return folder


@pytest.fixture(scope="session")
def bilinear_predictions(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prediction store of the null `bilinear`: one member."""
    return _predictions("bilinear", store, tmp_path_factory.mktemp("stores") / "bilinear")


@pytest.fixture(scope="session")
def dressed_predictions(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prediction store of the null `bilinear-dressed`: the task's eight members."""
    return _predictions("bilinear-dressed", store, tmp_path_factory.mktemp("stores") / "dressed")


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command: an empty home, lines wide enough for a whole path."""
    home = str(tmp_path_factory.mktemp("home"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ELSEWHERE_", "XDG_"))}
    return kept | {"HOME": home, "COLUMNS": "500", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def elsewhere(shell: dict[str, str]) -> Command:
    """The command line in this process: what `main` would exit with, and its two streams."""

    def run(*words: str | Path, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        argv = ["elsewhere", *(str(word) for word in words)]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for key in set(os.environ) - set(shell) - {"PYTEST_CURRENT_TEST"}:
                patch.delenv(key)
            for key, value in (shell | (env or {})).items():
                patch.setenv(key, value)
            patch.setattr(sys, "argv", argv)
            code = _run()
        return CompletedProcess(argv, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def executable(shell: dict[str, str]) -> Command:
    """The installed `elsewhere` as a process of its own."""
    program = str(Path(sys.executable).with_name("elsewhere"))

    def run(*words: str | Path, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        return subprocess.run(
            [program, *(str(word) for word in words)],
            env=shell | (env or {}), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def bilinear_scores(
    elsewhere: Command,
    data: Path,
    bilinear_predictions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The score folder of `bilinear`; the boards' references are scored on the way."""
    out = tmp_path_factory.mktemp("scores") / "bilinear"
    done = elsewhere("score", "era5-sample", bilinear_predictions, "--out", out, "--data", data)
    assert done.returncode == 0, done.stderr
    return out
