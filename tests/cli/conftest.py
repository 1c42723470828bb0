"""Small trained runs and score folders that several of these tests read; read-only."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]

TINY = [
    word
    for setting in (
        "network.width=4", "network.blocks=1", "training.steps=4", "training.batch=2",
        "training.validate_every=2", "training.threads=1", "training.precision=float32",
    )
    for word in ("--set", setting)
]  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Settings of a training that takes a moment."""
    return list(TINY)


@pytest.fixture(scope="session")
def tiny_run(elsewhere: Command, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unconstrained run of four steps."""
    out = tmp_path_factory.mktemp("runs") / "none"
    done = elsewhere("train", "era5-sample", "srcnn", *TINY, "--out", out, "--data", data)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def nearest_scores(
    elsewhere: Command, data: Path, bilinear_scores: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Scores of the null `nearest`, streamed: clearly worse than bilinear."""
    assert bilinear_scores.is_dir()
    out = tmp_path_factory.mktemp("scores") / "nearest"
    done = elsewhere(
        "predict", "era5-sample", "nearest", "--score-only", "--out", out, "--data", data
    )
    assert done.returncode == 0, done.stderr
    return out
