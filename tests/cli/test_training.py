"""`elsewhere train` and `predict`: tiny runs, mistakes, Ctrl-C."""

import json
import shutil
import signal
import subprocess
import sys
import time
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


def interrupt(words: list[str], env: dict[str, str], ready: Callable[[], bool]) -> tuple[int, str]:
    """Run a command, press Ctrl-C once it is `ready`; its exit code and stderr."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("elsewhere"), *words],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, "it ended before it could be interrupted"
            assert time.monotonic() < deadline, "it never began"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def test_an_interrupted_training_goes_on(
    tiny: list[str], elsewhere: Command, shell: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """Ctrl-C exits 130 and says so; the same command finishes the very run it would have been."""
    longer = [word.replace("steps=4", "steps=100").replace("every=2", "every=10") for word in tiny]
    out, whole = tmp_path / "run", tmp_path / "whole"
    words = ["train", "era5-sample", "srcnn", *longer, "--data", str(data), "--out"]
    code, said = interrupt([*words, str(out)], shell, (out / "checkpoint.safetensors").exists)
    assert code == 130
    assert "Traceback" not in said
    assert not (out / "run.json").exists()
    unfinished = elsewhere("predict", "era5-sample", out, "--out", tmp_path / "p", "--data", data)
    assert unfinished.returncode == 2
    assert "an unfinished run" in unfinished.stderr
    for folder in (out, whole):
        assert elsewhere(*words, folder).returncode == 0
    resumed, straight = (json.loads((f / "run.json").read_bytes()) for f in (out, whole))
    assert resumed["curve"] == straight["curve"]
    name = "weights.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert "The same command goes on" in said


def test_an_interrupted_score_goes_on(
    bilinear_predictions: Path,
    bilinear_scores: Path,
    elsewhere: Command,
    shell: dict[str, str],
    data: Path,
    tmp_path: Path,
) -> None:
    """Ctrl-C leaves finished blocks and no result; the same command ends with the same table."""
    out = tmp_path / "scores"
    words = ["score", "era5-sample", str(bilinear_predictions), "--out", str(out)]
    words += ["--data", str(data), "--workers", "2"]

    def begun() -> bool:
        return len(list(out.glob(".partial-*/*.npz"))) > 2

    code, said = interrupt(words, shell, begun)
    assert code == 130
    assert "Traceback" not in said
    assert [path.name.partition("-")[0] for path in out.iterdir()] == [".partial"]
    assert elsewhere(*words).returncode == 0
    assert {path.name for path in out.iterdir()} == {
        path.name for path in bilinear_scores.iterdir()
    }
    name = "cases.zarr.zip"
    assert (out / name).read_bytes() == (bilinear_scores / name).read_bytes()
