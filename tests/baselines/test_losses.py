"""Training losses against loops in numpy, worked arrays, what they must not notice, and gradients.

The oracle of the spectra is a discrete Fourier transform written out over the whole plane of
wavenumbers, so that halves, folds and doubled columns of `rfft2` are not in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.data import TENSORS, Pairs, fit_scaling, load_pairs
from baselines.downscaler import Scaling
from baselines.losses import (
    FLOOR,
    LOSSES,
    Loss,
    amse,
    log_mean_square,
    loss_of,
    mean_absolute,
    mean_square,
    quantile,
    spectra,
    total_variation,
)
from baselines.models import TrainingConfig, load_config
from baselines.runs import Request, load_run
from baselines.sources import source_regions
from baselines.training import train
from benchmark.pair_store import PairStore
from benchmark.task import Task

Array = NDArray[np.float64]
HIGH = partial(quantile, level=0.9)
ERRORS: dict[str, Loss] = {**LOSSES, "quantile 0.9": HIGH}
"""What is 0 for the truth."""
EVERY: dict[str, Loss] = {**ERRORS, "total variation": total_variation}
EACH_ERROR = pytest.mark.parametrize("loss", ERRORS.values(), ids=ERRORS.keys())
EACH = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY.keys())
SHAPES = pytest.mark.parametrize("shape", [(6, 8), (7, 5), (5, 6)], ids=str)


@dataclass(frozen=True)
class Choice:
    """The two keys of a training config that name a loss."""

    loss: str
    quantile: float = 0.5


def pairs_of(fine: Tensor, *, valid: Tensor | None = None, area: Tensor | None = None) -> Pairs:
    """Pairs of which a loss reads the truth, where it is valid, and areas; the rest is empty."""
    n, _, ny, nx = fine.shape
    given = {
        "fine": fine,
        "valid": torch.ones_like(fine, dtype=torch.bool) if valid is None else valid,
        "area": torch.ones(n, 1, ny, nx, dtype=fine.dtype) if area is None else area,
    }
    return Pairs(*(given.get(name, torch.zeros(n, 1, 1, 1)) for name in TENSORS))


def scaling_of(*increment: float, mean: tuple[float, ...] | None = None) -> Scaling:
    """One increment a variable; means of 0 unless given."""
    middle = np.zeros(len(increment)) if mean is None else np.array(mean)
    return Scaling(mean=middle, sd=np.ones(len(increment)), increment=np.array(increment))


def case(
    shape: tuple[int, int] = (6, 8), *, missing: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Pairs, Scaling]:
    """(prediction, pairs, scaling): two variables of three samples of both signs, areas that
    differ from row to row and sample to sample, some cells missing."""
    draw = torch.Generator().manual_seed(5)
    ny, nx = shape
    fine = 3 * torch.randn(3, 2, ny, nx, dtype=dtype, generator=draw) + 1
    predicted = fine + torch.randn(3, 2, ny, nx, dtype=dtype, generator=draw)
    area = 0.5 + torch.rand(3, 1, ny, 1, dtype=dtype, generator=draw).expand(-1, -1, -1, nx)
    valid = torch.ones_like(fine, dtype=torch.bool)
    if missing:
        valid[0, :, 1:3, 2] = False
        valid[1, 1, :, 0] = False
        fine = torch.where(valid, fine, 0.0)
    pairs = pairs_of(fine, valid=valid, area=area)
    return predicted, pairs, scaling_of(0.7, 1.9, mean=(1.0, -2.0))


def loop(each: Callable[[float, float, int], float]) -> Loss:
    """Mean over variables of sum w each(p, t, variable) / sum w, cell by cell."""

    def value(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
        means = []
        for k in range(len(scaling.increment)):
            above = below = 0.0
            for n, j, i in product(*(range(size) for size in np.array(predicted.shape)[[0, 2, 3]])):
                if pairs.valid[n, k, j, i]:
                    w = float(pairs.area[n, 0, j, i])
                    above += w * each(
                        float(predicted[n, k, j, i]), float(pairs.fine[n, k, j, i]), k
                    )
                    below += w
            means.append(above / below)
        return torch.tensor(np.mean(means))

    return value


def signed_log(y: float, unit: float) -> float:
    """sign(y) log(1 + |y| / c)."""
    return float(np.sign(y) * np.log(1 + abs(y) / unit))


def dft(field: Array) -> NDArray[np.complex128]:
    """The unitary transform of an (ny, nx) field, written out."""
    ny, nx = field.shape
    out = np.zeros((ny, nx), complex)
    j, i = np.mgrid[:ny, :nx]
    for row, column in np.ndindex(ny, nx):
        out[row, column] = (field * np.exp(-2j * np.pi * (row * j / ny + column * i / nx))).sum()
    return out / np.sqrt(ny * nx)


def tapered(predicted: Tensor, pairs: Pairs, k: int) -> tuple[list[Array], list[Array], float]:
    """Prediction and truth of variable k under the window, a sample an array, and its norm."""
    xs, ys, norm = [], [], 0.0
    ny, nx = predicted.shape[-2:]
    hann = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (ny, nx)]
    for n in range(len(predicted)):
        p, t, area = (
            x.double().numpy() for x in (predicted[n, k], pairs.fine[n, k], pairs.area[n, 0])
        )
        valid = pairs.valid[n, k].numpy()
        taper = np.outer(*hann) * np.sqrt(area) * valid
        mean = (area * valid * t).sum() / (area * valid).sum()
        xs.append(taper * (p - mean))
        ys.append(taper * (t - mean))
        norm += float((taper**2).sum())
    return xs, ys, norm


def loop_spectra(predicted: Tensor, pairs: Pairs) -> list[list[Array]]:
    """For each variable [X, Y, cross], from the whole plane; negative wavenumbers folded."""
    found = []
    ny, nx = predicted.shape[-2:]
    for k in range(predicted.shape[1]):
        xs, ys, norm = tapered(predicted, pairs, k)
        sums = np.zeros((3, ny + nx))
        for x, y in zip(xs, ys, strict=True):
            fx, fy = dft(x), dft(y)
            for row, column in np.ndindex(ny, nx):
                in_y, in_x = min(row, ny - row) / ny, min(column, nx - column) / nx
                cycles = np.hypot(in_y, in_x) * min(ny, nx)
                bin_ = max(int(np.floor(cycles + 0.5 + 1e-9)), 1) - 1
                a, b = fx[row, column], fy[row, column]
                sums[:, bin_] += [abs(a) ** 2, abs(b) ** 2, (a * b.conjugate()).real]
        last = int(np.nonzero(sums[1])[0].max()) + 1
        found.append(list(sums[:, :last] / norm))
    return found


def loop_amse(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """As published, bin by bin, by the coherence itself."""
    means = []
    for k, parts in enumerate(loop_spectra(predicted, pairs)):
        total = 0.0
        for x, y, cross in zip(*parts, strict=True):
            coherence = cross / np.sqrt(x * y)
            total += (np.sqrt(x) - np.sqrt(y)) ** 2 + 2 * max(x, y) * (1 - coherence)
        means.append(total / scaling.increment[k] ** 2)
    return torch.tensor(np.mean(means))


def loop_variation(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
    """Neighbour by neighbour, pairs with a missing cell left out."""
    ny, nx = predicted.shape[-2:]
    total = np.zeros(2)
    for k, (down, right, factor) in product(
        range(2), [(1, 0, 1.0), (0, 1, 1.0), (1, 1, 0.7), (1, -1, 0.7)]
    ):
        above = below = 0.0
        for n, j, i in product(range(len(predicted)), range(ny - down), range(nx)):
            there = j + down, i + right
            if not 0 <= there[1] < nx:
                continue
            if pairs.valid[n, k, j, i] and pairs.valid[n, k][there]:
                w = float(pairs.area[n, 0, j, i] + pairs.area[n, 0][there]) / 2
                above += w * abs(float(predicted[n, k, j, i] - predicted[n, k][there]))
                below += w
        total[k] += factor * above / below / scaling.increment[k]
    return torch.tensor(total.mean())


UNITS = (0.7, 1.9)
TWINS: dict[str, Loss] = {
    "mse": loop(lambda p, t, k: ((p - t) / UNITS[k]) ** 2),
    "mae": loop(lambda p, t, k: abs(p - t) / UNITS[k]),
    "quantile": loop(lambda p, t, k: 0.5 * abs(p - t) / UNITS[k]),
    "quantile 0.9": loop(lambda p, t, k: (0.9 * (t - p) if t > p else 0.1 * (p - t)) / UNITS[k]),
    "log_mse": loop(
        lambda p, t, k: (
            ((1 + (1.0, 2.0)[k] / UNITS[k]) * (signed_log(p, UNITS[k]) - signed_log(t, UNITS[k])))
            ** 2
        )
    ),
    "amse": loop_amse,
    "total variation": loop_variation,
}


@SHAPES
@pytest.mark.parametrize("name", EVERY)
def test_a_loss_is_its_loop(name: str, shape: tuple[int, int]) -> None:
    """Every loss against a twin that goes cell by cell, areas unequal and cells missing."""
    arguments = case(shape)
    expected = TWINS[name](*arguments).item()
    assert EVERY[name](*arguments).item() == pytest.approx(expected, rel=1e-10)


def test_mean_square_is_what_committed_rows_were_trained_with() -> None:
    """The same operations in the same order: bit for bit, gradient too, in float32."""

    def published(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> Tensor:
        units = torch.from_numpy(scaling.increment**2).to(predicted.dtype)
        weights = pairs.area * pairs.valid
        squares = (weights * (predicted - pairs.fine) ** 2).sum(dim=(0, 2, 3))
        return (squares / (weights.sum(dim=(0, 2, 3)) * units)).mean()

    predicted, pairs, scaling = case((32, 32), dtype=torch.float32)
    gradients = []
    for loss in (mean_square, published):
        p = predicted.clone().requires_grad_()
        value = loss(p, pairs, scaling)
        gradients.append((value, *torch.autograd.grad(value, p)))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_worked_pointwise_losses() -> None:
    """Two cells, areas 1 and 3, errors +2 and -1 (p - t), unit 2."""
    pairs = pairs_of(
        torch.tensor([[[[0.0, 1.0]]]]).double(), area=torch.tensor([[[[1.0, 3.0]]]]).double()
    )
    arguments = torch.tensor([[[[2.0, 0.0]]]]).double(), pairs, scaling_of(2.0)
    assert mean_square(*arguments).item() == pytest.approx((4 + 3) / 4 / 4)
    assert mean_absolute(*arguments).item() == pytest.approx((2 + 3) / 4 / 2)
    assert quantile(*arguments, level=0.9).item() == pytest.approx((0.1 * 2 + 0.9 * 3) / 4 / 2)
    logs = np.log(2) ** 2 + 3 * np.log(1.5) ** 2
    assert log_mean_square(*arguments).item() == pytest.approx(logs / 4)


def test_worked_total_variation() -> None:
    """A front along a column: 1 across, 0 along, 0.7 on each diagonal; unit 2."""
    field = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    value = total_variation(field, pairs_of(torch.zeros_like(field)), scaling_of(2.0))
    assert value.item() == pytest.approx((1 + 1.4) / 2)
    plain = torch.full_like(field, 7.0)
    assert total_variation(plain, pairs_of(field), scaling_of(2.0)).item() == 0
    with pytest.raises(ValueError, match="2 x 2"):
        total_variation(field[..., :1], pairs_of(field[..., :1]), scaling_of(2.0))


@SHAPES
def test_spectra_are_those_of_a_whole_transform(shape: tuple[int, int]) -> None:
    """Bin by bin; even and odd sides have other halves."""
    predicted, pairs, _ = case(shape)
    expected = loop_spectra(predicted, pairs)
    found = spectra(predicted, pairs)
    for k in range(2):
        for got, parts in zip(found, expected[k], strict=True):
            np.testing.assert_allclose(got[k], parts, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 8), (7, 5), (32, 32), (9, 20)], ids=str)
def test_spectra_keep_the_mean_square_error(shape: tuple[int, int]) -> None:
    """Parseval: the published decomposition with sqrt(X Y) sums to the error under the window."""
    predicted, pairs, _ = case(shape)
    x, y, cross = spectra(predicted, pairs)
    product_ = (x * y).sqrt()
    parts = (x.sqrt() - y.sqrt()) ** 2 + 2 * product_ * (1 - cross / product_)
    for k in range(2):
        xs, ys, norm = tapered(predicted, pairs, k)
        expected = sum(((a - b) ** 2).sum() for a, b in zip(xs, ys, strict=True)) / norm
        assert parts[k].sum().item() == pytest.approx(expected, rel=1e-12)


def under_window(predicted: Tensor, pairs: Pairs, scaling: Scaling) -> float:
    """The mean square error under the squared window, in units of the loss."""
    x, y, cross = spectra(predicted, pairs)
    return float(((x + y - 2 * cross).sum(-1) / torch.tensor(scaling.increment) ** 2).mean())


def test_amse_of_equal_amplitudes_is_the_mean_square_error() -> None:
    """The truth turned by 180 degrees has the truth's spectrum and other places."""
    _, pairs, scaling = case(missing=False)
    pairs = replace(pairs, area=torch.ones_like(pairs.area))
    turned = pairs.fine.flip(-2, -1)
    assert under_window(turned, pairs, scaling) > 1
    assert amse(turned, pairs, scaling).item() == pytest.approx(
        under_window(turned, pairs, scaling), rel=1e-9
    )


@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_amse_of_equal_places_is_the_mean_square_error(factor: float) -> None:
    """The truth's anomaly times a factor is coherent: (1 - factor)^2 of its variance is left."""
    _, pairs, scaling = case(missing=False)
    mean = (pairs.area * pairs.fine).sum((-2, -1), keepdim=True) / pairs.area.sum(
        (-2, -1), keepdim=True
    )
    scaled = mean + factor * (pairs.fine - mean)
    expected = under_window(mean.expand_as(scaled), pairs, scaling) * (1 - factor) ** 2
    assert amse(scaled, pairs, scaling).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side", [31, 32])
def test_amse_does_not_reward_smoothing(side: int) -> None:
    """A wave a quarter of a wavelength off: the mean square error asks for no amplitude at all,
    AMSE for the truth's; (1 - a)^2 + 2 max(1, a^2) of the truth's variance."""
    phase = 2 * torch.pi * 8 * (torch.arange(side).double() + 0.5) / side - torch.pi * 8
    truth, off = (f(phase).expand(1, 1, side, side) for f in (torch.cos, torch.sin))
    pairs, scaling = pairs_of(truth.contiguous()), scaling_of(1.0)
    amplitudes = np.linspace(0.2, 2, 10)
    adjusted = [amse(a * off, pairs, scaling).item() for a in amplitudes]
    plain = [under_window(a * off, pairs, scaling) for a in amplitudes]
    assert amplitudes[int(np.argmin(adjusted))] == pytest.approx(1)
    assert int(np.argmin(plain)) == 0
    expected = ((1 - amplitudes) ** 2 + 2 * np.maximum(1, amplitudes**2)) / 2
    np.testing.assert_allclose(adjusted, expected, rtol=1e-6)


def test_amse_is_never_less_than_the_mean_square_error() -> None:
    """max(X, Y) is at least sqrt(X Y); more where amplitudes differ."""
    predicted, pairs, scaling = case()
    for factor in (0.1, 0.5, 1.0, 3.0):
        value = amse(factor * predicted, pairs, scaling).item()
        assert value > 1.001 * under_window(factor * predicted, pairs, scaling)


def test_amse_pools_a_batch() -> None:
    """Two samples whose amplitudes are wrong in opposite ways are right together."""
    truth = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    truth = truth - truth.mean()
    both = pairs_of(truth.expand(2, -1, -1, -1).contiguous())
    predicted = torch.cat([np.sqrt(0.5) * truth, np.sqrt(1.5) * truth])
    apart = [amse(p[None], pairs_of(truth), scaling_of(1.0)).item() for p in predicted]
    together = amse(predicted, both, scaling_of(1.0)).item()
    # Coherence below 1 is what is left: 2 Y (1 - (sqrt 0.5 + sqrt 1.5) / 2), summed.
    y = spectra(truth, pairs_of(truth))[1].sum().item()
    assert together == pytest.approx(2 * y * (1 - (np.sqrt(0.5) + np.sqrt(1.5)) / 2), rel=1e-9)
    assert together > np.mean(apart)


@EACH_ERROR
def test_the_truth_costs_nothing(loss: Loss) -> None:
    """Exactly 0, in float32 too and whatever stands where the truth is missing; nothing else is."""
    for dtype in (torch.float32, torch.float64):
        predicted, pairs, scaling = case(dtype=dtype)
        perfect = torch.where(pairs.valid, pairs.fine, 1e3)
        assert loss(perfect, pairs, scaling).item() == 0
        assert loss(predicted, pairs, scaling).item() > 0.05
        perfect[2, 1, 3, 3] += 0.01
        assert loss(perfect, pairs, scaling).item() > 0


@EACH
def test_missing_cells_are_left_out(loss: Loss) -> None:
    """The prediction there moves neither the loss nor, therefore, a gradient."""
    predicted, pairs, scaling = case()
    other = torch.where(pairs.valid, predicted, -50.0).requires_grad_()
    value = loss(other, pairs, scaling)
    assert value.item() == pytest.approx(loss(predicted, pairs, scaling).item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, other)
    assert (gradient[~pairs.valid] == 0).all()
    assert (gradient[pairs.valid] != 0).double().mean() > 0.9
    full = replace(pairs, valid=torch.ones_like(pairs.valid))
    assert loss(other, full, scaling).item() != pytest.approx(value.item(), rel=0.1)


@EACH
def test_nothing_is_hidden(loss: Loss) -> None:
    """A prediction that is NaN in one cell, and a variable without truth, leave no number."""
    predicted, pairs, scaling = case()
    broken = predicted.clone()
    broken[1, 0, 2, 2] = torch.nan
    assert loss(broken, pairs, scaling).isnan()
    empty = pairs.valid.clone()
    empty[:, 1] = False
    assert loss(predicted, replace(pairs, valid=empty), scaling).isnan()


def test_amse_takes_a_sample_without_truth() -> None:
    """One of three: the loss of the other two, and a finite gradient."""
    predicted, pairs, scaling = case(missing=False)
    valid = pairs.valid.clone()
    valid[1] = False
    holed = replace(pairs, valid=valid, fine=torch.where(valid, pairs.fine, 0.0))
    predicted.requires_grad_()
    value = amse(predicted, holed, scaling)
    two = torch.tensor([0, 2])
    assert value.item() == pytest.approx(amse(predicted[two], pairs.take(two), scaling).item())
    (gradient,) = torch.autograd.grad(value, predicted)
    assert torch.isfinite(gradient).all()


@EACH
def test_a_loss_has_no_units(loss: Loss) -> None:
    """Kelvin or millikelvin, km2 or a share of the box: the same number."""
    predicted, pairs, scaling = case()
    value = loss(predicted, pairs, scaling).item()
    per_unit = torch.tensor([1000.0, 0.01]).double()[:, None, None]
    other = Scaling(
        *(x * per_unit[:, 0, 0].numpy() for x in (scaling.mean, scaling.sd, scaling.increment))
    )
    changed = replace(pairs, fine=per_unit * pairs.fine, area=40 * pairs.area)
    assert loss(per_unit * predicted, changed, other).item() == pytest.approx(value, rel=1e-9)
    assert loss(per_unit * predicted, changed, scaling).item() != pytest.approx(value, rel=0.1)


@EACH
def test_a_loss_knows_no_order_or_direction(loss: Loss) -> None:
    """Samples in another order, variables swapped, fields mirrored or on their side."""
    predicted, pairs, scaling = case()
    value = pytest.approx(loss(predicted, pairs, scaling).item(), rel=1e-9)
    order = torch.tensor([2, 0, 1])
    assert loss(predicted[order], pairs.take(order), scaling).item() == value
    for axes in ([-1], [-2], [-2, -1]):
        assert loss(predicted.flip(axes), pairs.mirrored(axes), scaling).item() == value
    turned = pairs.map(lambda tensor: tensor.transpose(-1, -2))
    assert loss(predicted.transpose(-1, -2), turned, scaling).item() == value
    swapped = replace(pairs, fine=pairs.fine.flip(1), valid=pairs.valid.flip(1))
    back = Scaling(*(x[::-1].copy() for x in (scaling.mean, scaling.sd, scaling.increment)))
    assert loss(predicted.flip(1), swapped, back).item() == value


@EACH
def test_areas_weigh(loss: Loss) -> None:
    """Ten times the area of the row that is worst: a larger loss."""
    predicted, pairs, scaling = case(missing=False)
    predicted[:, :, 3] += torch.tensor([40.0, -40.0] * 4).double()
    heavy = pairs.area.clone()
    heavy[:, :, 3] *= 10
    value = loss(predicted, pairs, scaling).item()
    assert loss(predicted, replace(pairs, area=heavy), scaling).item() > 1.2 * value


@EACH
def test_a_loss_differentiates(loss: Loss) -> None:
    """Numerically checked in float64, cells missing."""
    predicted, pairs, scaling = case((4, 5))
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, pairs, scaling), (predicted,))


def test_the_logarithm_has_a_slope_at_nothing() -> None:
    """A prediction of exactly 0, where sign and modulus have none: 2 (l(0) - l(t)) / c."""
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    value = log_mean_square(zero, pairs_of(torch.full_like(zero, 3.0).detach()), scaling_of(2.0))
    (gradient,) = torch.autograd.grad(value, zero)
    assert gradient.item() == pytest.approx(-2 * np.log(2.5) / 2)


def flat(value: float) -> Tensor:
    """A field of which the anomaly has no spectrum."""
    return torch.full((2, 1, 8, 8), value, dtype=torch.float64)


ROUGH = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [(ROUGH, ROUGH), (flat(0), ROUGH), (ROUGH, flat(0)), (flat(0), flat(0)), (flat(2), flat(0)),
     (1e-9 * ROUGH.flip(-1), ROUGH), (1e-30 * ROUGH, flat(0))],
    ids=["the truth", "nothing for rain", "rain for nothing", "nothing", "flat", "faint", "tiny"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_amse_has_a_gradient_where_a_spectrum_is_nothing(
    predicted: Tensor, truth: Tensor, dtype: torch.dtype
) -> None:
    """Finite, and bounded: below FLOOR the coherence of a faint field is damped."""
    p = predicted.to(dtype, copy=True).requires_grad_()
    value = amse(p, pairs_of(truth.to(dtype)), scaling_of(1.0))
    (gradient,) = torch.autograd.grad(value, p)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() < 10 / FLOOR


def test_amse_of_nothing_and_for_nothing() -> None:
    """Incoherent: with no rain where there is some, X = 0, Y + 2 Y; the other way round, 3 X."""
    pairs = pairs_of(ROUGH - ROUGH.mean((-2, -1), keepdim=True))
    y = spectra(pairs.fine, pairs)[1].sum().item()
    assert amse(flat(0), pairs, scaling_of(1.0)).item() == pytest.approx(3 * y)
    assert amse(pairs.fine, pairs_of(flat(0)), scaling_of(1.0)).item() == pytest.approx(3 * y)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_best_constant_is_the_quantile(level: float) -> None:
    """Over 0, 1, ..., 100 that is 100 q."""
    pairs = pairs_of(torch.arange(101.0).reshape(1, 1, 1, 101))
    values = [
        quantile(torch.full_like(pairs.fine, c), pairs, scaling_of(3.0), level=level).item()
        for c in range(101)
    ]
    assert int(np.argmin(values)) == pytest.approx(100 * level)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_level_outside_is_refused(level: float) -> None:
    """0 and 1 included: their minimum is at infinity."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile(*case(), level=level)


@EACH_ERROR
def test_a_loss_leads_to_the_truth(loss: Loss) -> None:
    """A free field descends from a flat one to a hundredth of what that costs."""
    _, pairs, scaling = case()
    free = torch.zeros_like(pairs.fine, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=0.4)
    steps = 200
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    costs = []
    for _ in range(steps):
        value = loss(free, pairs, scaling)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        rates.step()
        costs.append(value.item())
    assert costs[-1] < 0.01 * costs[0]


def test_losses_of_bilinear(store: PairStore, task: Task) -> None:
    """On the training days each variable weighs about alike, and bilinear is too smooth."""
    regions = source_regions(store, "zero_shot")
    scaling = fit_scaling(task, regions)
    pairs = load_pairs(regions, task.periods.train)
    bilinear = torch.nn.functional.interpolate(pairs.coarse, scale_factor=4, mode="bilinear")

    def alone(loss: Loss) -> Array:
        found = []
        for k in range(len(scaling.increment)):
            one = slice(k, k + 1)
            part = replace(pairs, fine=pairs.fine[:, one], valid=pairs.valid[:, one])
            unit = Scaling(*(getattr(scaling, f.name)[one] for f in fields(Scaling)))
            found.append(loss(bilinear[:, one], part, unit).item())
        return np.array(found)

    squares, absolute, logs, adjusted = (
        alone(loss) for loss in (mean_square, mean_absolute, log_mean_square, amse)
    )
    np.testing.assert_allclose(squares, 1, atol=0.15)
    assert (absolute < np.sqrt(squares)).all()
    assert (absolute > 0.1).all()
    temperature = task.variable_names.index("t2m")
    assert logs[temperature] == pytest.approx(1, abs=0.05)
    assert (logs > 0.1).all()
    assert adjusted.min() > 0.5
    assert adjusted.max() < 4
    assert amse(bilinear, pairs, scaling).item() == pytest.approx(adjusted.mean(), rel=1e-5)
    x, y, _ = spectra(bilinear, pairs)
    assert ((x / y)[:, 8:16] < 0.75).all(), "bilinear lacks half of the amplitude at small scales"
    assert ((x / y)[:, 0] > 0.75).all()


def test_a_config_names_a_loss() -> None:
    """Each name leads to its own function; the level is read by `quantile` alone."""
    arguments = case()
    for name, loss in LOSSES.items():
        assert loss_of(Choice(name))(*arguments) == loss(*arguments)
    assert loss_of(Choice("quantile", 0.9))(*arguments) == HIGH(*arguments)
    assert loss_of(Choice("mae", 0.9))(*arguments) == mean_absolute(*arguments)
    assert len({loss(*arguments).item() for loss in EVERY.values()}) == len(EVERY)


def test_a_config_allows_the_losses_there_are() -> None:
    """The names are repeated where configs are read, which must not import torch's losses."""
    assert get_args(TrainingConfig.model_fields["loss"].annotation) == tuple(LOSSES)


def test_a_loss_makes_the_network_that_it_asks_for(
    store: PairStore, task: Task, tmp_path: Path
) -> None:
    """Trained alike for 100 steps: AMSE gives small scales several times the amplitude that the
    mean square error leaves them, at the price of a larger one; the quantile 0.9 lies above most of
    the truth; the prior smooths; each is best at what it minimises.
    """
    regions = source_regions(store, "zero_shot")
    scaling = fit_scaling(task, regions)
    pairs = load_pairs(regions, task.periods.val)
    small = (
        "network.width=16", "network.blocks=1", "network.kernel=3", "training.steps=100",
        "training.validate_every=50", "training.precision=float32", "training.device=cpu",
        "training.learning_rate=0.003",
    )  # fmt: skip

    def predicted(name: str, *settings: str) -> Tensor:
        config = load_config("edsr", settings=[*small, *settings])
        request = Request.model_validate(
            {
                "task": task.id, "data_hash": store.data_hash, "model": "edsr", "config": config,
                "regime": "zero_shot", "constraint": "none", "skip": True, "seed": 0,
            }
        )  # fmt: skip
        curve = train(store, request, tmp_path / name).curve
        assert curve[1].val < curve[0].val
        _, model = load_run(tmp_path / name, task)
        with torch.no_grad():
            field = model(pairs.coarse, pairs.block_weights)
        assert loss_of(config.training)(field, pairs, scaling).item() == pytest.approx(curve[1].val)
        return field

    plain = predicted("mse")
    adjusted = predicted("amse", "training.loss=amse")
    high = predicted("quantile", "training.loss=quantile", "training.quantile=0.9")
    smooth = predicted("tv", "training.tv=0.5")

    def fine_power(field: Tensor) -> Tensor:
        return spectra(field, pairs)[0][:, 8:16].sum(dim=-1)

    assert (fine_power(adjusted) > 4 * fine_power(plain)).all()
    for first, second, loss in (
        (plain, adjusted, mean_square), (adjusted, plain, amse), (high, plain, HIGH),
        (smooth, plain, total_variation),
    ):  # fmt: skip
        assert loss(first, pairs, scaling) < 0.98 * loss(second, pairs, scaling)
    below = [(pairs.fine <= field).double().mean(dim=(0, 2, 3)) for field in (high, plain)]
    assert ((below[0] - 0.9).abs() < 0.07).all()
    assert (below[1] < 0.7).all()
