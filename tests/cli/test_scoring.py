"""`elsewhere score`: the same scores however they are made, and nothing half-written."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from benchmark.results import read_scores

Command = Callable[..., CompletedProcess[str]]


def scores_of(folder: Path) -> dict[str, Any]:
    """scores.json without what may differ between identical runs."""
    table: dict[str, Any] = json.loads((folder / "scores.json").read_bytes())
    table.pop("run")
    return table


@pytest.fixture(scope="module")
def tiny_scores(
    tiny_run: Path,
    elsewhere: Command,
    data: Path,
    bilinear_scores: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny run, predicted into a store and scored from it."""
    assert bilinear_scores.is_dir()
    folder = tmp_path_factory.mktemp("tiny")
    predictions, scores = folder / "predictions", folder / "scores"
    words = ("--data", data)
    done = elsewhere("predict", "era5-sample", tiny_run, "--out", predictions, *words)
    assert done.returncode == 0, done.stderr
    done = elsewhere("score", "era5-sample", predictions, "--out", scores, *words)
    assert done.returncode == 0, done.stderr
    return scores


def test_a_row_says_where_it_comes_from(tiny_scores: Path) -> None:
    """Provenance, both boards, both splits, every region, and the files beside it."""
    names = {path.name for path in tiny_scores.iterdir()}
    assert names == {"scores.json", "cases.zarr.zip", "model.toml", "sample.zarr.zip"}
    scores = read_scores(tiny_scores / "scores.json")
    assert (scores.task, scores.members) == ("era5-sample@1", 1)
    assert scores.expected_cases == scores.scored_cases == 8
    assert scores.model.parameters > 0
    assert scores.model.selection == "val_id"
    boards = {(h.board, h.variable, h.split) for h in scores.headline}
    assert len(boards) == len(scores.headline) == 2 * 3 * 2
    assert {len(h.regions) for h in scores.headline if h.split == "test_ood"} == {12}
    assert {len(h.regions) for h in scores.headline if h.split == "test_id"} == {9}


def test_streamed_is_stored(
    tiny_scores: Path, tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """`predict --score-only` stores no field and gives the very same row."""
    out = tmp_path / "scores"
    words = ("predict", "era5-sample", tiny_run, "--score-only", "--out", out, "--data", data)
    done = elsewhere(*words, "--json")
    assert json.loads(done.stdout) == {"scores": str(out / "scores.json")}
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny_scores.iterdir()}
    streamed, stored = scores_of(out), scores_of(tiny_scores)
    for key in ("case_table_hash", "prediction_hash", "metrics"):
        assert streamed[key] == stored[key], key
    assert streamed == stored


def test_the_whole_job_twice_gives_identical_scores(
    tiny_scores: Path,
    tiny: list[str],
    elsewhere: Command,
    executable: Command,
    data: Path,
    tmp_path: Path,
) -> None:
    """Trained in another process, scored with two workers: identical apart from `run`."""
    run, predictions, scores = (tmp_path / name for name in ("run", "predictions", "scores"))
    words = ("--data", data, "--out")
    assert executable("train", "era5-sample", "srcnn", *tiny, *words, run).returncode == 0
    assert elsewhere("predict", "era5-sample", run, *words, predictions).returncode == 0
    done = elsewhere("score", "era5-sample", predictions, "--workers", "2", *words, scores)
    assert done.returncode == 0, done.stderr
    assert scores_of(scores) == scores_of(tiny_scores)
    assert json.loads((scores / "scores.json").read_bytes())["run"]["workers"] == 2
    for name in ("cases.zarr.zip", "model.toml", "sample.zarr.zip"):
        assert (scores / name).read_bytes() == (tiny_scores / name).read_bytes(), name


@pytest.mark.parametrize("failing", ["andes-south", "cases.zarr.zip", "scores.json"])
def test_a_full_disk_leaves_earlier_results_alone(
    failing: str,
    elsewhere: Command,
    data: Path,
    bilinear_predictions: Path,
    nearest_scores: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One clear message, exit 2, and what was in the folder still belongs together."""
    out = shutil.copytree(nearest_scores, tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    fdopen = os.fdopen

    class Full:
        """A file on a disk without room."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> int:
            self.file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(handle: int, mode: str) -> Any:
        file = fdopen(handle, mode)
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        return Full(file) if name.startswith(f".{failing}") else file

    monkeypatch.setattr(os, "fdopen", open_full)
    words = ("score", "era5-sample", bilinear_predictions, "--out", out, "--data", data)
    done = elsewhere(*words)
    assert done.returncode == 2
    assert done.stderr.count("No space left on device") == 1
    assert "make room" in done.stderr
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert sorted(after) == sorted(before), "temporary files left behind"
    assert after["scores.json"] == before["scores.json"]
    mixed = [name for name in before if after[name] != before[name]]
    assert mixed == [], "an old scores.json beside new files"


@pytest.mark.parametrize("verb", ["build", "predict"])
def test_no_room_for_a_file_is_one_message(
    verb: str, shell: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """A real limit on file size (`ulimit -f`, as clusters set it) in a process of its own."""
    choices: dict[str, list[str | Path]] = {
        "build": ["build", "era5-sample", "--data", tmp_path / "out"],
        "predict": [
            "predict",
            "era5-sample",
            "bilinear",
            "--out",
            tmp_path / "out",
            "--data",
            data,
        ],
    }
    words = choices[verb]
    done = subprocess.run(
        [Path(sys.executable).with_name("elsewhere"), *words],
        env=shell, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert "too large" in done.stderr
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.name.endswith(".zarr")]
    assert left == [], "a region is there whole or not at all"


@pytest.mark.parametrize("verb", ["score", "predict", "train", "build", "template"])
def test_a_file_in_the_way_is_one_message(
    verb: str,
    elsewhere: Command,
    tiny: list[str],
    data: Path,
    bilinear_predictions: Path,
    bilinear_scores: Path,
    tmp_path: Path,
) -> None:
    """`--out` (or `--data`) that is a file: exit 2 with its path, and the file stays."""
    assert bilinear_scores.is_dir()
    taken = tmp_path / "taken.txt"
    taken.write_text("mine")
    words = {
        "score": ["score", "era5-sample", bilinear_predictions, "--out", taken, "--data", data],
        "predict": ["predict", "era5-sample", "bilinear", "--out", taken, "--data", data],
        "train": ["train", "era5-sample", "srcnn", *tiny, "--out", taken, "--data", data],
        "build": ["build", "era5-sample", "--data", taken],
        "template": ["template", "era5-sample", "--out", taken, "--data", data],
    }[verb]
    for place in (taken, taken / "below"):
        done = elsewhere(*(place if word == taken else word for word in words))
        assert done.returncode == 2
        assert str(taken) in done.stderr
        assert taken.read_text() == "mine"
        # Whatever takes long says it before it begins.
        if verb != "template":
            assert "a folder that can be written" in done.stderr
