"""Each statistical fit against a plain computation on whole arrays, missing truth included."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.statistical import load_statistical_config, statistical_family
from baselines.statistical.base import Array, Place, Training
from baselines.statistical.bcsd import BCSD
from baselines.statistical.climatology import Climatology
from baselines.statistical.lapse_rate import LapseRate, temperatures
from baselines.statistical.linear import Linear, feature_maker
from baselines.statistical.quantile_mapping import QuantileMapping
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Task

SOURCES = ("china-mongolia-east", "europe-west")
UNSEEN = "andes-south"
HOLE, GAP = np.s_[..., 3:9, 5:20], np.s_[..., 20:24, 2:8]
Weights = Callable[[str], Array]


@pytest.fixture
def training(store: PairStore, task: Task) -> Training:
    return Training(tuple(store.region(name) for name in SOURCES), task.periods.train)


@pytest.fixture
def hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, some truth of one variable is missing: in every step, or in every other."""
    original = RegionStore.read

    def read(self: RegionStore, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        values = original(self, side, variable, steps)
        if side == "fine" and variable == "t2m":
            values = values.copy()
            values[HOLE] = np.nan
            values[steps.start % 2 :: 2][GAP] = np.nan
        return values

    monkeypatch.setattr(RegionStore, "read", read)


def fit(model: str, training: Training, *settings: str) -> Any:
    family = statistical_family(model)
    config = load_statistical_config(model, settings=[f"model.{text}" for text in settings])
    return family.model.fit(training, family.config.model_validate(config))


def arrays(region: RegionStore, side: str, steps: slice | None = None) -> Array:
    """(time, V, y, x) of the training period, or of some steps."""
    chosen = region.steps(region.task.periods.train) if steps is None else steps
    return np.stack(
        [region.read(side, name, chosen) for name in region.task.variable_names], axis=1
    ).astype(np.float64)


def enlarged(coarse: Array, mode: str) -> Array:
    """torch's interpolation by 4 of (time, V, Ny, Nx)."""
    tensor = torch.from_numpy(coarse)
    return torch.nn.functional.interpolate(tensor, scale_factor=4, mode=mode).numpy()


def block_means(field: Array, weights: Array) -> Array:
    """(..., ny, nx) to (..., Ny, Nx) at factor 4."""
    shape = (*field.shape[:-2], field.shape[-2] // 4, 4, field.shape[-1] // 4, 4)
    return (field * weights).reshape(shape).sum(axis=(-3, -1))


def areas(region: RegionStore) -> Array:
    """(ny, nx) relative cell areas from sin(latitude), mean 1."""
    (south, north), _ = region.task.region(region.name).lat, region.task.region(region.name).lon
    band = -np.diff(np.sin(np.radians(np.linspace(north, south, 33))))
    return np.repeat((band / band.mean())[:, None], 32, axis=1)


def squared_error(fitted: Any, training: Training) -> tuple[Array, Array]:
    """(V,) summed area-weighted squared errors of a model and of bilinear on training days."""
    mine, bilinear = np.zeros(3), np.zeros(3)
    for place in training.places:
        rule = fitted.on(place)
        nonnegative = np.array([v.nonnegative for v in training.task.variables])[:, None, None]
        for sample in (s for s in training.samples() if s.place is place):
            field = rule(sample.coarse)
            field = np.where(nonnegative, np.maximum(field, 0), field)
            mine += (place.area * (field - sample.fine) ** 2).sum(axis=(1, 2))
            bilinear += (place.area * (place.bilinear(sample.coarse) - sample.fine) ** 2).sum(
                axis=(1, 2)
            )
    return mine, bilinear


@pytest.mark.parametrize("where", [*SOURCES, UNSEEN])
def test_features_of_a_cell_are_what_they_are_called(
    where: str, store: PairStore, latitude_weights: Weights
) -> None:
    """Every feature, from torch's interpolation, block means by hand and clipped indices."""
    region, weights = store.region(where), latitude_weights(where)
    z = np.random.default_rng(0).normal(size=(3, 8, 8))
    bilinear, bicubic = (enlarged(z[None], mode)[0] for mode in ("bilinear", "bicubic"))
    missed = z - block_means(bilinear, weights)
    statics = [region.static("land_fraction"), region.static("orography") / 1000.0]
    details = [
        field - enlarged(block_means(field.astype(np.float64), weights)[None, None], "bilinear")
        for field in statics
    ]
    (land, orography), (land_detail, height) = statics, [detail[0, 0] for detail in details]
    got = feature_maker(Place(region))(z).reshape(-1, 32, 32)
    assert len(got) == 15 * 3 + 4
    for j, i in [(0, 0), (5, 9), (16, 31), (31, 2)]:
        J, I = j // 4, i // 4  # noqa: E741
        around = [
            z[:, min(max(J + b, 0), 7), min(max(I + a, 0), 7)] - z[:, J, I]
            for b in (-1, 0, 1) for a in (-1, 0, 1) if (b, a) != (0, 0)
        ]  # fmt: skip
        b = bilinear[:, j, i]
        expected = np.concatenate(
            [
                b, bicubic[:, j, i] - b, missed[:, J, I], z[:, J, I] - b, *around,
                b * land[j, i], b * land_detail[j, i], b * height[j, i],
                [land[j, i], orography[j, i], land_detail[j, i], height[j, i]],
            ]
        )  # fmt: skip
        np.testing.assert_allclose(got[:, j, i], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_linear_is_a_ridge_regression(
    missing: bool, training: Training, request: pytest.FixtureRequest
) -> None:
    """`numpy.linalg.lstsq` on all rows at once: penalty rows below, missing truth thrown out."""
    if missing:
        request.getfixturevalue("hole")
    got: Linear = fit("linear", training, "ridge=0.02")
    coarse = [arrays(region, "coarse") for region in training.regions]
    pooled = np.concatenate([field.transpose(1, 0, 2, 3).reshape(3, -1) for field in coarse], 1)
    np.testing.assert_allclose(got.mean, pooled.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(got.sd, pooled.std(axis=1), rtol=1e-9)
    rows, targets, weights = [], [], []
    for region, fields in zip(training.regions, coarse, strict=True):
        make, fine = feature_maker(Place(region)), arrays(region, "fine")
        for step, field in enumerate(fields):
            rows.append(make((field - got.mean[:, None, None]) / got.sd[:, None, None]).T)
            increment = fine[step] - enlarged(field[None], "bilinear")[0]
            targets.append(increment.reshape(3, -1).T)
            weights.append(areas(region).ravel())
    X, d, w = np.concatenate(rows), np.concatenate(targets), np.concatenate(weights)
    for k in range(3):
        there = np.isfinite(d[:, k])
        assert there.all() == (not missing or k > 0)
        f, y, v = X[there], d[there, k], w[there] / w[there].sum()
        mean = v @ f
        sd = np.sqrt(v @ (f - mean) ** 2)
        root = np.sqrt(v)[:, None]
        design = np.hstack([root, root * (f - mean) / sd])
        penalty = np.hstack([np.zeros((f.shape[1], 1)), np.sqrt(0.02) * np.eye(f.shape[1])])
        solution = np.linalg.lstsq(
            np.vstack([design, penalty]), np.concatenate([root[:, 0] * y, np.zeros(f.shape[1])])
        )[0]
        np.testing.assert_allclose(got.coefficients[k], solution[1:] / sd, rtol=1e-5, atol=1e-7)
        intercept = solution[0] - mean @ (solution[1:] / sd)
        assert got.intercept[k] == pytest.approx(intercept, rel=1e-5, abs=1e-7)


def test_linear_is_never_worse_than_bilinear_on_its_own_days(training: Training) -> None:
    """By far better in temperature; with an endless penalty only the mean increment is left."""
    mine, bilinear = squared_error(fit("linear", training), training)
    assert (mine < bilinear).all()
    assert mine[0] < 0.6 * bilinear[0]
    stiff: Linear = fit("linear", training, "ridge=1e12")
    assert abs(stiff.coefficients).max() < 1e-9
    mine, bilinear = squared_error(stiff, training)
    np.testing.assert_allclose(mine, bilinear, rtol=0.01)


def test_linear_without_coefficients_is_bilinear(training: Training) -> None:
    fitted: Linear = fit("linear", training)
    zero = Linear(
        fitted.config, fitted.mean, fitted.sd,
        0 * fitted.intercept, 0 * fitted.coefficients,
    )  # fmt: skip
    place = training.places[0]
    coarse = arrays(place.region, "coarse")[2]
    np.testing.assert_array_equal(zero.on(place)(coarse), place.bilinear(coarse))
    thinned: Linear = fit("linear", training, "every=3")
    assert (thinned.coefficients != fitted.coefficients).any()


def test_a_feature_that_does_not_vary_has_no_coefficient(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but sea: no statics, no products with them, and the fit still stands."""
    monkeypatch.setattr(RegionStore, "static", lambda *_: np.zeros((32, 32), np.float32))
    fitted: Linear = fit("linear", training)
    assert np.isfinite(fitted.coefficients).all()
    assert not fitted.coefficients[:, 36:].any()
    assert fitted.coefficients[:, :36].all()


@pytest.mark.parametrize("missing", [False, True])
def test_the_lapse_rate_is_a_regression_through_the_origin(
    missing: bool, training: Training, latitude_weights: Weights, request: pytest.FixtureRequest
) -> None:
    """Weighted least squares of the increment on the height that the coarse grid does not see."""
    if missing:
        request.getfixturevalue("hole")
    got: LapseRate = fit("lapse-rate", training)
    x, y = [], []
    for region in training.regions:
        z = region.static("orography").astype(np.float64)[None, None] / 1000
        detail = z - enlarged(block_means(z, latitude_weights(region.name)), "bilinear")
        increment = arrays(region, "fine") - enlarged(arrays(region, "coarse"), "bilinear")
        for step in increment[:, 0]:
            there = np.isfinite(step)
            root = np.sqrt(areas(region)[there])
            x.append(root * detail[0, 0][there])
            y.append(root * step[there])
    slope = np.linalg.lstsq(np.concatenate(x)[:, None], np.concatenate(y))[0][0]
    assert got.rate[0] == pytest.approx(-slope, rel=1e-9)
    assert 3 < got.rate[0] < 9
    assert not got.rate[1:].any()


def test_a_constant_lapse_rate(training: Training, store: PairStore) -> None:
    """6.5 K less for each km above the interpolated coarse orography; no truth is read for it."""
    fitted: LapseRate = fit("lapse-rate", training, "rate=6.5")
    place = Place(store.region(UNSEEN))
    coarse = arrays(place.region, "coarse")[0]
    field, bilinear = fitted.on(place)(coarse), place.bilinear(coarse)
    np.testing.assert_array_equal(field[1:], bilinear[1:])
    grid = place.region.grid
    height = place.region.static("orography").astype(np.float64)
    seen = place.bilinear(grid.overlap(height))
    np.testing.assert_allclose(field[0], bilinear[0] - 0.0065 * (height - seen), rtol=1e-12)
    assert np.ptp(field[0] - bilinear[0]) > 5


def test_a_lapse_rate_needs_temperature_and_height(
    task: Task, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    windy = task.model_copy(update={"variables": task.variables[1:]})
    with pytest.raises(InputError, match="expected an air_temperature in K; got wind_speed"):
        temperatures(windy)
    np.testing.assert_array_equal(temperatures(task), [True, False, False])
    skin = task.variables[0].model_copy(update={"standard_name": "surface_temperature"})
    both = task.model_copy(update={"variables": (skin, *task.variables)})
    np.testing.assert_array_equal(temperatures(both), [False, True, False, False])
    monkeypatch.setattr(RegionStore, "static", lambda *_: np.zeros((32, 32), np.float32))
    with pytest.raises(InputError, match="orography of the source regions"):
        fit("lapse-rate", training)


@pytest.mark.parametrize("model", ["lapse-rate", "linear", "bcsd"])
def test_temperature_is_better_than_bilinear_on_the_training_days(
    model: str, training: Training
) -> None:
    mine, bilinear = squared_error(fit(model, training), training)
    assert mine[0] < 0.7 * bilinear[0]


def test_quantile_mapping_pools_all_cells_and_days(training: Training) -> None:
    """numpy's quantiles of every bilinear and every fine value; fewer when it is told so."""
    got: QuantileMapping = fit("quantile-mapping", training, "quantiles=101")
    levels = np.linspace(0, 1, 101)
    fine = [arrays(region, "fine") for region in training.regions]
    bilinear = [enlarged(arrays(region, "coarse"), "bilinear") for region in training.regions]
    for side, pool in ((got.fine, fine), (got.bilinear, bilinear)):
        for k in range(3):
            expected = np.quantile(np.concatenate([part[:, k] for part in pool]), levels)
            np.testing.assert_allclose(side[k], expected, rtol=1e-5, atol=1e-7)
    # Two regions of 11 steps have 22,528 values: a third is wanted, and 5 is prime to 24.
    assert [training.every(values) for values in (22_528, 8000, 4000)] == [1, 5, 7]
    fewer: QuantileMapping = fit("quantile-mapping", training, "quantiles=101", "values=8000")
    some = np.concatenate([part[::5, 0] for part in fine])
    np.testing.assert_allclose(fewer.fine[0], np.quantile(some, levels), rtol=1e-6)


def test_quantile_mapping_gives_training_days_their_distribution(training: Training) -> None:
    """Closer than bilinear at the 99th percentile of wind and rain; dry cells stay dry."""
    fitted: QuantileMapping = fit("quantile-mapping", training)
    pools: dict[str, list[Array]] = {"mapped": [], "bilinear": [], "fine": []}
    for place in training.places:
        rule = fitted.on(place)
        for sample in (s for s in training.samples() if s.place is place):
            bilinear = place.bilinear(sample.coarse)
            mapped = rule(sample.coarse)
            assert (mapped[2][bilinear[2] == 0] == 0).all()
            assert mapped[1:].min() >= 0
            for name, field in (("mapped", mapped), ("bilinear", bilinear), ("fine", sample.fine)):
                pools[name].append(field)
    tail = {name: np.quantile(np.stack(pool), 0.99, axis=(0, 2, 3)) for name, pool in pools.items()}
    missed = abs(tail["mapped"] - tail["fine"]) / abs(tail["bilinear"] - tail["fine"])
    assert (missed[1:] < 0.05).all()


@pytest.mark.parametrize("missing", [False, True])
def test_climatology_is_the_mean_of_the_training_days(
    missing: bool, training: Training, store: PairStore, request: pytest.FixtureRequest
) -> None:
    """A region's own field at home, one number a variable where it was not fitted on."""
    if missing:
        request.getfixturevalue("hole")
    fitted: Climatology = fit("climatology", training)
    fields = {region.name: arrays(region, "fine") for region in training.regions}
    weights = {region.name: areas(region) for region in training.regions}
    away = fitted.on(Place(store.region(UNSEEN)))(np.zeros((3, 8, 8)))
    for k in range(3):
        top = sum(np.nansum(fields[n][:, k] * weights[n]) for n in fields)
        bottom = sum((np.isfinite(fields[n][:, k]) * weights[n]).sum() for n in fields)
        np.testing.assert_allclose(away[k], np.full((32, 32), top / bottom), rtol=1e-12)
    for place in training.places:
        expected = np.ma.masked_invalid(fields[place.region.name]).mean(axis=0)
        assert expected.mask.any() == missing
        expected = expected.filled(away[0, 0, 0])
        got = fitted.on(place)(np.zeros((3, 8, 8)))
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_climatology_of_nothing_is_refused(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        RegionStore, "read",
        lambda _, side, __, steps: np.full(
            (steps.stop - steps.start, *((8, 8) if side == "coarse" else (32, 32))), np.nan, "f4"
        ),
    )  # fmt: skip
    with pytest.raises(InputError, match="fine t2m in the training period: expected some values"):
        fit("climatology", training)


def test_bcsd_corrects_nothing_where_coarse_fields_are_block_means(training: Training) -> None:
    """On a perfect-model task both distributions are one, up to the rounding of float32."""
    fitted: BCSD = fit("bcsd", training)
    np.testing.assert_allclose(fitted.coarsened, fitted.coarse, rtol=1e-5, atol=1e-6)


def test_bcsd_has_the_climatology_of_regions_it_was_fitted_on(training: Training) -> None:
    """Over the training days its mean is the mean truth: by addition, or by a ratio in bounds."""
    fitted: BCSD = fit("bcsd", training, "largest_ratio=1000")
    for place in training.places:
        coarse, fine = (arrays(place.region, side) for side in ("coarse", "fine"))
        rule = fitted.on(place)
        mean, truth = np.mean([rule(field) for field in coarse], axis=0), fine.mean(axis=0)
        np.testing.assert_allclose(mean[:2], truth[:2], rtol=1e-9)
        base = enlarged(coarse, "bilinear").mean(axis=0)[2]
        bounded = (truth[2] > base / 999) & (truth[2] < base * 999)
        assert bounded.mean() > 0.5
        np.testing.assert_allclose(mean[2][bounded], truth[2][bounded], rtol=1e-3)


def test_bcsd_keeps_ratios_in_bounds(training: Training, store: PairStore) -> None:
    """Wind of a cell never differs from the interpolated field by more than the bound: at home,
    and elsewhere by statics that ask for far more."""
    fitted: BCSD = fit("bcsd", training, "largest_ratio=1.5")
    steep = replace(fitted, statics=10 * fitted.statics)
    cases = [(fitted, place) for place in training.places]
    for model, place in (*cases, (steep, Place(store.region(UNSEEN)))):
        coarse = arrays(place.region, "coarse")[3]
        ratio = model.on(place)(coarse)[1] / place.bilinear(coarse)[1]
        assert 1 / 1.51 < ratio.min() < 0.7
        assert 1.3 < ratio.max() < 1.51


@pytest.mark.parametrize("missing", [False, True])
def test_bcsd_takes_the_factors_of_an_unseen_region_from_its_statics(
    missing: bool, training: Training, store: PairStore, request: pytest.FixtureRequest
) -> None:
    """`lstsq` of the sources' mean increments on the statics, area-weighted; nothing of the
    target but its statics."""
    if missing:
        request.getfixturevalue("hole")
    fitted: BCSD = fit("bcsd", training)

    def predictors(place: Place) -> Array:
        land, height = place.land_detail.ravel(), place.orography_detail.ravel()
        own = place.land.ravel()
        return np.stack([np.ones(land.size), land, height, land * own, height * own], axis=1)

    rows, targets = [], []
    for place in training.places:
        fine, coarse = (arrays(place.region, side) for side in ("fine", "coarse"))
        increment = np.ma.masked_invalid(fine - enlarged(coarse, "bilinear"))
        factor = increment[:, 0].mean(axis=0).filled(np.nan).ravel()
        there = np.isfinite(factor)
        root = np.sqrt(areas(place.region).ravel()[there])
        rows.append(root[:, None] * predictors(place)[there])
        targets.append(root * factor[there])
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets))[0]
    np.testing.assert_allclose(fitted.statics[0], solution, rtol=1e-3, atol=1e-4)
    place = Place(store.region(UNSEEN))
    coarse = arrays(place.region, "coarse")[0]
    got = fitted.on(place)(coarse)[0] - place.bilinear(coarse)[0]
    expected = (predictors(place) @ solution).reshape(32, 32)
    # Fields of the Andes reach beyond the quantiles of the sources by rounding only.
    np.testing.assert_allclose(got, expected, atol=0.02)
    if missing:
        hidden = fitted.on(training.places[0])(np.zeros((3, 8, 8)))[0][HOLE]
        assert np.isfinite(hidden).all()
