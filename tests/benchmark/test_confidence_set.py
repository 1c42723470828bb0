"""The model confidence set against another library, a slow twin and worked cases."""

import numpy as np
import pytest
from arch.bootstrap import MCS
from numpy.typing import NDArray

from benchmark.confidence_set import confidence_set, rank_groups
from benchmark.inference import day_draws

Array = NDArray[np.float64]


def world(seed: int, gaps: list[float], *, days: int = 300) -> tuple[Array, Array]:
    """(losses, resampled losses) of rows whose daily losses share their weather."""
    generator = np.random.default_rng(seed)
    daily = generator.normal(size=(days, 1)) + generator.normal(size=(days, len(gaps)))
    daily += np.array(gaps)
    draws = day_draws(days, block_days=5, seed="mcs", resamples=2000)
    assert draws is not None
    return daily.mean(axis=0), draws.counts @ daily / days


@pytest.mark.parametrize("seed", range(6))
def test_p_values_against_arch(seed: int) -> None:
    """Kevin Sheppard's `arch`, range statistic, circular blocks of the same length.

    Its draws are its own, so p values differ by the noise of 2000 resamples.
    """
    gaps, days = [0.0, 0.02, 0.05, 0.15, 0.4], 300
    generator = np.random.default_rng(seed)
    daily = generator.normal(size=(days, 1)) + generator.normal(size=(days, len(gaps)))
    daily += np.array(gaps)
    theirs = MCS(daily, 0.05, reps=2000, block_size=5, method="R", bootstrap="circular", seed=1)
    theirs.compute()
    expected = theirs.pvalues["Pvalue"].sort_index().to_numpy()
    losses, drawn = world(seed, gaps)
    np.testing.assert_allclose(losses, daily.mean(axis=0), rtol=1e-12)
    found = confidence_set(losses, drawn, np.ones(2000))
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert found.min() < 0.05, "some row is far behind"
    assert ((found > 0.05) & (found < 1)).any(), "and some is not"


def slow(losses: Array, drawn: Array, widths: Array) -> Array:
    """The definition, one pair and one resample at a time."""
    p, highest, left = np.ones(len(losses)), 0.0, list(range(len(losses)))
    while len(left) > 1:
        statistic, worst, maxima = -np.inf, -1, np.zeros(len(drawn))
        for i in left:
            for j in left:
                if i != j:
                    differences = drawn[:, i] - drawn[:, j]
                    error = np.sqrt(((differences - differences.mean()) ** 2).sum() / 1999)
                    gap = losses[i] - losses[j]
                    if gap / error > statistic:
                        statistic, worst = gap / error, i
                    for b in range(len(drawn)):
                        t = abs(differences[b] - gap) * widths[b] / error
                        maxima[b] = max(maxima[b], t)
        highest = max(highest, float((maxima >= statistic).mean()))
        p[worst] = highest
        left.remove(worst)
    return p


def test_p_values_against_the_definition() -> None:
    """The same draws give the same p values to the last digit."""
    losses, drawn = world(3, [0.0, 0.1, 0.12, 0.3])
    widths = np.random.default_rng(0).uniform(0.8, 1.6, 2000)
    np.testing.assert_array_equal(
        confidence_set(losses, drawn, widths), slow(losses, drawn, widths)
    )


def test_order_and_common_shifts_do_not_matter() -> None:
    """Rows in another order have the same p values, and so have losses of another reference."""
    losses, drawn = world(4, [0.3, 0.0, 0.1, 0.12])
    widths, order = np.ones(2000), np.array([2, 0, 3, 1])
    found = confidence_set(losses, drawn, widths)
    np.testing.assert_array_equal(
        confidence_set(losses[order], drawn[:, order], widths), found[order]
    )
    shift = np.random.default_rng(1).normal(size=(2000, 1))
    moved = confidence_set(losses + 7.0, drawn + 7.0 + shift, widths)
    np.testing.assert_allclose(moved, found, atol=2e-3)


def test_copies_and_multiples() -> None:
    """A row and its copy are never told apart; one that is 1 % worse on every day always is."""
    losses, drawn = world(5, [0.0])
    copies = np.repeat(drawn, 3, axis=1) + np.array([0.0, 0.0, 0.01])
    found = rank_groups(losses + np.array([0.0, 0.0, 0.01]), copies, np.ones(2000))
    assert found == [1, 1, 2]
    assert rank_groups(losses, drawn, np.ones(2000)) == [1]
    assert rank_groups(np.array([]), np.empty((2000, 0)), np.ones(2000)) == []


def test_groups_of_rows_far_apart() -> None:
    """Three tiers of two rows are three groups, whatever their order."""
    losses, drawn = world(8, [2.0, 0.0, 1.0, 0.0, 2.0, 1.0])
    assert rank_groups(losses, drawn, np.ones(2000)) == [3, 1, 2, 1, 3, 2]


def test_wider_deviations_tell_less_apart() -> None:
    """With few blocks deviations are widened, so that p values never fall."""
    losses, drawn = world(7, [0.0, 0.1, 0.2, 0.3])
    narrow = confidence_set(losses, drawn, np.ones(2000))
    wide = confidence_set(losses, drawn, np.full(2000, 1.5))
    assert (wide >= narrow).all()
    assert (wide > narrow).any()
