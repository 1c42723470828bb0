"""Structure functions against loops over pairs, ramps and the variogram's definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.structure_functions import (
    structure_distance,
    structure_function,
    structure_ratio,
    structure_sums,
)

Array = NDArray[np.float64]
Fields = NDArray[np.float32]
LAGS = (1, 2, 4, 8, 16)


@pytest.fixture(params=["numba", "numpy"], autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)


def fields(seed: int, *shape: int, missing: float = 0.0) -> tuple[Fields, Fields]:
    """p and t of float32 noise about 280, the truth with missing cells."""
    rng = np.random.default_rng(seed)
    p, t = (280 + 5 * rng.standard_normal((2, *shape))).astype(np.float32)
    t[rng.random(shape) < missing] = np.nan
    return p, t


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(2, 9, 14), (1, 17, 5)])
def test_sums_equal_a_loop_over_pairs(shape: tuple[int, int, int], missing: float) -> None:
    """Every pair by its own, in python numbers; a lag as long as the side has none."""
    p, t = fields(1, *shape, missing=missing)
    expected = np.zeros((3, shape[0], 2, len(LAGS)))
    for number, lag in enumerate(LAGS):
        for step, i, j in np.ndindex(shape):
            for axis, (y, x) in enumerate(((i + lag, j), (i, j + lag))):
                if y >= shape[1] or x >= shape[2]:
                    continue
                dp = float(p[step, y, x]) - float(p[step, i, j])
                dt = float(t[step, y, x]) - float(t[step, i, j])
                if dt == dt:
                    expected[:, step, axis, number] += (dp * dp, dt * dt, 1)
    found = structure_sums(p, t, LAGS)
    np.testing.assert_allclose(found["structure_p"], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found["structure_t"], expected[1], rtol=1e-6)
    np.testing.assert_array_equal(found["structure_pairs"], expected[2])


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_a_ramp_has_the_square_of_its_rise(missing: float) -> None:
    """f = a y + b x in km: S2(r) = (a r)^2 along y and (b r)^2 along x, under any mask."""
    dy, dx = 4.0, 2.0
    y, x = np.arange(20)[:, None] * dy, np.arange(24)[None, :] * dx
    ramp = (0.5 * y + 0.25 * x)[None].astype(np.float32)
    _, mask = fields(2, 1, 20, 24, missing=missing)
    truth = np.where(np.isnan(mask), np.float32(np.nan), ramp)
    sums = structure_sums(3 * ramp, truth, LAGS)
    lags = np.array(LAGS)
    expected = np.stack([(0.5 * lags * dy) ** 2, (0.25 * lags * dx) ** 2])
    found = structure_function(sums["structure_t"][0], sums["structure_pairs"][0])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    ratio = structure_ratio(sums["structure_p"][0], sums["structure_t"][0])
    np.testing.assert_allclose(ratio, 3, rtol=1e-12)
    distance = structure_distance(sums["structure_p"], sums["structure_t"])
    np.testing.assert_allclose(distance, [10 * np.log10(9)], rtol=1e-12)


def test_white_noise_has_twice_its_variance_at_every_lag() -> None:
    """Cells that know nothing of each other: S2 = 2 var."""
    p, t = fields(3, 40, 48, 48, missing=0.2)
    sums = {name: value.sum(axis=0) for name, value in structure_sums(p, t, LAGS).items()}
    found = structure_function(sums["structure_t"], sums["structure_pairs"])
    np.testing.assert_allclose(found, 2 * 25, rtol=0.03)
    assert structure_distance(sums["structure_p"], sums["structure_t"]) < 0.2


def test_a_wave_of_one_lag_is_invisible_and_of_two_is_whole() -> None:
    """cos(2 pi x / 8): no difference 8 cells on, and the largest, 4 times its power, 4 cells on."""
    wave = np.cos(2 * np.pi * np.arange(64) / 8) + np.zeros((1, 16, 1))
    t = wave.astype(np.float32)
    sums = structure_sums(t, t, (4, 8))
    found = structure_function(sums["structure_t"][0], sums["structure_pairs"][0])
    np.testing.assert_allclose(found[1], [4 * 0.5, 0], rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(found[0], [0.0, 0.0 if wave.shape[1] > 8 else np.nan])


def test_what_p_says_under_the_mask_does_not_count() -> None:
    """Not even NaN."""
    p, t = fields(4, 2, 12, 15, missing=0.3)
    hidden = np.where(np.isnan(t), np.float32(np.nan), p)
    changed = np.where(np.isnan(t), np.float32(1e30), p)
    expected = structure_sums(p, t, LAGS)
    for other in (hidden, changed):
        for name, value in structure_sums(other, t, LAGS).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-9, with and without missing cells."""
    for missing in (0.0, 0.3):
        p, t = fields(5, 3, 33, 47, missing=missing)
        here = structure_sums(p, t, LAGS)
        with monkeypatch.context() as patch:
            patch.setenv("ELSEWHERE_ENGINE", "numpy")
            for name, value in structure_sums(p, t, LAGS).items():
                np.testing.assert_allclose(here[name], value, rtol=1e-12, err_msg=name)


def test_a_step_does_not_depend_on_its_chunk() -> None:
    """Together or alone, contiguous or not: the same bits."""
    p, t = fields(6, 4, 13, 21, missing=0.1)
    together = structure_sums(p, t, LAGS)
    scattered = np.stack([p, t], axis=-1)
    apart = structure_sums(scattered[..., 0], scattered[..., 1], LAGS)
    for step in range(4):
        alone = structure_sums(p[step : step + 1], t[step : step + 1], LAGS)
        for name in together:
            np.testing.assert_array_equal(alone[name][0], together[name][step])
            np.testing.assert_array_equal(apart[name][step], together[name][step])


def test_nothing_to_compare_is_missing() -> None:
    """No truth, or a truth that does not vary: NaN, never 0 dB."""
    p, t = fields(7, 1, 8, 8)
    nothing = structure_sums(p, np.full_like(t, np.nan), LAGS)
    for value in nothing.values():
        assert (value == 0).all()
    dry = structure_sums(p, np.zeros_like(t), LAGS)
    for sums in (nothing, dry):
        assert np.isnan(structure_ratio(sums["structure_p"], sums["structure_t"])).all()
        assert np.isnan(structure_distance(sums["structure_p"], sums["structure_t"])).all()
    assert np.isnan(structure_function(nothing["structure_t"], nothing["structure_pairs"])).all()


def test_distance_by_hand() -> None:
    """+10, -10, +10 dB and one lag without pairs: 10 dB."""
    p, t = np.array([[10.0, 0.1], [5.0, 0.0]]), np.array([[1.0, 1.0], [0.5, 0.0]])
    assert structure_distance(p, t) == pytest.approx(10, rel=1e-12)
    np.testing.assert_allclose(
        structure_ratio(p, t), np.sqrt([[10, 0.1], [10, np.nan]]), rtol=1e-12
    )


def test_wrong_input_is_refused() -> None:
    """Shapes, types and lags that make no pairs."""
    p, t = fields(8, 2, 8, 8)
    for first, second, lags in (
        (p[:1], t, LAGS),
        (p[0], t[0], LAGS),
        (p.astype(np.float64), t, LAGS),
        (p, t.astype(np.float64), LAGS),
        (p, t, (1, 0)),
        (p, t, (-1,)),
    ):
        with pytest.raises(InputError):
            structure_sums(first, second, lags)  # type: ignore[arg-type]
