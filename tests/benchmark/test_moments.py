"""The moments and their metrics against scalar loops and numpy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import moments
from benchmark.families.base import Step, cell_sums
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]


def loop(step: Step) -> dict[str, Array]:
    """All moments by visiting every cell of every stratum, in plain python numbers."""
    sums = {statistic.name: np.zeros(3) for statistic in moments.STATISTICS}
    count = len(step.members)
    for s, i, j in np.ndindex(step.weights.shape):
        w = float(step.weights[s, i, j])
        p = sum(float(step.members[m, i, j]) for m in range(count)) / count
        t, b = float(step.truth[i, j]), float(step.bilinear[i, j])
        terms = {
            "error": p - t, "abs_error": abs(p - t), "squared_error": (p - t) * (p - t),
            "p": p, "t": t, "pp": p * p, "tt": t * t, "pt": p * t,
            "increment_p": p - b, "increment_t": t - b, "increment_pp": (p - b) * (p - b),
            "increment_tt": (t - b) * (t - b), "increment_pt": (p - b) * (t - b),
        }  # fmt: skip
        for name, term in terms.items():
            sums[name][s] += w * term
    return sums


@pytest.mark.parametrize("members", [1, 2, 7])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_sums_equal_a_scalar_loop(make_step: MakeStep, members: int, missing: float) -> None:
    """Every moment in every stratum, with missing truths and members unlike the image's sides."""
    step = make_step(3, members=members, missing=missing)
    found, expected = moments.reduce(step), loop(step)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)


def test_a_missing_truth_weighs_nothing(make_step: MakeStep) -> None:
    """Whatever a model says where the truth is missing, no sum moves by one bit."""
    step = make_step(4, missing=0.3)
    hidden = step.weights[0] == 0
    assert 5 < hidden.sum() < 90
    changed = replace(step, members=np.where(hidden, 1e6, step.members))
    for name, value in moments.reduce(step).items():
        np.testing.assert_array_equal(moments.reduce(changed)[name], value, err_msg=name)


def test_metrics_equal_numpy_with_weights(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Bias, MAE, RMSE, variance ratio and correlation of the increment of two pooled steps."""
    steps = [make_step(k, missing=0.25) for k in (5, 6)]
    totals = make_totals(*steps)
    for s in range(3):
        w = np.concatenate([step.weights[s].ravel() for step in steps])
        p = np.concatenate([step.members.mean(axis=0).ravel() for step in steps])
        t = np.concatenate([step.truth.ravel() for step in steps])
        b = np.concatenate([step.bilinear.ravel() for step in steps])
        covariance = np.cov(p, t, aweights=w, bias=True)
        increments = np.cov(p - b, t - b, aweights=w, bias=True)
        expected = {
            "bias": np.average(p - t, weights=w),
            "mae": np.average(abs(p - t), weights=w),
            "rmse": np.sqrt(np.average((p - t) ** 2, weights=w)),
            "variance_ratio": covariance[0, 0] / covariance[1, 1],
            "increment_correlation": increments[0, 1]
            / np.sqrt(increments[0, 0] * increments[1, 1]),
        }
        for name, value in expected.items():
            found = float(METRICS[name](totals).isel(stratum=s))
            assert found == pytest.approx(value, rel=1e-10), name


def test_pooled_rmse_is_not_the_mean_of_rmse(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Scores come from pooled sums; the mean of each case's RMSE is another number."""
    steps = [make_step(1), make_step(2, members=5, bilinear=np.zeros((8, 12)))]
    steps[1] = replace(steps[1], members=steps[1].members + 10)
    pooled = float(METRICS["rmse"](make_totals(*steps)).isel(stratum=0))
    each = [float(METRICS["rmse"](make_totals(step)).isel(stratum=0)) for step in steps]
    assert abs(pooled - np.mean(each)) > 0.1


def test_correlation_is_missing_for_bilinear_itself(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """A model that adds nothing to bilinear has no increment: missing, not 0 and not noise."""
    step = make_step(7, members=1)
    step = replace(step, members=step.bilinear[None])
    found = METRICS["increment_correlation"](make_totals(step))
    assert np.isnan(found.values).all()
    # float32 predictions differ from the float64 reference by rounding; still no increment.
    rounded = step.bilinear.astype(np.float32).astype(np.float64)[None]
    found = METRICS["increment_correlation"](make_totals(replace(step, members=rounded)))
    assert np.isnan(found.values).all()


def test_a_perfect_model_has_correlation_and_variance_one(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """p = t gives bias, MAE and RMSE 0, correlation and variance ratio 1."""
    step = make_step(8, members=1, missing=0.0)
    totals = make_totals(replace(step, members=step.truth[None]))
    for name, value in {"bias": 0, "mae": 0, "rmse": 0}.items():
        np.testing.assert_array_equal(METRICS[name](totals).values, value)
    for name in ("variance_ratio", "increment_correlation"):
        np.testing.assert_allclose(METRICS[name](totals).values, 1, rtol=1e-12)


def test_strata_add_up(make_step: MakeStep) -> None:
    """Land and sea together are `all`, for every moment."""
    for name, (whole, land, sea) in moments.reduce(make_step(9)).items():
        assert land + sea == pytest.approx(whole, rel=1e-12, abs=1e-3), name
        assert land != sea


def test_cell_sums_do_not_depend_on_the_layout(make_step: MakeStep) -> None:
    """The order of additions is that of the cells, not of memory: same bits from a view."""
    step = make_step(10)
    field = np.random.default_rng(0).normal(size=(8, 12))
    view = np.asfortranarray(field)
    np.testing.assert_array_equal(cell_sums(step, view), cell_sums(step, field))
