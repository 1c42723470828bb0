"""The plain scores of whole fields: neighbourhood, spectra, structure, single images."""

import numpy as np

from benchmark.conformance.plain import Array, Scene, ratio

LAGS = (1, 2, 4, 8, 16)
WINDOWS = (1, 3, 9, 17)
ORBIT2 = {"68": 0.6827, "95": 0.9545, "99_7": 0.9973}


def of_neighbourhoods(scene: Scene) -> dict[str, float]:
    """FSS: the ratio of sums over full windows without a gap and over steps."""
    found, gaps = {}, np.isnan(scene.t).astype(float)
    for name, u in scene.thresholds.items():
        f, o = (scene.x >= u).mean(axis=1), (scene.t >= u).astype(float)
        for side in WINDOWS:
            value = np.nan
            if side <= min(f.shape[1:]):
                clear = _windows(gaps, side) < 0.5
                of_f, of_o = (_windows(field, side)[clear] / side**2 for field in (f, o))
                error = ((of_f - of_o) ** 2).sum()
                value = 1 - ratio(error, (of_f**2).sum() + (of_o**2).sum())
            found[f"fss[{name}, {side} cells]"] = value
    return found


def _windows(field: Array, side: int) -> Array:
    """The sum over every full window of side x side cells."""
    ny, nx = field.shape[1] - side + 1, field.shape[2] - side + 1
    rows = np.sum([field[:, k : k + ny] for k in range(side)], axis=0)
    return np.asarray(np.sum([rows[:, :, k : k + nx] for k in range(side)], axis=0))


def of_spectra(scene: Scene) -> dict[str, float]:
    """Scores of the mean DCT-II spectra of the steps without a gap."""
    power = _Power(scene)
    pp, tt, pt = power.rings
    known, scale = (tt > 0) & (pp > 0), np.sqrt(pp * tt)
    level = 10 * np.log10(pp[known] / tt[known]) if known.any() else np.array([np.nan])
    steps = len(scene.pictures)
    ring = np.divide(pt, scale, where=scale > 0, out=np.zeros_like(scale))
    amplitude = ((np.sqrt(pp) - np.sqrt(tt)) ** 2).sum()
    near_p, near_t = power.nyquist
    return {
        "log_spectral_distance": float(np.sqrt((level**2).mean())),
        "effective_resolution": _effective_resolution(pp, tt, power.width, power.finest_km),
        "coherence": ratio(pt.sum(), scale.sum()),
        "amplitude_error": ratio(amplitude, steps),
        "decorrelation_error": ratio((2 * (scale - pt)).sum(), steps),
        "amse": ratio(amplitude + (2 * np.maximum(pp, tt) * (1 - ring)).sum(), steps),
        "nyquist_excess": 10 * np.log10(near_p / near_t) if near_p > 0 < near_t else np.nan,
    }


class _Power:
    """Power of p, of t and of both, by ring, summed over the steps without a gap."""

    def __init__(self, scene: Scene) -> None:
        (ny, nx), (dy, dx) = scene.area.shape, scene.cell_km
        f, g = (_cosines(field[scene.pictures]) for field in (scene.one, scene.t))
        i, j = np.arange(ny)[:, None], np.arange(nx)
        k = np.hypot(i / (2 * ny * dy), j / (2 * nx * dx))
        self.width = 1 / (2 * max(ny * dy, nx * dx))
        self.finest_km = 2 * max(dy, dx)
        ring = np.floor(k / self.width + 0.5 + 1e-9)
        inside = k <= (1 + 1e-9) / self.finest_km
        products = [(a * b).sum(axis=0) / (ny * nx) for a, b in ((f, f), (g, g), (f, g))]
        numbers = range(1, int(ring[inside].max()) + 1)
        self.rings = [
            np.array([field[inside & (ring == r)].sum() for r in numbers]) for field in products
        ]
        band = (i >= min(0.9 * ny, ny - 1)) | (j >= min(0.9 * nx, nx - 1))
        self.nyquist = [float(field[band].sum()) for field in products[:2]]


def _cosines(fields: Array) -> Array:
    """The orthonormal DCT-II of fields less their means, by matrices of cosines."""
    anomalies = fields - fields.mean(axis=(1, 2), keepdims=True)
    # A field of one value has no power, whatever its mean was rounded to.
    anomalies[np.ptp(fields, axis=(1, 2)) == 0] = 0
    left, right = (_cosine_matrix(n) for n in fields.shape[1:])
    return np.asarray(left @ anomalies @ right.T)


def _cosine_matrix(n: int) -> Array:
    k, place = np.arange(n)[:, None], np.arange(n) + 0.5
    return np.sqrt(np.where(k == 0, 1, 2) / n) * np.cos(np.pi * k * place / n)


def _effective_resolution(p: Array, t: Array, width: float, finest_km: float) -> float:
    """The wavelength at which p's share of t's power falls below 3/4, linear between rings."""
    rings = [(r * width, p[r - 1] / t[r - 1]) for r in range(1, len(t) + 1) if t[r - 1] > 0]
    if not rings:
        return np.nan
    before = None
    for k, share in rings:
        if share < 0.75:
            if before is None:
                return float(max(1 / k, finest_km))
            upper = before[1]
            crossing = before[0] + (upper - 0.75) / (upper - share) * (k - before[0])
            return float(max(1 / crossing, finest_km))
        before = (k, share)
    return finest_km


def of_structure(scene: Scene) -> dict[str, float]:
    """sqrt of the ratio of squared differences over a lag, where both cells have a truth."""
    found = {}
    for axis, number in (("y", 1), ("x", 2)):
        p, t = (np.moveaxis(field, number, 0) for field in (scene.one, scene.t))
        for lag in LAGS:
            dp, dt = p[lag:] - p[:-lag], t[lag:] - t[:-lag]
            known = np.isfinite(dt)
            value = ratio((dp[known] ** 2).sum(), (dt[known] ** 2).sum())
            found[f"structure_ratio[{axis}, {lag} cells]"] = value**0.5
    return found


def of_images(scene: Scene) -> dict[str, float]:
    """SSIM and MS-SSIM, and ORBIT-2's quantile RMSE, each a mean over steps without a gap."""
    p, t = (field[scene.pictures] for field in (scene.one, scene.t))
    low, high = scene.variable.data_range
    parts = []
    a, b = p - low, t - low
    for _ in range(3):
        parts.append(_ssim(a, b, high - low) if min(a.shape[1:]) >= 11 else None)
        a, b = _halved(a), _halved(b)
    found = {"ssim": np.nan, "ms_ssim": np.nan}
    if parts[0] is not None:
        found["ssim"] = float(parts[0][0].mean())
    scales = [part for part in parts if part is not None]
    if len(scales) == 3:
        factors = (scales[0][1], scales[1][1], scales[2][0])
        powers = zip(factors, (0.2856, 0.3001, 0.2363), strict=True)
        product = np.prod([np.maximum(factor, 0) ** power for factor, power in powers], axis=0)
        found["ms_ssim"] = float(product.mean())
    for name, q in ORBIT2.items():
        errors = []
        for k in range(len(t)):
            above = t[k] >= np.quantile(t[k], q, method="higher")
            errors.append(np.sqrt(((p[k] - t[k])[above] ** 2).mean()))
        found[f"orbit2_quantile_rmse_{name}"] = float(np.mean(errors))
    for name in ("wassdiff_hrre", "wassdiff_mppe", "ganvsdiffusion_ralsd"):
        found[name] = np.nan  # the task does not ask for them
    return found


def _ssim(p: Array, t: Array, extent: float) -> tuple[Array, Array]:
    """Each step's mean over full windows of luminance times contrast, and of contrast."""
    c1, c2 = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    mu_p, mu_t = _blurred(p), _blurred(t)
    var_p, var_t = _blurred(p * p) - mu_p**2, _blurred(t * t) - mu_t**2
    contrast = (2 * (_blurred(p * t) - mu_p * mu_t) + c2) / (var_p + var_t + c2)
    luminance = (2 * mu_p * mu_t + c1) / (mu_p**2 + mu_t**2 + c1)
    return (luminance * contrast).mean(axis=(1, 2)), contrast.mean(axis=(1, 2))


def _blurred(field: Array) -> Array:
    """Gaussian means over full windows of 11 x 11 cells, sigma 1.5."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    ny, nx = field.shape[1] - 10, field.shape[2] - 10
    rows = np.sum([taps[k] * field[:, k : k + ny] for k in range(11)], axis=0)
    return np.asarray(np.sum([taps[k] * rows[:, :, k : k + nx] for k in range(11)], axis=0))


def _halved(field: Array) -> Array:
    """Means of 2 x 2 cells; an odd last row or column is left out."""
    ny, nx = (n // 2 for n in field.shape[1:])
    return np.asarray(field[:, : 2 * ny, : 2 * nx].reshape(-1, ny, 2, nx, 2).mean(axis=(2, 4)))
