"""`elsewhere build`, where data live, and what the other verbs say when there are none."""

import errno
import json
import shutil
import tempfile
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


@pytest.mark.parametrize("stop", [[], ["--estimate"]])
def test_mistyped_regions_are_suggested(
    stop: list[str], elsewhere: Command, tmp_path: Path
) -> None:
    """Exit 2, the nearest name of each, and nothing is built."""
    words = ["build", "era5-sample", "--data", tmp_path, *stop, "--regions"]
    done = elsewhere(*words, "andes-suth, europe-west,west-afrika")
    assert done.returncode == 2
    assert done.stderr.startswith("2 problems")
    assert "Did you mean 'andes-south'?" in done.stderr
    assert "Did you mean 'west-africa'?" in done.stderr
    none = elsewhere(*words, " ,")
    assert (none.returncode, "names of regions" in none.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_is_told_first(
    elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fetched; also where it lies below a file."""
    (tmp_path / "file").touch()
    monkeypatch.setattr("data_recipes.era5_sample.recipe.EmbeddedERA5.fetch", None)
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        done = elsewhere("build", "era5-sample", "--data", folder)
        assert done.returncode == 2
        assert f"the data folder {folder}" in done.stderr
        assert f"Not a directory: {tmp_path / 'file'}" in done.stderr


def test_what_is_built_needs_no_writing(
    elsewhere: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that others share, read-only."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert elsewhere("build", "era5-sample", "--data", data).returncode == 0


@pytest.mark.parametrize("task", ["era5-sample", "tcw-2"])
def test_files_that_a_recipe_cannot_take_are_refused(
    task: str, elsewhere: Command, tmp_path: Path
) -> None:
    """No option is ignored in silence."""
    done = elsewhere("build", task, "--data", tmp_path / "data", "--files", tmp_path)
    assert done.returncode == 2
    assert "Leave it out" in done.stderr
    both = elsewhere("build", "mine.toml", "--data", tmp_path / "data", "--recipe", "arco")
    assert (both.returncode, "one recipe" in both.stderr) == (2, True)


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
    assert done.stderr.startswith("1 problem\n")
    assert "--files DIR" in done.stderr
    nowhere = elsewhere("build", "radar-perfect", "--data", tmp_path, "--files", tmp_path / "no")
    assert nowhere.returncode == 2
    assert nowhere.stderr.startswith(f"1 problem\n--files {tmp_path / 'no'}\n")


def test_a_wrong_scheduler_is_refused_before_anything(elsewhere: Command, tmp_path: Path) -> None:
    """No traceback, and no block."""
    refused = elsewhere("build", "era5-sample", "--data", tmp_path, "--scheduler", "nonsense")
    assert refused.returncode == 2
    assert "--scheduler nonsense" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.glob("*@*")) == []
