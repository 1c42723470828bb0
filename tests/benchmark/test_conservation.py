"""Residuals against the coarse input and the coarsened truth, and negatives, by brute force."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.families import conservation
from benchmark.families.base import Slab
from benchmark.metrics import METRICS
from benchmark.projection import Map

Array = NDArray[np.float64]
CERRA = Map("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=0 +R=6371229")
Edges = tuple[Array, Array]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
Weights = Callable[[Slab], Array]

pytestmark = pytest.mark.usefixtures("engine")


def shares(fine: Edges, coarse: Edges, part: Callable[[float, float], float]) -> Array:
    """(Ny, Nx, ny, nx) share of each fine cell that lies in each coarse one, pair by pair.

    part: the measure of an interval along y (sines of latitudes, or metres).
    """
    lengths = [len(edges) - 1 for edges in (*coarse, *fine)]
    found = np.zeros(lengths)
    for row, column, i, j in np.ndindex(*lengths):
        low = max(min(fine[0][i : i + 2]), min(coarse[0][row : row + 2]))
        high = min(max(fine[0][i : i + 2]), max(coarse[0][row : row + 2]))
        west = max(fine[1][j], coarse[1][column])
        east = min(fine[1][j + 1], coarse[1][column + 1])
        if high - low < 1e-9 * abs(fine[0][1] - fine[0][0]) or east - west < 1e-9:
            continue
        along_y = part(low, high) / part(min(fine[0][i : i + 2]), max(fine[0][i : i + 2]))
        found[row, column, i, j] = along_y * (east - west) / (fine[1][j + 1] - fine[1][j])
    return found


def sines(low: float, high: float) -> float:
    """The height of a band of latitudes on the unit sphere."""
    return float(np.sin(np.radians(high)) - np.sin(np.radians(low)))


def metres(low: float, high: float) -> float:
    """The length of an interval."""
    return high - low


def loop(slab: Slab, share: Array, area: Array) -> tuple[dict[str, Array], Array]:
    """The block sums and maxima of each step from their definitions; and which blocks are whole."""
    steps, count = slab.members.shape[:2]
    names = (*conservation.COLUMNS, "residual_max", "coarse_max")
    sums = {name: np.zeros(steps) for name in names}
    whole = np.ones((steps, *slab.domain.coarse_area.shape), bool)
    for k, row, column in np.ndindex(whole.shape):
        w = share[row, column] * area
        block, x = float(slab.domain.coarse_area[row, column]), float(slab.coarse[k, row, column])
        truth = float((w * slab.truth[k].astype(float))[w > 0].sum() / w.sum())
        sums["block_weight"][k] += block
        sums["coarse_max"][k] = max(sums["coarse_max"][k], abs(x))
        whole[k, row, column] = not np.isnan(truth)
        if whole[k, row, column]:
            sums["whole_block_weight"][k] += block
            sums["mismatch_abs"][k] += block * abs(truth - x)
        for member in slab.members[k]:
            mean = float((w * member.astype(float)).sum() / w.sum())
            sums["residual_abs"][k] += block * abs(mean - x) / count
            sums["residual_squared"][k] += block * (mean - x) ** 2 / count
            sums["residual_max"][k] = max(sums["residual_max"][k], abs(mean - x))
            if whole[k, row, column]:
                sums["truth_residual_abs"][k] += block * abs(mean - truth) / count
                sums["truth_residual_squared"][k] += block * (mean - truth) ** 2 / count
    return sums, whole


def check(slab: Slab, share: Array, area: Array) -> None:
    """Every sum against the loop, with some blocks whole and some not."""
    expected, whole = loop(slab, share, area)
    assert whole.any()
    assert not whole.all()
    found = conservation.reduce(slab)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-11, err_msg=name)


def lat_lon(slab: Slab, factor: float) -> Array:
    """The shares on the grid that `make_slab` makes: 1 degree, its north at 50."""
    ny, nx = slab.truth.shape[1:]
    fine = 50.0 - np.arange(ny + 1.0), np.arange(nx + 1.0)
    coarse = 50.0 - factor * np.arange(ny / factor + 1), factor * np.arange(nx / factor + 1)
    return shares(fine, coarse, sines)


@pytest.mark.parametrize("members", [1, 3, 8, 16])
def test_sums_and_maxima_equal_a_loop(make_slab: MakeSlab, members: int) -> None:
    """Residuals of every member and block at factor 4, against the input and the truth."""
    slab = make_slab(1, steps=3, members=members, missing=0.03)
    check(slab, lat_lon(slab, 4.0), slab.domain.area)


@pytest.mark.parametrize("shape", [(10, 15), (15, 5), (5, 35)])
def test_factor_two_and_a_half(make_slab: MakeSlab, shape: tuple[int, int]) -> None:
    """Cells that lie in two blocks or four count in each by their share, wide grids and narrow."""
    slab = make_slab(2, steps=2, members=3, missing=0.02, shape=shape, factor=2.5)
    check(slab, lat_lon(slab, 2.5), slab.domain.area)


@pytest.mark.parametrize("factor", [2.0, 2.5])
def test_a_lambert_grid(make_slab: MakeSlab, factor: float) -> None:
    """Areas that differ from cell to cell in both directions: no product of row and column."""
    slab = make_slab(3, steps=2, members=5, missing=0.02, shape=(10, 20), factor=factor)
    fine = np.linspace(-2e6, 2e6, 11), np.linspace(-3e6, 3e6, 21)
    coarse = fine[0][0] + np.arange(10 / factor + 1) * 4e5 * factor, None
    coarse = coarse[0], fine[1][0] + np.arange(20 / factor + 1) * 3e5 * factor
    area = CERRA.area(fine)
    assert area.max() > 1.05 * area.min()
    overlap = AreaOverlap.from_projected_edges(fine=fine, coarse=coarse, area=area)
    domain = replace(slab.domain, area=area, overlap=overlap, coarse_area=overlap.total)
    check(replace(slab, domain=domain), shares(fine, coarse, metres), area)


def test_negatives_are_the_share_of_members_below_zero(
    make_slab: MakeSlab, make_totals: MakeTotals, cell_weights: Weights
) -> None:
    """Counted by member and cell, weighted by area, by stratum; a zero is not negative."""
    slab = make_slab(4, members=5)
    x = np.maximum(slab.members - np.float32(0.5), np.float32(-0.25)) * (slab.members > 0.2)
    slab = replace(slab, members=x)
    weights = cell_weights(slab)
    expected = (weights * (x < 0).mean(axis=1)).sum(axis=(1, 2, 3)) / weights.sum(axis=(1, 2, 3))
    assert expected.min() > 0
    shown = METRICS["negatives"](make_totals(slab)).values
    np.testing.assert_allclose(shown, 1e6 * expected, rtol=1e-12)


def test_a_consistent_member_has_no_residual(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Fields that coarsen to the input leave float32 rounding; one that does not is seen."""
    slab = make_slab(2, missing=0.0)
    project = slab.domain.overlap.projector()
    x = np.stack([project(m, slab.coarse[0]) for m in slab.members[0]])[None].astype(np.float32)
    totals = make_totals(replace(slab, members=x))
    assert float(METRICS["residual"](totals)) < 1e-7
    assert float(METRICS["residual_ulps"](totals)) < 1
    x[0, 3, 5, 7] += np.float32(1.6)
    totals = make_totals(replace(slab, members=x))
    share = float(slab.domain.overlap.block_weights[5, 7])
    assert float(totals["residual_max"]) == pytest.approx(1.6 * share, rel=1e-5)
    ulps = 1.6 * share / (np.finfo(np.float32).eps * slab.coarse.max())
    assert float(METRICS["residual_ulps"](totals)) == pytest.approx(ulps, rel=1e-5)


def test_totals_take_the_maximum_over_cases(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """Maxima are folded by the maximum and sums by the sum, over steps and cases."""
    slabs = [make_slab(k, steps=2) for k in range(3)]
    slabs = [replace(slab, domain=slabs[0].domain) for slab in slabs]
    totals = make_totals(*slabs)
    each = [conservation.reduce(slab) for slab in slabs]
    for name in ("residual_max", "coarse_max"):
        assert float(totals[name]) == max(one[name].max() for one in each)
    total = sum(one["residual_abs"].sum() for one in each)
    assert float(totals["residual_abs"]) == pytest.approx(total, rel=1e-14)


def test_no_whole_block_means_no_truth_residual(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """Where every block misses some truth, residuals against it are missing and not 0."""
    slab = make_slab(3)
    truth = slab.truth.copy()
    truth[:, ::4, ::4] = np.nan
    totals = make_totals(replace(slab, truth=truth))
    for name in ("truth_residual", "mismatch"):
        assert np.isnan(float(METRICS[name](totals)))
    assert float(METRICS["residual"](totals)) > 0, "the input is there all the same"


def test_residuals_do_not_depend_on_the_truth(make_slab: MakeSlab) -> None:
    """Against the coarse input every block counts, whatever the truth lacks."""
    slab = make_slab(5, missing=0.5)
    whole = conservation.reduce(replace(slab, truth=np.zeros_like(slab.truth)))
    for name in ("residual_abs", "residual_squared", "residual_max", "block_weight"):
        np.testing.assert_array_equal(conservation.reduce(slab)[name], whole[name])


def test_what_is_not_comparable_is_left_out(make_slab: MakeSlab, make_totals: MakeTotals) -> None:
    """The speed of coarse components is no mean of fine speeds: no weight, no score."""
    slab = make_slab(6)
    totals = make_totals(replace(slab, domain=replace(slab.domain, conserves=False)))
    for name in ("residual", "residual_rms", "truth_residual", "mismatch", "residual_ulps"):
        assert np.isnan(float(METRICS[name](totals))), name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_member_that_is_not_finite_is_never_hidden(make_slab: MakeSlab, value: float) -> None:
    """Its block's residual is not finite."""
    slab = make_slab(7, members=3, missing=0.0)
    slab.members[0, 1, 5, 7] = value
    with np.errstate(invalid="ignore"):
        found = conservation.reduce(slab)
    assert not np.isfinite(found["residual_abs"]).any()
    assert not np.isfinite(found["residual_squared"]).any()
