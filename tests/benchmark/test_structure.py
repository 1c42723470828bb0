"""SSIM, MS-SSIM and PSNR against scikit-image, loops over windows, and known values."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmark.errors import InputError
from benchmark.families.structure import SMALLEST, SMALLEST_MS, psnr, ssim_sums

Field = NDArray[np.float32]
Array = NDArray[np.float64]


@pytest.fixture(autouse=True, params=["numba", "numpy"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)


def warm(seed: int, *shape: int) -> tuple[Field, Field]:
    """A smooth field near 285 K, and the same with noise."""
    generator = np.random.default_rng(seed)
    smooth = gaussian_filter(generator.normal(size=shape), (0, 3, 3))
    truth = (285 + 60 * smooth).astype(np.float32)
    return (truth + generator.normal(size=shape)).astype(np.float32), truth


def rain(seed: int, *shape: int) -> tuple[Field, Field]:
    """Two unrelated fields of rain, most of it zero."""
    fields = np.random.default_rng(seed).gamma(0.2, 3.0, (2, *shape)).astype(np.float32)
    fields[fields < 0.1] = 0
    return fields[0], fields[1]


def windows_of(field: Array) -> tuple[Array, Array]:
    """Every 11 x 11 window, (n, 11, 11), and the weights of its cells."""
    ny, nx = field.shape
    distance = np.arange(11) - 5
    square = distance[:, None] ** 2 + distance[None, :] ** 2
    weights = np.exp(-square / (2 * 1.5**2))
    boxes = [field[i : i + 11, j : j + 11] for i in range(ny - 10) for j in range(nx - 10)]
    return np.stack(boxes), weights / weights.sum()


def loop(p: Array, t: Array, extent: float) -> tuple[float, float]:
    """(mean SSIM, mean contrast-structure) of one step, window by window in two dimensions."""
    c1, c2 = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    (boxes_p, weights), (boxes_t, _) = windows_of(p), windows_of(t)
    ssim, contrast = [], []
    for x, y in zip(boxes_p, boxes_t, strict=True):
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
        both = (weights * (x - mx) * (y - my)).sum()
        contrast.append((2 * both + c2) / (vx + vy + c2))
        ssim.append((2 * mx * my + c1) / (mx**2 + my**2 + c1) * contrast[-1])
    return float(np.mean(ssim)), float(np.mean(contrast))


def halve(field: Array) -> Array:
    """Means of 2 x 2 cells, the odd rest left out."""
    ny, nx = field.shape[0] // 2, field.shape[1] // 2
    return np.array(
        [[field[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(nx)] for i in range(ny)]
    )


@pytest.mark.parametrize(
    ("fields", "low", "high"), [(warm, 240.0, 320.0), (warm, 0.0, 330.0), (rain, 0.0, 100.0)]
)
@pytest.mark.parametrize("shape", [(2, 44, 61), (1, 53, 171)])
def test_ssim_equals_scikit_image(fields, low, high, shape) -> None:  # type: ignore[no-untyped-def]
    """Its gaussian window cut at 3.5 sigma has 11 taps; it leaves a border of 5 cells out.

    171 columns have 161 windows: one more than the kernel's tile.
    """
    p, t = fields(1, *shape)
    found = ssim_sums(p, t, low=low, high=high)
    for k in range(len(p)):
        peer = structural_similarity(
            p[k].astype(np.float64) - low,
            t[k].astype(np.float64) - low,
            data_range=high - low,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert found["ssim"][k] == pytest.approx(peer, abs=3e-8)
    np.testing.assert_array_equal(found["whole"], 1)


@pytest.mark.parametrize(("fields", "low", "high"), [(warm, 240.0, 320.0), (rain, 0.0, 40.0)])
def test_both_equal_a_loop_over_windows(fields, low, high) -> None:  # type: ignore[no-untyped-def]
    """Three scales, with rows and columns left over at both halvings (47 -> 23 -> 11)."""
    p, t = fields(2, 1, 47, 54)
    a, b = (field[0].astype(np.float64) - low for field in (p, t))
    first = loop(a, b, high - low)
    second = loop(halve(a), halve(b), high - low)
    third = loop(halve(halve(a)), halve(halve(b)), high - low)
    found = ssim_sums(p, t, low=low, high=high)
    assert found["ssim"][0] == pytest.approx(first[0], abs=3e-8)
    expected = first[1] ** 0.2856 * second[1] ** 0.3001 * third[0] ** 0.2363
    assert found["ms_ssim"][0] == pytest.approx(expected, abs=1e-7)


def test_identical_fields_score_one() -> None:
    """Exactly 1 in float32 as well: the numerators are exactly 0."""
    _, t = warm(3, 2, 50, 64)
    for name, value in ssim_sums(t, t, low=240, high=320).items():
        np.testing.assert_allclose(value, 1, rtol=1e-14, err_msg=name)


def test_two_constant_fields_differ_by_luminance_alone() -> None:
    """20 K and 10 K above `low`, range 100 K: (2 20 10 + 1) / (20^2 + 10^2 + 1) = 401 / 501.

    Only the last scale of MS-SSIM has a luminance. Without `low` taken off, SSIM would be 0.999.
    """
    p = np.full((1, 44, 48), 270.0, np.float32)
    found = ssim_sums(p, p - 10, low=250, high=350)
    assert found["ssim"][0] == pytest.approx(401 / 501, rel=1e-7)
    assert found["ms_ssim"][0] == pytest.approx((401 / 501) ** 0.2363, rel=1e-7)


def test_a_negative_of_the_truth_is_clipped_in_ms_ssim_only() -> None:
    """A truth turned upside down: SSIM below 0, MS-SSIM 0 and not NaN."""
    _, t = warm(4, 1, 50, 50)
    found = ssim_sums(570 - t, t, low=280, high=290)
    assert found["ssim"][0] < -0.1
    assert found["ms_ssim"][0] == 0


def test_a_step_with_a_hole_does_not_count() -> None:
    """One missing cell in any place, corners included: sums 0, weight 0; the others unchanged."""
    p, t = warm(5, 4, 45, 46)
    expected = ssim_sums(p, t, low=240, high=320)
    holed = t.copy()
    holed[0, 0, 0] = holed[2, 44, 45] = np.nan
    found = ssim_sums(p, holed, low=240, high=320)
    for name in expected:
        np.testing.assert_array_equal(found[name][[0, 2]], 0, err_msg=name)
        np.testing.assert_array_equal(found[name][[1, 3]], expected[name][[1, 3]], err_msg=name)


def test_a_hole_in_the_prediction_is_never_hidden() -> None:
    """Predictions are refused before they are scored; here a NaN stays a NaN."""
    p, t = warm(6, 1, 45, 46)
    p[0, 20, 20] = np.nan
    found = ssim_sums(p, t, low=240, high=320)
    assert np.isnan(found["ssim"][0])
    assert found["whole"][0] == 1


def test_fields_that_are_too_small() -> None:
    """Below 11 cells no step counts; below 44 MS-SSIM is missing rather than of fewer scales."""
    assert (SMALLEST, SMALLEST_MS) == (11, 44)
    for shape, ssim, multiscale in (
        ((1, 10, 60), False, True),
        ((1, 11, 60), True, False),
        ((1, 60, 43), True, False),
        ((1, 44, 44), True, True),
    ):
        p, t = warm(7, *shape)
        found = ssim_sums(p, t, low=240, high=320)
        assert found["whole"][0] == ssim
        assert np.isfinite(found["ms_ssim"][0]) == multiscale
        assert np.isfinite(found["ssim"][0])


def test_the_range_is_fixed_not_that_of_the_image() -> None:
    """The same fields in a wider range look more alike."""
    p, t = warm(8, 1, 50, 50)
    narrow, wide = (ssim_sums(p, t, low=240, high=high)["ssim"][0] for high in (300, 400))
    assert wide > narrow + 0.01


def test_symmetric_and_transposable() -> None:
    """SSIM(p, t) = SSIM(t, p), and turning both fields changes nothing."""
    p, t = rain(9, 1, 48, 90)
    expected = ssim_sums(p, t, low=0, high=50)
    turned = [np.ascontiguousarray(field.transpose(0, 2, 1)) for field in (p, t)]
    for first, second in ((t, p), turned):
        found = ssim_sums(first, second, low=0, high=50)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-7, err_msg=name)


def test_steps_do_not_know_each_other() -> None:
    """Each step alone gives the same bits as among others."""
    p, t = warm(10, 3, 50, 61)
    together = ssim_sums(p, t, low=240, high=320)
    for k in range(3):
        alone = ssim_sums(p[k : k + 1], t[k : k + 1], low=240, high=320)
        for name in together:
            assert alone[name][0] == together[name][k], name


def test_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 in the kernel, float64 in numpy: 1e-7 for kelvin, rain, and a close prediction."""
    close = warm(12, 2, 70, 180)[1]
    cases = ((*warm(11, 2, 70, 180), 180.0, 330.0), (*rain(11, 2, 70, 180), 0.0, 200.0))
    for p, t, low, high in (*cases, (close + np.float32(0.01), close, 180.0, 330.0)):
        found = ssim_sums(p, t, low=low, high=high)
        with monkeypatch.context() as patched:
            patched.setenv("ELSEWHERE_ENGINE", "numpy")
            expected = ssim_sums(p, t, low=low, high=high)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, err_msg=name)


def test_bad_input_is_refused() -> None:
    """Other shapes, and a range without extent."""
    p, t = warm(13, 1, 20, 20)
    with pytest.raises(InputError, match="one shape"):
        ssim_sums(p, t[:, 1:], low=240, high=320)
    for low, high in ((320, 240), (1, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match="positive extent"):
            ssim_sums(p, t, low=low, high=high)
        with pytest.raises(InputError, match="positive extent"):
            psnr(1.0, data_range=high - low)


def test_psnr() -> None:
    """Range 10, MSE 1: 20 dB; scikit-image's value; infinite for a perfect prediction."""
    np.testing.assert_allclose(psnr([1.0, 0.1], data_range=10), [20, 30], rtol=1e-14)
    p, t = (field.astype(np.float64) for field in warm(14, 1, 20, 20))
    peer = peak_signal_noise_ratio(t, p, data_range=80)
    assert float(psnr(((p - t) ** 2).mean(), data_range=80)) == pytest.approx(peer, rel=1e-12)
    assert psnr(0.0, data_range=1) == np.inf
    assert np.isnan(psnr(np.nan, data_range=1))
