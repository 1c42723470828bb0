"""Whole tasks on maps, with shifted coarse boxes, without statics and below an hour, scored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from baselines.nulls import null
from benchmark.case_table import load_table
from benchmark.coarsen import AreaOverlap
from benchmark.evaluate import score
from benchmark.leaks import check_task
from benchmark.pair_store import PairStore, RegionStore
from benchmark.results import CASES, Scores
from benchmark.sources import StreamedPredictions
from benchmark.strata import STRATA

Array = NDArray[np.float64]
Make = Callable[..., PairStore]
SHIFTED = {"factor": 2.5, "coarse_shift": (0.5, -0.5), "margin": 2, "static": ()}
TEST = ("home", "north", "second", "south")


@pytest.fixture(scope="module")
def plain(make_map_store: Make) -> PairStore:
    """Factor 5, with statics."""
    return make_map_store()


@pytest.fixture(scope="module")
def shifted(make_map_store: Make) -> PairStore:
    """Factor 2.5, the coarse box half a cell to the north and west; no statics."""
    return make_map_store("own-shifted", **SHIFTED)


@pytest.fixture(scope="module", params=["plain", "shifted"])
def store(request: pytest.FixtureRequest) -> PairStore:
    """Both of them."""
    found: PairStore = request.getfixturevalue(request.param)
    return found


def scored_folder(store: PairStore, folder: Path, name: str = "bilinear") -> Path:
    """The scores of a null."""
    score(store, StreamedPredictions(null(name, store), identity=name), folder)
    return folder


@pytest.fixture(scope="module")
def scores(plain: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_folder(plain, tmp_path_factory.mktemp("scores") / "bilinear")


@pytest.fixture(scope="module")
def shifted_scores(shifted: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_folder(shifted, tmp_path_factory.mktemp("scores") / "shifted")


def test_the_invented_tasks_are_contracts(store: PairStore) -> None:
    assert check_task(store.task) == []


def true_areas(store: PairStore, name: str) -> Array:
    """(ny, nx) geodesic polygons of the fine cells on the map's sphere, by pyproj alone."""
    region = store.task.region(name)
    assert region.grid is not None
    (south, north), (west, east) = region.bounds
    y, x = np.meshgrid(np.linspace(north, south, 41), np.linspace(west, east, 41), indexing="ij")
    lon, lat = pyproj.Proj(region.grid.crs)(x, y, inverse=True)
    geod = pyproj.Geod(a=6371229, b=6371229)
    area = np.empty((40, 40))
    for j, i in np.ndindex(area.shape):
        at = ([j, j, j + 1, j + 1], [i, i + 1, i + 1, i])
        area[j, i] = abs(geod.polygon_area_perimeter(lon[at], lat[at])[0])
    return area


def centres(store: PairStore, name: str) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(y, x) centres of coarse and fine cells by the task's numbers alone."""
    task = store.task
    (south, north), (west, east) = task.region(name).bounds
    size = 5500 * task.factor
    fine = (np.arange(north - 2750, south, -5500), np.arange(west + 2750, east, 5500))
    up, right = (shift * size for shift in task.coarse_shift)
    count = round((north - south) / size)
    down = north + up - size * (np.arange(count) + 0.5)
    return (down, west + right + size * (np.arange(count) + 0.5)), fine


def bilinear_by_scipy(store: PairStore, region: RegionStore, coarse: Array) -> Array:
    """(time, ny, nx) of (time, Ny, Nx), the outermost values repeated outwards."""
    (cy, cx), (fy, fx) = centres(store, region.name)
    y, x = np.clip(fy, cy.min(), cy.max()), np.clip(fx, cx.min(), cx.max())
    points = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)
    make = [RegularGridInterpolator((cy[::-1], cx), field[::-1]) for field in coarse]
    return np.stack([interpolate(points) for interpolate in make])


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "bicubic-pil", "conservative"])
@pytest.mark.parametrize("changes", [{}, SHIFTED, {"factor": 4}], ids=["5", "shifted", "4"])
def test_a_plane_comes_back_where_it_is(
    make_map_store: Make, name: str, changes: dict[str, Any]
) -> None:
    """At true coordinates: a coarse plane is the fine plane, three coarse cells from the edge."""
    store = make_map_store(f"plane-{name}", detail=0.0, **changes)
    border = int(np.ceil(3 * store.task.factor))
    inside = np.s_[..., border:-border, border:-border]
    for region in store.regions("train", "test_ood"):
        found = null(name, store).predict(region, slice(0, 3))["t2m"][:, 0]
        assert np.isfinite(found).all(), "beyond a shifted box too"
        truth = region.read("fine", "t2m", slice(0, 3))
        # Of the four only the cubic kernel with a = -0.75 does not keep a plane. A tile
        # registration would be off by 1.25 cells of 0.1 K, and by as many of 0.075 K.
        allowed = 0.05 if name == "bicubic" else 1e-4
        np.testing.assert_allclose(found[inside], truth[inside], rtol=0, atol=allowed)


def test_nearest_takes_the_nearest_centre(store: PairStore) -> None:
    region = store.region("north")
    (cy, cx), (fy, fx) = centres(store, "north")
    coarse = region.read("coarse", "t2m", slice(0, 2))
    rows = np.abs(fy[:, None] - cy).argmin(axis=1)
    columns = np.abs(fx[:, None] - cx).argmin(axis=1)
    found = null("nearest", store).predict(region, slice(0, 2))["t2m"][:, 0]
    np.testing.assert_array_equal(found, coarse[:, rows[:, None], columns])


@pytest.mark.parametrize("which", ["plain", "shifted"])
def test_scores_against_numpy_with_true_areas(which: str, request: pytest.FixtureRequest) -> None:
    """RMSE, MAE and bias of scipy's interpolation, weighted by geodesic polygons."""
    store = request.getfixturevalue(which)
    folder = request.getfixturevalue("scores" if which == "plain" else "shifted_scores")
    metrics = Scores.model_validate_json((folder / "scores.json").read_bytes()).metrics["t2m"]
    border = round(store.task.factor * store.task.margin)
    crop = np.s_[..., border:-border, border:-border]
    for name in TEST:
        region = store.region(name)
        steps = region.steps(store.task.periods.test)
        coarse = region.read("coarse", "t2m", steps).astype(np.float64)
        error = bilinear_by_scipy(store, region, coarse).astype(np.float32)
        error = (error - region.read("fine", "t2m", steps).astype(np.float64))[crop]
        weight = np.broadcast_to(true_areas(store, name)[crop], error.shape)
        expected = {
            "bias": np.average(error, weights=weight),
            "mae": np.average(abs(error), weights=weight),
            "rmse": np.sqrt(np.average(error**2, weights=weight)),
        }
        for metric, value in expected.items():
            assert metrics[metric][name]["all"] == pytest.approx(value, rel=1e-6, abs=1e-7)
        flat = np.sqrt((error**2).mean())
        assert abs(flat / expected["rmse"] - 1) > 1e-5, "areas matter"


def test_a_table_in_km_at_true_places(plain: PairStore, scores: Path) -> None:
    """Cell sizes are those on earth, not those of the map; latitudes those of the middle."""
    cases, totals = load_table(scores / CASES)
    for name in TEST:
        here = totals.sel(region=name)
        size = float(np.sqrt(true_areas(plain, name)[5:-5, 5:-5].mean()) / 1e3)
        assert float(here["cell_km"]) == pytest.approx(size, rel=1e-6)
        assert float(here["finest_km"]) == pytest.approx(2 * size, rel=1e-3)
        (south, north), (west, east) = plain.task.region(name).bounds
        middle = pyproj.Proj(plain.task.grids[0].crs)(
            (west + east) / 2, (south + north) / 2, inverse=True
        )
        assert float(cases["latitude"].sel(region=name)) == pytest.approx(middle[1], abs=1e-9)
    # 1700 km north of the standard parallel the map is larger than the earth.
    assert float(totals["cell_km"].sel(region="north")) < 0.98 * 5.5
    assert float(totals["cell_km"].sel(region="home")) == pytest.approx(5.5, rel=2e-3)


def test_spectra_are_of_waves_in_km(scores: Path) -> None:
    """The pattern's wave of eight cells stands at one over eight true cells."""
    _, totals = load_table(scores / CASES)
    for name in TEST:
        here = totals.sel(region=name, variable="t2m")
        k, power = here["wavenumber"].values, here["power_t"].values.ravel()
        known = np.isfinite(k) & (k > 1 / 200)
        peak = k[known][np.argmax(power[known])]
        assert peak == pytest.approx(1 / (8 * float(here["cell_km"])), rel=0.08)


@pytest.mark.parametrize(("which", "strata"), [("scores", set(STRATA)), ("shifted_scores", None)])
def test_strata_are_those_that_there_are(
    which: str, strata: set[str] | None, request: pytest.FixtureRequest
) -> None:
    """Without statics none of surface: missing, not 0; those of intensity stay."""
    _, totals = load_table(request.getfixturevalue(which) / CASES)
    weight = totals["weight"].sel(variable="t2m", region="home")
    found = {str(name) for name in weight["stratum"].values if float(weight.sel(stratum=name)) > 0}
    assert {"all", "intensity-1", "intensity-2"} <= found
    surface = {"land", "sea", "lowland", "upland", "mountain"}
    assert bool(found & surface) == (strata is not None)
    if strata is not None:
        land = sum(float(weight.sel(stratum=name)) for name in ("sea", "land"))
        assert land == pytest.approx(float(weight.sel(stratum="all")), rel=1e-12)


def test_every_family_has_its_scores(scores: Path, shifted_scores: Path) -> None:
    """No metric of a temperature's is lost on a map; CRPS of one member is its MAE."""
    for folder in (scores, shifted_scores):
        metrics = Scores.model_validate_json((folder / "scores.json").read_bytes()).metrics["t2m"]
        for entry in ("crps_fair", "fss[>= 281 K, 3 cells]", "csi[>= P90]", "ssim", "residual",
                      "log_spectral_distance", "psnr", "perkins",
                      "wasserstein_1"):  # fmt: skip
            values = [metrics[entry][name].get("all") for name in TEST]
            assert all(value is not None and np.isfinite(value) for value in values), entry
        for name in TEST:
            assert metrics["crps_fair"][name]["all"] == metrics["mae"][name]["all"]


def test_ensembles_and_references(shifted: PairStore, tmp_path: Path) -> None:
    """The dressed reference goes from box to box; its invariants hold."""
    folder = scored_folder(shifted, tmp_path / "dressed", "bilinear-dressed")
    found = Scores.model_validate_json((folder / "scores.json").read_bytes())
    assert (found.members, found.expected_cases, found.scored_cases) == (4, 4, 4)
    skills = {h.split: h.skill for h in found.headline if h.board == "probabilistic"}
    assert skills == pytest.approx({"test_id": 0.0, "test_ood": 0.0}, abs=1e-12)


def test_only_the_interior_of_a_shifted_box_is_scored(shifted: PairStore) -> None:
    """A: rows sum to 1; scored coarse cells lie whole within the fine box, border ones do not."""
    grid = shifted.region("north").grid
    sums = np.asarray(grid.overlap.matrix.sum(axis=1)).ravel()
    np.testing.assert_allclose(sums, 1, rtol=1e-12)
    share = grid.overlap.total / grid.coarse.area
    assert share[0].max() < 0.51
    np.testing.assert_allclose(grid.crop_coarse(share), 1, rtol=1e-5)
    (cy, cx), (fy, fx) = centres(shifted, "north")
    np.testing.assert_allclose(grid.coarse.y.centres, cy)
    np.testing.assert_allclose(grid.coarse.x.centres, cx)
    np.testing.assert_allclose(grid.fine.y.centres, fy)
    np.testing.assert_allclose(grid.fine.x.centres, fx)


def test_the_residual_is_of_the_scored_cells(shifted: PairStore, shifted_scores: Path) -> None:
    """Area means of cut cells, cell by cell in plain Python."""
    metrics = json.loads((shifted_scores / "scores.json").read_text())["metrics"]["t2m"]
    region = shifted.region("south")
    steps = region.steps(shifted.task.periods.test)
    coarse = region.read("coarse", "t2m", steps).astype(np.float64)
    field = bilinear_by_scipy(shifted, region, coarse).astype(np.float32).astype(np.float64)
    area, ((cy, cx), (fy, fx)) = true_areas(shifted, "south"), centres(shifted, "south")

    def share(fine: float, middle: float) -> float:
        low, high = max(fine - 2750, middle - 6875), min(fine + 2750, middle + 6875)
        return max(high - low, 0.0) / 5500

    found, weights = [], []
    for j, i in np.ndindex(12, 12):
        rows = np.array([share(y, cy[j + 2]) for y in fy])
        columns = np.array([share(x, cx[i + 2]) for x in fx])
        weight = area * rows[:, None] * columns
        found.append(
            abs((field * weight).sum(axis=(1, 2)) / weight.sum() - coarse[:, j + 2, i + 2])
        )
        weights.append(weight.sum())
    expected = np.average(np.mean(found, axis=1), weights=weights)
    assert metrics["residual"]["south"]["all"] == pytest.approx(expected, rel=1e-4)


def test_projecting_onto_a_shifted_box(shifted: PairStore) -> None:
    """A y = x on every coarse cell; fine cells that no coarse one has stay as they are."""
    region, steps = shifted.region("north"), slice(0, 2)
    found = null("bilinear-projected", shifted).predict(region, steps)["t2m"][:, 0]
    coarse = region.read("coarse", "t2m", steps)
    np.testing.assert_allclose(region.grid.overlap(found), coarse, rtol=0, atol=3e-4)
    plain = null("bilinear", shifted).predict(region, steps)["t2m"][:, 0]
    # Half a coarse cell north and west: the last 1.25 rows and columns are uncovered.
    np.testing.assert_array_equal(found[:, -1], plain[:, -1])
    np.testing.assert_array_equal(found[..., -1], plain[..., -1])
    assert (found[:, :-2, :-2] != plain[:, :-2, :-2]).mean() > 0.5


def test_as_many_shared_as_left_out_is_no_partition() -> None:
    """5 fine cells, 2 coarse ones of 2.5, shifted by half: 5 shares, and yet no whole blocks."""
    edges = np.arange(6.0)
    coarse = np.array([1.25, 3.75, 6.25])
    overlap = AreaOverlap.from_projected_edges(
        fine=(edges, edges), coarse=(coarse, coarse), area=np.ones((5, 5))
    )
    assert overlap.matrix.nnz == 25
    assert not overlap.is_partition
    with pytest.raises(ValueError, match="shifted"):
        _ = overlap.block_weights
