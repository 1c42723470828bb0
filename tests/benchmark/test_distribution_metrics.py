"""Distribution metrics against numpy's quantiles, scipy's distance and tables worked by hand."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from benchmark.bins import Bins
from benchmark.distribution_metrics import (
    enough,
    exceeding_cases,
    ganvsdiffusion_lhd,
    perkins,
    quantile,
    quantile_error,
    relative_quantile_error,
    share_at_least,
    wasserstein_1,
    wet_fraction,
)
from benchmark.errors import InputError

Array = NDArray[np.float64]
RAIN = Bins("log2", 2.0**-10, 2.0**10)
OCTAVES = Bins("log2", 1.0, 4.0, per_octave=128)
KELVIN = Bins("linear", 160.0, 352.0, 0.0625)
UNITS = Bins("linear", 0.0, 4.0, 1.0)


def rain(seed: int, size: int = 400_000) -> NDArray[np.float32]:
    """Gamma-like rain, 56 % of it zeros, mm h-1."""
    drops = np.random.default_rng(seed).gamma(0.5, size=size) - 0.3
    return (drops.clip(0) * 3).astype(np.float32)


def temperature(seed: int, size: int = 400_000) -> NDArray[np.float32]:
    """Normal, in K."""
    return np.random.default_rng(seed).normal(285, 9, size).astype(np.float32)


def count(x: NDArray[np.float32], bins: Bins, weights: Array | None = None) -> Array:
    """Counts by bin."""
    return np.bincount(bins.index(x), weights, minlength=len(bins)).astype(np.float64)


def units(*counts: float) -> Array:
    """Counts in the six bins of UNITS: (-inf, 0), 0-1, 1-2, 2-3, 3-4, (4, inf)."""
    return np.array(counts, np.float64)


@pytest.mark.parametrize("q", [0.2, 0.5, 0.6, 0.95, 0.99, 0.999, 0.9999])
def test_quantiles_are_those_of_the_sample_to_the_width_of_a_bin(q: float) -> None:
    """Against numpy.quantile: within one bin, and exactly 0 in the dry mass."""
    wet, warm = rain(1), temperature(1)
    # numpy interpolates between order statistics, which are far apart in the sparse tail.
    around = [np.quantile(wet, q, method=method) for method in ("lower", "higher")]
    found = quantile(count(wet, RAIN), RAIN, q)
    if around[1] == 0:
        assert found == 0
    else:
        assert around[0] / 1.002 <= found <= around[1] * 1.002
    around = [np.quantile(warm, q, method=method) for method in ("lower", "higher")]
    assert around[0] - 1 / 16 <= quantile(count(warm, KELVIN), KELVIN, q) <= around[1] + 1 / 16


def test_quantiles_interpolate_inside_the_bin() -> None:
    """20 values in 0-1, 60 in 1-2, 20 in 2-3: 0.5 lies 30/60 into the second, 0.05 5/20 in."""
    counts = units(0, 20, 60, 20, 0, 0)
    assert quantile(counts, UNITS, 0.5) == pytest.approx(1.5)
    assert quantile(counts, UNITS, 0.05) == pytest.approx(0.25)
    assert quantile(counts, UNITS, 0.2) == pytest.approx(1)
    assert quantile(counts, UNITS, 0.9) == pytest.approx(2.5)
    assert quantile(units(0, 2, 0, 2, 0, 0), UNITS, 0.5) == 1  # the infimum: not 2


def test_a_quantile_outside_the_bins_or_of_nothing_is_missing() -> None:
    """10 % below, 10 % above; no counts."""
    counts = units(10, 80, 0, 0, 0, 10)
    assert np.isnan(quantile(counts, UNITS, 0.05))
    assert np.isnan(quantile(counts, UNITS, 0.95))
    assert quantile(counts, UNITS, 0.5) == pytest.approx(0.5)
    assert np.isnan(quantile(units(0, 0, 0, 0, 0, 0), UNITS, 0.5))
    assert np.isnan(quantile(np.zeros(len(RAIN)), RAIN, 0.5))
    beyond = count(np.array([1, 2000], np.float32), RAIN)
    assert np.isnan(quantile(beyond, RAIN, 0.9))


def test_quantiles_of_weighted_values() -> None:
    """A weight of 3 is the value three times."""
    x = rain(2, 2000)
    weights = np.random.default_rng(2).integers(1, 4, len(x))
    heavy = count(x, RAIN, weights.astype(np.float64))
    np.testing.assert_array_equal(heavy, count(np.repeat(x, weights), RAIN))
    assert quantile(7 * heavy, RAIN, 0.9) == pytest.approx(float(quantile(heavy, RAIN, 0.9)))


def test_quantile_errors_are_predicted_minus_true() -> None:
    """p twice t: error the true quantile, relative error 1; none relative to a dry quantile."""
    t = rain(3)
    counts = count(2 * t, RAIN), count(t, RAIN)
    true = quantile(counts[1], RAIN, 0.99)
    assert quantile_error(*counts, RAIN, 0.99) == pytest.approx(float(true), rel=1e-12)
    assert relative_quantile_error(*counts, RAIN, 0.99) == pytest.approx(1, rel=1e-12)
    assert quantile_error(*counts, RAIN, 0.4) == 0
    drizzle = count(t + np.float32(1), RAIN)
    assert np.isnan(relative_quantile_error(drizzle, counts[1], RAIN, 0.4))


@pytest.mark.parametrize("q", [0.0, 1.0, 99.0, np.nan])
def test_a_probability_of_0_or_1_is_refused(q: float) -> None:
    """And a percentile given for a probability."""
    with pytest.raises(InputError, match="0 < q < 1"):
        quantile(units(1, 1, 1, 1, 1, 1), UNITS, q)


def test_shares_at_least_a_threshold() -> None:
    """Exact at edges; half of the bin in its middle; nothing known in an open bin."""
    counts = units(10, 40, 20, 20, 10, 0)
    thresholds = [0, 1, 1.5, 3, 3.25, 4, 9]
    shares = [0.9, 0.5, 0.4, 0.1, 0.075, 0, 0]
    for threshold, share in zip(thresholds, shares, strict=True):
        assert share_at_least(counts, UNITS, threshold) == pytest.approx(share, abs=1e-15)
    assert np.isnan(share_at_least(counts, UNITS, -1))
    assert np.isnan(share_at_least(counts, UNITS, np.nan))
    assert np.isnan(share_at_least(0 * counts, UNITS, 1))
    several = share_at_least(np.stack([counts, 2 * counts]), UNITS, np.array([1.0, 3.0]))
    np.testing.assert_allclose(several, [0.5, 0.1])


def test_wet_fraction() -> None:
    """The share of values >= 0.1 but for a part of one bin; exact at an edge; > 0 at 0."""
    x = rain(4)
    counts = count(x, RAIN)
    assert wet_fraction(counts, RAIN) == pytest.approx(float((x >= 0.1).mean()), abs=2e-4)
    assert wet_fraction(counts, RAIN, 0.125) == pytest.approx(float((x >= 0.125).mean()), rel=1e-12)
    assert wet_fraction(counts, RAIN, 0.0) == pytest.approx(float((x > 0).mean()), rel=1e-12)
    assert wet_fraction(counts, RAIN, -1.0) == 1
    assert wet_fraction(count(0 * x, RAIN), RAIN) == 0


def test_the_share_above_a_quantile_is_its_complement() -> None:
    """share_at_least inverts quantile wherever the quantile is wet."""
    counts = np.stack([count(rain(5), RAIN), count(rain(6), RAIN)])
    for q in (0.7, 0.95, 0.999):
        above = share_at_least(counts, RAIN, quantile(counts, RAIN, q))
        np.testing.assert_allclose(above, 1 - q, rtol=1e-9)


def test_a_quantile_needs_100_cells_in_10_cases() -> None:
    """Cases are counted by their largest truth; one without a truth is none."""
    maxima = np.array([[1.0, 2.0, 3.0, np.nan], [5.0, 5.0, 5.0, 5.0]])
    np.testing.assert_array_equal(exceeding_cases(maxima, np.array([1.0, 4.0])), [2, 4])
    cells, cases = np.array([100.0, 99.9, 100.0, np.nan]), np.array([10, 10, 9, 10])
    np.testing.assert_array_equal(enough(cells, cases), [True, False, False, False])


@pytest.mark.parametrize("factor", [1.0, 1.02, 1.5])
def test_wasserstein_is_scipys_distance_of_rain(factor: float) -> None:
    """Between two samples, one scaled: crossing distributions, a bias, a strong one."""
    p, t = np.float32(factor) * rain(7), rain(8)
    found = wasserstein_1(count(p, RAIN), count(t, RAIN), RAIN)
    assert found == pytest.approx(wasserstein_distance(p, t), abs=2e-5)


def test_wasserstein_is_scipys_distance_of_weighted_temperature() -> None:
    """Area-like weights, other ones for p and t."""
    p, t = temperature(9, 100_000), temperature(10, 100_000)
    weights = np.random.default_rng(9).uniform(0.5, 1, (2, len(p)))
    found = wasserstein_1(count(p, KELVIN, weights[0]), count(t, KELVIN, weights[1]), KELVIN)
    assert found == pytest.approx(wasserstein_distance(p, t, *weights), abs=5e-4)


def test_wasserstein_of_crossing_lines() -> None:
    """Of 1/2 in 0-1 and 1/2 in 1-2, against 1/4 and 3/4; and of two that cross.

    |F_p - F_t| rises to 1/4 at 1 and falls to 0 at 2: area 1/4. Between 1/4, 3/4 and its mirror
    image twice that. With the mass of p at both ends, F_p - F_t is 0 at 0, 1/4 at 1, -1/4 at 2,
    0 at 3: it crosses in the middle of the second bin: 1/8 + two triangles of 1/16 + 1/8.
    """
    even, skewed = units(0, 1, 1, 0, 0, 0), units(0, 1, 3, 0, 0, 0)
    assert wasserstein_1(skewed, even, UNITS) == pytest.approx(1 / 4)
    assert wasserstein_1(skewed, units(0, 3, 1, 0, 0, 0), UNITS) == pytest.approx(1 / 2)
    ends, middle = units(0, 2, 0, 2, 0, 0), units(0, 1, 2, 1, 0, 0)
    assert wasserstein_1(ends, middle, UNITS) == pytest.approx(1 / 8 + 2 / 16 + 1 / 8)


def test_wasserstein_from_the_dry_mass() -> None:
    """All in [1, 1 + 1/128) against half at or below 0: that half moves by 1 + 1/256."""
    t = count(np.array([1, 1], np.float32), OCTAVES)
    p = count(np.array([-3, 1], np.float32), OCTAVES)
    assert wasserstein_1(p, t, OCTAVES) == pytest.approx((1 + 1 / 256) / 2, rel=1e-12)
    assert wasserstein_1(t, t, OCTAVES) == 0


def test_wasserstein_of_what_is_outside_the_bins_is_missing() -> None:
    """In either distribution and on either side; and of nothing."""
    inside = units(0, 1, 1, 1, 1, 0)
    for outside in (units(1, 1, 1, 1, 1, 0), units(0, 1, 1, 1, 1, 1)):
        assert np.isnan(wasserstein_1(outside, inside, UNITS))
        assert np.isnan(wasserstein_1(inside, outside, UNITS))
    assert np.isnan(wasserstein_1(0 * inside, inside, UNITS))
    assert np.isnan(wasserstein_1(inside, 0 * inside, UNITS))
    dry_and_wild = count(np.array([0, 2000], np.float32), RAIN)
    assert np.isnan(wasserstein_1(dry_and_wild, dry_and_wild, RAIN))


def test_perkins_by_hand() -> None:
    """Shares .5 .5 0 0 and .25 .5 .25 0 overlap by .75; the same by 1; disjoint ones by 0."""
    p, t = units(0, 2, 2, 0, 0, 0), units(0, 2, 4, 2, 0, 0)
    assert perkins(p, t, UNITS) == pytest.approx(0.75)
    assert perkins(p, 5 * p, UNITS) == pytest.approx(1)
    assert perkins(p, units(1, 0, 0, 1, 1, 1), UNITS) == 0
    assert np.isnan(perkins(p, 0 * t, UNITS))


def test_perkins_compares_groups_of_bins() -> None:
    """Two samples of one rain overlap well; values of one quarter octave overlap wholly."""
    counts = count(rain(11, 20_000), RAIN), count(rain(12, 20_000), RAIN)
    assert 0.98 < perkins(*counts, RAIN) < 1
    one, other = (count(np.array([x], np.float32), RAIN) for x in (1.0, 1.24))
    assert perkins(one, other, RAIN) == 1
    assert perkins(one, count(np.array([1.25], np.float32), RAIN), RAIN) == 0


def lhd_loop(p: NDArray[np.float32], t: NDArray[np.float32], edges: Array) -> float:
    """The definition with numpy's histogram: bins with 10 of both, shares of all values."""
    decibels = []
    for low, high in pairwise(edges):
        g_p, g_t = (np.count_nonzero((x >= low) & (x < high)) for x in (p, t))
        if low >= 1 and g_p >= 10 and g_t >= 10:
            decibels.append(10 * np.log10((g_t / len(t)) / (g_p / len(p))))
    return float(np.sqrt(np.mean(np.square(decibels))))


def test_log_histogram_distance_is_its_definition() -> None:
    """Quarter octaves above 1 mm d-1; p has more members and is heavier; bins of few are left."""
    p, t = 24 * 1.3 * rain(13, 30_000), 24 * rain(14, 10_000)
    edges = np.append((2.0 ** np.arange(-10, 10)[:, None] * (1 + np.arange(4) / 4)).ravel(), 1024)
    found = ganvsdiffusion_lhd(count(p, RAIN), count(t, RAIN), RAIN)
    assert found == pytest.approx(lhd_loop(p, t, edges), rel=1e-12)
    assert ganvsdiffusion_lhd(count(t, RAIN), count(t, RAIN), RAIN) == 0


def test_log_histogram_distance_of_twice_the_counts_in_one_bin() -> None:
    """10 of 110 against 20 of 120 (dry ones fill up): 10 log10 of the ratio of shares."""
    t = count(np.repeat([0, 2], [100, 10]).astype(np.float32), OCTAVES)
    p = count(np.repeat([0, 2], [100, 20]).astype(np.float32), OCTAVES)
    expected = 10 * np.log10((20 / 120) / (10 / 110))
    assert ganvsdiffusion_lhd(p, t, OCTAVES) == pytest.approx(expected)
    few = count(np.repeat([0, 2], [100, 9]).astype(np.float32), OCTAVES)
    assert np.isnan(ganvsdiffusion_lhd(p, few, OCTAVES))
    assert np.isnan(ganvsdiffusion_lhd(few, t, OCTAVES))


@pytest.mark.parametrize("bins", [KELVIN, Bins("log2", 2.0, 8.0), Bins("log2", 0.25, 0.5)])
def test_log_histogram_distance_needs_bins_from_1(bins: Bins) -> None:
    """Linear bins and bins without the edge 1 are refused."""
    with pytest.raises(InputError, match="1 mm d-1"):
        ganvsdiffusion_lhd(np.ones(len(bins)), np.ones(len(bins)), bins)


def test_counts_of_other_bins_are_refused() -> None:
    """The last axis is the bins."""
    with pytest.raises(InputError, match="6 bins"):
        perkins(np.ones(7), np.ones(7), UNITS)


@pytest.mark.parametrize("bins", [RAIN, KELVIN])
def test_leading_axes_are_independent(bins: Bins) -> None:
    """(2, 3, n) counts, one row of them empty, give what each row gives alone."""
    make = rain if bins is RAIN else temperature
    rows = [[count(make(10 * i + j, 3000), bins) for j in range(3)] for i in range(2)]
    p, t = np.array(rows), np.array(rows)[:, ::-1]
    p[1, 2] = 0
    scores = [
        lambda p, _: quantile(p, bins, 0.97),
        lambda p, t: quantile_error(p, t, bins, 0.97),
        lambda p, t: relative_quantile_error(p, t, bins, 0.97),
        lambda p, _: share_at_least(p, bins, 1.0 if bins is RAIN else 290.03),
        lambda p, t: wasserstein_1(p, t, bins),
        lambda p, t: perkins(p, t, bins),
    ]
    if bins is RAIN:
        scores.append(lambda p, t: ganvsdiffusion_lhd(p, t, bins))
    for score in scores:
        found = score(p, t)
        assert found.shape == (2, 3)
        assert np.isnan(found[1, 2])
        alone = [[score(p[i, j], t[i, j]) for j in range(3)] for i in range(2)]
        np.testing.assert_array_equal(found, alone)
