"""What training minimises: pointwise losses, a spectral one, and a prior on total variation.

Each takes the prediction p (batch, V, ny, nx) in physical units, the `Pairs` of the batch (truth t,
where it is valid, cell areas) and the `Scaling` of the training data, and gives a scalar: the mean
over variables of a number without units. The unit c of a variable is `Scaling.increment`, the root
mean square of fine minus bilinear over the training days, so that all variables weigh alike. The
weights w are the cells' areas, 0 where the truth is missing; w and all sums run over samples and
cells. A variable without a valid cell in the batch, or a prediction that is not finite, makes the
loss NaN or infinite, at which training stops.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor

from baselines.data import Pairs
from baselines.downscaler import Scaling

Loss = Callable[[Tensor, Pairs, Scaling], Tensor]
"""loss(predicted, pairs, scaling)."""

FLOOR = 0.01
"""Of two amplitudes in `amse`, the smaller counts as at least this part of the larger one."""

DIAGONAL = 0.7
"""What a diagonal difference counts in `total_variation`, as coded in ORBIT-2."""

_BUT_FIRST, _BUT_LAST, _ALL = slice(1, None), slice(None, -1), slice(None)
_NEIGHBOURS = [
    (1.0, (..., _BUT_LAST, _ALL), (..., _BUT_FIRST, _ALL)),
    (1.0, (..., _ALL, _BUT_LAST), (..., _ALL, _BUT_FIRST)),
    (DIAGONAL, (..., _BUT_LAST, _BUT_LAST), (..., _BUT_FIRST, _BUT_FIRST)),
    (DIAGONAL, (..., _BUT_LAST, _BUT_FIRST), (..., _BUT_FIRST, _BUT_LAST)),
]


class Choice(Protocol):
    """What `loss_of` reads of a `TrainingConfig`."""

    @property
    def loss(self) -> str:
        """A name of `LOSSES`."""

    @property
    def quantile(self) -> float:
        """The level of `quantile`, which no other loss reads."""


def loss_of(config: Choice) -> Loss:
    """The loss that a training config names."""
    if config.loss == "quantile":
        return partial(quantile, level=config.quantile)
    return LOSSES[config.loss]


def mean_square(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Mean over variables of sum w (p - t)^2 / (c^2 sum w): bilinear costs about 1 in each."""
    units = torch.from_numpy(scaling.increment**2).to(predicted)
    weights = pairs.area * pairs.valid
    squares = (weights * (predicted - pairs.fine) ** 2).sum(dim=(0, 2, 3))
    return (squares / (weights.sum(dim=(0, 2, 3)) * units)).mean()


def mean_absolute(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Mean over variables of sum w |p - t| / (c sum w): the median is its minimum."""
    return _mean((predicted - pairs.fine).abs() / _unit(scaling, predicted), pairs)


def quantile(predicted: Tensor, pairs: Pairs, scaling: Scaling, *, level: float = 0.5) -> Tensor:
    """Pinball loss at one level q, sum w max(q (t - p), (q - 1) (t - p)) / (c sum w).

    Its minimum is the quantile q; at 0.5 it is half the mean absolute error. Koenker and Bassett,
    Econometrica 46, 1978. Errors: ValueError unless 0 < level < 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a quantile level lies between 0 and 1, not at {level}")
    short = (pairs.fine - predicted) / _unit(scaling, predicted)
    return _mean(torch.maximum(level * short, (level - 1) * short), pairs)


def log_mean_square(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Mean over variables of sum w (l(p) - l(t))^2 / sum w, l(y) = s sign(y) log(1 + |y| / c).

    For rain this is the usual log(1 + y / c) with small amounts counted more; any sign has a
    value. s = 1 + |mean| / c makes the slope of l 1 / c at the training mean: without it,
    temperature in kelvin, of which the logarithm is all but linear, would weigh nothing.
    """
    unit = _unit(scaling, predicted)
    mean = torch.from_numpy(scaling.mean).to(predicted)[:, None, None].abs()
    error = _signed_log(predicted / unit) - _signed_log(pairs.fine / unit)
    return _mean(((1 + mean / unit) * error).square(), pairs)


def amse(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Adjusted mean square error, which does not reward smoothing what cannot be placed.

    Over bins k of isotropic wavenumber, with X and Y the spectra (PSD) of p and t and Coh their
    coherence, the mean square error is sum_k (sqrt X - sqrt Y)^2 + 2 sqrt(X Y) (1 - Coh). Here

        sum_k (sqrt X - sqrt Y)^2 + 2 max(X, Y) (1 - Coh),

    divided by c^2 and averaged over variables. Subich et al., ICML 2025, arXiv 2501.19374, on
    spherical harmonics; for a limited area the spectra are those of `spectra`, pooled over the
    batch (the loss of a batch is no mean over its samples). Where one amplitude is less than FLOOR
    of the other, Coh is damped to 0 with it: it has no limit there, and its gradient no bound.
    """
    x, y, error, difference = _spectra(predicted, pairs)
    root_x, root_y = _root(x), _root(y)
    total, product = root_x + root_y, root_x * root_y
    larger = torch.maximum(x, y)
    # From the error's own spectrum: close to the truth, 1 - Coh would be rounding.
    amplitude = (difference / torch.where(total > 0, total, 1.0)).square()
    decorrelated = (error - amplitude) / 2
    floored = torch.maximum(product, FLOOR * larger)
    incoherence = (floored - product + decorrelated) / torch.where(larger > 0, floored, 1.0)
    summed = (amplitude + 2 * larger * incoherence).sum(dim=-1)
    return (summed / _unit(scaling, predicted)[:, 0, 0].square()).mean()


def spectra(predicted: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Spectra X of the prediction and Y of the truth and their cross spectrum, each (V, bins).

    Of both fields less the truth's mean over each sample, under a Hann window at cell centres times
    the root of the cells' areas; a missing cell is 0 in both, as if the prediction were right
    there. Bin k holds the wavenumbers that round to k cycles over the box's shorter side; 0 and 1,
    which the window cannot tell apart, share the first; the corners beyond Nyquist have bins of
    their own, so that nothing is lost: the sum over bins of X + Y - 2 cross is the mean of
    (p - t)^2 under the squared window, in units squared.
    """
    x, y, error, _ = _spectra(predicted, pairs)
    return x, y, (x + y - error) / 2


def total_variation(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """A prior on the prediction, to be added with a weight: sum over directions d of
    g_d sum w |p' - p| / (c sum w), p' the neighbour.

    g is 1 for the two neighbours in y and x and DIAGONAL for the two on the diagonals; w is the
    mean area of the two cells, 0 where the truth of one is missing. ORBIT-2 (arXiv 2505.04802,
    `bayesian_tv`, weight 0.02) pads the border with zeros; here the mean is over pairs of cells.
    Errors: ValueError for a box of one row or column.
    """
    if min(predicted.shape[-2:]) < 2:
        raise ValueError("total variation needs at least 2 x 2 cells")
    area, valid = pairs.area.expand(len(predicted), -1, -1, -1), pairs.valid
    scaled = predicted / _unit(scaling, predicted)
    parts = []
    for factor, here, there in _NEIGHBOURS:
        weights = (area[here] + area[there]) / 2 * (valid[here] & valid[there])
        steps = (scaled[there] - scaled[here]).abs()
        parts.append(factor * _weighted(steps, weights))
    return torch.stack(parts).sum(dim=0).mean()


LOSSES: dict[str, Loss] = {
    "mse": mean_square,
    "mae": mean_absolute,
    "log_mse": log_mean_square,
    "amse": amse,
    "quantile": quantile,
}
"""By their names in a config, where `models.TrainingConfig` repeats them."""


def _unit(scaling: Scaling, like: Tensor) -> Tensor:
    """(V, 1, 1) of `increment`."""
    return torch.from_numpy(scaling.increment).to(like)[:, None, None]


def _mean(values: Tensor, pairs: Pairs) -> Tensor:
    return _weighted(values, pairs.area * pairs.valid).mean()


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum(dim=(0, 2, 3)) / weights.sum(dim=(0, 2, 3))


def _signed_log(y: Tensor) -> Tensor:
    """sign(y) log(1 + |y|), with the slope 1 at 0 that sign and modulus would lose."""
    return torch.where(y < 0, -torch.log1p(-y.clamp(max=0)), torch.log1p(y.clamp(min=0)))


def _root(power: Tensor) -> Tensor:
    """The square root, with the slope 0 at 0 instead of an infinite one."""
    positive = power > 0
    return torch.where(positive, torch.where(positive, power, 1.0).sqrt(), 0.0)


def _spectra(predicted: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(V, bins) spectra X, Y and that of p - t, and X - Y as exact as the error is."""
    ny, nx = predicted.shape[-2:]
    window = _hann(ny, predicted)[:, None] * _hann(nx, predicted)
    taper = window * pairs.area.sqrt() * pairs.valid
    weights = pairs.area * pairs.valid
    mean = (weights * pairs.fine).sum(dim=(-2, -1), keepdim=True) / weights.sum(
        dim=(-2, -1), keepdim=True
    ).clamp(min=torch.finfo(predicted.dtype).tiny)
    norm = taper.square().sum(dim=(0, 2, 3))[:, None]
    y = _transform(taper * (pairs.fine - mean))
    e = _transform(taper * (predicted - pairs.fine))
    x = y + e
    bins = [_binned((a * b).sum(dim=-1), nx) for a, b in ((x, x), (y, y), (e, e), (e, x + y))]
    power_x, power_y, error, difference = (part / norm for part in bins)
    return power_x, power_y, error, difference


def _hann(n: int, like: Tensor) -> Tensor:
    """sin^2(pi (j + 1/2) / n): positive in each cell and the same from both ends."""
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (torch.pi * centres).sin().square().to(like)


def _transform(field: Tensor) -> Tensor:
    """(batch, V, ny, nx // 2 + 1, 2): real and imaginary parts."""
    return torch.view_as_real(torch.fft.rfft2(field, norm="ortho"))


def _binned(power: Tensor, nx: int) -> Tensor:
    """(V, bins): sums over samples and over the whole plane of wavenumbers, of which `power`
    (batch, V, ny, nx // 2 + 1) has a half."""
    label, times = (part.to(power.device) for part in _rings(power.shape[-2], nx))
    summed = (power.sum(dim=0) * times.to(power.dtype)).flatten(-2)
    bins = summed.new_zeros(len(summed), int(label.max()) + 1)
    return bins.index_add(1, label, summed)


@lru_cache(maxsize=64)
def _rings(ny: int, nx: int) -> tuple[Tensor, Tensor]:
    """Of each coefficient of rfft2, its bin (flattened) and how often the full transform has it."""
    in_y = torch.fft.fftfreq(ny, dtype=torch.float64)
    in_x = torch.fft.rfftfreq(nx, dtype=torch.float64)
    cycles = torch.hypot(in_y[:, None], in_x) * min(ny, nx)
    # Wavenumbers that are equal on paper must share a bin on every machine.
    label = (cycles + 0.5 + 1e-9).floor().long().clamp(min=1) - 1
    alone = (torch.arange(len(in_x)) == 0) | (2 * torch.arange(len(in_x)) == nx)
    return label.flatten(), torch.where(alone, 1.0, 2.0)
