"""Properties of metrics: units, splits, missing values, and what every metric says of itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.case_table import STATISTICS, WEIGHTS, fold_of, total
from benchmark.errors import InputError
from benchmark.families.base import Step
from benchmark.metrics import BOARDS, METRICS, board_score, metric

MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]
SCALED = ("bias", "mae", "rmse", "crps_fair", "crps_ecdf", "residual", "residual_rms",
          "truth_residual")  # fmt: skip
FREE = ("variance_ratio", "increment_correlation", "spread_skill", "residual_ulps")


def scaled(step: Step, c: float) -> Step:
    """The step in other units."""
    return replace(
        step, members=c * step.members, truth=c * step.truth,
        bilinear=c * step.bilinear, coarse=c * step.coarse,
    )  # fmt: skip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    c=st.floats(1e-3, 1e3), sign=st.sampled_from((1.0, -1.0)), seed=st.integers(0, 99),
    members=st.integers(1, 5), ties=st.booleans(),
)  # fmt: skip
def test_scores_carry_the_unit(
    make_step: MakeStep, make_totals: MakeTotals, c: float, sign: float, seed: int,
    members: int, ties: bool,
) -> None:  # fmt: skip
    """Scaling every field by c scales errors by |c| (the bias by c) and leaves ratios alone."""
    step = make_step(seed, members=members, ties=ties)
    before, after = make_totals(step), make_totals(scaled(step, sign * c))
    for name in SCALED:
        factor = sign * c if name == "bias" else c
        expected = factor * METRICS[name](before)
        np.testing.assert_allclose(METRICS[name](after), expected, rtol=1e-9, atol=1e-12 * c)
    for name in FREE:
        np.testing.assert_allclose(METRICS[name](after), METRICS[name](before), rtol=1e-8)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(count=st.integers(2, 6), cut=st.integers(1, 5), members=st.sampled_from((1, 4)))
def test_split_and_added_equals_the_whole(
    make_step: MakeStep, make_totals: MakeTotals, count: int, cut: int, members: int
) -> None:
    """Totals of two parts of the cases, folded, are the totals of all: only sums are kept."""
    steps = [make_step(k, members=members) for k in range(count)]
    cut = min(cut, count - 1)
    parts = [make_totals(*steps[:cut]), make_totals(*steps[cut:])]
    joined = total(xr.concat(parts, dim="case"))
    whole = make_totals(*steps)
    for name in whole.data_vars:
        np.testing.assert_allclose(joined[name], whole[name], rtol=1e-13, atol=1e-2)
    for name, one in METRICS.items():
        np.testing.assert_allclose(one(joined), one(whole), rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_stratum_without_truth_is_missing(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Every pointwise metric of a stratum without weight is NaN, never 0; the others stand."""
    step = make_step(0)
    weights = step.weights.copy()
    weights[0], weights[1] = weights[2], 0.0
    totals = make_totals(replace(step, weights=weights))
    for name, one in METRICS.items():
        value = one(totals)
        if "stratum" in value.dims:
            assert np.isnan(float(value.isel(stratum=1))), name
            assert np.isfinite(float(value.isel(stratum=2))), name


def test_a_case_without_any_truth_is_missing(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """All metrics against an entirely missing truth are NaN; those of the input alone stand."""
    step = make_step(0, missing=1.1)
    totals = make_totals(step)
    for name, one in METRICS.items():
        found = one(totals).values
        if name in ("residual", "residual_rms", "residual_ulps"):
            assert np.isfinite(found).all(), name
        else:
            assert np.isnan(found).all(), name


def test_all_dry_fields(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """No rain anywhere, none predicted: errors 0; ratios to a zero variance missing, not 0."""
    dry, none = np.zeros((8, 12)), np.zeros((2, 3))
    step = replace(make_step(0), members=np.zeros((4, 8, 12)), truth=dry, bilinear=dry, coarse=none)
    totals = make_totals(step)
    for name in ("bias", "mae", "rmse", "crps_fair", "crps_ecdf", "residual", "negatives"):
        np.testing.assert_array_equal(METRICS[name](totals).values, 0.0, err_msg=name)
    for name in ("variance_ratio", "increment_correlation", "spread_skill"):
        assert np.isnan(METRICS[name](totals).values).all(), name


def test_a_rainy_prediction_of_a_dry_truth(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Errors are counted; the variance ratio to a truth without variance is missing."""
    step = replace(make_step(1), truth=np.zeros((8, 12)))
    totals = make_totals(step)
    assert float(METRICS["rmse"](totals).isel(stratum=0)) > 1
    assert np.isnan(METRICS["variance_ratio"](totals).values).all()


def test_every_statistic_is_declared_and_every_fold_known() -> None:
    """Names are unique over families; weights exist; only the two maxima fold by maximum."""
    assert len(STATISTICS) == 13 + 4 + 7
    for name, statistic in STATISTICS.items():
        assert statistic.name == name
        assert statistic.weight == "none" or statistic.weight in WEIGHTS
    maxima = {name for name in STATISTICS if fold_of(name) == "max"}
    assert maxima == {"residual_max", "coarse_max"}
    assert all(fold_of(name) == "sum" for name in WEIGHTS.values())


def test_metrics_own_their_names() -> None:
    """Each metric carries name, title, formula and reference; an unknown one names the nearest."""
    for name, one in METRICS.items():
        assert one.name == name
        assert one.title
        assert one.formula
        assert one.reference
    with pytest.raises(InputError, match="'rmse'"):
        metric("rsme")


def test_stratified_members_never_take_the_fair_form() -> None:
    """Boards rank by RMSE and fair CRPS; quantile members by the ecdf form only."""
    assert BOARDS == {
        "deterministic": ("rmse", "bilinear"),
        "probabilistic": ("crps_fair", "bilinear-dressed"),
    }
    assert board_score("probabilistic", "exchangeable") == "crps_fair"
    assert board_score("probabilistic", "single") == "crps_fair"
    assert board_score("probabilistic", "stratified") == "crps_ecdf"
    assert board_score("deterministic", "stratified") == "rmse"
