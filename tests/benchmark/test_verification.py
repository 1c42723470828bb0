"""Scores of plain arrays against libraries, brute force and cases worked by hand, both engines."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import properscoring
import pytest
import scoringrules
import xarray as xr
import xskillscore
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from scores.continuous import rmse as scores_rmse
from scores.probability import rank_histogram as scores_rank_histogram

from benchmark import verification
from benchmark.bins import Bins
from benchmark.coarsen import AreaOverlap
from benchmark.errors import InputError

Array = NDArray[np.float64]
Field = NDArray[np.float32]

RAIN = Bins("log2", 2.0**-10, 1024.0)
WARMTH = Bins("linear", 160.0, 352.0, 0.0625)
SHAPES = [(3, 1, 6, 9), (2, 2, 5, 5), (3, 9, 8, 9), (2, 16, 12, 16), (4, 5, 1, 3)]
"""Sizes of (time, member, y, x): one member, members as many as columns, cells in no vector."""


@pytest.fixture(autouse=True, params=["numba", "numpy"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with both engines."""
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)


def rain(
    shape: tuple[int, ...], *, seed: int = 0, ties: bool = False, missing: float = 0.0
) -> tuple[Field, Field]:
    """Members and truth, 60 % dry; with ties in whole numbers; a share of the truth is missing."""
    generator = np.random.default_rng(seed)
    members = generator.gamma(0.5, 4.0, shape) * (generator.random(shape) < 0.4)
    shape = shape[0], *shape[2:]
    truth = generator.gamma(0.5, 4.0, shape) * (generator.random(shape) < 0.4)
    if ties:
        members, truth = members.round(), truth.round()
    truth[generator.random(shape) < missing] = np.nan
    return members.astype(np.float32), truth.astype(np.float32)


def area(shape: tuple[int, ...]) -> Array:
    """(y, x) weights, one of them 0."""
    found = np.random.default_rng(9).uniform(0.5, 2.0, shape[2:])
    found[0, 0] = 0.0
    return found


def average(values: Array, weights: Array) -> float:
    """The weighted mean over cells that are not NaN."""
    known = np.isfinite(values)
    every = np.broadcast_to(weights, values.shape)
    return float(np.average(values[known], weights=every[known]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ties", [False, True])
def test_crps_equals_the_libraries(shape: tuple[int, ...], ties: bool) -> None:
    """ecdf as properscoring, fair as scoringrules; ties, weights, a missing truth."""
    members, truth = rain(shape, ties=ties, missing=0.2)
    weights, last = area(shape), np.moveaxis(members, 1, -1).astype(np.float64)
    found = verification.crps(members, truth, weights)
    ecdf = properscoring.crps_ensemble(truth.astype(np.float64), last)
    assert found.ecdf == pytest.approx(average(ecdf, weights), rel=1e-9)
    if shape[1] == 1:
        assert found.fair == found.ecdf
        return
    fair = scoringrules.crps_ensemble(truth.astype(np.float64), last, estimator="fair")
    assert found.fair == pytest.approx(average(fair, weights), rel=1e-9)


def test_crps_by_hand() -> None:
    """Members 0, 1, 2, 3 and truth 0: ecdf 1.5 - 10 / 16; fair 1.5 - 10 / 12."""
    members = np.arange(4, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 2, 3), "f4")
    found = verification.crps(members, np.zeros((1, 2, 3), np.float32))
    assert found == pytest.approx((1.5 - 10 / 12, 0.875), rel=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_equal_the_libraries(shape: tuple[int, ...]) -> None:
    """Bias and MAE as xskillscore, RMSE as scores, the ratio of variances as numpy."""
    members, truth = rain(shape, missing=0.2)
    weights = area(shape)
    names = ["time", "y", "x"]
    p, t = (xr.DataArray(f.astype(np.float64), dims=names) for f in (members.mean(1, "f8"), truth))
    w = xr.DataArray(weights, dims=["y", "x"]).broadcast_like(t)
    found = verification.errors(members, truth, weights)
    assert found.bias == pytest.approx(
        float(xskillscore.me(p, t, dim=names, weights=w, skipna=True)), rel=1e-9
    )
    assert found.mae == pytest.approx(
        float(xskillscore.mae(p, t, dim=names, weights=w, skipna=True)), rel=1e-9
    )
    assert found.rmse == pytest.approx(float(scores_rmse(p, t, weights=w)), rel=1e-9)
    p = p.where(t.notnull())
    variances = [
        average((f - average(f, weights)) ** 2, weights) for f in (p.to_numpy(), t.to_numpy())
    ]
    assert found.variance_ratio == pytest.approx(variances[0] / variances[1], rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ties", [False, True])
def test_rank_histogram_equals_scores_and_a_loop(shape: tuple[int, ...], ties: bool) -> None:
    """Ties spread evenly: as scores where all weights are 1, as a loop over cells with weights."""
    members, truth = rain(shape, ties=ties, missing=0.2)
    expected = scores_rank_histogram(
        xr.DataArray(members, dims=["time", "member", "y", "x"]),
        xr.DataArray(truth, dims=["time", "y", "x"]),
        ens_member_dim="member",
    )
    found = verification.rank_histogram(members, truth)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    weights, ranks = area(shape), np.zeros(shape[1] + 1)
    for k, i, j in zip(*np.nonzero(np.isfinite(truth)), strict=True):
        low = int((members[k, :, i, j] < truth[k, i, j]).sum())
        high = low + int((members[k, :, i, j] == truth[k, i, j]).sum())
        ranks[low : high + 1] += weights[i, j] / (high - low + 1)
    found = verification.rank_histogram(members, truth, weights)
    np.testing.assert_allclose(found, ranks / ranks.sum(), rtol=1e-12)


def test_all_dry_is_flat_and_without_error() -> None:
    """Where everything is 0: no error, every rank alike, no variance ratio, quantiles of 0."""
    members, truth = np.zeros((2, 4, 6, 9), np.float32), np.zeros((2, 6, 9), np.float32)
    assert verification.crps(members, truth) == (0.0, 0.0)
    found = verification.errors(members, truth)
    assert found[:3] == (0.0, 0.0, 0.0)
    assert np.isnan(found.variance_ratio)
    np.testing.assert_allclose(verification.rank_histogram(members, truth), 0.2, rtol=1e-14)
    np.testing.assert_array_equal(verification.tail_quantiles(members, RAIN), 0.0)
    assert verification.wasserstein(members, truth, RAIN) == 0.0


def test_no_truth_is_no_score() -> None:
    """Where no truth is known every score is NaN, never 0."""
    members, truth = rain((2, 3, 4, 5))
    truth[:] = np.nan
    assert np.isnan(verification.crps(members, truth)).all()
    assert np.isnan(verification.errors(members, truth)).all()
    assert np.isnan(verification.rank_histogram(members, truth)).all()
    assert np.isnan(verification.tail_quantiles(truth, RAIN)).all()
    assert np.isnan(verification.wasserstein(members, truth, RAIN))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_counts_equal_numpy_histogram(share: float) -> None:
    """Every bin of both kinds, edges and numbers beyond them included; NaN in none."""
    members, truth = rain((3, 5, 7, 13), missing=share)
    for values, bins in ((members, RAIN), (truth, RAIN), (280 + members, WARMTH)):
        edges = bins.edges[np.isfinite(bins.edges)].astype(np.float32)
        values = np.concatenate([values.ravel(), edges, -edges, [np.inf, -np.inf, np.nan]])
        values = values.astype(np.float32)
        place = np.searchsorted(bins.edges, values[~np.isnan(values)], side="right") - 1
        place = np.minimum(place, len(bins) - 1)
        if bins.kind == "log2":
            place[values[~np.isnan(values)] <= 0] = 0
        expected = np.bincount(place, minlength=len(bins))
        np.testing.assert_array_equal(verification.count(values, bins), expected)


def test_counts_beyond_32_bits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled engine's small tables are emptied in time: here after 48 values."""
    members, _ = rain((3, 5, 7, 13))
    expected = verification.count(members, RAIN)
    monkeypatch.setattr("benchmark.kernels.histogram.FULL", 48)
    np.testing.assert_array_equal(verification.count(members, RAIN), expected)
    assert expected.sum() == members.size


def test_tail_quantiles_are_off_by_at_most_a_bin() -> None:
    """Against numpy's inverted distribution function of the values themselves."""
    members, _ = rain((20, 8, 32, 32))
    found = verification.tail_quantiles(members, RAIN)
    exact = np.quantile(members, verification.TAIL, method="inverted_cdf")
    np.testing.assert_allclose(found, exact, rtol=1 / 512)
    assert np.all([a < b for a, b in pairwise(found)])
    median = verification.tail_quantiles(280 + members, WARMTH, q=[0.5])
    np.testing.assert_allclose(median, np.median(280 + members), atol=0.0625)


def test_wasserstein_equals_scipy() -> None:
    """To 1e-6 of the variable's unit on rain; of any two sizes; a shift is its own distance."""
    members, truth = rain((30, 4, 64, 64), seed=3)
    fine = Bins("log2", 2.0**-10, 1024.0, per_octave=4096)
    found = verification.wasserstein(members, truth, fine)
    exact = wasserstein_distance(members.ravel(), truth.ravel())
    assert found == pytest.approx(exact, abs=1e-6)
    shifted = 280 + members
    assert verification.wasserstein(shifted + 1, shifted, WARMTH) == pytest.approx(1.0, rel=1e-6)


def overlap(factor: float, shape: tuple[int, int]) -> AreaOverlap:
    """Between a grid of `shape` and one `factor` times as coarse, with uneven areas."""
    fine, coarse = (
        tuple(np.linspace(edge, edge + 10, round(n / by) + 1) for edge, n in zip((40, 5), shape,
              strict=True))
        for by in (1, factor)
    )  # fmt: skip
    areas = np.random.default_rng(1).uniform(0.8, 1.2, shape)
    return AreaOverlap.from_projected_edges(fine=fine, coarse=coarse, area=areas)


@pytest.mark.parametrize(
    ("factor", "shape"),
    [(2.5, (10, 15)), (2.5, (5, 5)), (4, (8, 36)), (3, (9, 21)), (8, (16, 32)), (1, (4, 17))],
)
@pytest.mark.parametrize("count", [1, 5, 8, 9, 16])
def test_conservation_equals_a_loop(factor: float, shape: tuple[int, int], count: int) -> None:
    """Every block of every member from its definition, factor 2.5 too; some truths missing.

    Nine steps and nine members are one more than the compiled engine takes at once.
    """
    members, truth = rain((9, count, *shape))
    truth[0, 0, 0] = truth[8, -1, -1] = np.nan
    operator = overlap(factor, shape)
    generator = np.random.default_rng(2)
    coarse = (operator(truth) + generator.normal(size=(9, *operator.coarse_shape))).astype("f4")
    coarse[~np.isfinite(coarse)] = 1.5
    shares = operator.in_y[:, None, :, None] * operator.in_x[None, :, None, :] * operator.area
    total = shares.sum(axis=(2, 3))

    def blocks(fields: Field) -> Array:
        known = np.nan_to_num(fields.astype(np.float64))
        lost = np.einsum("JIji,...ji->...JI", shares > 0, np.isnan(fields).astype(int)) > 0
        return np.where(lost, np.nan, np.einsum("JIji,...ji->...JI", shares, known) / total)

    gap, against = blocks(members) - coarse[:, None], blocks(members) - blocks(truth)[:, None]
    found = verification.conservation(members, truth, coarse, operator)
    assert found.residual == pytest.approx(average(abs(gap), total), rel=1e-9)
    assert found.root_residual == pytest.approx(average(gap**2, total) ** 0.5, rel=1e-9)
    assert found.largest == pytest.approx(abs(gap).max(), rel=1e-9)
    assert found.truth_residual == pytest.approx(average(abs(against), total), rel=1e-9)
    assert found.mismatch == pytest.approx(average(abs(blocks(truth) - coarse), total), rel=1e-9)


def test_conservation_of_consistent_fields_is_rounding() -> None:
    """Temperatures that coarsen to the input are within one float32 rounding of it."""
    members, truth = rain((2, 4, 10, 15), seed=5)
    operator = overlap(2.5, (10, 15))
    truth += 280
    coarse = operator(truth).astype(np.float32)
    fitted = operator.projector()(members + 280.0, coarse[:, None].astype(np.float64))
    found = verification.conservation(fitted.astype("f4"), truth, coarse, operator)
    assert 0 < found.largest < np.finfo(np.float32).eps * coarse.max()


SCORES: list[Callable[[Field, Field], object]] = [
    verification.crps, verification.errors, verification.rank_histogram,
    lambda members, truth: verification.conservation(
        members, truth, np.zeros((len(truth), 2, 3), "f4"), overlap(3, (6, 9))
    ),
]  # fmt: skip


@pytest.mark.parametrize("score", SCORES)
def test_a_member_that_is_not_finite_is_refused(score: Callable[[Field, Field], object]) -> None:
    """Also where the truth is missing: a NaN forecast is never a smaller sample."""
    for bad in (np.nan, np.inf):
        members, truth = rain((3, 4, 6, 9))
        members[1, 2, 3, 4], truth[1, 3, 4] = bad, np.nan
        with pytest.raises(InputError, match="time 1"):
            score(members, truth)


@pytest.mark.parametrize("score", SCORES)
def test_what_does_not_fit_is_refused(score: Callable[[Field, Field], object]) -> None:
    """Wrong axes, wrong sizes, wrong types: each named, nothing is reshaped or converted."""
    members, truth = rain((3, 4, 6, 9))
    with pytest.raises(InputError, match="none empty"):
        score(truth, truth)
    with pytest.raises(InputError, match="as the members'"):
        score(members, truth[:, :5])
    with pytest.raises(InputError, match="astype"):
        score(members.astype(np.float64), truth)


def test_weights_and_values_that_do_not_fit_are_refused() -> None:
    """A negative weight, a wrong shape, values in float64, a coarse field of other times."""
    members, truth = rain((3, 4, 6, 9))
    for weights in (np.full((6, 9), -1.0), np.ones((9, 6)), np.full((6, 9), np.nan)):
        with pytest.raises(InputError, match="weights"):
            verification.crps(members, truth, weights)
    with pytest.raises(InputError, match="float32"):
        verification.tail_quantiles(np.zeros(4), RAIN)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="operator"):
        verification.conservation(members, truth, np.zeros((2, 2, 3), "f4"), overlap(3, (6, 9)))


def test_steps_do_not_depend_on_their_neighbours() -> None:
    """One step alone has the bits that it has among others."""
    members, truth = rain((9, 5, 7, 13), missing=0.1)
    flat, known = members.reshape(9, 5, -1), truth.reshape(9, -1)
    weights = area((9, 5, 7, 13)).ravel()
    for sums in (verification.error_sums, verification.rank_sums):
        together = sums(flat, known, weights)
        for k in range(9):
            alone = sums(flat[k : k + 1], known[k : k + 1], weights)
            np.testing.assert_array_equal(alone[0], together[k])
