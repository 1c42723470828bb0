"""ORBIT-2's quantile RMSE against numpy.quantile and a worked field."""

import numpy as np
import pytest

from benchmark.orbit2 import orbit2_sums

LEVELS = {"68": 0.6827, "95": 0.9545, "99_7": 0.9973}


@pytest.mark.parametrize("shape", [(4, 30, 40), (3, 1, 1), (2, 1, 3), (1, 73, 137)])
def test_scores_are_their_definition(shape: tuple[int, ...]) -> None:
    """The RMSE of the pixels at or above the step's own quantile, with ties at zero.

    Of 73 * 137 = 10001 pixels, all three quantiles fall on a pixel.
    """
    rng = np.random.default_rng(1)
    p, t = (rng.gamma(0.5, 3, (2, *shape)) - 1).clip(0).astype(np.float32)
    found = orbit2_sums(p, t)
    for level, q in LEVELS.items():
        for k in range(len(t)):
            true = t[k].astype(np.float64)
            kept = true >= np.quantile(true, q)
            expected = np.sqrt(((p[k] - true)[kept] ** 2).mean())
            assert found[f"orbit2_quantile_rmse_{level}"][k] == pytest.approx(expected, rel=1e-6)


def test_errors_below_the_quantile_do_not_count() -> None:
    """Truth 0 to 99. At or above 0.6827 * 99 = 67.6 are 32 pixels, 0.9545: 5, 0.9973: 1."""
    t = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    p = t + np.where(t == 99, 3, np.where(t >= 68, 1, 1000)).astype(np.float32)
    found = orbit2_sums(p, t)
    assert found["orbit2_quantile_rmse_68"] == pytest.approx(np.sqrt((31 + 9) / 32))
    assert found["orbit2_quantile_rmse_95"] == pytest.approx(np.sqrt((4 + 9) / 5))
    assert found["orbit2_quantile_rmse_99_7"] == pytest.approx(3)


def test_a_dry_step_counts_every_pixel() -> None:
    """A quantile of 0 leaves nothing out: the plain RMSE."""
    t = np.zeros((1, 6, 6), np.float32)
    p = np.random.default_rng(2).random((1, 6, 6)).astype(np.float32)
    expected = np.sqrt((p.astype(np.float64) ** 2).mean())
    assert orbit2_sums(p, t)["orbit2_quantile_rmse_99_7"] == pytest.approx(expected)


def test_a_step_with_a_missing_truth_does_not_count() -> None:
    """Zero in all sums; the other steps as without it; the fields are left alone."""
    p, t = np.random.default_rng(3).random((2, 3, 8, 9)).astype(np.float32)
    before = orbit2_sums(p, t)
    t[1, 2, 2] = np.nan
    kept = p.copy(), t.copy()
    found = orbit2_sums(p, t)
    np.testing.assert_array_equal(found["whole"], [1, 0, 1])
    for name, values in found.items():
        assert values[1] == 0
        np.testing.assert_array_equal(values[[0, 2]], before[name][[0, 2]])
    np.testing.assert_array_equal([p, t], kept)
