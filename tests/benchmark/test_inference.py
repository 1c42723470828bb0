"""The two claims: the t interval over clusters of regions, and the block bootstrap over days."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmark.inference import block_counts, new_regions_interval, percentile_interval

Array = NDArray[np.float64]
REPLICATES = 500


def days(count: int) -> NDArray[np.datetime64]:
    """Consecutive days."""
    return np.asarray(np.datetime64("2001-01-01") + np.arange(count))


@pytest.mark.parametrize("count", [6, 12, 40])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_regions_on_their_own_give_the_t_interval(count: int, level: float) -> None:
    """With one region a cluster it is scipy's t interval for a mean."""
    x = np.random.default_rng(count).normal(-0.1, 0.3, count)
    found = new_regions_interval(x, list(range(count)), level=level)
    expected = stats.t.interval(level, count - 1, loc=x.mean(), scale=stats.sem(x))
    assert found == pytest.approx(expected, rel=1e-9)


def test_clusters_of_one_size_give_the_t_interval_of_their_means() -> None:
    """Three regions in each of eight clusters: the t interval of eight cluster means."""
    x = np.random.default_rng(0).normal(size=(8, 3))
    found = new_regions_interval(x.ravel(), np.repeat(np.arange(8), 3).tolist())
    means = x.mean(axis=1)
    expected = stats.t.interval(0.95, 7, loc=means.mean(), scale=stats.sem(means))
    assert found == pytest.approx(expected, rel=1e-9)


def test_names_and_order_of_clusters_do_not_matter() -> None:
    """Labels are only names; regions can come in any order."""
    generator = np.random.default_rng(1)
    x, labels = generator.normal(size=14), generator.integers(0, 7, 14)
    labels[:7] = np.arange(7)
    expected = new_regions_interval(x, labels.tolist())
    order = generator.permutation(14)
    renamed = (100 - 3 * labels)[order].tolist()
    assert new_regions_interval(x[order], renamed) == pytest.approx(expected, rel=1e-12)


def test_below_six_clusters_there_are_only_values() -> None:
    """Twenty regions in five clusters make no claim about new regions; six clusters do."""
    x = np.random.default_rng(2).normal(size=20)
    assert new_regions_interval(x, [k % 5 for k in range(20)]) is None
    assert new_regions_interval(x, [k % 6 for k in range(20)]) is not None
    assert new_regions_interval(x[:5], list(range(5))) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_log_ratio_that_is_not_finite_makes_no_interval(value: float) -> None:
    """A region without a score cannot be left out silently."""
    x = np.linspace(-1, 1, 10)
    x[3] = value
    assert new_regions_interval(x, list(range(10))) is None


def test_coverage_over_clustered_regions() -> None:
    """500 worlds of 24 regions in 12 clusters of 1 to 4: at least 90 % of 95 % intervals hold.

    Neighbours share weather (intra-cluster correlation 0.8). The t interval that takes regions
    for independent holds in far fewer worlds: that is why neighbours count as one.
    """
    generator = np.random.default_rng(7)
    labels = np.repeat(np.arange(12), [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    truth = -0.15
    covered = naive = 0
    for _ in range(REPLICATES):
        shared = generator.normal(scale=np.sqrt(0.8), size=12)[labels]
        x = truth + 0.2 * (shared + generator.normal(scale=np.sqrt(0.2), size=labels.size))
        found = new_regions_interval(x, labels.tolist())
        assert found is not None
        covered += found[0] <= truth <= found[1]
        low, high = stats.t.interval(0.95, x.size - 1, loc=x.mean(), scale=stats.sem(x))
        naive += low <= truth <= high
    assert covered / REPLICATES >= 0.90
    assert covered / REPLICATES <= 0.99, "not by being needlessly wide"
    assert naive / REPLICATES < 0.87


@pytest.mark.parametrize(("length", "block"), [(150, 15), (157, 15), (40, 4), (365, 30)])
def test_every_resample_has_as_many_days_as_the_data(length: int, block: int) -> None:
    """Rows sum to the length, also where the last block is cut; counts are whole."""
    counts = block_counts(days(length), block_days=block, seed="t@1 2026.1", resamples=200)
    assert counts is not None
    assert counts.shape == (200, length)
    np.testing.assert_array_equal(counts.sum(axis=1), length)
    assert counts.min() >= 0
    np.testing.assert_array_equal(counts, np.round(counts))


def test_blocks_are_never_shortened() -> None:
    """One day less than ten blocks: no draws at all, and none in a shorter form."""
    assert block_counts(days(149), block_days=15, seed="s") is None
    assert block_counts(days(150), block_days=15, seed="s") is not None
    assert block_counts(days(9), block_days=1, seed="s") is None


def test_draws_are_runs_of_whole_blocks_on_a_circle() -> None:
    """With a length of ten blocks, a draw is ten arcs of 15 days: counts change only at their ends.

    Each resample is a sum of ten circular runs of exactly 15 days, so on the circle there are at
    most ten steps up and ten down, together equal; some runs wrap around the end.
    """
    counts = block_counts(days(150), block_days=15, seed="s", resamples=300)
    assert counts is not None
    change = counts - np.roll(counts, 1, axis=1)
    rises, falls = np.maximum(change, 0).sum(axis=1), np.maximum(-change, 0).sum(axis=1)
    np.testing.assert_array_equal(rises, falls)
    assert rises.max() <= 10
    wraps = (counts[:, 0] > 0) & (counts[:, -1] > 0) & (change[:, 0] == 0)
    assert wraps.mean() > 0.1


def test_every_day_is_drawn_equally_often() -> None:
    """Circular blocks treat the first and last days like the others: no edge is neglected."""
    counts = block_counts(days(150), block_days=15, seed="s", resamples=20_000)
    assert counts is not None
    mean = counts.mean(axis=0)
    assert abs(mean - 1).max() < 0.04
    edges = np.r_[mean[:14], mean[-14:]]
    assert abs(edges.mean() - 1) < 0.01


def test_the_same_draws_for_everyone() -> None:
    """One seed gives one set of draws, whatever the dates; another task or release another."""
    first = block_counts(days(150), block_days=15, seed="t@1 2026.1")
    again = block_counts(days(150) + np.timedelta64(400, "D"), block_days=15, seed="t@1 2026.1")
    other = block_counts(days(150), block_days=15, seed="t@2 2026.1")
    assert first is not None
    assert first.shape == (1000, 150)
    np.testing.assert_array_equal(first, again)
    assert other is not None
    assert not np.array_equal(first, other)


def coverage(block_days: int) -> float:
    """How often a 95 % interval of the mean holds 0: 500 AR(1) series of 1500 days, phi 0.7."""
    generator, length = np.random.default_rng(8), 1500
    noise = generator.normal(size=(length, REPLICATES))
    series = np.empty_like(noise)
    series[0] = noise[0] / np.sqrt(1 - 0.7**2)
    for day in range(1, length):
        series[day] = 0.7 * series[day - 1] + noise[day]
    counts = block_counts(days(length), block_days=block_days, seed="t@1 2026.1")
    assert counts is not None
    means = counts @ series / length
    intervals = [percentile_interval(column) for column in means.T]
    return float(np.mean([low <= 0 <= high for low, high in intervals]))


def test_coverage_over_days_that_depend_on_each_other() -> None:
    """Blocks of 15 days keep the nominal level nearly; days drawn one by one miss it widely."""
    assert 0.88 <= coverage(15) <= 0.985
    assert 0.45 <= coverage(1) <= 0.72


def test_percentile_interval_by_hand() -> None:
    """The central 95 % of 0, 1, ..., 1000 is 25 to 975."""
    values = np.random.default_rng(9).permutation(np.arange(1001.0))
    assert percentile_interval(values) == pytest.approx((25.0, 975.0))
    assert percentile_interval(values, level=0.8) == pytest.approx((100.0, 900.0))
