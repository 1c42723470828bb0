"""Stores on maps, as others read them, and every verb on a task that does not ship."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
import zarr

from baselines.nulls import null
from benchmark.dressing import ResidualBank
from benchmark.errors import InputError
from benchmark.evaluate import score
from benchmark.leaks import check_task
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import write_predictions
from benchmark.reference import Bilinear
from benchmark.results import read_scores
from benchmark.shift import shifts
from benchmark.sources import StoredPredictions, StreamedPredictions
from benchmark.task_files import CONTRACT, find_task
from benchmark.template import write_template
from benchmark.thresholds import training_percentiles
from benchmark.validate import validate_predictions

Make = Callable[..., PairStore]
Command = Callable[..., CompletedProcess[str]]
MIXED = [
    {"name": "lake", "role": "train", "lat": [44, 46], "lon": [-88, -86]},
    {"name": "pole", "role": "test_ood", "grid": "polar", "y": [-28e5, -25.8e5],
     "x": [-1.1e5, 1.1e5]},
    {"name": "plain", "role": "val_ood", "grid": "lambert", "y": [0, 2.2e5], "x": [0, 2.2e5]},
]  # fmt: skip


@pytest.fixture(scope="module")
def maps(make_map_store: Make) -> PairStore:
    return make_map_store()


@pytest.fixture(scope="module")
def mixed(make_map_store: Make) -> PairStore:
    """Three grids in one task, a picture every ten minutes, no statics, two factors of two."""
    return make_map_store(
        "own-radar", minutes=10, case="snapshot", factor=4, static=(), spacing=0.05, regions=MIXED,
    )  # fmt: skip


@pytest.fixture
def predictions(maps: PairStore, tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    for _ in write_predictions(null("bilinear", maps), maps, folder):
        pass
    return folder


def places(region: Any, side: str) -> tuple[Any, Any, pyproj.CRS]:
    """Latitudes and longitudes of the cells' centres by a transformer, and the map."""
    crs = pyproj.CRS(region.task.region(region.name).grid.crs)
    grid = getattr(region.grid, side)
    x, y = np.meshgrid(grid.x.centres, grid.y.centres)
    transformer = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = transformer.transform(x, y)
    return lat, lon, crs


@pytest.mark.parametrize("group", ["coarse", "fine", "static"])
def test_xarray_finds_places_and_the_map(maps: PairStore, group: str) -> None:
    """CF: 2-D latitudes and longitudes are coordinates, and the grid mapping is the task's map."""
    region = maps.region("north")
    found = xr.open_zarr(region.path, group=group, consolidated=False, decode_coords="all")
    assert {"y", "x", "latitude", "longitude", "crs"} <= set(found.coords)
    lat, lon, crs = places(region, "coarse" if group == "coarse" else "fine")
    np.testing.assert_allclose(found["latitude"], lat, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["longitude"], lon, rtol=0, atol=1e-9)
    assert pyproj.CRS.from_cf(found["crs"].attrs) == crs
    units = [found[name].attrs["units"] for name in ("y", "x", "latitude", "longitude")]
    assert units == ["m", "m", "degrees_north", "degrees_east"]
    for name in set(found.data_vars):
        assert found[name].encoding["grid_mapping"] == "crs"
    assert "cell_area" in found


def test_a_prediction_store_has_them_too(predictions: Path, maps: PairStore) -> None:
    found = xr.open_zarr(predictions / "south.zarr", consolidated=False, decode_coords="all")
    assert {"latitude", "longitude", "crs", "member"} <= set(found.coords)
    assert list(found.data_vars) == ["t2m"]
    lat, _, crs = places(maps.region("south"), "fine")
    np.testing.assert_allclose(found["latitude"], lat, rtol=0, atol=1e-9)
    assert pyproj.CRS.from_cf(found["crs"].attrs) == crs


def test_templates_and_predictions_are_valid(
    maps: PairStore, predictions: Path, tmp_path: Path
) -> None:
    """Nothing of what this package writes itself is an extra; a store without them is valid too."""
    write_template(maps, tmp_path / "template", members=1)
    assert validate_predictions(maps, tmp_path / "template", values=False) == []
    assert validate_predictions(maps, predictions) == []
    for name in ("latitude", "longitude", "crs"):
        del zarr.open_group(predictions / "south.zarr", mode="a")[name]
    assert validate_predictions(maps, predictions) == []


@pytest.mark.parametrize(("metres", "valid"), [(1e-3, True), (1.0, False), (2750.0, False)])
def test_coordinates_in_metres(
    maps: PairStore, predictions: Path, metres: float, valid: bool
) -> None:
    """Rounding to a millimetre is no other grid; a metre is."""
    array: Any = zarr.open_group(predictions / "south.zarr", mode="a")["x"]
    array[:] = array[:] + metres
    found = validate_predictions(maps, predictions)
    assert (found == []) == valid
    if not valid:
        assert ["x" in problem.where for problem in found] == [True]


def test_an_extra_array_is_one_on_a_map_too(maps: PairStore, predictions: Path) -> None:
    group = zarr.open_group(predictions / "south.zarr", mode="a")
    group.create_array("height", shape=(2,), dtype="float32")
    (problem,) = validate_predictions(maps, predictions)
    assert problem.got == "an extra one"


def test_stored_and_streamed_are_one_table(
    maps: PairStore, predictions: Path, tmp_path: Path
) -> None:
    """Also when threads share the map; and the contract lies beside the scores."""
    made = [
        score(maps, source, tmp_path / name, workers=workers, steps_per_block=5)
        for name, workers, source in (
            ("stored", 2, StoredPredictions(maps.task, predictions)),
            ("streamed", 1, StreamedPredictions(null("bilinear", maps), identity="bilinear")),
        )
    ]
    assert made[0].case_table_hash == made[1].case_table_hash
    names = {path.name for path in (tmp_path / "stored").iterdir()}
    assert names == {"scores.json", "cases.zarr.zip", "model.toml", "sample.zarr.zip", CONTRACT}
    assert find_task("own-map", maps.folder.parent) == maps.task


def test_another_tasks_contract_does_not_stay(fresh_store: PairStore, tmp_path: Path) -> None:
    """A folder that held an own task's scores is scored again with a shipped one."""
    out = tmp_path / "scores"
    out.mkdir()
    (out / CONTRACT).write_text("{}")
    source = StreamedPredictions(null("bilinear", fresh_store), identity="bilinear")
    score(fresh_store, source, out)
    assert not (out / CONTRACT).exists()


def test_thresholds_are_of_the_training_truth(maps: PairStore) -> None:
    """The 90th percentile of all cells that are scored and times, areas hardly differing."""
    variable = maps.task.variable("t2m")
    found = training_percentiles(maps, "t2m", (90,), variable.bins.bins, floor=-np.inf)
    for name in ("home", "north"):
        region = maps.region(name)
        truth = region.read("fine", "t2m", region.steps(maps.task.periods.train))
        whole = np.quantile(truth, 0.9), np.quantile(truth[:, 5:-5, 5:-5], 0.9)
        assert min(abs(found[name][0] - value) for value in whole) < 0.1


def test_how_far_boxes_are(maps: PairStore) -> None:
    """Great circles between the nearest points of two boxes' borders; values by scipy."""
    found = {one.region: one for one in shifts(maps)}
    geod = pyproj.Geod(a=6371229, b=6371229)

    def border(name: str) -> Any:
        region = maps.task.region(name)
        along = [np.linspace(*span, 101) for span in region.bounds]
        low, high = zip(*region.bounds, strict=True)
        y = np.concatenate([along[0], along[0], *(np.full(101, end) for end in (low[0], high[0]))])
        x = np.concatenate([*(np.full(101, end) for end in (low[1], high[1])), along[1], along[1]])
        return pyproj.Proj(region.grid.crs)(x, y, inverse=True)  # type: ignore[union-attr]

    first, second = border("north"), border("home")
    pairs = [np.repeat(part, 404) for part in first] + [np.tile(part, 404) for part in second]
    dense = geod.inv(*pairs)[2].min() / 1e3
    assert found["north"].nearest_km == pytest.approx(dense, rel=1e-4)
    assert all(0 <= one.input_distance < 0.2 for one in found.values()), "planes are the same"
    assert all(0.9 < one.detail_ratio < 1.1 for one in found.values())


def test_every_verb_on_an_own_task(
    maps: PairStore, predictions: Path, elsewhere: Command, tmp_path: Path
) -> None:
    """By the contract beside the pair maps, and then by the one beside the scores."""
    data, out = ("--data", maps.folder.parent), tmp_path / "scores"
    shown = elsewhere("task", "own-map", *data)
    assert shown.returncode == 0, shown.stderr
    assert "5500 m (map lambert)" in shown.stdout
    assert elsewhere("validate", "own-map", predictions, *data).returncode == 0
    done = elsewhere("score", "own-map", predictions, "--out", out, *data)
    assert done.returncode == 0, done.stderr
    for words in (("rmse", "north"), ("rmse", "test_ood"), ("residual", "south")):
        done = elsewhere("explain", out, *words, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    done = elsewhere("compare", out, out, "--json")
    assert done.returncode == 0, done.stderr
    assert {line["change"] for line in json.loads(done.stdout)} == {0.0}
    done = elsewhere("shift", "own-map", *data, "--json")
    assert done.returncode == 0, done.stderr
    projected = tmp_path / "projected"
    done = elsewhere("constrain", "own-map", predictions, "--out", projected, *data)
    assert done.returncode == 0, done.stderr
    assert "violation" not in done.stderr
    assert validate_predictions(maps, projected) == []


def test_several_grids_and_minutes(mixed: PairStore, tmp_path: Path) -> None:
    """Boxes of degrees and of two maps beside one another; a case is a picture."""
    assert check_task(mixed.task) == []
    out = tmp_path / "scores"
    scores = score(mixed, StreamedPredictions(null("bilinear", mixed), identity="b"), out)
    assert (scores.expected_cases, scores.scored_cases) == (12, 12)
    metrics = read_scores(out / "scores.json").metrics["t2m"]
    assert set(metrics["rmse"]) == {"lake", "pole"}
    times = mixed.region("pole").times
    assert set(np.diff(times[:16]).astype(int).tolist()) == {600}
    written = zarr.open_array(mixed.region("pole").path, path="fine/time", mode="r").attrs
    assert str(written["units"]).startswith("seconds since")


def test_a_residual_bank_takes_the_nearest_known_residual(make_map_store: Make) -> None:
    """At cell (3, 4) the truth is missing: one of its four neighbours stands for it."""
    store = make_map_store("own-gaps", missing=range(16), static=())
    bank = ResidualBank.from_training(store).residuals["t2m"]
    assert np.isfinite(bank).all()
    region = store.region("home")
    away = region.read("fine", "t2m", slice(0, 1))[0] - Bilinear.on(region.grid)(
        region.read("coarse", "t2m", slice(0, 1))[0]
    )
    assert np.isnan(away[3, 4])
    neighbours = [away[2, 4], away[4, 4], away[3, 3], away[3, 5]]
    assert any(bank[0][3, 4] == pytest.approx(value, abs=1e-9) for value in neighbours)
    known = np.isfinite(away)
    np.testing.assert_allclose(bank[0][known], away[known], rtol=0, atol=1e-9)


def test_no_truth_is_no_dressed_reference(
    make_map_store: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_map_store("own-masked", static=())
    read = RegionStore.read

    def without_truth(self: RegionStore, side: str, *place: Any, **options: Any) -> Any:
        values = read(self, side, *place, **options)
        return np.full_like(values, np.nan) if side == "fine" else values

    monkeypatch.setattr(RegionStore, "read", without_truth)
    with pytest.raises(InputError, match="dressed reference is not defined"):
        ResidualBank.from_training(store)
