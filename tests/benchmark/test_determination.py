"""R2 against its definition on arrays, and where there is nothing to explain."""

import numpy as np
import pytest

from benchmark.determination import r2, r2_in_space


def fields() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(time, cell) predictions and truth whose steps differ in level, and cell weights."""
    rng = np.random.default_rng(1)
    level = rng.normal(280, 10, (30, 1))
    t = level + rng.normal(0, 2, (30, 50))
    return t + rng.normal(1, 1, (30, 50)), t, rng.uniform(0.5, 1, 50)


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean over all steps and cells."""
    return float((values * weights).sum() / (len(values) * weights.sum()))


def test_pooled_r2() -> None:
    """1 - sum of squares around the prediction over those around the mean."""
    p, t, w = fields()
    found = r2(mean((p - t) ** 2, w), mean(t, w), mean(t**2, w))
    around = ((t - mean(t, w)) ** 2 * w).sum()
    assert found == pytest.approx(1 - ((p - t) ** 2 * w).sum() / around, rel=1e-9)


def test_r2_of_anomalies_from_a_climatology() -> None:
    """p - c against t - c, from the truth's moments alone."""
    p, t, w = fields()
    c = np.random.default_rng(2).normal(280, 1, 50)
    found = r2(mean((p - t) ** 2, w), mean(t - c, w), mean((t - c) ** 2, w))
    anomaly = t - c
    around = ((anomaly - mean(anomaly, w)) ** 2 * w).sum()
    expected = 1 - (((p - c) - anomaly) ** 2 * w).sum() / around
    assert found == pytest.approx(expected, rel=1e-9)


def test_r2_in_space() -> None:
    """Each step's spatial mean is taken off both; a bias that is the same everywhere is free."""
    p, t, w = fields()
    step = {name: (x * w).sum(axis=1) / w.sum() for name, x in {"e": p - t, "t": t}.items()}
    arguments = (
        mean((p - t) ** 2, w),
        np.mean(step["e"] ** 2),
        mean(t**2, w),
        np.mean(step["t"] ** 2),
    )
    error, anomaly = p - t - step["e"][:, None], t - step["t"][:, None]
    expected = 1 - (error**2 * w).sum() / (anomaly**2 * w).sum()
    assert r2_in_space(*arguments) == pytest.approx(expected, rel=1e-8)
    pooled = r2(arguments[0], mean(t, w), arguments[2])
    assert float(r2_in_space(*arguments)) < float(pooled) - 0.1


def test_a_truth_that_does_not_vary_has_no_r2() -> None:
    """Constant (up to rounding), or constant within every step; NaN for an empty total."""
    assert np.isnan(r2(1.0, 300.0, 300.0**2 * (1 + 1e-15)))
    assert np.isnan(r2(0.0, 0.0, 0.0))
    assert np.isnan(r2(np.nan, np.nan, np.nan))
    assert np.isnan(r2_in_space(1.0, 0.5, 9e4, 9e4 * (1 - 1e-15)))
    np.testing.assert_array_equal(r2(np.zeros(2), np.zeros(2), np.array([0.0, 1.0])), [np.nan, 1])
