"""Ensemble statistics against scalar loops: spread, variance, ranks with ties, missing truths."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import ensemble
from benchmark.families.base import Step
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]


def loop(step: Step) -> dict[str, Array]:
    """All ensemble sums from their definitions, one cell after the other."""
    count = len(step.members)
    sums = {name: np.zeros(3) for name in ("member_abs_error", "pair_spread", "member_variance")}
    ranks = np.zeros((3, count + 1))
    for s, i, j in np.ndindex(step.weights.shape):
        w, t = float(step.weights[s, i, j]), float(step.truth[i, j])
        x = [float(step.members[m, i, j]) for m in range(count)]
        mean = sum(x) / count
        sums["member_abs_error"][s] += w * sum(abs(value - t) for value in x) / count
        sums["pair_spread"][s] += w * sum(
            abs(x[a] - x[b]) for a in range(count) for b in range(a + 1, count)
        )
        if count > 1:
            squares = sum((value - mean) ** 2 for value in x)
            sums["member_variance"][s] += w * squares / (count - 1)
        low = sum(value < t for value in x)
        high = low + sum(value == t for value in x)
        for rank in range(low, high + 1):
            ranks[s, rank] += w / (high - low + 1)
    return sums | {"rank_weight": ranks}


@pytest.mark.parametrize("members", [1, 2, 5, 8, 12])
@pytest.mark.parametrize("ties", [False, True])
def test_sums_equal_a_scalar_loop(make_step: MakeStep, members: int, ties: bool) -> None:
    """Every statistic and stratum; members equal to and unlike the image's 8 x 12 sides; ties."""
    step = make_step(2, members=members, ties=ties, missing=0.2)
    found, expected = ensemble.reduce(step), loop(step)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-3, err_msg=name)


def test_ties_are_spread_evenly(make_step: MakeStep) -> None:
    """A truth equal to two of three members: a third of the weight in each of three ranks."""
    members = np.stack([np.full((8, 12), value) for value in (4.0, 2.0, 2.0)])
    step = replace(make_step(0, missing=0.0), truth=np.full((8, 12), 2.0), members=members)
    ranks = ensemble.reduce(step)["rank_weight"][0] / step.weights[0].sum()
    np.testing.assert_allclose(ranks, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-14)


def test_an_all_dry_field_has_a_flat_histogram(make_step: MakeStep) -> None:
    """Zeros everywhere tie with everything: flat ranks, no spread, CRPS 0 and no skill ratio."""
    dry = np.zeros((8, 12))
    step = replace(make_step(0), members=np.zeros((5, 8, 12)), truth=dry, bilinear=dry)
    sums = ensemble.reduce(step)
    np.testing.assert_allclose(sums["rank_weight"][0] / step.weights[0].sum(), 1 / 6, rtol=1e-14)
    assert not sums["pair_spread"].any()
    assert not sums["member_abs_error"].any()


@pytest.mark.parametrize("members", [1, 4, 9])
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_sum_to_the_weight(make_step: MakeStep, members: int, ties: bool) -> None:
    """No cell is lost or counted twice, ties or not."""
    step = make_step(11, members=members, ties=ties)
    ranks = ensemble.reduce(step)["rank_weight"]
    assert ranks.shape == (3, members + 1)
    np.testing.assert_allclose(ranks.sum(axis=1), step.weights.sum(axis=(1, 2)), rtol=1e-13)


def test_ranks_point_the_right_way(make_step: MakeStep) -> None:
    """A truth below every member has rank 0, above every member the last."""
    step = make_step(12, members=4)
    area = step.weights.sum(axis=(1, 2))
    low = replace(step, truth=np.full((8, 12), -1.0))
    high = replace(step, truth=np.full((8, 12), 1e3))
    np.testing.assert_allclose(ensemble.reduce(low)["rank_weight"][:, 0], area)
    np.testing.assert_allclose(ensemble.reduce(high)["rank_weight"][:, -1], area)


def test_a_missing_truth_weighs_nothing(make_step: MakeStep) -> None:
    """Members where the truth is missing change no sum and no rank."""
    step = make_step(4, missing=0.3)
    changed = replace(step, members=np.where(step.weights[0] == 0, 1e6, step.members))
    for name, value in ensemble.reduce(step).items():
        np.testing.assert_array_equal(ensemble.reduce(changed)[name], value, err_msg=name)


def test_permuting_members_changes_nothing(make_step: MakeStep) -> None:
    """Members are exchangeable: any order gives the same sums to 1e-15, ranks bit for bit."""
    step = make_step(13, members=8, ties=False)
    expected = ensemble.reduce(step)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(8)
        found = ensemble.reduce(replace(step, members=step.members[order]))
        np.testing.assert_array_equal(found["rank_weight"], expected["rank_weight"])
        np.testing.assert_array_equal(found["pair_spread"], expected["pair_spread"])
        for name in ("member_abs_error", "member_variance"):
            np.testing.assert_allclose(found[name], expected[name], rtol=2e-15, err_msg=name)


def test_spread_skill_of_members_and_truth_from_one_law(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """Truth and members drawn from one law give 1 for any member count; halved spread, 1/2.

    Without the factor (M + 1) / M three members would give 0.87.
    """
    generator = np.random.default_rng(1)
    for members in (3, 10):
        steps = []
        narrow = []
        for k in range(150):
            step = make_step(k, missing=0.1)
            centre = generator.normal(size=(8, 12))
            noise = generator.normal(size=(members + 1, 8, 12))
            truth = centre + noise[0]
            steps.append(replace(step, truth=truth, members=centre + noise[1:]))
            mean = noise[1:].mean(axis=0)
            close = centre + mean + 0.5 * (noise[1:] - mean)
            narrow.append(replace(step, truth=truth, members=close))
        metric = METRICS["spread_skill"]
        np.testing.assert_allclose(metric(make_totals(*steps)), 1.0, atol=0.03)
        np.testing.assert_allclose(metric(make_totals(*narrow)), 0.5, atol=0.015)
        flat = METRICS["outer_ranks"](make_totals(*steps))
        np.testing.assert_allclose(flat, 1.0, atol=0.06)
        assert float(METRICS["outer_ranks"](make_totals(*narrow)).isel(stratum=0)) > 1.4


def test_spread_skill_by_hand(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Members 1 and 3 (variance 2), truth 5, error 3: sqrt(3/2 * 2 / 9) = sqrt(1/3)."""
    members = np.stack([np.full((8, 12), 1.0), np.full((8, 12), 3.0)])
    step = replace(make_step(0, missing=0.0), members=members, truth=np.full((8, 12), 5.0))
    found = METRICS["spread_skill"](make_totals(step)).values
    np.testing.assert_allclose(found, np.sqrt(1 / 3), rtol=1e-13)


def test_one_member_has_no_spread_skill_and_no_outer_ranks(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """Spread of one member and its two ranks, both outer, say nothing: missing, not 0."""
    totals = make_totals(make_step(0, members=1))
    for name in ("spread_skill", "outer_ranks"):
        assert np.isnan(METRICS[name](totals).values).all()
