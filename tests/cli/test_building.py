"""`elsewhere build`, where data live, and what the other verbs say when there are none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


def test_a_second_build_keeps_everything(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """Nothing is rebuilt, not a byte changes; a region that is lost is built again, alone."""
    folder = shutil.copytree(data / "era5-sample@1", tmp_path / "era5-sample@1")
    manifest = folder / "andes-south.json"
    before = (manifest.stat().st_mtime_ns, manifest.read_bytes())
    again = json.loads(elsewhere("build", "era5-sample", "--data", tmp_path, "--json").stdout)
    assert again == {"folder": str(folder), "built": 0, "kept": 24}
    assert (manifest.stat().st_mtime_ns, manifest.read_bytes()) == before

    (folder / "central-africa.json").unlink()
    shutil.rmtree(folder / "europe-east.zarr")
    third = elsewhere("build", "era5-sample", "--data", tmp_path)
    assert third.returncode == 0
    assert third.stdout.startswith("2 regions built, 22 kept")


def test_some_regions_only(elsewhere: Command, tmp_path: Path) -> None:
    """`--regions` twice builds two; using the half-built store names what is missing."""
    two = ("--regions", "andes-south", "--regions", "europe-west")
    done = elsewhere("build", "era5-sample", "--data", tmp_path, *two, "--json")
    assert json.loads(done.stdout)["built"] == 2
    built = {path.name for path in (tmp_path / "era5-sample@1").glob("*.zarr")}
    assert built == {"andes-south.zarr", "europe-west.zarr"}
    refused = elsewhere("template", "era5-sample", "--out", tmp_path / "t", "--data", tmp_path)
    assert refused.returncode == 2
    assert "amazon-northeast" in refused.stderr
    assert "andes-south" not in refused.stderr
    assert "elsewhere build era5-sample" in refused.stderr


def test_a_mistyped_region_is_suggested(elsewhere: Command, tmp_path: Path) -> None:
    """Exit 2, the nearest name, and nothing is built."""
    done = elsewhere("build", "era5-sample", "--data", tmp_path, "--regions", "andes-suth")
    assert done.returncode == 2
    assert "Did you mean 'andes-south'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "era5-sample", "p"],
        ["score", "era5-sample", "p", "--out", "s"],
        ["predict", "era5-sample", "bilinear", "--out", "p"],
        ["train", "era5-sample", "srcnn", "--out", "r"],
        ["template", "era5-sample", "--out", "t"],
    ],
    ids=lambda words: words[0],
)
def test_without_a_pair_store_build_is_named(
    words: list[str], elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every verb that reads the data says which folder was searched and what to run."""
    monkeypatch.chdir(tmp_path)
    done = elsewhere(*words, "--data", tmp_path / "empty")
    assert done.returncode == 2
    assert str(tmp_path / "empty" / "era5-sample@1") in done.stderr
    assert "Run `elsewhere build era5-sample`." in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_data_live(
    elsewhere: Command,
    data: Path,
    bilinear_predictions: Path,
    tmp_path: Path,
    shell: dict[str, str],
) -> None:
    """The flag wins over $ELSEWHERE_DATA, which wins over the user-data folder."""
    command = ("validate", "era5-sample", bilinear_predictions)
    by_environment = elsewhere(*command, env={"ELSEWHERE_DATA": str(data)})
    assert by_environment.returncode == 0
    by_flag = elsewhere(*command, "--data", tmp_path, env={"ELSEWHERE_DATA": str(data)})
    assert by_flag.returncode == 2
    assert str(tmp_path) in by_flag.stderr
    by_default = elsewhere(*command)
    assert by_default.returncode == 2
    assert shell["HOME"] in by_default.stderr


def test_changed_truth_is_not_scored(
    elsewhere: Command, data: Path, bilinear_predictions: Path, tmp_path: Path
) -> None:
    """Another region's truth in place of the built one: its digest differs, nothing is scored."""
    folder = shutil.copytree(data / "era5-sample@1", tmp_path / "era5-sample@1")
    shutil.rmtree(folder / "andes-south.zarr" / "fine" / "t2m" / "c")
    shutil.copytree(
        folder / "europe-west.zarr" / "fine" / "t2m" / "c",
        folder / "andes-south.zarr" / "fine" / "t2m" / "c",
    )
    out = tmp_path / "scores"
    done = elsewhere("score", "era5-sample", bilinear_predictions, "--out", out, "--data", tmp_path)
    assert done.returncode == 2
    assert "andes-south.zarr: fine/t2m" in done.stderr
    assert "digest differs" in done.stderr
    assert not (out / "scores.json").exists()


def test_a_task_of_ones_own_is_built_from_its_file(elsewhere: Command, tmp_path: Path) -> None:
    """Its name alone is refused with the command to type; an unbuilt one says how it is known."""
    folder = tmp_path / "mine@1"
    folder.mkdir()
    shown = elsewhere("task", "era5-sample", "--json").stdout
    contract = json.loads(shown) | {"name": "mine", "summary": "Broken\nin two.", "banner": ""}
    (folder / "task.json").write_text(json.dumps(contract))
    refused = elsewhere("build", "mine", "--data", tmp_path)
    assert refused.returncode == 2
    assert "`elsewhere build mine.toml`" in refused.stderr
    assert "Broken in two." in elsewhere("task", "mine", "--data", tmp_path).stdout
    unknown = elsewhere("shift", "other", "--data", tmp_path)
    assert unknown.returncode == 2
    assert "A task of your own is known once `elsewhere build`" in unknown.stderr


def test_files_that_do_not_ship_are_asked_for(elsewhere: Command, tmp_path: Path) -> None:
    """One problem that names the option, not each file that is not beside the shipped recipe."""
    done = elsewhere("build", "radar-perfect", "--data", tmp_path)
    assert done.returncode == 2
    assert "1 problem\n" in done.stderr
    assert "--files DIR" in done.stderr


def test_a_wrong_scheduler_is_refused_before_anything(elsewhere: Command, tmp_path: Path) -> None:
    """No traceback, and no block."""
    refused = elsewhere("build", "era5-sample", "--data", tmp_path, "--scheduler", "nonsense")
    assert refused.returncode == 2
    assert "--scheduler nonsense" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.glob("*@*")) == []
