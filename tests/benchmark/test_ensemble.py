"""Ensemble statistics against scalar loops: spread, variance, ranks with ties, missing truths."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import pointwise
from benchmark.families.base import Slab
from benchmark.metrics import METRICS
from benchmark.strata import STRATA

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
Weights = Callable[[Slab], Array]
NAMES = ("member_abs_error", "pair_spread", "member_variance", "negative")

pytestmark = pytest.mark.usefixtures("engine")


def loop(slab: Slab, weights: Array) -> dict[str, Array]:
    """(T, strata) ensemble sums from their definitions, one cell after the other."""
    steps, count = slab.members.shape[:2]
    sums = {name: np.zeros((steps, len(STRATA))) for name in NAMES}
    ranks = np.zeros((steps, len(STRATA), count + 1))
    for k, i, j in np.ndindex(slab.truth.shape):
        t, w = float(slab.truth[k, i, j]), weights[:, k, i, j]
        if np.isnan(t):
            continue
        x = [float(slab.members[k, m, i, j]) for m in range(count)]
        mean = sum(x) / count
        sums["member_abs_error"][k] += w * sum(abs(value - t) for value in x) / count
        sums["pair_spread"][k] += w * sum(
            abs(x[a] - x[b]) for a in range(count) for b in range(a + 1, count)
        )
        if count > 1:
            squares = sum((value - mean) ** 2 for value in x)
            sums["member_variance"][k] += w * squares / (count - 1)
        sums["negative"][k] += w * sum(value < 0 for value in x) / count
        low = sum(value < t for value in x)
        high = low + sum(value == t for value in x)
        for rank in range(low, high + 1):
            ranks[k, :, rank] += w / (high - low + 1)
    return sums | {"rank_weight": ranks}


def constant(slab: Slab, members: tuple[float, ...], truth: float) -> Slab:
    """The slab with one value for each member and one for the truth."""
    fields = [np.full(slab.truth.shape, value, np.float32) for value in members]
    return replace(
        slab, members=np.stack(fields, axis=1), truth=np.full(slab.truth.shape, truth, np.float32)
    )


def reduce(slab: Slab) -> dict[str, Array]:
    """The sums of each step."""
    return pointwise.reduce(slab)[0]


@pytest.mark.parametrize("members", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_sums_equal_a_scalar_loop(
    make_slab: MakeSlab, cell_weights: Weights, members: int, ties: bool
) -> None:
    """Every statistic and stratum; members as many as a side has cells and not; ties; negatives."""
    slab = make_slab(2, steps=1, members=members, ties=ties, shape=(8, 10), factor=2.0)
    slab = replace(slab, members=slab.members - np.float32(1))
    found, expected = reduce(slab), loop(slab, cell_weights(slab))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-3, err_msg=name)
    assert expected["negative"][0, 0] > 0


def test_ties_are_spread_evenly(make_slab: MakeSlab) -> None:
    """A truth equal to two of three members: a third of the weight in each of three ranks."""
    sums = reduce(constant(make_slab(0), (4.0, 2.0, 2.0), 2.0))
    ranks = sums["rank_weight"][0, 0] / sums["weight"][0, 0]
    np.testing.assert_allclose(ranks, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-14)


def test_zeros_of_either_sign_tie(make_slab: MakeSlab) -> None:
    """-0 and 0 are equal, for ranks and for what is negative."""
    sums = reduce(constant(make_slab(0), (-0.0, 0.0), 0.0))
    np.testing.assert_allclose(sums["rank_weight"][0, 0] / sums["weight"][0, 0], 1 / 3)
    assert not sums["negative"].any()


def test_an_all_dry_field_has_a_flat_histogram(make_slab: MakeSlab) -> None:
    """Zeros everywhere tie with everything: flat ranks, no spread, CRPS 0 and no skill ratio."""
    sums = reduce(constant(make_slab(0), (0.0,) * 5, 0.0))
    np.testing.assert_allclose(sums["rank_weight"][0, 0] / sums["weight"][0, 0], 1 / 6, rtol=1e-14)
    assert not sums["pair_spread"].any()
    assert not sums["member_abs_error"].any()


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_sum_to_the_weight(make_slab: MakeSlab, members: int, ties: bool) -> None:
    """No cell is lost or counted twice, ties or not."""
    sums = reduce(make_slab(11, steps=2, members=members, ties=ties))
    assert sums["rank_weight"].shape == (2, len(STRATA), members + 1)
    np.testing.assert_allclose(sums["rank_weight"].sum(axis=-1), sums["weight"], rtol=1e-13)


def test_ranks_point_the_right_way(make_slab: MakeSlab) -> None:
    """A truth below every member has rank 0, above every member the last."""
    slab = make_slab(12, members=3)
    for value, rank in ((-1.0, 0), (1e3, 3)):
        sums = reduce(replace(slab, truth=np.full_like(slab.truth, value)))
        np.testing.assert_allclose(sums["rank_weight"][..., rank], sums["weight"], rtol=1e-13)


def test_permuting_members_changes_nothing(make_slab: MakeSlab) -> None:
    """Members are exchangeable: any order gives the same sums to 1e-14, ranks bit for bit."""
    slab = make_slab(13, members=8)
    expected = reduce(slab)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(8)
        found = reduce(replace(slab, members=np.ascontiguousarray(slab.members[:, order])))
        for name in ("rank_weight", "pair_spread", "reliability", "tw_pair_spread"):
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        for name in ("member_abs_error", "member_variance", "tw_abs_error"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-14, err_msg=name)


def test_spread_skill_of_members_and_truth_from_one_law(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """Truth and members drawn from one law give 1 for any member count; halved spread, 1/2.

    Without the factor (M + 1) / M three members would give 0.87.
    """
    generator = np.random.default_rng(1)
    for members in (3, 8):
        slab = make_slab(0, steps=100, missing=0.1, members=members)
        noise = generator.normal(size=(100, members + 1, 12, 16))
        centre = generator.normal(size=(100, 1, 12, 16))
        truth = np.where(np.isnan(slab.truth), np.nan, (centre + noise[:, :1])[:, 0])
        mean = noise[:, 1:].mean(axis=1, keepdims=True)
        close = centre + mean + 0.5 * (noise[:, 1:] - mean)
        wide, narrow = (
            make_totals(
                replace(slab, truth=truth.astype(np.float32), members=x.astype(np.float32))
            ).sel(stratum="all")
            for x in (centre + noise[:, 1:], close)
        )
        spread_skill, outer = METRICS["spread_skill"], METRICS["outer_ranks"]
        assert float(spread_skill(wide)) == pytest.approx(1.0, abs=0.03)
        assert float(spread_skill(narrow)) == pytest.approx(0.5, abs=0.015)
        assert float(outer(wide)) == pytest.approx(1.0, abs=0.05)
        assert float(outer(narrow)) > 1.3
        np.testing.assert_allclose(METRICS["rank_histogram"](wide), 1.0, atol=0.1)


def test_spread_skill_by_hand(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Members 1 and 3 (variance 2), truth 5, error 3: sqrt(3/2 * 2 / 9) = sqrt(1/3)."""
    slab = constant(make_slab(0), (1.0, 3.0), 5.0)
    found = METRICS["spread_skill"](make_totals(slab)).sel(stratum="all")
    assert float(found) == pytest.approx(np.sqrt(1 / 3), rel=1e-13)


def test_one_member_has_no_spread_skill_and_no_outer_ranks(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """Spread of one member and its two ranks, both outer, say nothing: missing, not 0."""
    totals = make_totals(make_slab(0, members=1))
    for name in ("spread_skill", "outer_ranks"):
        assert np.isnan(METRICS[name](totals).values).all()
