"""CRPS, fair and ecdf, against two libraries, closed forms and its own definition."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import properscoring
import pytest
import scoringrules
import xarray as xr
from numpy.typing import NDArray

from benchmark.families.base import Step
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]


def crps(totals: xr.Dataset, form: str) -> Array:
    """(strata,) CRPS of one form."""
    return np.asarray(METRICS[f"crps_{form}"](totals).values)


def weighted(step: Step, field: Array) -> Array:
    """(strata,) weighted means of a field of cell values."""
    return np.array([np.average(field, weights=w) for w in step.weights])


@pytest.mark.parametrize("members", [2, 3, 8, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_libraries(
    make_step: MakeStep, make_totals: MakeTotals, members: int, ties: bool
) -> None:
    """ecdf as properscoring and scoringrules nrg, fair as scoringrules fair; ties included."""
    step = make_step(1, members=members, ties=ties)
    totals, x = make_totals(step), np.moveaxis(step.members, 0, -1)
    ecdf = weighted(step, properscoring.crps_ensemble(step.truth, x))
    np.testing.assert_allclose(crps(totals, "ecdf"), ecdf, rtol=1e-11)
    energy = weighted(step, scoringrules.crps_ensemble(step.truth, x, estimator="nrg"))
    np.testing.assert_allclose(crps(totals, "ecdf"), energy, rtol=1e-11)
    fair = weighted(step, scoringrules.crps_ensemble(step.truth, x, estimator="fair"))
    np.testing.assert_allclose(crps(totals, "fair"), fair, rtol=1e-11)
    assert np.all(crps(totals, "fair") < crps(totals, "ecdf"))


@pytest.mark.parametrize(
    ("members", "truth", "exact"),
    [((0, 1, 2, 3), 0.0, 0.875), ((0, 0, 1, 3), 0.0, 0.375), ((1, 5), 2.0, 1.0)],
)
def test_ecdf_by_hand(
    make_step: MakeStep, make_totals: MakeTotals,
    members: tuple[float, ...], truth: float, exact: float,
) -> None:  # fmt: skip
    """The cases in which libraries are wrong with ties, worked out by hand."""
    x = np.stack([np.full((8, 12), value, dtype=float) for value in members])
    step = replace(make_step(0), members=x, truth=np.full((8, 12), truth))
    np.testing.assert_allclose(crps(make_totals(step), "ecdf"), exact, rtol=1e-13)


def test_two_members_analytically(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """(|a - t| + |b - t|) / 2 - |a - b| / 4 in the ecdf form, with / 2 in the fair one."""
    step = make_step(2, members=2)
    a, b = step.members
    mean = (abs(a - step.truth) + abs(b - step.truth)) / 2
    totals = make_totals(step)
    np.testing.assert_allclose(crps(totals, "ecdf"), weighted(step, mean - abs(a - b) / 4))
    np.testing.assert_allclose(crps(totals, "fair"), weighted(step, mean - abs(a - b) / 2))


def test_many_gaussian_members_approach_the_closed_form(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """2,000 draws of N(1, 2^2) against Gneiting's closed form for a normal law, to 1 %."""
    generator, step = np.random.default_rng(3), make_step(3)
    x = generator.normal(1.0, 2.0, (2000, 8, 12))
    truth = generator.normal(1.0, 2.0, (8, 12))
    z = (truth - 1.0) / 2.0
    cdf = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in z.ravel()])
    pdf = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    exact = 2.0 * (z * (2 * cdf.reshape(z.shape) - 1) + 2 * pdf - 1 / math.sqrt(math.pi))
    totals = make_totals(replace(step, members=x, truth=truth))
    for form in ("fair", "ecdf"):
        np.testing.assert_allclose(crps(totals, form), weighted(step, exact), rtol=0.01)


def test_fair_has_no_reward_for_size_and_ecdf_has(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """Over many draws the fair form of 2 members is that of 16; the ecdf form is larger by size.

    For members and truth of N(0, 1): E fair = 1 / sqrt(pi), E ecdf = (1 + 1 / M) / sqrt(pi).
    """
    generator = np.random.default_rng(4)
    for members in (2, 16):
        steps = []
        for k in range(120):
            noise = generator.normal(size=(members + 1, 8, 12))
            steps.append(replace(make_step(k), members=noise[1:], truth=noise[0]))
        totals = make_totals(*steps)
        expected = 1 / math.sqrt(math.pi)
        np.testing.assert_allclose(crps(totals, "fair"), expected, rtol=0.03)
        np.testing.assert_allclose(crps(totals, "ecdf"), expected * (1 + 1 / members), rtol=0.03)


def test_one_member_is_the_absolute_error(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Both forms of one member are the MAE, bit for bit."""
    totals = make_totals(make_step(5, members=1), make_step(6, members=1))
    mae = METRICS["mae"](totals).values
    np.testing.assert_array_equal(crps(totals, "fair"), mae)
    np.testing.assert_array_equal(crps(totals, "ecdf"), mae)


def test_equal_members_are_one_member(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """An ensemble without spread scores what its one field scores, in both forms."""
    step = make_step(7, members=1)
    many = replace(step, members=np.repeat(step.members, 6, axis=0))
    mae = METRICS["mae"](make_totals(step)).values
    for form in ("fair", "ecdf"):
        np.testing.assert_allclose(crps(make_totals(many), form), mae, rtol=1e-12)


@pytest.mark.parametrize("form", ["fair", "ecdf"])
def test_permuting_members_changes_nothing(
    make_step: MakeStep, make_totals: MakeTotals, form: str
) -> None:
    """The score does not know the order of members."""
    step = make_step(8, members=8)
    turned = replace(step, members=step.members[::-1])
    found, expected = (crps(make_totals(one), form) for one in (turned, step))
    np.testing.assert_allclose(found, expected, rtol=3e-15)


def test_large_offsets_keep_their_digits(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Temperatures near 300 K with a spread of 0.01 K: 1e-9 relative, in the sorted form too."""
    step = make_step(9, members=16)
    small = replace(step, members=0.01 * step.members, truth=0.01 * step.truth)
    large = replace(small, members=300 + small.members, truth=300 + small.truth)
    for form in ("fair", "ecdf"):
        expected = crps(make_totals(small), form)
        np.testing.assert_allclose(crps(make_totals(large), form), expected, rtol=1e-9)
