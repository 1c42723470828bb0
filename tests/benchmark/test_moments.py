"""The moments and their metrics against scalar loops and numpy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import moments, pointwise
from benchmark.families.base import Slab
from benchmark.metrics import METRICS
from benchmark.strata import STRATA

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
Weights = Callable[[Slab], Array]

pytestmark = pytest.mark.usefixtures("engine")


def loop(slab: Slab, weights: Array) -> dict[str, Array]:
    """(T, strata) moments by visiting every cell of every stratum, in plain python numbers."""
    steps, count = slab.members.shape[:2]
    sums = {statistic.name: np.zeros((steps, len(STRATA))) for statistic in moments.STATISTICS}
    for k, i, j in np.ndindex(slab.truth.shape):
        t, b = float(slab.truth[k, i, j]), float(slab.bilinear[k, i, j])
        if np.isnan(t):
            continue
        p = sum(float(slab.members[k, m, i, j]) for m in range(count)) / count
        c = float(slab.domain.climatology[i, j])
        terms = {
            "error": p - t, "abs_error": abs(p - t), "squared_error": (p - t) * (p - t),
            "p": p, "t": t, "pp": p * p, "tt": t * t, "pt": p * t,
            "increment_p": p - b, "increment_t": t - b, "increment_pp": (p - b) * (p - b),
            "increment_tt": (t - b) * (t - b), "increment_pt": (p - b) * (t - b),
            "anomaly_t": t - c, "anomaly_tt": (t - c) * (t - c),
        }  # fmt: skip
        for s in range(len(STRATA)):
            for name, term in terms.items():
                sums[name][k, s] += float(weights[s, k, i, j]) * term
    return sums


def flat(slabs: list[Slab], which: str) -> Array:
    """All values of some slabs in one row."""
    return np.concatenate([np.asarray(getattr(slab, which), float).ravel() for slab in slabs])


def r2(t: Array, p: Array, w: Array) -> float:
    """1 less the share of the weighted squares about the weighted mean that is not explained."""
    centre = (w * t).sum() / w.sum()
    return float(1 - (w * (p - t) ** 2).sum() / (w * (t - centre) ** 2).sum())


def mean(slab: Slab) -> Array:
    """The ensemble mean in float64."""
    return slab.members.mean(axis=1, dtype=np.float64)


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_sums_equal_a_scalar_loop(
    make_slab: MakeSlab, cell_weights: Weights, members: int, missing: float
) -> None:
    """Every moment of every step in every stratum; 10 x 14 cells are no multiple of 16."""
    slab = make_slab(3, steps=2, members=members, missing=missing, shape=(10, 14), factor=2.0)
    found, _ = pointwise.reduce(slab)
    expected = loop(slab, cell_weights(slab))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-3, err_msg=name)


def test_the_weight_is_the_area_of_cells_with_a_truth(
    make_slab: MakeSlab, cell_weights: Weights
) -> None:
    """By step and stratum; the weight of anomalies is the same where a climatology is known."""
    slab = make_slab(4, steps=3, missing=0.4)
    found, _ = pointwise.reduce(slab)
    expected = cell_weights(slab).sum(axis=(2, 3)).T
    np.testing.assert_allclose(found["weight"], expected, rtol=1e-13)
    np.testing.assert_array_equal(found["climate_weight"], found["weight"])


def test_a_missing_truth_weighs_nothing(make_slab: MakeSlab) -> None:
    """Whatever a model says where the truth is missing, no sum moves by one bit."""
    slab = make_slab(4, missing=0.3)
    hidden = np.isnan(slab.truth)
    assert 5 < hidden.sum() < 180
    members = np.where(hidden[:, None], np.float32(1e6), slab.members)
    changed, _ = pointwise.reduce(replace(slab, members=members))
    for name, value in pointwise.reduce(slab)[0].items():
        np.testing.assert_array_equal(changed[name], value, err_msg=name)


def test_metrics_equal_numpy_with_weights(
    make_slab: MakeSlab, make_totals: MakeTotals, cell_weights: Weights
) -> None:
    """Bias, MAE, RMSE, variance ratio, correlation of the increment, R2, PSNR, pooled."""
    slabs = [make_slab(k, steps=2, missing=0.25, first=2 * k) for k in (0, 1)]
    slabs[1] = replace(slabs[1], domain=slabs[0].domain)
    totals = make_totals(*slabs)
    known = ~np.isnan(flat(slabs, "truth"))
    p = np.concatenate([mean(slab).ravel() for slab in slabs])[known]
    t, b = (flat(slabs, name)[known] for name in ("truth", "bilinear"))
    c = np.tile(slabs[0].domain.climatology.ravel(), 4)[known]
    weights = np.concatenate([cell_weights(slab).reshape(len(STRATA), -1) for slab in slabs], 1)
    for s, name in enumerate(STRATA):
        w = weights[s, known]
        covariance = np.cov(p, t, aweights=w, bias=True)
        increments = np.cov(p - b, t - b, aweights=w, bias=True)
        squared = np.average((p - t) ** 2, weights=w)
        expected = {
            "bias": np.average(p - t, weights=w),
            "mae": np.average(abs(p - t), weights=w),
            "rmse": np.sqrt(squared),
            "variance_ratio": covariance[0, 0] / covariance[1, 1],
            "increment_correlation": increments[0, 1]
            / np.sqrt(increments[0, 0] * increments[1, 1]),
            "r2": r2(t, p, w),
            "r2_anomaly": r2(t - c, p - c, w),
            "psnr": 10 * np.log10(20.0**2 / squared),
        }
        for metric, value in expected.items():
            found = float(METRICS[metric](totals).sel(stratum=name))
            assert found == pytest.approx(value, rel=1e-9), (name, metric)


def test_without_a_climatology_scores_of_anomalies_are_missing(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """One cell that never has a training truth: no R2 of anomalies; every other score stands."""
    slab = make_slab(5)
    climatology = slab.domain.climatology.copy()
    climatology[3, 4] = np.nan
    totals = make_totals(replace(slab, domain=replace(slab.domain, climatology=climatology)))
    assert np.isnan(METRICS["r2_anomaly"](totals).values).all()
    complete = make_totals(slab)
    for name in ("r2", "rmse", "crps_fair"):
        np.testing.assert_array_equal(METRICS[name](totals), METRICS[name](complete))


def test_pooled_rmse_is_not_the_mean_of_rmse(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Scores come from pooled sums; the mean of each case's RMSE is another number."""
    slabs = [make_slab(1), make_slab(2)]
    slabs[1] = replace(slabs[1], members=slabs[1].members + np.float32(10))
    pooled = float(METRICS["rmse"](make_totals(*slabs)).sel(stratum="all"))
    each = [float(METRICS["rmse"](make_totals(slab)).sel(stratum="all")) for slab in slabs]
    assert abs(pooled - np.mean(each)) > 0.1


def test_correlation_is_missing_for_bilinear_itself(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """float32 predictions differ from float64 bilinear by rounding: missing, not 0, not noise."""
    slab = make_slab(7, members=1)
    members = slab.bilinear[:, None].astype(np.float32)
    found = METRICS["increment_correlation"](make_totals(replace(slab, members=members)))
    assert np.isnan(found.values).all()
    exact = replace(slab, members=members, bilinear=members[:, 0].astype(np.float64))
    assert np.isnan(METRICS["increment_correlation"](make_totals(exact)).values).all()
    warm = replace(slab, truth=slab.truth + np.float32(280), bilinear=slab.bilinear + 280)
    rounded = replace(warm, members=warm.bilinear[:, None].astype(np.float32))
    assert np.isnan(METRICS["increment_correlation"](make_totals(rounded)).values).all()
    small = replace(warm, members=(warm.bilinear + 1e-2 * slab.bilinear)[:, None].astype("f4"))
    found = METRICS["increment_correlation"](make_totals(small))
    assert np.isfinite(found.sel(stratum="all").values).all(), "a hundredth of the detail is not"


def test_a_perfect_model(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """p = t: bias, MAE and RMSE 0, ratios and R2 1; an infinite PSNR is missing."""
    slab = make_slab(8, members=1, missing=0.0)
    totals = make_totals(replace(slab, members=slab.truth[:, None]))
    for name in ("bias", "mae", "rmse"):
        np.testing.assert_array_equal(METRICS[name](totals).values, 0)
    for name in ("variance_ratio", "increment_correlation", "r2", "r2_anomaly"):
        np.testing.assert_allclose(METRICS[name](totals).values, 1, rtol=1e-12)
    assert np.isnan(METRICS["psnr"](totals).values).all()


def test_steps_are_reduced_alone(make_slab: MakeSlab) -> None:
    """A step of a slab of five has the bits of that step as a slab of its own."""
    slab = make_slab(9, steps=5, members=5)
    whole, _ = pointwise.reduce(slab)
    for k in (0, 3, 4):
        part = {name: getattr(slab, name)[k : k + 1] for name in
                ("members", "truth", "bilinear", "coarse")}  # fmt: skip
        alone, _ = pointwise.reduce(replace(slab, first=k, **part))
        for name, value in alone.items():
            np.testing.assert_array_equal(value[0], whole[name][k], err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_a_member_that_is_not_finite_is_never_hidden(
    make_slab: MakeSlab, value: float, members: int
) -> None:
    """Sums of its cell's class are not finite (scoring refuses such predictions anyway)."""
    slab = make_slab(10, members=members, missing=0.0)
    slab.members[0, members - 1, 5, 7] = value
    with np.errstate(invalid="ignore"):
        found, _ = pointwise.reduce(slab)
    assert not np.isfinite(found["error"][0, STRATA.index("all")])
    assert not np.isfinite(found["squared_error"][0, STRATA.index("all")])
    assert not np.isfinite(found["member_abs_error"][0, STRATA.index("all")])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (5, 7), (11, 15)])
@pytest.mark.parametrize("members", [1, 5])
def test_nor_is_it_hidden_where_a_cell_does_not_count(
    make_slab: MakeSlab, value: float, place: tuple[int, int], members: int
) -> None:
    """In the border (no area) or where the truth is missing: scoring finds it by the sums of p."""
    slab = make_slab(10, steps=2, members=members, missing=0.0)
    area, truth = slab.domain.area.copy(), slab.truth.copy()
    area[place], truth[1][place] = 0.0, np.nan
    for one in (
        replace(slab, domain=replace(slab.domain, area=area)), replace(slab, truth=truth),
    ):  # fmt: skip
        x = slab.members.copy()
        x[(1, members - 1, *place)] = value
        with np.errstate(invalid="ignore"):
            found, _ = pointwise.reduce(replace(one, members=x))
        assert not np.isfinite(found["p"][1]).all()
        assert np.isfinite(found["p"][0]).all(), "the other step is healthy"
