"""The two claims: the t interval over clusters of regions, and the block bootstrap over days."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmark.inference import (
    StandardError,
    day_draws,
    new_regions_error,
    these_regions_error,
)

Array = NDArray[np.float64]


def interval(x: Array, clusters: list[int], *, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of the mean over new regions."""
    error = new_regions_error(x, clusters)
    return None if error is None else error.interval(float(x.mean()), level=level)


def drawn(days: int, block: int, *, resamples: int, seed: str = "s") -> Array:
    """How often each day is drawn."""
    draws = day_draws(days, block_days=block, seed=seed, resamples=resamples)
    assert draws is not None
    return draws.counts


@pytest.mark.parametrize("count", [6, 12, 40])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_regions_on_their_own_give_the_t_interval(count: int, level: float) -> None:
    """With one region a cluster it is scipy's t interval for a mean."""
    x = np.random.default_rng(count).normal(-0.1, 0.3, count)
    found = interval(x, list(range(count)), level=level)
    expected = stats.t.interval(level, count - 1, loc=x.mean(), scale=stats.sem(x))
    assert found == pytest.approx(expected, rel=1e-9)


def test_clusters_of_one_size_give_the_t_interval_of_their_means() -> None:
    """Three regions in each of eight clusters: the t interval of eight cluster means."""
    x = np.random.default_rng(0).normal(size=(8, 3))
    found = interval(x.ravel(), np.repeat(np.arange(8), 3).tolist())
    means = x.mean(axis=1)
    expected = stats.t.interval(0.95, 7, loc=means.mean(), scale=stats.sem(means))
    assert found == pytest.approx(expected, rel=1e-9)


def test_names_and_order_of_clusters_do_not_matter() -> None:
    """Labels are only names; regions can come in any order."""
    generator = np.random.default_rng(1)
    x, labels = generator.normal(size=14), generator.integers(0, 7, 14)
    labels[:7] = np.arange(7)
    expected = interval(x, labels.tolist())
    order = generator.permutation(14)
    renamed = (100 - 3 * labels)[order].tolist()
    assert interval(x[order], renamed) == pytest.approx(expected, rel=1e-12)


def test_below_six_clusters_there_are_only_values() -> None:
    """Twenty regions in five clusters make no claim about new regions; six clusters do."""
    x = np.random.default_rng(2).normal(size=20)
    assert interval(x, [k % 5 for k in range(20)]) is None
    assert interval(x, [k % 6 for k in range(20)]) is not None
    assert interval(x[:5], list(range(5))) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_log_ratio_that_is_not_finite_makes_no_interval(value: float) -> None:
    """A region without a score cannot be left out silently."""
    x = np.linspace(-1, 1, 10)
    x[3] = value
    assert interval(x, list(range(10))) is None


@pytest.mark.parametrize(("length", "block"), [(150, 15), (157, 15), (40, 4), (365, 30)])
def test_every_resample_has_as_many_days_as_the_data(length: int, block: int) -> None:
    """Rows sum to the length, also where the last block is cut; counts are whole."""
    counts = drawn(length, block, resamples=200)
    assert counts.shape == (200, length)
    np.testing.assert_array_equal(counts.sum(axis=1), length)
    assert counts.min() >= 0
    np.testing.assert_array_equal(counts, np.round(counts))


def test_blocks_are_never_shortened() -> None:
    """One day less than ten blocks: no draws at all, and none in a shorter form."""
    assert day_draws(149, block_days=15, seed="s") is None
    assert day_draws(150, block_days=15, seed="s") is not None
    assert day_draws(9, block_days=1, seed="s") is None


def test_draws_are_runs_of_whole_blocks_on_a_circle() -> None:
    """With a length of ten blocks, a draw is ten arcs of 15 days: counts change only at their ends.

    Each resample is a sum of ten circular runs of exactly 15 days, so on the circle there are at
    most ten steps up and ten down, together equal; some runs wrap around the end.
    """
    counts = drawn(150, 15, resamples=300)
    change = counts - np.roll(counts, 1, axis=1)
    rises, falls = np.maximum(change, 0).sum(axis=1), np.maximum(-change, 0).sum(axis=1)
    np.testing.assert_array_equal(rises, falls)
    assert rises.max() <= 10
    wraps = (counts[:, 0] > 0) & (counts[:, -1] > 0) & (change[:, 0] == 0)
    assert wraps.mean() > 0.1


def test_every_day_is_drawn_equally_often() -> None:
    """Circular blocks treat the first and last days like the others: no edge is neglected."""
    counts = drawn(150, 15, resamples=20_000)
    mean = counts.mean(axis=0)
    assert abs(mean - 1).max() < 0.04
    edges = np.r_[mean[:14], mean[-14:]]
    assert abs(edges.mean() - 1) < 0.01


def test_the_same_draws_for_everyone() -> None:
    """One seed gives one set of draws, in any process; another task or release another."""
    first = drawn(150, 15, resamples=1000, seed="t@1 2026.1")
    day_draws.cache_clear()
    again = drawn(150, 15, resamples=1000, seed="t@1 2026.1")
    other = drawn(150, 15, resamples=1000, seed="t@2 2026.1")
    assert first is not again
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("days", [150, 157, 365])
def test_widths_make_a_normal_deviation_students(days: int) -> None:
    """A standard normal times the widths is Student's t of B - 1, times sqrt(B / (B - 1))."""
    draws = day_draws(days, block_days=15, seed="s", resamples=20_000)
    assert draws is not None
    blocks = days / 15
    assert draws.blocks == pytest.approx(blocks)
    normal = np.random.default_rng(10).normal(size=20_000)
    deviations = normal * draws.widths / np.sqrt(blocks / (blocks - 1))
    assert stats.kstest(deviations, stats.t(blocks - 1).cdf).pvalue > 0.01
    assert stats.kstest(deviations, "norm").pvalue < 0.01 or days == 365


def test_these_regions_error_by_hand() -> None:
    """The standard deviation of the resampled means, widened for few blocks; none of infinities."""
    values = np.random.default_rng(9).normal(size=1000)
    error = these_regions_error(values, 12.0)
    assert error is not None
    assert error.value == pytest.approx(np.std(values, ddof=1) * np.sqrt(12 / 11), rel=1e-12)
    half = stats.t.ppf(0.975, 11) * error.value
    assert error.interval(0.3) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-9)
    values[3] = -np.inf
    assert these_regions_error(values, 12.0) is None


@pytest.mark.parametrize("freedom", [5, 9, 23.3, 200])
@pytest.mark.parametrize(("level", "power"), [(0.95, 0.8), (0.9, 0.5), (0.99, 0.9)])
def test_resolvable_against_the_noncentral_t(freedom: float, level: float, power: float) -> None:
    """A difference of that size is found as often as said, by scipy's noncentral t."""
    error = StandardError(0.07, freedom)
    shift = error.resolvable(level=level, power=power) / error.value
    critical = stats.t.ppf((1 + level) / 2, freedom)
    found = stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)
    assert found == pytest.approx(power, abs=0.005)
