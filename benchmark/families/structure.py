"""Structural similarity (SSIM), over one and over three scales, and PSNR, with a fixed data range.

SSIM = l cs in each window, with K1 = 0.01, K2 = 0.03, C_i = (K_i (high - low))^2 and
l = (2 mu_p mu_t + C1) / (mu_p^2 + mu_t^2 + C1), cs = (2 cov_pt + C2) / (var_p + var_t + C2)
(Wang et al. 2004, doi 10.1109/TIP.2003.819861). Windows: gaussian of sigma 1.5 on 11 x 11 cells,
its weights adding up to 1; population covariance; full windows only, no padding.

MS-SSIM = <cs>_1^b1 <cs>_2^b2 <l cs>_3^b3, <.>_j the mean over windows after j - 1 means over
2 x 2 cells, an odd last row or column left out (Wang et al. 2003, doi 10.1109/ACSSC.2003.1292216).
Negative means are clipped at 0, or the power would not be real. The three exponents are those of
Harder et al. 2023, JMLR 24(365); they do not add up to 1.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d

from benchmark.engine import compiled
from benchmark.errors import InputError, Problem

Array = NDArray[np.float64]
Field = NDArray[np.float32]

RADIUS = 5
SIGMA = 1.5
K1, K2 = 0.01, 0.03
EXPONENTS = (0.2856, 0.3001, 0.2363)
SMALLEST = 2 * RADIUS + 1
"""Cells along the shorter side that SSIM needs."""
SMALLEST_MS = SMALLEST * 2 ** (len(EXPONENTS) - 1)
"""Cells along the shorter side that MS-SSIM needs."""


def ssim_sums(p: Field, t: Field, *, low: float, high: float) -> dict[str, Array]:
    """Each step's `ssim` and `ms_ssim`, (T,), no unit, and `whole`, 1 where the step counts.

    p, t: (T, ny, nx), one field a step, t NaN where it is missing; low, high: the fixed data range
    in the variable's unit. low is taken off both fields, so that luminance means something in
    kelvin too. A step whose truth is not complete does not count: all three are 0; so is every
    step of fields with a side below 11 cells. With a side below 44 cells `ms_ssim` is NaN: three
    scales do not fit, and fewer would be another score.

    Errors: InputError when the shapes differ or high is not above low.
    """
    if p.ndim != 3 or p.shape != t.shape:
        fix = "Give both on the same grid and steps."
        got = f"{p.shape} and {t.shape}"
        raise InputError(Problem("SSIM", "two fields of one shape (T, ny, nx)", got, fix))
    _check_range("SSIM data range", high - low)
    steps, ny, nx = p.shape
    if min(ny, nx) < SMALLEST:
        return {name: np.zeros(steps) for name in ("ssim", "ms_ssim", "whole")}
    losses = np.zeros((steps, len(EXPONENTS), 2))
    whole = np.zeros(steps, dtype=np.bool_)
    c1, c2 = (K1 * (high - low)) ** 2, (K2 * (high - low)) ** 2
    if compiled():
        from benchmark.kernels.structure import ssim_kernel

        predictions, truths = (np.ascontiguousarray(field, dtype=np.float32) for field in (p, t))
        taps = _weights().astype(np.float32)
        ssim_kernel(predictions, truths, float(low), taps, c1, c2, losses, whole)
    else:
        whole[:] = ~np.isnan(t).any(axis=(1, 2))
        for step in np.flatnonzero(whole):
            predicted, true = (field[step].astype(np.float64) - low for field in (p, t))
            _reduce(predicted, true, c1, c2, losses[step])
    scales = range(len(EXPONENTS))
    windows = [max(ny // 2**j - 10, 0) * max(nx // 2**j - 10, 0) for j in scales]
    multiscale = np.ones(steps)
    for j, exponent in enumerate(EXPONENTS):
        loss = losses[:, j, 0 if j == scales[-1] else 1]
        mean = 1 - loss / windows[j] if windows[j] else np.full(steps, np.nan)
        multiscale *= np.maximum(mean, 0) ** exponent
    return {
        "ssim": np.where(whole, 1 - losses[:, 0, 0] / windows[0], 0),
        "ms_ssim": np.where(whole, multiscale, 0),
        "whole": whole.astype(np.float64),
    }


def psnr(mse: ArrayLike, *, data_range: float) -> Array:
    """PSNR = 10 log10(data_range^2 / mse) in dB; infinite where mse is 0, NaN where it is NaN.

    mse: the mean squared error pooled over cells and cases, in the variable's unit squared: PSNR
    of the pooled MSE, not a mean of each image's PSNR. data_range: in the variable's unit.

    Errors: InputError when data_range is not positive.
    Ref: Wang et al. 2004, doi 10.1109/TIP.2003.819861.
    """
    _check_range("PSNR data range", data_range)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(data_range**2 / np.asarray(mse, dtype=np.float64)))


def _check_range(where: str, extent: float) -> None:
    if not 0 < extent < np.inf:
        fix = "Give the variable's fixed range, never that of an image."
        raise InputError(Problem(where, "a positive extent", f"{extent}", fix))


def _weights() -> Array:
    """(11,) weights of a window along one side."""
    gaussian = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    return np.asarray(gaussian / gaussian.sum())


def _reduce(p: Array, t: Array, c1: float, c2: float, losses: Array) -> None:
    """(scales, 2) sums over windows of 1 - l cs and 1 - cs, of one step."""
    for scale in range(len(losses)):
        if min(p.shape) < SMALLEST:
            return
        mu_p, mu_t = _filter(p), _filter(t)
        varied = _filter(p * p) + _filter(t * t) - mu_p**2 - mu_t**2
        covaried = _filter(p * t) - mu_p * mu_t
        luminance = (2 * mu_p * mu_t + c1) / (mu_p**2 + mu_t**2 + c1)
        contrast = (2 * covaried + c2) / (varied + c2)
        losses[scale] = (1 - luminance * contrast).sum(), (1 - contrast).sum()
        p, t = _pool(p), _pool(t)


def _filter(field: Array) -> Array:
    """The weighted mean in every full window."""
    along_y = correlate1d(field, _weights(), axis=0)
    both = correlate1d(along_y, _weights(), axis=1)
    return np.asarray(both[RADIUS:-RADIUS, RADIUS:-RADIUS])


def _pool(field: Array) -> Array:
    """Means of 2 x 2 cells."""
    ny, nx = field.shape[0] // 2, field.shape[1] // 2
    blocks = field[: 2 * ny, : 2 * nx].reshape(ny, 2, nx, 2)
    return np.asarray(blocks.mean(axis=(1, 3)))
