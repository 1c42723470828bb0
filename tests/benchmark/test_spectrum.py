"""Spectra and their metrics against analytic waves, explicit cosine sums and worked numbers."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft, stats

from benchmark import spectral_metrics as metrics
from benchmark.errors import InputError
from benchmark.families.spectrum import Rings, ganvsdiffusion_ralsd_sums, spectral_sums

Array = NDArray[np.float64]
Fields = NDArray[np.float32]


@pytest.fixture(params=["numba", "numpy"], autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)


def noise(seed: int, *shape: int, mean: float = 0.0) -> Fields:
    """White noise, float32."""
    return (mean + np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def one_ring(field: Array, rings: Rings) -> int:
    """The number of the ring that holds all but 1e-9 of a field's power."""
    fields = field[None].astype(np.float32)
    power = spectral_sums(fields, fields, rings)["power_t"][0]
    assert power.max() > (1 - 1e-9) * power.sum()
    return int(power.argmax()) + 1


# 64 x 128 cells of 3 x 2 km: sides of 192 and 256 km, so rings of 1 / 512 cycles per km.
ANISOTROPIC = Rings.on(64, 128, dy_km=3, dx_km=2)
Y, X = (np.arange(64)[:, None] + 0.5) * 3, (np.arange(128)[None, :] + 0.5) * 2


@pytest.mark.parametrize(("wavelength", "ring"), [(64, 8), (32, 16), (16, 32), (12.8, 40)])
def test_a_wavelength_has_one_ring_along_y_and_x(wavelength: float, ring: int) -> None:
    """The same km, the same ring, though it is another index and another number of cells."""
    for distance in (Y + 0 * X, X + 0 * Y):
        wave = np.cos(2 * np.pi * distance / wavelength)
        assert one_ring(wave, ANISOTROPIC) == ring
    assert ANISOTROPIC.k[ring - 1] == pytest.approx(1 / wavelength, rel=1e-12)


def test_an_oblique_wave_has_the_nearest_ring() -> None:
    """3 half waves along y and 9 along x: k = sqrt(4^2 + 9^2) / 512 = 9.85 / 512, so ring 10."""
    wave = np.cos(np.pi * 3 * Y / 192) * np.cos(np.pi * 9 * X / 256)
    assert one_ring(wave, ANISOTROPIC) == 10


@pytest.mark.parametrize("phase", [0.3, 1.1, np.pi / 2, 2.0])
def test_waves_of_any_phase_peak_within_one_coefficient(phase: float) -> None:
    """A sine's power goes to the two cosines beside it: 11 and 13 half waves instead of 12."""
    for distance, one in ((Y + 0 * X, 512 / 384), (X + 0 * Y, 1)):
        wave = np.cos(2 * np.pi * distance / 32 + phase)[None].astype(np.float32)
        power = spectral_sums(wave, wave, ANISOTROPIC)["power_t"][0]
        assert abs(power.argmax() + 1 - 16) <= one
        near = abs(ANISOTROPIC.k * 512 - 16) < 3
        assert power[near].sum() > 0.8 * power.sum()


def test_rings_hold_every_coefficient_once() -> None:
    """Up to the smaller Nyquist wavenumber (1 / 6 per km), and nothing else."""
    i, j = np.arange(64)[:, None], np.arange(128)[None, :]
    k = np.hypot(i / 384, j / 512)
    dropped = (k > 1 / 6).sum() / (64 * 128 - 1)
    assert ANISOTROPIC.dropped == pytest.approx(dropped, rel=1e-12)
    assert ANISOTROPIC.finest_km == 6
    ring = ANISOTROPIC.group.reshape(64, 128) % 86 + 1
    kept = (k <= 1 / 6) & (k > 0)
    assert abs(k * 512 - ring)[kept].max() <= 0.5 + 1e-9
    assert (ring[~kept & (k > 0)] == 86).all()
    assert sorted(ANISOTROPIC.order) == list(range(1, 64 * 128))
    assert ANISOTROPIC.starts[-1] == len(ANISOTROPIC.order)
    assert len(ANISOTROPIC.k) == 85  # round(512 / 6)
    # A quarter disc in a square.
    square = Rings.on(200, 200, dy_km=1, dx_km=1)
    assert square.dropped == pytest.approx(1 - np.pi / 4, abs=0.005)


@pytest.mark.parametrize("shape", [(32, 48), (33, 20), (16, 16)])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_rings_and_dropped_add_up_to_the_variance(shape: tuple[int, int], mean: float) -> None:
    """Parseval, also for 300 K fields, whose squares have no digits left in float32."""
    p, t = noise(1, 3, *shape, mean=mean), noise(2, 3, *shape, mean=mean)
    sums = spectral_sums(p, t, Rings.on(*shape, dy_km=25, dx_km=18))
    for name, field in (("p", p), ("t", t)):
        total = sums[f"power_{name}"].sum(axis=1) + sums[f"dropped_{name}"]
        np.testing.assert_allclose(total, field.astype(np.float64).var(axis=(1, 2)), rtol=2e-6)
    np.testing.assert_array_equal(sums["whole"], 1)


def test_sums_equal_explicit_cosine_sums() -> None:
    """A 6 x 5 grid of 2 x 3 km, every coefficient as its double sum of cosines."""
    p, t = noise(3, 1, 6, 5).astype(np.float32), noise(4, 1, 6, 5)
    sides = 12.0, 15.0
    expected = {name: np.zeros(5) for name in ("power_p", "power_t", "cross")}
    dropped, band = 0.0, 0.0
    for i, j in product(range(6), range(5)):
        if (i, j) == (0, 0):
            continue
        norm = np.sqrt((2 - (i == 0)) * (2 - (j == 0)) / 30)
        pair = [
            norm
            * sum(
                float(f[0, y, x])
                * np.cos(np.pi * i * (2 * y + 1) / 12)
                * np.cos(np.pi * j * (2 * x + 1) / 10)
                for y, x in product(range(6), range(5))
            )
            for f in (p, t)
        ]
        k = np.hypot(i / (2 * sides[0]), j / (2 * sides[1]))
        # The highest modes: 0.9 of a side is less than one coefficient from its end.
        band += (i == 5 or j == 4) * pair[0] ** 2 / 30
        if k > 1 / 6:
            dropped += pair[0] ** 2 / 30
            continue
        ring = int(np.floor(k * 30 + 0.5))
        expected["power_p"][ring - 1] += pair[0] ** 2 / 30
        expected["power_t"][ring - 1] += pair[1] ** 2 / 30
        expected["cross"][ring - 1] += pair[0] * pair[1] / 30
    found = spectral_sums(p, t, Rings.on(6, 5, dy_km=2, dx_km=3))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][0], values, rtol=2e-5, atol=1e-7, err_msg=name)
    assert found["dropped_p"][0] == pytest.approx(dropped, rel=1e-5)
    assert found["nyquist_p"][0] == pytest.approx(band, rel=1e-5)


def test_white_noise_is_white() -> None:
    """Each coefficient of unit noise has the power 1 / (ny nx); p and t are not coherent."""
    p, t = noise(5, 300, 24, 40), noise(6, 300, 24, 40)
    rings = Rings.on(24, 40, dy_km=10, dx_km=10)
    sums = {name: value.mean(axis=0) for name, value in spectral_sums(p, t, rings).items()}
    nb = len(rings.k)
    count = np.bincount(rings.group % (nb + 1))[:nb] - (np.arange(nb) == 0)  # the mean is in 0
    share = sums["power_t"] * 24 * 40 / count
    assert abs(share - 1).max() < 0.25
    assert np.average(share, weights=count) == pytest.approx(1, abs=0.01)
    assert abs(metrics.coherence(sums["power_p"], sums["power_t"], sums["cross"])) < 0.02


def test_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-9, on fields with a mean of 300 and a steep spectrum."""
    p = np.cumsum(np.cumsum(noise(7, 4, 40, 56), axis=1), axis=2) + np.float32(300)
    t = (p + noise(8, 4, 40, 56)).astype(np.float32)
    rings = Rings.on(40, 56, dy_km=27, dx_km=21)
    here = spectral_sums(p, t, rings)
    monkeypatch.setenv("ELSEWHERE_ENGINE", "numpy")
    for name, value in spectral_sums(p, t, rings).items():
        scale = abs(value).max()
        np.testing.assert_allclose(here[name], value, rtol=1e-9, atol=1e-12 * scale, err_msg=name)


def test_a_step_does_not_depend_on_its_chunk() -> None:
    """Together or alone, contiguous or not: the same bits."""
    p, t = noise(9, 5, 17, 23), noise(10, 5, 17, 23)
    rings = Rings.on(17, 23, dy_km=9, dx_km=9)
    together = spectral_sums(p, t, rings)
    scattered = np.stack([p, t], axis=-1)
    apart = spectral_sums(scattered[..., 0], scattered[..., 1], rings)
    for step in range(5):
        alone = spectral_sums(p[step : step + 1], t[step : step + 1], rings)
        for name in together:
            np.testing.assert_array_equal(alone[name][0], together[name][step])
            np.testing.assert_array_equal(apart[name][step], together[name][step])


def test_an_incomplete_truth_has_no_spectrum() -> None:
    """One missing cell: zeros and no weight, and the other steps are as without it."""
    p, t = noise(11, 3, 12, 16), noise(12, 3, 12, 16)
    rings = Rings.on(12, 16, dy_km=5, dx_km=5)
    complete = spectral_sums(p, t, rings)
    t[1, 4, 7] = np.nan
    for name, value in spectral_sums(p, t, rings).items():
        assert (value[1] == 0).all(), name
        np.testing.assert_array_equal(value[[0, 2]], complete[name][[0, 2]])


def smooth(seed: int, size: int) -> Array:
    """Red noise with hardly any power near two-cell waves."""
    i, j = np.mgrid[:size, :size]
    damping = 1 / (1 + (i + j) ** 2)
    coefficients = np.random.default_rng(seed).standard_normal((size, size)) * damping
    return np.asarray(fft.idctn(coefficients, norm="ortho")) * size


@pytest.mark.parametrize("pattern", ["checkerboard", "columns", "rows"])
@pytest.mark.parametrize("size", [64, 65])
def test_artefacts_of_two_cells_show_at_nyquist(pattern: str, size: int) -> None:
    """A checkerboard of 2 % of the standard deviation, and stripes as of strided convolutions."""
    truth = smooth(13, size)
    sign_y, sign_x = (-1.0) ** np.arange(size)[:, None], (-1.0) ** np.arange(size)[None, :]
    board = {"checkerboard": sign_y * sign_x, "columns": sign_x + 0 * sign_y,
             "rows": sign_y + 0 * sign_x}[pattern]  # fmt: skip
    t = truth[None].astype(np.float32)
    # Stripes that only appear where the field is, as those of transposed convolutions do.
    board = board * (1 if pattern == "checkerboard" else truth / truth.std())
    p = (truth + 0.02 * truth.std() * board)[None].astype(np.float32)
    sums = spectral_sums(p, t, Rings.on(size, size, dy_km=10, dx_km=10))
    added = sums["nyquist_p"][0] - sums["nyquist_t"][0]
    energy = (0.02 * truth.std()) ** 2 * (board**2).mean()
    assert 0.8 * energy < added < 1.1 * energy
    assert metrics.nyquist_excess(sums["nyquist_p"], sums["nyquist_t"])[0] > 10
    assert abs(metrics.nyquist_excess(sums["nyquist_t"], sums["nyquist_t"])[0]) < 1e-12


def test_wrong_input_is_refused() -> None:
    """Shapes, types and grids that have no spectrum."""
    rings = Rings.on(8, 8, dy_km=1, dx_km=1)
    fields = noise(14, 2, 8, 8)
    for p, t in (
        (fields[:, :7], fields),
        (fields[:, :7], fields[:, :7]),
        (fields[0], fields[0]),
        (fields.astype(np.float64), fields),
        (fields, fields.astype(np.float64)),
    ):
        with pytest.raises(InputError):
            spectral_sums(p, t, rings)  # type: ignore[arg-type]
    for ny, dy in ((1, 1.0), (8, 0.0), (8, np.nan), (8, np.inf), (8, -1.0)):
        with pytest.raises(InputError):
            Rings.on(ny, 8, dy_km=dy, dx_km=1)
    with pytest.raises(InputError):
        ganvsdiffusion_ralsd_sums(fields, fields[:1])


@pytest.mark.parametrize("shape", [(40, 50), (31, 24), (17, 33)])
def test_ralsd_equals_binned_full_transforms(shape: tuple[int, int]) -> None:
    """scipy's binned_statistic over the whole plane of numpy's FFT, field by field."""
    p, t = noise(15, 3, *shape, mean=5) ** 2, noise(16, 3, *shape, mean=5)
    found = ganvsdiffusion_ralsd_sums(p, t)
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]).ravel()
    edges = np.arange(0, 0.52, 0.02)
    for name, fields in (("ralsd_p", p), ("ralsd_t", t)):
        for step, field in enumerate(fields.astype(np.float64)):
            standard = (field - field.mean()) / field.std()
            power = abs(np.fft.fft2(standard)).ravel() ** 2 / field.size
            mean = stats.binned_statistic(k, power, bins=edges).statistic
            np.testing.assert_allclose(
                found[name][step], np.nan_to_num(mean), rtol=1e-9, atol=1e-12
            )
    spectra = found["ralsd_p"].sum(axis=0), found["ralsd_t"].sum(axis=0)
    both = (spectra[0] > 1e-9) & (spectra[1] > 1e-9)
    decibel = 10 * np.log10(spectra[0][both] / spectra[1][both])
    value = metrics.ganvsdiffusion_ralsd(spectra[0][both], spectra[1][both])
    assert value == pytest.approx(np.sqrt((decibel**2).mean()), rel=1e-12)


def test_ralsd_sees_neither_scale_nor_dry_days() -> None:
    """Standardised: 3 p + 7 is p. A constant or incomplete field does not count."""
    p, t = noise(17, 4, 20, 20), noise(18, 4, 20, 20)
    t[1], p[2] = 0.1, 273.15
    t[3, 0, 0] = np.nan
    found = ganvsdiffusion_ralsd_sums(p, t)
    np.testing.assert_array_equal(found["ralsd_steps"], [1, 0, 0, 0])
    assert (found["ralsd_p"][1:] == 0).all()
    assert (found["ralsd_t"][1:] == 0).all()
    scaled = ganvsdiffusion_ralsd_sums((3 * p + 7).astype(np.float32), t)
    np.testing.assert_allclose(scaled["ralsd_p"][0], found["ralsd_p"][0], rtol=1e-4, atol=1e-9)


def test_log_spectral_distance() -> None:
    """Worked: 10 times and 1/10 of the power are +10 and -10 dB, so 10 dB; equal is 0."""
    t = np.array([[4.0, 2.0, 1.0], [4.0, 2.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    p = np.array([[40.0, 0.2, 10.0], [4.0, 2.0, 1.0], [1.0, 1.0, 0.0], [100.0, 3.0, 0.0]])
    np.testing.assert_allclose(metrics.log_spectral_distance(p, t), [10, 0, np.nan, 20], rtol=1e-12)
    # Of the summed spectra: two steps whose distances are +10 and -10 dB are not 10 dB apart.
    p, t = np.array([[10.0], [1.0]]), np.array([[1.0], [10.0]])
    assert metrics.log_spectral_distance(p.sum(axis=0), t.sum(axis=0)) == 0


def test_effective_resolution() -> None:
    """Worked by hand, rings at k = 0.1, 0.2, 0.3, 0.4 per km; ratios from large to small scales."""
    k = np.array([0.1, 0.2, 0.3, 0.4])
    nan = np.nan
    cases = [
        ([1.0, 0.95, 0.55, 0.9], 1 / 0.25),  # 0.95 to 0.55 crosses 0.75 half-way
        ([1.0, 0.75, 0.5, 0.1], 1 / 0.2),  # 0.75 itself still counts as resolved
        ([1.0, 0.8, 0.9, 0.75], 2.2),  # never below: two cells
        ([0.7, 1.0, 1.0, 1.0], 1 / 0.1),  # already at the first ring
        ([1.0, nan, 0.5, 0.1], 1 / 0.2),  # from ring 1 to ring 3, half-way
        ([nan, 0.5, 1.0, 1.0], 1 / 0.2),  # the first ring that is known
        ([nan, nan, nan, nan], nan),
        ([1.0, 1.0, 0.8, 0.0], 1 / (0.3 + 0.1 * 0.05 / 0.8)),
    ]
    ratio = np.array([case[0] for case in cases])
    t = np.where(np.isnan(ratio), 0.0, 8.0)
    p = np.where(np.isnan(ratio), 3.0, ratio * 8)
    found = metrics.effective_resolution(p, t, k=k, finest_km=2.2)
    np.testing.assert_allclose(found, [case[1] for case in cases], rtol=1e-12)
    again = metrics.effective_resolution(p.reshape(2, 4, 4), t.reshape(2, 4, 4), k=k, finest_km=2.2)
    np.testing.assert_array_equal(again.ravel(), found)
    # Nothing finer than two cells, though the last ring's centre may lie a little beyond.
    last = metrics.effective_resolution(np.array([1, 1, 1, 0.7]), np.ones(4), k=k, finest_km=2.9)
    assert last == 2.9


def test_effective_resolution_of_a_known_filter() -> None:
    """Amplitudes damped by 1 / (1 + (k / k0)^2): Pp / Pt = 0.75 at k = k0 sqrt(sqrt(4/3) - 1)."""
    size, width, cutoff = 128, 1 / (2 * 128 * 2), 0.05
    i, j = np.mgrid[:size, :size]
    coefficients = np.random.default_rng(19).standard_normal((size, size))
    damped = coefficients / (1 + (np.hypot(i, j) * width / cutoff) ** 2)
    t, p = (fft.idctn(c, norm="ortho")[None].astype(np.float32) for c in (coefficients, damped))
    rings = Rings.on(size, size, dy_km=2, dx_km=2)
    sums = spectral_sums(p, t, rings)
    found = metrics.effective_resolution(
        sums["power_p"], sums["power_t"], k=rings.k, finest_km=rings.finest_km
    )
    assert found[0] == pytest.approx(1 / (cutoff * np.sqrt(np.sqrt(4 / 3) - 1)), rel=0.01)


def test_coherence() -> None:
    """1 for the same field at any amplitude, -1 for its negative, by power in between."""
    t = noise(20, 1, 16, 16)
    rings = Rings.on(16, 16, dy_km=1, dx_km=1)
    for factor, expected in ((3.0, 1), (-0.5, -1)):
        sums = spectral_sums((factor * t).astype(np.float32), t, rings)
        parts = sums["power_p"], sums["power_t"], sums["cross"]
        np.testing.assert_allclose(metrics.ring_coherence(*parts), expected, rtol=1e-5)
        np.testing.assert_allclose(metrics.coherence(*parts), expected, rtol=1e-5)
    # sqrt(4 x 9) = 6 and sqrt(1 x 4) = 2: (3 + 2) / 8; the empty ring counts nowhere.
    p, t64, cross = (np.array(v) for v in ([4.0, 1.0, 0.0], [9.0, 4.0, 0.0], [3.0, 2.0, 0.0]))
    assert metrics.coherence(p, t64, cross) == 5 / 8
    np.testing.assert_array_equal(metrics.ring_coherence(p, t64, cross), [0.5, 1.0, np.nan])
    assert np.isnan(metrics.coherence(0 * p, t64, 0 * cross))


def test_the_error_split_is_exact() -> None:
    """Amplitude and decorrelation add up to the error's own power, to 1e-12, in float64."""
    rng = np.random.default_rng(21)
    rings = Rings.on(20, 30, dy_km=3, dx_km=2)
    nb = len(rings.k)
    p, t = rng.standard_normal((2, 4, 20, 30))
    p[:, ::2] = 0.6 * t[:, ::2]

    def by_ring(first: Array, second: Array) -> Array:
        a, b = (fft.dctn(f, axes=(1, 2), norm="ortho").reshape(4, -1) for f in (first, second))
        labels = np.where(rings.group == 2 * (nb + 1), nb, rings.group % (nb + 1))
        return sum(np.bincount(labels, row, minlength=nb + 1)[:nb] for row in a * b / 600)

    spectra = by_ring(p, p), by_ring(t, t)
    cross, steps = by_ring(p, t), np.array(4.0)
    amplitude = metrics.amplitude_error(*spectra, steps=steps)
    decorrelation = metrics.decorrelation_error(*spectra, cross, steps=steps)
    error = by_ring(p - t, p - t).sum() / 4
    assert amplitude + decorrelation == pytest.approx(error, rel=1e-12)
    assert metrics.amse(*spectra, cross, steps=steps) > error
    # And of the engine's sums: float32 transforms of complete fields.
    sums = spectral_sums(p.astype(np.float32), t.astype(np.float32), rings)
    totals = [sums[name].sum(axis=0) for name in ("power_p", "power_t", "cross")]
    found = metrics.amplitude_error(*totals[:2], steps=steps)
    found = found + metrics.decorrelation_error(*totals, steps=steps)
    assert found == pytest.approx(error, rel=1e-5)


def test_amse_by_hand() -> None:
    """Pp = 4, Pt = 16, C = 4 (coherence 1/2): amplitude 4, decorrelation 8, AMSE 4 + 16."""
    p, t, cross, steps = (np.array(v) for v in ([4.0], [16.0], [4.0], 2.0))
    assert metrics.amplitude_error(p, t, steps=steps) == 4 / 2
    assert metrics.decorrelation_error(p, t, cross, steps=steps) == 8 / 2
    assert metrics.amse(p, t, cross, steps=steps) == 20 / 2
    # A ring that p leaves empty: amplitude 16, and its waves count as misplaced, 2 x 16.
    assert metrics.amse(0 * p, t, 0 * cross, steps=steps) == 48 / 2
    assert metrics.amse(0 * p, 0 * t, 0 * cross, steps=steps) == 0
    empty = np.array(0.0)
    for value in (
        metrics.amplitude_error(p, t, steps=empty),
        metrics.decorrelation_error(p, t, cross, steps=empty),
        metrics.amse(p, t, cross, steps=empty),
    ):
        assert np.isnan(value)


def test_smoothing_pays_in_mse_but_not_in_amse() -> None:
    """A damped forecast with the same coherence has the lower MSE and the higher AMSE."""
    t, cross, steps = np.array([1.0]), np.array([0.4]), np.array(1.0)
    sharp, damped = np.array([1.0]), np.array([0.16])

    def mse(p: Array, c: Array) -> float:
        total = metrics.amplitude_error(p, t, steps=steps)
        return float(total + metrics.decorrelation_error(p, t, c, steps=steps))

    assert mse(damped, 0.4 * cross) < mse(sharp, cross)
    assert metrics.amse(damped, t, 0.4 * cross, steps=steps) > metrics.amse(
        sharp, t, cross, steps=steps
    )


def test_nyquist_excess() -> None:
    """Twice the power is 3 dB; nothing to compare is missing."""
    p, t = np.array([2.0, 0.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    expected = [10 * np.log10(2), np.nan, np.nan, np.nan]
    np.testing.assert_allclose(metrics.nyquist_excess(p, t), expected, rtol=1e-12)
