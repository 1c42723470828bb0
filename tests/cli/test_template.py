"""Bringing one's own predictions: from a template, or written by xarray."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

Command = Callable[..., CompletedProcess[str]]
NAMES = ("t2m", "wind_speed", "precipitation")


@pytest.mark.parametrize("members", [1, 8])
def test_a_template_lacks_nothing_but_values(
    members: int, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """The only problems are its NaNs: one for each of 3 variables in each of 21 regions."""
    out = tmp_path / "mine"
    words = ("--out", out, "--members", members, "--data", data)
    done = elsewhere("template", "era5-sample", *words)
    assert done.returncode == 0
    assert f"elsewhere validate era5-sample {out}" in done.stdout
    problems = json.loads(
        elsewhere("validate", "era5-sample", out, "--data", data, "--json").stdout
    )
    regions = [path.name for path in out.glob("*.zarr")]
    assert len(regions) == 21
    wanted = {f"{out / region}: {name}" for region in regions for name in NAMES}
    assert {problem["where"] for problem in problems} == wanted
    assert {problem["expected"] for problem in problems} == {"finite values"}
    assert len(problems) == 63


def test_a_filled_template_has_no_problem(
    elsewhere: Command, data: Path, bilinear_predictions: Path, tmp_path: Path
) -> None:
    """Filling in the values and nothing else makes it ready to be scored."""
    out = tmp_path / "mine"
    assert elsewhere("template", "era5-sample", "--out", out, "--data", data).returncode == 0
    for path in out.glob("*.zarr"):
        mine = zarr.open_group(path, mode="r+")
        source = zarr.open_group(bilinear_predictions / path.name, mode="r")
        for name in NAMES:
            mine[name][...] = source[name][...]  # type: ignore[index,assignment]
    done = elsewhere("validate", "era5-sample", out, "--data", data)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_template_overwrites_nothing(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """A folder that is there, or a member count that no board knows: exit 2, nothing written."""
    (tmp_path / "mine").mkdir()
    taken = elsewhere("template", "era5-sample", "--out", tmp_path / "mine", "--data", data)
    assert (taken.returncode, list((tmp_path / "mine").iterdir())) == (2, [])
    assert "a new folder" in taken.stderr
    words = ("--out", tmp_path / "five", "--members", "5", "--data", data)
    odd = elsewhere("template", "era5-sample", *words)
    assert odd.returncode == 2
    assert "1 or 8" in odd.stderr
    assert not (tmp_path / "five").exists()


ENCODINGS: dict[str, dict[str, Any]] = {
    "xarray's own": {},
    "days, floating": {"units": "days since 2026-01-01", "dtype": "float64"},
    "hours of the day": {"units": "hours since 2026-03-29", "dtype": "int64"},
    "float32 hours": {"units": "hours since 2026-03-29", "dtype": "float32"},
    "seconds": {"units": "seconds since 1970-01-01", "dtype": "int32"},
    "gregorian": {"units": "minutes since 1900-01-01", "calendar": "gregorian"},
}


def rewrite(source: Path, target: Path, zarr_format: int, time: dict[str, Any]) -> None:
    """Write a region of a prediction store again as a user of xarray would."""
    opened = xr.open_zarr(source, consolidated=False, chunks=None).load()
    plain = xr.Dataset(
        {
            name: (opened[name].dims, opened[name].values, {"units": opened[name].attrs["units"]})
            for name in NAMES
        },
        coords={name: opened[name].values for name in ("time", "member", "y", "x")},
    )
    shutil.rmtree(target, ignore_errors=True)
    plain.to_zarr(target, zarr_format=zarr_format, encoding={"time": time})


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_store_written_by_xarray_scores_the_same(
    elsewhere: Command,
    data: Path,
    bilinear_predictions: Path,
    bilinear_scores: Path,
    tmp_path: Path,
) -> None:
    """Zarr v3 and v2 and any CF time units, one after another: the hash is of the values."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    shutil.copy(bilinear_predictions / "model.toml", folder)
    variants = list(product(ENCODINGS, (3, 2)))
    written = {}
    for k, source in enumerate(sorted(bilinear_predictions.glob("*.zarr"))):
        encoding, zarr_format = written[source.name] = variants[k % len(variants)]
        rewrite(source, folder / source.name, zarr_format, ENCODINGS[encoding])
    assert set(written.values()) == set(variants)
    out = tmp_path / "scores"
    done = elsewhere("score", "era5-sample", folder, "--out", out, "--data", data)
    assert done.returncode == 0, (written, done.stderr)
    ours, theirs = (
        json.loads((scores / "scores.json").read_bytes()) for scores in (bilinear_scores, out)
    )
    assert theirs["prediction_hash"] == ours["prediction_hash"]
    assert theirs["case_table_hash"] == ours["case_table_hash"]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_xarray_stores_are_held_to_the_same_rules(
    elsewhere: Command, data: Path, bilinear_predictions: Path, tmp_path: Path
) -> None:
    """Reversed and double-precision fields from xarray are refused, not repaired."""
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    source = bilinear_predictions / "andes-south.zarr"
    opened = xr.open_zarr(source, consolidated=False, chunks=None).load()
    shutil.rmtree(folder / source.name)
    wrong = opened.isel(y=slice(None, None, -1)).assign(t2m=opened["t2m"].astype(np.float64))
    wrong.to_zarr(folder / source.name, zarr_format=3)
    done = elsewhere("validate", "era5-sample", folder, "--data", data)
    assert done.returncode == 2
    assert "andes-south.zarr: y" in done.stderr
    assert "float64" in done.stderr


def test_no_folder_at_all(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """A mistyped path is one problem that points to `template`."""
    done = elsewhere("validate", "era5-sample", tmp_path / "none", "--data", data)
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "elsewhere template era5-sample --out DIR" in done.stderr
