"""Ctrl-C and SIGTERM, sent to real processes: what they say, and that the same command goes on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Command = Callable[..., CompletedProcess[str]]


def interrupt(
    words: list[str],
    env: dict[str, str],
    ready: Callable[[], bool],
    sent: signal.Signals = signal.SIGINT,
) -> tuple[int, str]:
    """Run a command, press Ctrl-C or terminate it once it is `ready`; its exit code and stderr."""
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
        process.send_signal(sent)
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


def test_a_terminated_build_goes_on(
    elsewhere: Command, shell: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """SIGTERM is Ctrl-C with another exit code: no half region, and the same store in the end."""
    words = ["build", "era5-sample", "--data", str(tmp_path)]
    folder = tmp_path / "era5-sample@1"
    code, said = interrupt(words, shell, (folder / "andes-south.json").exists, sent=signal.SIGTERM)
    assert code == 143
    assert said.rstrip().endswith("The same command goes on where this one stopped.")
    assert "Traceback" not in said
    done = json.loads(elsewhere(*words, "--json").stdout)
    assert done["built"] + done["kept"] == 24
    assert 0 < done["kept"] < 24
    for name in ("andes-south", "west-africa"):
        whole = data / folder.name / f"{name}.json"
        assert _digests(folder / f"{name}.json") == _digests(whole)


def _digests(manifest: Path) -> object:
    return json.loads(manifest.read_bytes())["digests"]


def test_a_launcher_ends_its_processes_at_once(shell: dict[str, str], tmp_path: Path) -> None:
    """One that waits for others in an exchange could not answer a signal."""
    words = ["build", "era5-sample", "--data", str(tmp_path)]
    begun = (tmp_path / "era5-sample@1").exists
    code, said = interrupt(words, shell | {"WORLD_SIZE": "2"}, begun, sent=signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert "Interrupted" not in said
