"""`elsewhere train --sources`: from a source set to a row of its own, and every mistake named."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmark.model_card import read_card
from benchmark.results import read_scores, row_folder
from benchmark.task import Task

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(
    tiny: list[str], elsewhere: Command, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "europe"
    words = ["--sources", "europe-west, europe-east,europe-west", "--out", out, "--data", data]
    done = elsewhere("train", "era5-sample", "srcnn", *tiny, *words)
    assert done.returncode == 0, done.stderr
    return out


def test_the_row_says_what_it_was_trained_on(
    run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Sorted, each once, in the record, the card, the scores and the folder's name."""
    europe = ("europe-east", "europe-west")
    assert json.loads((run / "run.json").read_text())["request"]["sources"] == list(europe)
    out = tmp_path / "scores"
    done = elsewhere("predict", "era5-sample", run, "--score-only", "--out", out, "--data", data)
    assert done.returncode == 0, done.stderr
    scores = read_scores(out / "scores.json")
    assert read_card(out / "model.toml") == scores.model
    assert scores.model.sources == scores.key[-2] == europe
    folder = row_folder(Path(), scores).parts
    assert folder[2:] == ("srcnn", "none-zero_shot-from-europe-east+europe-west", "seed-0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sources", "europe-wset"], "Did you mean 'europe-west'?"),
        (["--sources", "europe-west,andes-south"], "a test_ood region"),
        (["--sources", "west-africa"], "a val_ood region"),
        (["--sources", " , "], "names of training regions"),
        (["--sources", "europe-west", "--regime", "oracle"], "--regime zero_shot"),
    ],
)
def test_a_mistake_is_named_before_training(
    words: list[str], said: str, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = elsewhere("train", "era5-sample", "srcnn", *words, "--out", out, "--data", data)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_all_of_them_is_no_choice(
    task: Task, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Two names for one training set would be two rows of one model."""
    names = ",".join(region.name for region in task.regions_of("train"))
    words = ["--sources", names, "--out", tmp_path / "run", "--data", data]
    done = elsewhere("train", "era5-sample", "srcnn", *words)
    assert done.returncode == 2
    assert "Leave it out" in done.stderr


def test_a_store_with_sources_that_cannot_be_is_refused(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """By `validate` and before any scoring; each name apart."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    for path in bilinear_predictions.iterdir():
        if path.suffix == ".zarr":
            (folder / path.name).symlink_to(path)
    card = (bilinear_predictions / "model.toml").read_text().replace("null = true", "null = false")
    (folder / "model.toml").write_text(card + 'sources = ["andes-south", "europ-west"]\n')
    done = elsewhere("validate", "era5-sample", folder, "--data", data)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "sources: andes-south" in text
    assert "Did you mean 'europe-west'?" in text
    (folder / "model.toml").write_text(card + 'sources = ["europe-west", "europe-east"]\n')
    done = elsewhere("validate", "era5-sample", folder, "--data", data)
    assert "in ascending order" in done.stdout + done.stderr
