"""`elsewhere train` and `predict`: tiny runs, mistakes. For Ctrl-C see `test_signals.py`."""

import errno
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_says_what_it_is(tiny_run: Path) -> None:
    """A finished run: the weights and a record with the resolved settings, no checkpoint."""
    assert set(files(tiny_run)) == {"run.json", "weights.safetensors"}
    record = json.loads((tiny_run / "run.json").read_bytes())
    training = record["request"]["config"]["training"]
    assert (training["steps"], training["batch"], training["learning_rate"]) == (4, 2, 1e-3)
    assert [point["step"] for point in record["curve"]] == [2, 4]
    assert record["best_step"] in (2, 4)


def test_the_same_training_again_changes_nothing(
    tiny_run: Path, tiny: list[str], elsewhere: Command, data: Path
) -> None:
    """A finished run is returned as it is; other settings in its place are refused."""
    before = files(tiny_run)
    command = ["train", "era5-sample", "srcnn", *tiny, "--out", tiny_run, "--data", data]
    again = elsewhere(*command, "--json")
    assert again.returncode == 0
    said = json.loads(again.stdout)
    assert said["run"] == str(tiny_run)
    assert said["val_loss"] > 0
    other = elsewhere(*command, "--seed", "1")
    assert other.returncode == 2
    assert "a run with other settings" in other.stderr
    assert files(tiny_run) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--constraint", "sofmax"], "Did you mean 'softmax'?"),
        (["--regime", "oracel"], "Did you mean 'oracle'?"),
        (["--set", "training.stepz=4"], "Did you mean 'steps'?"),
        (["--set", "network.witdh=4"], "Did you mean 'width'?"),
        (["--set", "trainng.steps=4"], "--set trainng.steps=4"),
        (["--set", "training.steps"], "For example `--set training.steps=100`."),
        (["--set", "training.steps=0"], "training.steps"),
        (["--set", "training.steps=many"], "training.steps"),
        (["--set", "training.learning_rate=nan"], "training.learning_rate"),
        (["--config", "none.toml"], "none.toml"),
    ],
)
def test_a_mistake_is_named_before_training(
    words: list[str], said: str, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Exit 2, the nearest known word or an example, and no run folder."""
    out = tmp_path / "run"
    done = elsewhere("train", "era5-sample", "srcnn", *words, "--out", out, "--data", data)
    assert done.returncode == 2
    assert said in done.stderr
    assert not out.exists()


def test_an_unknown_network(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """The nearest name is suggested."""
    words = ["train", "era5-sample", "srcn", "--out", tmp_path / "run", "--data", data]
    done = elsewhere(*words)
    assert done.returncode == 2
    assert "Did you mean 'srcnn'?" in done.stderr


def test_two_wrong_settings_are_both_named(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """Every problem at once."""
    settings = ["--set", "training.stepz=4", "--set", "training.batch=0"]
    words = ["--out", tmp_path / "run", "--data", data]
    done = elsewhere("train", "era5-sample", "srcnn", *settings, *words)
    assert done.stderr.startswith("2 problems")
    assert "training.stepz" in done.stderr
    assert "training.batch" in done.stderr


def test_a_tiny_run_is_predicted_and_projected(
    tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Plain and `--post-hoc` make two valid stores; one folder never holds both."""
    plain, projected = tmp_path / "plain", tmp_path / "projected"
    words = ["predict", "era5-sample", tiny_run, "--data", data]
    done = elsewhere(*words, "--out", plain)
    assert done.returncode == 0
    assert f"elsewhere score era5-sample {plain} --out DIR" in done.stdout
    assert elsewhere(*words, "--out", projected, "--post-hoc").returncode == 0
    for folder, constraint in ((plain, "none"), (projected, "post_hoc")):
        assert f'constraint = "{constraint}"' in (folder / "model.toml").read_text()
        assert elsewhere("validate", "era5-sample", folder, "--data", data).returncode == 0
    mixed = elsewhere(*words, "--out", plain, "--post-hoc")
    assert mixed.returncode == 2
    assert "another model's" in mixed.stderr


def test_post_hoc_has_to_make_sense(
    tiny: list[str], elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """A null, or a run that was trained with a layer, is not projected once more."""
    run, out = tmp_path / "add", tmp_path / "predictions"
    words = ["train", "era5-sample", "srcnn", *tiny, "--constraint", "add"]
    assert elsewhere(*words, "--out", run, "--data", data).returncode == 0
    for source, said in ((run, "one with add"), ("bilinear", "bilinear-projected")):
        done = elsewhere(
            "predict", "era5-sample", source, "--post-hoc", "--out", out, "--data", data
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert not out.exists()


def test_neither_a_run_nor_a_null(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """A mistyped null is suggested; a folder without a run is said to be none."""
    out = ("--out", tmp_path / "p", "--data", data)
    mistyped = elsewhere("predict", "era5-sample", "bilnear", *out)
    assert (mistyped.returncode, "Did you mean 'bilinear'?" in mistyped.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    empty = elsewhere("predict", "era5-sample", tmp_path / "empty", *out)
    assert empty.returncode == 2
    assert "the record of a finished run" in empty.stderr


def test_predict_goes_on_where_it_was_killed(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """SIGKILL leaves a half-written region under a temporary name; afterwards all is well."""
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    (folder / "andes-south.zarr").rename(folder / ".andes-south.zarr.k1ll3d")
    words = ("predict", "era5-sample", "bilinear", "--out", folder, "--data", data)
    assert elsewhere(*words).returncode == 0
    done = elsewhere("validate", "era5-sample", folder, "--data", data)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("model", ["srcnn", "bcsd"])
@pytest.mark.parametrize("how", ["below a file", "read-only"])
def test_a_place_that_cannot_be_written_is_told_before_training(
    how: str, model: str, elsewhere: Command, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing is fitted first."""
    (tmp_path / "file").touch()
    out = tmp_path / ("file/run" if how == "below a file" else "run")
    if how == "read-only":
        # A superuser may write anywhere, so that no mode forbids it.
        def refuse(**_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr("baselines.training.train", None)
    monkeypatch.setattr("baselines.statistical.runs.fit_run", None)
    done = elsewhere("train", "era5-sample", model, "--out", out, "--data", data)
    assert done.returncode == 2
    assert f"--out {out}" in done.stderr
    assert ("Not a directory" if how == "below a file" else "Read-only") in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"file"}
