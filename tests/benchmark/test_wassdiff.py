"""WassDiff's tail scores against numpy.percentile, pixel by pixel counts and worked fields."""

import numpy as np
import pytest

from benchmark.wassdiff import wassdiff_sums

Field = np.ndarray


def rain(seed: int, shape: tuple[int, ...] = (5, 30, 40)) -> Field:
    """Daily rain, mm d-1, some above 56."""
    return (np.random.default_rng(seed).gamma(0.3, 40, shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 30, 40), (3, 1, 1), (2, 1, 2), (4, 25, 40), (2, 37, 54)])
def test_scores_are_their_definitions(shape: tuple[int, ...]) -> None:
    """Step by step; sizes where the percentile falls on a pixel, between two, on the largest."""
    p, t = rain(1, shape), rain(2, shape)
    found = wassdiff_sums(p, t)
    for k in range(len(t)):
        heavier = int((p[k] >= 56).sum()) - int((t[k] >= 56).sum())
        assert found["wassdiff_hrre"][k] == abs(heavier)
        peaks = [np.percentile(field[k].astype(np.float64), 99.9) for field in (p, t)]
        assert found["wassdiff_mppe"][k] == pytest.approx(abs(peaks[0] - peaks[1]), rel=1e-9)
    assert all(values.dtype == np.float64 for values in found.values())
    np.testing.assert_array_equal(found["whole"], np.ones(len(t)))


def test_exactly_56_is_heavy_and_place_does_not_matter() -> None:
    """Three heavy pixels against one, elsewhere; the same three, elsewhere."""
    p, t = np.zeros((2, 1, 10, 10), np.float32)
    p[0, 0, :3] = 56, 57, 300
    t[0, 9, 9] = 55.999996
    t[0, 5, 5] = 56
    assert wassdiff_sums(p, t)["wassdiff_hrre"] == 2
    moved = np.roll(p, (4, 4), axis=(1, 2))
    np.testing.assert_array_equal(wassdiff_sums(p, moved)["wassdiff_hrre"], 0)
    np.testing.assert_array_equal(wassdiff_sums(p, moved)["wassdiff_mppe"], 0)


def test_the_peak_is_between_the_two_largest_of_100_pixels() -> None:
    """0.999 * 99 = 98.901: 0.099 of the second largest, 0.901 of the largest; no sign."""
    p, t = np.zeros((2, 2, 10, 10), np.float32)
    p[0, 2, 3], p[0, 4, 4] = 10, 20
    t[1, 2, 3], t[1, 4, 4] = 10, 20
    peak = 0.099 * 10 + 0.901 * 20
    np.testing.assert_allclose(wassdiff_sums(p, t)["wassdiff_mppe"], [peak, peak], rtol=1e-12)


def test_a_step_with_a_missing_truth_does_not_count() -> None:
    """Zero in all three sums; the other steps as without it."""
    p, t = rain(3), rain(4)
    whole = wassdiff_sums(p, t)
    t[2, 0, 0] = np.nan
    found = wassdiff_sums(p, t)
    for name, values in found.items():
        assert values[2] == 0
        np.testing.assert_array_equal(np.delete(values, 2), np.delete(whole[name], 2))
    nothing = wassdiff_sums(p, np.full_like(t, np.nan))
    assert all((values == 0).all() for values in nothing.values())


def test_the_fields_are_left_alone() -> None:
    """Partitioning is done on copies."""
    p, t = rain(5), rain(6)
    before = p.copy(), t.copy()
    wassdiff_sums(p, t)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(t, before[1])
