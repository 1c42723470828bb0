"""Reliability tables and the threshold-weighted CRPS against loops and scoringrules."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scoringrules
import xarray as xr
from numpy.typing import NDArray
from scores.categorical import BinaryContingencyManager

from benchmark.families import pointwise
from benchmark.families.base import Slab
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
Weights = Callable[[Slab], Array]
U = (0.0, 1.0, 4.0)

pytestmark = pytest.mark.usefixtures("engine")


def rain(make_slab: MakeSlab, members: int = 5, **content: object) -> Slab:
    """Values that tie with thresholds: whole numbers."""
    known = {"ties": True, "domain": {"thresholds": np.array(U)}}
    return make_slab(6, members=members, **(known | content))


@pytest.mark.parametrize("members", [1, 2, 8])
def test_tables_equal_a_loop(make_slab: MakeSlab, cell_weights: Weights, members: int) -> None:
    """Weight by the number of members at or above each threshold, and of events among it."""
    slab = rain(make_slab, members, steps=2)
    weights = cell_weights(slab)[0]
    forecasts = np.zeros((2, len(U), members + 1))
    events = np.zeros_like(forecasts)
    for k, i, j in np.ndindex(slab.truth.shape):
        for place, u in enumerate(U):
            count = sum(float(x) >= u for x in slab.members[k, :, i, j])
            forecasts[k, place, count] += weights[k, i, j]
            events[k, place, count] += weights[k, i, j] * (float(slab.truth[k, i, j]) >= u)
    found, _ = pointwise.reduce(slab)
    np.testing.assert_allclose(found["reliability"], forecasts, rtol=1e-12)
    np.testing.assert_allclose(found["reliability_event"], events, rtol=1e-12)
    share = np.arange(members + 1) / members
    expected = {"event_p": forecasts @ share, "event_t": events.sum(axis=-1),
                "event_pt": events @ share, "event_pp": forecasts @ share**2}  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=name)
    assert (expected["event_t"][:, 0] == expected["event_t"].max(axis=1)).all()


@pytest.mark.parametrize("members", [2, 5, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_threshold_weighted_crps_equals_scoringrules(
    make_slab: MakeSlab, make_totals: MakeTotals, cell_weights: Weights, members: int, ties: bool
) -> None:
    """The CRPS of max(x, u) against max(t, u), fair, at every threshold; float32 at a cell."""
    slab = rain(make_slab, members, ties=ties)
    found = METRICS["tw_crps"](make_totals(slab))
    weights = cell_weights(slab)[0]
    truth = np.nan_to_num(slab.truth.astype(np.float64))
    x = np.moveaxis(slab.members, 1, -1).astype(np.float64)
    for place, u in enumerate(U):
        chained = scoringrules.crps_ensemble(
            np.maximum(truth, u), np.maximum(x, u), estimator="fair"
        )
        expected = np.average(chained, weights=weights)
        assert float(found.isel(threshold=place)) == pytest.approx(expected, rel=1e-6, abs=1e-7)
        library = scoringrules.twcrps_ensemble(truth, x, a=u, b=np.inf, estimator="nrg")
        ecdf = np.average(library, weights=weights)
        spread = np.average(abs(np.maximum(x, u)[..., :, None] - np.maximum(x, u)[..., None, :])
                            .sum(axis=(-1, -2)), weights=weights)  # fmt: skip
        fair = ecdf + spread / (2 * members**2) - spread / (2 * members * (members - 1))
        assert float(found.isel(threshold=place)) == pytest.approx(fair, rel=1e-6, abs=1e-7)


def test_below_every_value_it_is_the_crps(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """A threshold that everything exceeds weighs nothing away; one that nothing does leaves 0."""
    slab = rain(make_slab, domain={"thresholds": np.array([-5.0, 1e6])})
    totals = make_totals(slab)
    found = METRICS["tw_crps"](totals).values
    assert found[0] == pytest.approx(float(METRICS["crps_fair"](totals).sel(stratum="all")))
    assert found[1] == 0.0


def test_a_threshold_that_is_not_defined(make_slab: MakeSlab) -> None:
    """NaN fills up: no event, no weighted sum, and the thresholds beside it are as without it."""
    slab = rain(make_slab, domain={"thresholds": np.array([1.0, np.nan, 4.0])})
    alone = replace(slab, domain=replace(slab.domain, thresholds=np.array([1.0, 4.0])))
    found, _ = pointwise.reduce(slab)
    expected, _ = pointwise.reduce(alone)
    for name in ("event_p", "event_t", "event_pt", "event_pp", "tw_abs_error", "tw_pair_spread",
                 "reliability", "reliability_event"):  # fmt: skip
        np.testing.assert_array_equal(found[name][:, [0, 2]], expected[name], err_msg=name)
        if name != "reliability":
            assert not found[name][:, 1].any(), name


def test_missing_truths_weigh_nothing(make_slab: MakeSlab) -> None:
    """Tables sum to the weight of the cells that have a truth."""
    found, _ = pointwise.reduce(rain(make_slab, missing=0.5))
    total = found["reliability"].sum(axis=-1)
    np.testing.assert_allclose(total, np.repeat(found["weight"][:, :1], len(U), 1), rtol=1e-13)


def test_contingency_scores_of_one_member(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """CSI, ETS, bias and HSS of one member with equal areas, from the library `scores`."""
    slab = rain(make_slab, 1, steps=3, missing=0.1)
    slab = replace(slab, domain=replace(slab.domain, area=np.ones((12, 16))))
    totals = make_totals(slab)
    known = ~np.isnan(slab.truth)
    for place, u in enumerate(U[1:], start=1):
        p, t = slab.members[:, 0][known] >= u, slab.truth[known] >= u
        library = BinaryContingencyManager(
            xr.DataArray(p.astype(float)), xr.DataArray(t.astype(float))
        ).transform()
        expected = {
            "csi": library.critical_success_index(), "ets": library.equitable_threat_score(),
            "frequency_bias": library.frequency_bias(), "hss": library.heidke_skill_score(),
        }  # fmt: skip
        for name, value in expected.items():
            found = float(METRICS[name](totals).isel(threshold=place))
            assert found == pytest.approx(float(value), rel=1e-10), (name, u)


def test_brier_is_reliability_less_resolution_plus_uncertainty(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """Murphy's identity, exact with one bin for each forecast probability; Brier by cells."""
    slab = rain(make_slab, 8, steps=2)
    totals = make_totals(slab)
    known = ~np.isnan(slab.truth)
    weights = np.broadcast_to(slab.domain.area, known.shape)[known]
    for place, u in enumerate(U[1:], start=1):
        f = (slab.members >= u).mean(axis=1)[known]
        o = (slab.truth >= u)[known].astype(float)
        brier = np.average((f - o) ** 2, weights=weights)
        rate = np.average(o, weights=weights)
        values = {name: float(METRICS[name](totals).isel(threshold=place))
                  for name in ("brier", "reliability", "resolution", "brier_skill")}  # fmt: skip
        assert values["brier"] == pytest.approx(brier, rel=1e-12)
        parts = values["reliability"] - values["resolution"] + rate * (1 - rate)
        assert parts == pytest.approx(brier, rel=1e-10)
        assert values["brier_skill"] == pytest.approx(1 - brier / (rate * (1 - rate)), rel=1e-10)
