"""CRPS, fair and ecdf, against two libraries, closed forms and its own definition."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import properscoring
import pytest
import scoringrules
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from benchmark.families.base import Slab
from benchmark.families.ensemble import crps_sums
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
Weights = Callable[[Slab], Array]

pytestmark = pytest.mark.usefixtures("engine")


def crps(totals: xr.Dataset, form: str) -> Array:
    """(strata,) CRPS of one form."""
    return np.asarray(METRICS[f"crps_{form}"](totals).values)


def everywhere(totals: xr.Dataset, form: str) -> float:
    """The CRPS of all cells."""
    return float(METRICS[f"crps_{form}"](totals).sel(stratum="all"))


@pytest.mark.parametrize("members", [2, 3, 8, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_libraries(
    make_slab: MakeSlab, make_totals: MakeTotals, cell_weights: Weights, members: int, ties: bool
) -> None:
    """ecdf as properscoring and scoringrules nrg, fair as scoringrules fair, in every stratum."""
    slab = make_slab(1, steps=2, members=members, ties=ties)
    totals, weights = make_totals(slab), cell_weights(slab)
    truth = np.nan_to_num(slab.truth).astype(np.float64)
    x = np.moveaxis(slab.members, 1, -1).astype(np.float64)

    def mean(field: Array) -> Array:
        return np.array([np.average(field, weights=w) for w in weights])

    ecdf = mean(properscoring.crps_ensemble(truth, x))
    np.testing.assert_allclose(crps(totals, "ecdf"), ecdf, rtol=1e-11)
    energy = mean(scoringrules.crps_ensemble(truth, x, estimator="nrg"))
    np.testing.assert_allclose(crps(totals, "ecdf"), energy, rtol=1e-11)
    fair = mean(scoringrules.crps_ensemble(truth, x, estimator="fair"))
    np.testing.assert_allclose(crps(totals, "fair"), fair, rtol=1e-11)
    assert np.all(crps(totals, "fair") < crps(totals, "ecdf"))


@pytest.mark.parametrize(
    ("members", "truth", "exact"),
    [((0, 1, 2, 3, 4), 0.0, 1.2), ((0, 0, 3), 0.0, 1 / 3), ((1, 5), 2.0, 1.0)],
)
def test_ecdf_by_hand(
    make_slab: MakeSlab, make_totals: MakeTotals,
    members: tuple[float, ...], truth: float, exact: float,
) -> None:  # fmt: skip
    """Ties in which libraries are wrong: 2 - 20 / 25, 1 - 6 / 9 and 2 - 4 / 4."""
    slab = make_slab(0, members=len(members))
    x = np.broadcast_to(np.array(members, np.float32)[:, None, None], slab.members.shape).copy()
    slab = replace(slab, members=x, truth=np.full_like(slab.truth, truth))
    assert everywhere(make_totals(slab), "ecdf") == pytest.approx(exact, rel=1e-13)


def test_unbiased_for_draws_of_a_known_law(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Draws of N(1, 2^2): the fair form of few members has the mean of the closed form.

    E ecdf is larger by E |x - x'| / (2 M) = 2 sigma / sqrt(pi) / (2 M).
    """
    generator = np.random.default_rng(4)
    for members in (2, 16):
        slab = make_slab(0, steps=150, missing=0.0, members=members)
        x = generator.normal(1.0, 2.0, slab.members.shape).astype(np.float32)
        truth = generator.normal(1.0, 2.0, slab.truth.shape).astype(np.float32)
        z = (truth.astype(float) - 1) / 2
        exact = 2 * (
            z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi)
        )
        expected = np.average(exact, weights=np.broadcast_to(slab.domain.area, exact.shape))
        totals = make_totals(replace(slab, members=x, truth=truth))
        assert everywhere(totals, "fair") == pytest.approx(expected, rel=0.01)
        bias = 2 / math.sqrt(math.pi) / members
        assert everywhere(totals, "ecdf") == pytest.approx(expected + bias, rel=0.01)


def test_one_member_is_the_absolute_error(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Both forms of one member are the MAE, bit for bit."""
    totals = make_totals(make_slab(5, steps=2, members=1))
    mae = METRICS["mae"](totals).values
    np.testing.assert_array_equal(crps(totals, "fair"), mae)
    np.testing.assert_array_equal(crps(totals, "ecdf"), mae)


def test_equal_members_are_one_member(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """An ensemble without spread scores what its one field scores, in both forms."""
    slab = make_slab(7, members=1)
    many = replace(slab, members=np.repeat(slab.members, 5, axis=1))
    mae = METRICS["mae"](make_totals(slab)).values
    for form in ("fair", "ecdf"):
        np.testing.assert_allclose(crps(make_totals(many), form), mae, rtol=1e-12)


def test_large_offsets_keep_their_digits(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Around 2^18 with a spread of 1: 1e-12 relative, as float32 values differ exactly.

    Values are whole 32nds, so that the offset loses no digit of the fields themselves.
    """
    slab = make_slab(9, members=16)
    small = replace(slab, members=np.floor(slab.members * 32) / 32,
                    truth=np.floor(slab.truth * 32) / 32)  # fmt: skip
    large = replace(small, members=small.members + np.float32(2**18),
                    truth=small.truth + np.float32(2**18))  # fmt: skip
    for form in ("fair", "ecdf"):
        found, expected = (everywhere(make_totals(one), form) for one in (large, small))
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("members", [1, 2, 5, 16])
@pytest.mark.parametrize("cells", [1, 15, 16, 37])
def test_the_sums_of_rows_of_cells(members: int, cells: int) -> None:
    """`crps_sums` of whole and broken vectors against loops; a missing truth counts nowhere."""
    generator = np.random.default_rng(cells)
    x = generator.normal(size=(3, members, cells)).astype(np.float32)
    t = generator.normal(size=(3, cells)).astype(np.float32)
    t[generator.random(t.shape) < 0.2] = np.nan
    w = generator.random(cells)
    expected = np.zeros((3, 3))
    for k, n in np.ndindex(3, cells):
        if np.isnan(t[k, n]):
            continue
        values = [float(value) for value in x[k, :, n]]
        expected[k, 0] += w[n] * sum(abs(v - float(t[k, n])) for v in values) / members
        expected[k, 1] += w[n]
        expected[k, 2] += w[n] * sum(abs(a - b) for a in values for b in values) / 2
    np.testing.assert_allclose(crps_sums(x, t, w)[:, 0], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("members", [1, 5])
def test_segments_are_sums_of_their_own(members: int) -> None:
    """Segments of 20, 1, 0, 16 and 3 cells: each as if it were alone, the same bits."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, members, 40)).astype(np.float32)
    t = generator.normal(size=(2, 40)).astype(np.float32)
    t[:, [3, 39]] = np.nan
    w, ends = generator.random(40), np.array([0, 20, 21, 21, 37, 40])
    found = crps_sums(x, t, w, ends)
    assert found.shape == (2, 5, 3)
    for s, (start, stop) in enumerate(pairwise(ends)):
        some = np.ascontiguousarray(x[..., start:stop]), np.ascontiguousarray(t[:, start:stop])
        np.testing.assert_array_equal(found[:, s], crps_sums(*some, w[start:stop])[:, 0])
    np.testing.assert_array_equal(found[:, 2], 0)
