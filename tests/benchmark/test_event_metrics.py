"""Event metrics against Finley's tornadoes, scalar loops and three verification libraries."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
import xskillscore
from numpy.typing import NDArray
from scores.categorical import BinaryContingencyManager

from benchmark.event_metrics import (
    brier,
    brier_fair,
    brier_skill,
    contingency,
    csi,
    ets,
    frequency_bias,
    hss,
    murphy,
    reliability_curve,
)

Array = NDArray[np.float64]
FINLEY = np.array([28, 72, 23, 2680]) / 2803
"""Hits, false alarms, misses, correct negatives of Finley's tornado forecasts of 1884."""


def means(table: Array) -> tuple[float, float, float]:
    """f, o, fo of a table of shares."""
    hits, false_alarms, misses, _ = table
    return hits + false_alarms, hits + misses, hits


def ensemble(seed: int, members: int, cells: int = 500) -> tuple[Array, Array]:
    """(members, cells) events of a skilful ensemble and (cells,) true ones, as 0 and 1."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.4, 1.2, cells)
    return (rng.random((members, cells)) < chance) * 1.0, (rng.random(cells) < chance) * 1.0


def sums(x: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """f, o, fo, ff over cells."""
    share = x.mean(axis=0)
    terms = (share, t, share * t, share**2)
    return tuple(np.array(np.average(term, weights=weights)) for term in terms)  # type: ignore


def test_finleys_tornadoes() -> None:
    """Published scores of the best-known 2 x 2 table (Wilks, ch. 9), rounded as there."""
    f, o, fo = means(FINLEY)
    np.testing.assert_allclose(contingency(f, o, fo), FINLEY, atol=1e-15)
    assert round(float(csi(f, o, fo)), 3) == 0.228
    assert round(float(ets(f, o, fo)), 3) == 0.216
    assert round(float(hss(f, o, fo)), 3) == 0.355
    assert round(float(frequency_bias(f, o)), 2) == 1.96


def test_scores_of_random_tables_are_those_of_scores() -> None:
    """The library's contingency manager, from fields of 0 and 1."""
    for seed in range(20):
        x, t = ensemble(seed, 1)
        f, o, fo, _ = sums(x, t)
        peer = BinaryContingencyManager(xr.DataArray(x[0]), xr.DataArray(t)).transform()
        assert csi(f, o, fo) == pytest.approx(float(peer.critical_success_index()))
        assert ets(f, o, fo) == pytest.approx(float(peer.equitable_threat_score()))
        assert hss(f, o, fo) == pytest.approx(float(peer.heidke_skill_score()))
        assert frequency_bias(f, o) == pytest.approx(float(peer.frequency_bias()))


def test_members_are_pooled() -> None:
    """A table of members x cells pairs, by xskillscore."""
    x, t = ensemble(1, 5)
    f, o, fo, _ = sums(x, t)
    bins = np.array([0, 0.5, 1])
    pooled = [xr.DataArray(a.ravel(), dims="pair") for a in (np.broadcast_to(t, x.shape), x)]
    peer = xskillscore.Contingency(*pooled, bins, bins, dim="pair")
    assert csi(f, o, fo) == pytest.approx(float(peer.threat_score()))
    assert ets(f, o, fo) == pytest.approx(float(peer.equit_threat_score()))
    assert hss(f, o, fo) == pytest.approx(float(peer.heidke_score()))
    assert frequency_bias(f, o) == pytest.approx(float(peer.bias_score()))


def test_perfect_and_worst_forecasts() -> None:
    """All right; all wrong (Heidke -1 at o = 1/2); a forecast without skill is 0."""
    assert [float(score(0.2, 0.2, 0.2)) for score in (csi, ets, hss)] == pytest.approx([1, 1, 1])
    assert float(csi(0.5, 0.5, 0.0)) == 0
    assert float(hss(0.5, 0.5, 0.0)) == pytest.approx(-1)
    assert float(ets(0.3, 0.2, 0.06)) == pytest.approx(0, abs=1e-15)
    assert float(hss(0.3, 0.2, 0.06)) == pytest.approx(0, abs=1e-15)


def test_no_event_is_missing() -> None:
    """Nothing forecast and nothing seen: no score; forecast only: scores of 0, but no bias."""
    assert all(np.isnan(score(0.0, 0.0, 0.0)) for score in (csi, ets, hss))
    assert np.isnan(frequency_bias(0.0, 0.0))
    assert [float(score(0.1, 0.0, 0.0)) for score in (csi, ets, hss)] == [0, 0, 0]
    assert np.isnan(frequency_bias(0.1, 0.0))
    assert frequency_bias(0.0, 0.1) == 0


def test_an_event_everywhere_is_missing_where_chance_has_it_too() -> None:
    """All hits, with shares off 1 by rounding: CSI and bias 1, no ETS, no Heidke score."""
    for share in (1.0, 1 - 2e-15, 1 + 2e-15):
        assert csi(share, share, share) == pytest.approx(1)
        assert frequency_bias(share, share) == pytest.approx(1)
        assert np.isnan(ets(share, share, share))
        assert np.isnan(hss(share, share, share))


def test_an_empty_total_is_missing() -> None:
    """NaN means give NaN, also in the Brier scores."""
    nan = np.array(np.nan)
    for score in (csi, ets, hss):
        assert np.isnan(score(nan, nan, nan))
    assert np.isnan(frequency_bias(nan, nan))
    assert np.isnan(brier(nan, nan, nan, nan))
    assert np.isnan(brier_fair(nan, nan, nan, nan, members=4))
    assert np.isnan(brier_skill(nan, nan))


@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_brier_scores_are_means_of_their_definitions(members: int) -> None:
    """A loop over cells with weights, and scoringrules and xskillscore without."""
    x, t = ensemble(members, members)
    weights = np.random.default_rng(3).uniform(0.2, 1, len(t))
    plain = fair = 0.0
    for k in range(len(t)):
        i = x[:, k].sum()
        square = (i / members - t[k]) ** 2
        plain += weights[k] * square
        if members > 1:
            square -= i * (members - i) / (members**2 * (members - 1))
        fair += weights[k] * square
    found = sums(x, t, weights)
    assert brier(*found) == pytest.approx(plain / weights.sum())
    assert brier_fair(*found, members=members) == pytest.approx(fair / weights.sum())
    unweighted = sums(x, t)
    peer = scoringrules.brier_score(t, x.mean(axis=0)).mean()
    assert brier(*unweighted) == pytest.approx(peer)
    if members > 1:
        fields = xr.DataArray(t, dims="cell"), xr.DataArray(x, dims=("member", "cell"))
        peer = xskillscore.brier_score(*fields, member_dim="member", fair=True)
        assert brier_fair(*unweighted, members=members) == pytest.approx(float(peer))


def test_the_fair_brier_score_does_not_depend_on_the_ensemble_size() -> None:
    """Of one model's draws: 2 and 16 members agree up to sampling, the plain scores do not."""
    rng = np.random.default_rng(4)
    chance = rng.random(400_000)
    t = (rng.random(len(chance)) < chance) * 1.0
    found = {m: sums((rng.random((m, len(chance))) < chance) * 1.0, t) for m in (2, 16)}
    fair = [float(brier_fair(*found[m], members=m)) for m in (2, 16)]
    # E chance (1 - chance) = 1/6 for a uniform chance; 1/M more of it in the plain score.
    assert fair == pytest.approx([1 / 6, 1 / 6], abs=2e-3)
    assert float(brier(*found[2])) == pytest.approx(1 / 6 * 3 / 2, abs=2e-3)


def test_brier_skill_is_against_the_samples_climatology() -> None:
    """o = 1/4: climatology scores 3/16. No skill where the truth is always or never an event."""
    assert brier_skill(np.array(3 / 32), np.array(0.25)) == pytest.approx(0.5)
    assert brier_skill(np.array(0.0), np.array(0.25)) == 1
    assert np.isnan(brier_skill(np.array(0.1), np.array([0.0, 1.0]))).all()


def tables(x: Array, t: Array) -> tuple[Array, Array]:
    """Cells by the number of members with an event: all, and those with a true event."""
    members = len(x)
    exceeding = x.sum(axis=0).astype(int)
    return (
        np.bincount(exceeding, minlength=members + 1) * 1.0,
        np.bincount(exceeding, t, minlength=members + 1),
    )


def test_the_reliability_diagram_is_xskillscores() -> None:
    """Observed shares for each of 0, 1/4, ..., 1 forecast."""
    x, t = ensemble(5, 4)
    predicted, observed = reliability_curve(*tables(x, t))
    np.testing.assert_array_equal(predicted, [0, 0.25, 0.5, 0.75, 1])
    cells = xr.DataArray(t == 1, dims="cell"), xr.DataArray(x.mean(axis=0), dims="cell")
    edges = np.array([-0.125, 0.125, 0.375, 0.625, 0.875, 1.125])
    peer = xskillscore.reliability(*cells, dim="cell", probability_bin_edges=edges)
    np.testing.assert_allclose(observed, peer.values)


def test_the_decomposition_adds_up_to_the_brier_score() -> None:
    """For every ensemble size; and each part from a loop over cells."""
    for members in (1, 2, 3, 8):
        x, t = ensemble(10 + members, members)
        share, part = x.mean(axis=0), murphy(*tables(x, t))
        total = part.reliability - part.resolution + part.uncertainty
        assert total == pytest.approx(float(brier(*sums(x, t))))
        local = np.array([t[share == value].mean() for value in share])
        assert part.reliability == pytest.approx(((share - local) ** 2).mean())
        assert part.resolution == pytest.approx(((local - t.mean()) ** 2).mean())
        assert part.uncertainty == pytest.approx(t.mean() * (1 - t.mean()))


def test_shares_never_forecast_and_empty_tables() -> None:
    """(2, 3) tables: 1 of 2 members never, so NaN in the curve but not in the scores; nothing."""
    forecasts, events = np.array([[6.0, 0, 2], [0, 0, 0]]), np.array([[0.0, 0, 2], [0, 0, 0]])
    _, observed = reliability_curve(forecasts, events)
    np.testing.assert_array_equal(observed, [[0, np.nan, 1], [np.nan, np.nan, np.nan]])
    part = murphy(forecasts, events)
    np.testing.assert_allclose(part.reliability, [0, np.nan])
    np.testing.assert_allclose(part.resolution, [3 / 16, np.nan])
    np.testing.assert_allclose(part.uncertainty, [3 / 16, np.nan])


def test_arrays_keep_their_shape() -> None:
    """(regions, thresholds) means give what each gives alone."""
    rng = np.random.default_rng(6)
    fo = rng.uniform(0, 0.2, (3, 4))
    f, o = fo + rng.uniform(0, 0.2, (3, 4)), fo + rng.uniform(0, 0.2, (3, 4))
    for score in (csi, ets, hss):
        found = score(f, o, fo)
        assert found.shape == (3, 4)
        assert found[2, 1] == score(f[2, 1], o[2, 1], fo[2, 1])
