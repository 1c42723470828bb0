"""Empirical quantile maps: dry stays dry, ties, what lies beyond, pools against numpy."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.statistical.quantiles import EmpiricalMap, pooled_quantiles
from benchmark.errors import InputError

Array = NDArray[np.float64]
LEVELS = np.linspace(0, 1, 1000)


def rain(dry: float, scale: float, size: int = 200_000, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    wet = generator.exponential(scale, size)
    return np.where(generator.random(size) < dry, 0.0, wet)


def map_of(source: Array, target: Array, *, zero_stays: bool = True) -> EmpiricalMap:
    return EmpiricalMap(np.quantile(source, LEVELS), np.quantile(target, LEVELS), zero_stays)


def test_dry_stays_dry_where_interpolation_alone_would_rain() -> None:
    """90 % dry onto 60 % dry: `np.interp` makes every dry cell as wet as the 90th percentile."""
    source, target = rain(0.9, 1.0), rain(0.6, 1.0, seed=1)
    change = map_of(source, target)
    trap = np.interp(0.0, change.from_, change.to)
    assert trap == pytest.approx(np.quantile(target, 0.9), rel=0.02)
    assert trap > 1
    mapped = change(source)
    assert (mapped[source == 0] == 0).all()
    assert change(np.array([1e-9])) < 1e-6
    assert mapped.mean() < 0.5 * np.interp(source, change.from_, change.to).mean()


def test_dry_stays_dry_below_a_source_that_never_was() -> None:
    """Nothing is added to a 0 that lies beyond the outermost quantile."""
    change = EmpiricalMap(np.array([1.0, 2.0]), np.array([3.0, 4.0]), True)
    np.testing.assert_array_equal(change(np.array([0.0, 0.5])), [0.0, 2.5])


def test_the_driest_of_the_wet_fall_dry_where_the_target_is_drier() -> None:
    """60 % dry onto 90 % dry: as many wet cells are left as the target has."""
    source, target = rain(0.6, 1.0), rain(0.9, 2.0, seed=1)
    mapped = map_of(source, target)(source)
    assert (mapped > 0).mean() == pytest.approx((target > 0).mean(), abs=0.003)
    np.testing.assert_allclose(
        np.quantile(mapped, [0.92, 0.97, 0.99]), np.quantile(target, [0.92, 0.97, 0.99]), rtol=0.03
    )


def test_it_gives_the_target_distribution() -> None:
    """Values of a continuous law, mapped, have the quantiles of the other one."""
    generator = np.random.default_rng(0)
    source, target = generator.normal(10, 2, 50_000), generator.gumbel(3, 1, 50_000)
    mapped = map_of(source, target, zero_stays=False)(source)
    np.testing.assert_allclose(np.quantile(mapped, LEVELS), np.quantile(target, LEVELS), atol=0.05)


def test_a_distribution_onto_itself_is_the_identity() -> None:
    source = rain(0.7, 1.0)
    inside = np.linspace(0, source.max(), 5000)
    np.testing.assert_allclose(map_of(source, source)(inside), inside, atol=1e-12)


def test_beyond_the_outermost_quantiles_the_correction_is_constant() -> None:
    """And at them the map is continuous; it never decreases."""
    change = EmpiricalMap(np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.5, 9.0]), False)
    np.testing.assert_allclose(change(np.array([-5.0, 1.0, 1.5, 3.0, 4.0, 10.0])),
                               [-3.0, 3.0, 3.25, 6.25, 9.0, 15.0])  # fmt: skip
    assert (np.diff(change(np.linspace(-5, 10, 999))) >= 0).all()


def test_ties_share_the_mean_of_their_counterparts() -> None:
    """A clipped sensor: three quantiles at 5; and no order of equal values is invented."""
    change = EmpiricalMap(np.array([1.0, 5.0, 5.0, 5.0]), np.array([2.0, 6.0, 7.0, 11.0]), False)
    assert change(np.array([5.0])) == pytest.approx(8.0)


def test_missing_stays_missing() -> None:
    change = map_of(rain(0.5, 1), rain(0.5, 2))
    got = change(np.array([np.nan, 0.0, 1.0]))
    assert np.isnan(got[0])
    assert np.isfinite(got[1:]).all()


def test_pools_are_numpys_quantiles_of_everything_that_is_there() -> None:
    """Both sides, two variables, three steps; what one side lacks is left out of both."""
    generator = np.random.default_rng(0)
    steps = [(generator.normal(size=(2, 8, 10)), generator.normal(size=(2, 8, 10))) for _ in "abc"]
    steps[1][1][0, 2:6] = np.nan
    steps[2][0][1, :, 3] = np.nan

    def pairs() -> Iterator[tuple[Array, Array]]:
        yield from steps

    first, second = pooled_quantiles(pairs, ("a", "b"), 11)
    for side, got in enumerate((first, second)):
        for k in range(2):
            whole = [np.isfinite(step[0][k] + step[1][k]) for step in steps]
            pool = np.concatenate(
                [s[side][k][there] for s, there in zip(steps, whole, strict=True)]
            )
            assert pool.size == 240 - (40, 8)[k]
            expected = np.quantile(pool, np.linspace(0, 1, 11))
            np.testing.assert_allclose(got[k], expected, rtol=0, atol=1e-6)


def test_a_variable_without_values_is_refused() -> None:
    with pytest.raises(InputError, match="wind in the training period: expected some values"):
        pooled_quantiles(lambda: [(np.ones((1, 4)), np.full((1, 4), np.nan))], ("wind",), 5)
