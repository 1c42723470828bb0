"""What most tests start from: the era5-sample task, its pair store, two prediction stores.

Built once a session. Treat all of it as read-only: a test that breaks a store copies it first.
`elsewhere` runs the command line in this process (fast), `executable` as a user's shell would.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.nulls import null
from benchmark.cli.main import _run
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.pair_writer import Steps, write_region
from benchmark.prediction_store import write_predictions
from benchmark.task import Task
from benchmark.task_files import load_task, write_contract
from data_recipes.build import build

# What tests do in processes of their own: those import it, too.
sys.path.insert(0, str(Path(__file__).with_name("killing")))

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
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dask scheduler with two workers, which all tests of a process share."""
    from clusters import cluster

    with cluster(tmp_path_factory.mktemp("scheduler")) as address:
        yield address


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


LAMBERT = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
POLAR = "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +a=6371288 +units=m"
CELLS, KM = 40, 220_000.0
"""Fine cells of an invented box along a side, and its length in m."""
STEPS = {"train": 16, "val": 4, "test": 12}


def _boxes(grid: str, corners: dict[str, tuple[str, float, float]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "role": role, "grid": grid, "y": [y, y + KM], "x": [x, x + KM]}
        for name, (role, y, x) in corners.items()
    ]


def _periods(minutes: int) -> tuple[NDArray[np.datetime64], dict[str, Any]]:
    """All times, and three periods a day apart."""
    step, first = np.timedelta64(60 * minutes, "s"), np.datetime64("2020-03-01T00:00:00", "s")
    times, periods = [], {"embargo_hours": 12}
    for name, count in STEPS.items():
        part = first + np.arange(count) * step
        periods[name] = {"first": str(part[0]), "last": str(part[-1])}
        times.append(part)
        first = part[-1] + np.timedelta64(86400, "s")
    return np.concatenate(times), periods


@pytest.fixture(scope="session")
def make_map_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PairStore]:
    """make(**changes): the pair store of an invented task on a Lambert map; `changes` of the task.

    Real pairs of one temperature: the coarse field is a plane at the coarse cells' centres, moving
    in time; the fine one is the plane and `detail` times a pattern that differs from box to box.
    minutes: between steps; regions: others, by name, each with its role and two spans.
    """

    def make(
        name: str = "own-map", *, detail: float = 1.0, minutes: int = 360,
        missing: Iterable[int] = (), **changes: Any,
    ) -> PairStore:  # fmt: skip
        times, periods = _periods(minutes)
        corners = {
            "home": ("train", 0.0, 0.0), "second": ("train", -4e5, 6e5),
            "judge": ("val_ood", 0.0, -8e5), "north": ("test_ood", 15e5, 1e5),
            "south": ("test_ood", -12e5, -2e5),
        }  # fmt: skip
        task = Task.model_validate(
            {
                "name": name, "revision": 1, "title": "An invented task", "summary": "Invented.",
                "track": "real_pair", "factor": 5, "margin": 1, "members": 4, "case": "day",
                "season_coverage": "partial", "block_days": 1, "buffer_km": 100,
                "primary": {"variable": "t2m", "metric": "rmse"},
                "sources": [{"product": "Made up", "licence": "MIT", "attribution": "By a test."}],
                "grids": [{"name": "lambert", "crs": LAMBERT, "spacing": KM / CELLS},
                          {"name": "polar", "crs": POLAR, "spacing": KM / CELLS}],
                "variables": [
                    {
                        "name": "t2m", "long_name": "temperature", "units": "K",
                        "standard_name": "air_temperature", "cell_methods": "time: point",
                        "nonnegative": False, "thresholds": [281.0], "percentiles": [90],
                        "intensity": [281.0], "data_range": [270, 300],
                        "bins": {"kind": "linear", "low": 250, "high": 310, "width": 0.0625},
                    }
                ],
                "periods": periods, "regions": _boxes("lambert", corners),
            }
            | changes
        )  # fmt: skip
        store = PairStore(task, tmp_path_factory.mktemp("maps") / task.id)
        for number, region in enumerate(task.regions):
            grid = store.region(region.name).grid
            (south, north), (west, east) = region.bounds

            def plane(part: Any, box: Any = (south, north, west, east)) -> NDArray[np.float64]:
                v = (part.y.centres[:, None] - box[0]) / (box[1] - box[0])
                u = (part.x.centres - box[2]) / (box[3] - box[2])
                return 4 * v - 3 * u + np.sin(np.arange(len(times)))[:, None, None] + 280

            j, i = np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij")
            pattern = (1 + j / CELLS) * np.sin(2 * np.pi * i / 8 + number) + 0.3 * (-1.0) ** j
            fine = (plane(grid.fine) + detail * pattern).astype(np.float32)
            fine[list(missing), 3, 4] = np.nan
            steps = Steps({"t2m": plane(grid.coarse).astype(np.float32)}, {"t2m": fine})
            known = {"land_fraction": (i > 10) * 1.0, "orography": 40.0 * j * (i > 10)}
            write_region(
                task, region.name, store.folder, times=times, source_ids={}, recipe={},
                static={key: known[key].astype(np.float32) for key in task.static},
                blocks=[(0, steps)],
            )  # fmt: skip
        write_contract(store.folder, task)
        return store

    return make
