"""The soft loss, clipping, and networks that work in another space than the layer."""

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.constraints import (
    Layer,
    add,
    affine_space,
    block_mean,
    clip,
    log_space,
    mult,
    nonnegative,
    on_blocks,
    physical,
    scaled_add,
    soft_loss,
    softmax,
    violation,
)

LAYERS: dict[str, Layer] = {
    "add": add, "mult": mult, "softmax": softmax, "nonnegative": nonnegative,
    "scaled_add": on_blocks(scaled_add(0.0, 300.0)),
}  # fmt: skip
EVERY = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


def case(*, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """(z, rain with dry blocks and heavy ones, weights), float64, 4 x 4 blocks of 3 x 3."""
    draw = torch.Generator().manual_seed(3)
    z = scale * torch.randn(2, 2, 12, 12, dtype=torch.float64, generator=draw)
    rain = 20 * torch.rand(2, 2, 4, 4, dtype=torch.float64, generator=draw) ** 6
    rain[:, :, 1] = 0
    area = 0.5 + torch.rand(1, 1, 12, 12, dtype=torch.float64, generator=draw)
    total = block_mean(area, torch.ones_like(area), 3)
    return z, rain, area / total.repeat_interleave(3, -1).repeat_interleave(3, -2)


def test_violation_is_the_area_weighted_mean_square() -> None:
    """A loop over samples and blocks, with areas that differ between blocks."""
    field, coarse, weights = case()
    area = weights * (1 + torch.arange(16.0).reshape(4, 4)).repeat_interleave(
        3, 0
    ).repeat_interleave(3, 1)
    expected = np.zeros(2)
    for c in range(2):
        above = below = 0.0
        for n, j, i in np.ndindex(2, 4, 4):
            at = slice(3 * j, 3 * j + 3), slice(3 * i, 3 * i + 3)
            mean = float((field[n, c][at] * weights[0, 0][at]).sum())
            size = float(area[0, 0][at].sum())
            above += size * (mean - float(coarse[n, c, j, i])) ** 2
            below += size
        expected[c] = above / below
    np.testing.assert_allclose(violation(field, coarse, weights, area), expected, rtol=1e-12)


def test_violation_of_a_hard_layer_is_rounding() -> None:
    """And that of half precision is computed in float32."""
    field, coarse, weights = case()
    assert violation(add(field, coarse, weights), coarse, weights, weights).max() < 1e-30
    low = violation(field.bfloat16(), coarse.bfloat16(), weights.float(), weights.float())
    assert low.dtype == torch.float32


def test_soft_loss_weighs_error_and_violation() -> None:
    """0.01 x 2 + 0.99 x mean(4 / 2, 9 / 3); alpha 0 is the error alone, 1 the violation alone."""
    error, violated = torch.tensor(2.0), torch.tensor([4.0, 9.0])
    units = torch.tensor([2.0, 3.0])
    assert soft_loss(error, violated, units).item() == pytest.approx(0.02 + 0.99 * 2.5)
    assert soft_loss(error, violated, units, alpha=0).item() == 2
    assert soft_loss(error, violated, alpha=1).item() == 6.5


def test_soft_loss_differentiates() -> None:
    """Through both parts, numerically checked."""
    field, coarse, weights = (tensor[:1, :1, :6, :6] for tensor in case())
    coarse = coarse[..., :2, :2]
    field.requires_grad_()

    def loss(f: Tensor) -> Tensor:
        return soft_loss(f.square().mean(), violation(f, coarse, weights, weights), alpha=0.9)

    assert torch.autograd.gradcheck(loss, (field,))


def test_clipping_adds_what_it_cuts() -> None:
    """Each block's mean rises by the mean of its negative part, which breaks conservation."""
    field, coarse, weights = case()
    y = add(field, coarse, weights)
    risen = block_mean(clip(y), weights, 3) - coarse
    torch.testing.assert_close(risen, block_mean((-y).relu(), weights, 3), rtol=0, atol=1e-13)
    assert risen.max() > 0.1
    cut = nonnegative(field, coarse, weights)
    assert cut.min() == 0
    torch.testing.assert_close(block_mean(cut, weights, 3), coarse, rtol=0, atol=1e-13)
    assert ((cut - y) ** 2 * weights).sum() > 0


@EVERY
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_network_in_log_space_is_constrained_in_physical_units(
    layer: Layer, scale: float
) -> None:
    """z = log(1 + f / 0.1): block means of the rain itself, dry blocks included. Constraining z
    by log-transformed coarse rain conserves nothing.
    """
    z, rain, weights = case(scale=scale)
    space = log_space(0.1)
    got = physical(layer, space)(z, rain, weights)
    size = max(1.0, space.back(z).abs().max().item())
    assert (block_mean(got, weights, 3) - rain).abs().max() <= 1e-13 * size
    if scale == 1:
        wrong = space.back(layer(z, space.into(rain), weights))
        assert (block_mean(wrong, weights, 3) - rain).abs().max() > 0.1


@EVERY
def test_a_network_in_a_normalised_space_is_constrained_in_physical_units(layer: Layer) -> None:
    """z-scores by channel; the answer and its mean are rain."""
    z, rain, weights = case()
    shift, scale = torch.tensor([3.0, 5.0])[:, None, None], torch.tensor([2.0, 4.0])[:, None, None]
    got = physical(layer, affine_space(shift.double(), scale.double()))(z, rain, weights)
    torch.testing.assert_close(block_mean(got, weights, 3), rain, rtol=0, atol=1e-12)


@EVERY
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_a_diverging_logarithm_stays_finite(layer: Layer, size: float) -> None:
    """exp(1e4) overflows; cut at 1e26 it does not, nor do the derivatives, in float32."""
    z, rain, weights = (tensor.float() for tensor in case())
    z = (z + size).requires_grad_()
    got = physical(layer, log_space())(z, rain, weights)
    assert torch.isfinite(got).all()
    got.mean().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_spaces_go_there_and_back() -> None:
    """back(into(f)) = f, small rain to its own digits."""
    f = torch.tensor([0.0, 1e-9, 0.1, 500.0], dtype=torch.float64)
    for space in (log_space(0.1), affine_space(2.0, 0.5)):
        torch.testing.assert_close(space.back(space.into(f)), f, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(log_space(0.1).into(f)[2], torch.tensor(2.0).double().log())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_back_in_float32(dtype: torch.dtype) -> None:
    """The exponential and the layer, also under autocast."""
    z, rain, weights = case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = physical(softmax, log_space())(z.to(dtype), rain.to(dtype), weights.float())
    assert got.dtype == torch.float32
    means = block_mean(got.double(), weights, 3)
    torch.testing.assert_close(means, rain.to(dtype).double(), rtol=1e-6, atol=1e-6)
    exact = physical(softmax, log_space())(z.to(dtype).double(), rain.to(dtype).double(), weights)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-6)
