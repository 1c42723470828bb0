"""Residuals against the coarse input and the coarsened truth, and negatives, by brute force."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.families import conservation
from benchmark.families.base import Step
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]
LAT = np.linspace(50.0, 42.0, 9)
"""Latitude edges of the steps that `make_step` makes: 8 rows of 1 degree, blocks of 4 x 4."""


def block_mean(field: Array, row: int, column: int) -> float:
    """The area-weighted mean of one 4 x 4 block, cell by cell."""
    total = weighted = 0.0
    for i in range(4 * row, 4 * row + 4):
        area = float(np.sin(np.radians(LAT[i])) - np.sin(np.radians(LAT[i + 1])))
        for j in range(4 * column, 4 * column + 4):
            total += area
            weighted += area * float(field[i, j])
    return weighted / total


def loop(step: Step) -> dict[str, float]:
    """The block sums and maxima from their definitions."""
    names = ("residual_abs", "residual_squared", "truth_residual_abs", "truth_residual_squared")
    sums = dict.fromkeys((*names, "residual_max", "coarse_max"), 0.0)
    count = len(step.members)
    for row, column in np.ndindex(2, 3):
        area, x = float(step.block_area[row, column]), float(step.coarse[row, column])
        sums["coarse_max"] = max(sums["coarse_max"], abs(x))
        for member in step.members:
            mean = block_mean(member, row, column)
            sums["residual_abs"] += area * abs(mean - x) / count
            sums["residual_squared"] += area * (mean - x) ** 2 / count
            sums["residual_max"] = max(sums["residual_max"], abs(mean - x))
            if step.whole[row, column]:
                gap = mean - block_mean(step.truth, row, column)
                sums["truth_residual_abs"] += area * abs(gap) / count
                sums["truth_residual_squared"] += area * gap**2 / count
    return sums


def patchy(make_step: MakeStep, **content: int) -> Step:
    """A step in which some blocks have a whole truth and some have not."""
    step = make_step(1, missing=0.0, **content)
    whole = np.array([[True, False, True], [True, True, False]])
    valid = whole.repeat(4, axis=0).repeat(4, axis=1)
    return replace(
        step, whole=whole, truth=np.where(valid, step.truth, 0.0), weights=step.weights * valid
    )


@pytest.mark.parametrize("members", [1, 2, 6])
def test_sums_and_maxima_equal_a_loop(make_step: MakeStep, members: int) -> None:
    """Residuals of every member and block, against the input and against the truth."""
    step = patchy(make_step, members=members)
    found, expected = conservation.reduce(step), loop(step)
    assert set(found) == {*expected, "negative"}
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-12), name


def test_negatives_are_the_share_of_members_below_zero(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """Counted by member and cell, weighted by area, by stratum; a zero is not negative."""
    step = patchy(make_step, members=4)
    shifted = replace(step, members=np.maximum(step.members - 0.5, -0.25) * (step.members > 0.2))
    expected = np.zeros(3)
    for s, m, i, j in np.ndindex(3, 4, 8, 12):
        expected[s] += step.weights[s, i, j] * (shifted.members[m, i, j] < 0) / 4
    found = conservation.reduce(shifted)["negative"]
    assert expected.min() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    shown = METRICS["negatives"](make_totals(shifted)).values
    np.testing.assert_allclose(shown, 1e6 * expected / step.weights.sum(axis=(1, 2)), rtol=1e-12)


def test_a_consistent_member_has_no_residual(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Fields that coarsen to the input give residuals of rounding; one that does not is seen."""
    step = make_step(2, missing=0.0)
    consistent = np.stack([step.overlap.projector()(m, step.coarse) for m in step.members])
    totals = make_totals(replace(step, members=consistent))
    assert float(METRICS["residual"](totals)) < 1e-14
    assert float(METRICS["residual_ulps"](totals)) < 0.01
    consistent[3, 5, 7] += 1.6
    totals = make_totals(replace(step, members=consistent))
    share = float(step.overlap.block_weights[5, 7])
    assert float(totals["residual_max"]) == pytest.approx(1.6 * share, rel=1e-12)
    ulps = 1.6 * share / (np.finfo(np.float32).eps * step.coarse.max())
    assert float(METRICS["residual_ulps"](totals)) == pytest.approx(ulps, rel=1e-12)


def test_totals_take_the_maximum_over_cases(make_step: MakeStep, make_totals: MakeTotals) -> None:
    """Maxima are folded by the maximum and sums by the sum, over steps and cases."""
    steps = [make_step(k) for k in range(4)]
    totals = make_totals(*steps)
    each = [conservation.reduce(step) for step in steps]
    assert float(totals["residual_max"]) == max(float(one["residual_max"]) for one in each)
    assert float(totals["coarse_max"]) == max(float(one["coarse_max"]) for one in each)
    total = sum(float(one["residual_abs"]) for one in each)
    assert float(totals["residual_abs"]) == pytest.approx(total, rel=1e-14)


def test_no_whole_block_means_no_truth_residual(
    make_step: MakeStep, make_totals: MakeTotals
) -> None:
    """Where every block misses some truth, the residual against it is missing and not 0."""
    step = replace(make_step(3), whole=np.zeros((2, 3), bool))
    totals = make_totals(step)
    assert np.isnan(float(METRICS["truth_residual"](totals)))
    assert float(METRICS["residual"](totals)) > 0, "the input is there all the same"


def test_residuals_do_not_depend_on_the_truth_mask(make_step: MakeStep) -> None:
    """Against the coarse input every block counts, whatever the truth lacks."""
    step = make_step(5, missing=0.5)
    bare = make_step(5, missing=0.0)
    np.testing.assert_array_equal(step.members, bare.members)
    for name in ("residual_abs", "residual_squared", "residual_max"):
        one = conservation.reduce(replace(step, coarse=bare.coarse))[name]
        np.testing.assert_array_equal(one, conservation.reduce(bare)[name])
