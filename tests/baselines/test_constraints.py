"""What every constraint layer must do: equal a loop over blocks, conserve, differentiate."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

from baselines import constraints
from baselines.constraints import (
    Bounds,
    Layer,
    add,
    block_mean,
    layer_for,
    mult,
    nonnegative,
    on_blocks,
    proportional,
    scaled_add,
    softmax,
)
from benchmark.grid import region_grid
from benchmark.model_card import Constraint
from benchmark.task import Task

Array = NDArray[np.float64]
COARSE_SHAPE = (2, 3, 3, 5)
LOW, HIGH = -4.0, 6.0
bounded, soft_plus = (
    on_blocks(rule) for rule in (scaled_add(LOW, HIGH), proportional(functional.softplus))
)
HARD = {
    "add": add, "mult": mult, "softmax": softmax, "scaled_add": bounded, "softplus": soft_plus,
    "nonnegative": nonnegative,
}  # fmt: skip
EVERY = pytest.mark.parametrize("layer", HARD.values(), ids=HARD.keys())


def blocks(
    shape: tuple[int, ...], factor: int
) -> Iterator[tuple[int, int, int, int, slice, slice]]:
    """(batch, channel, J, I, rows, columns) of every block under a coarse field's shape."""
    for n, c, j, i in np.ndindex(*shape):
        rows = slice(j * factor, (j + 1) * factor)
        yield n, c, j, i, rows, slice(i * factor, (i + 1) * factor)


def case(factor: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Random (field, coarse >= 0.1, weights of each sample), the weights summing to 1 in blocks."""
    draw = np.random.default_rng(seed)
    n, c, ny, nx = COARSE_SHAPE
    field = draw.normal(0, 3, (n, c, ny * factor, nx * factor))
    weights = draw.uniform(0.2, 2, (n, 1, ny * factor, nx * factor))
    for k, _, _, _, rows, columns in blocks((n, 1, ny, nx), factor):
        weights[k, 0, rows, columns] /= weights[k, 0, rows, columns].sum()
    return field, draw.uniform(0.1, 5, COARSE_SHAPE), weights


Rule = Callable[[Array, float, Array], Array]


def loop(rule: Rule, field: Array, coarse: Array, weights: Array, factor: int) -> Array:
    """A rule for (values, mean, weights) of one block, block by block."""
    out = np.full_like(field, np.nan)
    for n, c, j, i, rows, columns in blocks(coarse.shape, factor):
        at = n, c, rows, columns
        out[at] = rule(field[at], float(coarse[n, c, j, i]), weights[n, 0, rows, columns])
    return out


def by_add(f: Array, x: float, a: Array) -> Array:
    """AddCL."""
    return f + x - (a * f).sum()


def by_mult(f: Array, x: float, a: Array) -> Array:
    """MultCL, and x where the mean is a tenth of the mean absolute value or less, or not x's."""
    mean = (a * f).sum()
    usable = mean * np.sign(x) >= 0.1 * (a * abs(f)).sum() > 0
    return f * x / mean if usable else np.full_like(f, x)


def by_shares(g: Callable[[Array], Array], f: Array, x: float, a: Array) -> Array:
    """Eq. 5."""
    return x * g(f) / (a * g(f)).sum()


def by_scaled_add(f: Array, x: float, a: Array) -> Array:
    """As published: in [-1, 1], with s = sign(m - x)."""
    f, x = ((2 * np.clip(v, LOW, HIGH) - LOW - HIGH) / (HIGH - LOW) for v in (f, x))
    mean = (a * f).sum()
    s = np.sign(mean - x)
    y = f + (x - mean) * (s + f) / (s + mean)
    return (y * (HIGH - LOW) + LOW + HIGH) / 2


def by_water(f: Array, x: float, a: Array) -> Array:
    """max(f + c, 0) with the c that a root finder finds."""

    def excess(c: float) -> float:
        return float((a * np.maximum(f + c, 0)).sum() - x)

    shift = brentq(excess, -f.max() - 1e-9, x - f.min() + 1, xtol=1e-15, rtol=1e-15)
    return np.maximum(f + shift, 0)


RULES: dict[Layer, Rule] = {
    add: by_add,
    mult: by_mult,
    softmax: partial(by_shares, np.exp),
    soft_plus: partial(by_shares, lambda f: np.log1p(np.exp(f))),
    bounded: by_scaled_add,
    nonnegative: by_water,
}


def tensors(*arrays: Array, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.from_numpy(array).to(dtype) for array in arrays]


@EVERY
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_equals_a_loop_over_blocks(layer: Layer, factor: int) -> None:
    """Every cell of every block, with area weights that differ by sample and cell."""
    field, coarse, weights = case(factor)
    got = layer(*tensors(field, coarse, weights)).numpy()
    np.testing.assert_allclose(
        got, loop(RULES[layer], field, coarse, weights, factor), rtol=1e-10, atol=1e-12
    )


@EVERY
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_block_means_are_the_coarse_field(layer: Layer, dtype: torch.dtype, rtol: float) -> None:
    """The weighted mean of each block, taken in float64, is x to the rounding of the dtype."""
    field, coarse, weights = tensors(*case(4), dtype=dtype)
    got = layer(field, coarse, weights).double().numpy()
    for n, c, j, i, rows, columns in blocks(COARSE_SHAPE, 4):
        mean = (got[n, c, rows, columns] * weights[n, 0, rows, columns].double().numpy()).sum()
        assert abs(mean - coarse[n, c, j, i].item()) <= rtol * coarse.max().item()


def test_block_mean_is_the_weighted_mean_of_each_block() -> None:
    """`block_mean` against a loop, on blocks that are not square in number."""
    field, coarse, weights = case(3, seed=1)
    got = block_mean(*tensors(field, weights), 3).numpy()
    assert got.shape == coarse.shape
    for n, c, j, i, rows, columns in blocks(coarse.shape, 3):
        expected = (field[n, c, rows, columns] * weights[n, 0, rows, columns]).sum()
        assert got[n, c, j, i] == pytest.approx(expected, rel=1e-12)


@EVERY
def test_one_set_of_weights_serves_the_whole_batch(layer: Layer) -> None:
    """Weights (1, 1, ny, nx) give what the same weights repeated give."""
    field, coarse, weights = tensors(*case(4))
    shared = weights[:1]
    assert torch.equal(
        layer(field, coarse, shared), layer(field, coarse, shared.expand_as(weights))
    )


def test_softmax_is_never_negative_and_dry_blocks_are_exactly_zero() -> None:
    """y >= 0 everywhere; x = 0 gives y = 0, with finite gradients there and elsewhere."""
    field, coarse, weights = tensors(*case(4), dtype=torch.float32)
    coarse[0, :, 1, 2] = 0
    coarse[1, 0] = 0
    # What a skip makes of a dry bilinear field: log(1e-12).
    field[0, 0, 4:8, 8:12] = float(np.log(1e-12))
    field.requires_grad_(), coarse.requires_grad_()
    got = softmax(field, coarse, weights)
    assert (got >= 0).all()
    assert (got[0, :, 4:8, 8:12] == 0).all()
    assert (got[1, 0] == 0).all()
    assert (got[1, 1] > 0).all()
    (got**2).sum().backward()
    assert field.grad is not None
    assert coarse.grad is not None
    assert torch.isfinite(field.grad).all()
    assert torch.isfinite(coarse.grad).all()
    assert (field.grad[1, 0] == 0).all()
    assert (field.grad[1, 1] != 0).any()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_softmax_of_huge_logits_neither_overflows_nor_vanishes(size: float) -> None:
    """Equal logits of any size repeat x; far apart, the largest takes all: y = x / its weight."""
    _, coarse, weights = tensors(*case(4), dtype=torch.float32)
    level = torch.full((2, 3, 12, 20), size)
    repeated = coarse.repeat_interleave(4, -2).repeat_interleave(4, -1)
    torch.testing.assert_close(softmax(level, coarse, weights), repeated, rtol=1e-5, atol=0)
    apart = level.clone().requires_grad_()
    with torch.no_grad():
        apart[..., ::4, ::4] += 1e4
    got = softmax(apart, coarse, weights)
    got.sum().backward()
    assert apart.grad is not None
    assert torch.isfinite(apart.grad).all()
    expected = coarse / weights[..., ::4, ::4]
    torch.testing.assert_close(got[..., ::4, ::4], expected, rtol=1e-5, atol=0)
    assert got.count_nonzero() == coarse.numel()


@EVERY
def test_gradients_are_right(layer: Layer) -> None:
    """Numerical against analytic derivatives by field and by coarse, in float64."""
    field, coarse, weights = tensors(*case(2))
    field, coarse, weights = field[:1, :1, :4, :4], coarse[:1, :1, :2, :2], weights[:1, :, :4, :4]
    field.requires_grad_(), coarse.requires_grad_()
    assert torch.autograd.gradcheck(lambda f, x: layer(f, x, weights), (field, coarse))


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32(
    layer: Layer, dtype: torch.dtype, autocast: bool
) -> None:
    """Fields in 8 or 11 digits, also under autocast, conserve to 1e-6 in a float32 answer."""
    field, coarse, weights = case(4)
    low = tensors(field, coarse, dtype=dtype)
    area = tensors(weights, dtype=torch.float32)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = layer(*low, area)
    assert got.dtype == torch.float32
    given, x = (tensor.double().numpy() for tensor in low)
    expected = loop(RULES[layer], given, x, weights, 4)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
    for n, c, j, i, rows, columns in blocks(COARSE_SHAPE, 4):
        mean = (got[n, c, rows, columns].double() * area[n, 0, rows, columns].double()).sum()
        assert abs(mean.item() - x[n, c, j, i]) <= 1e-6 * x.max()


@pytest.mark.parametrize("name", ["europe-west", "andes-south", "horn-arabia"])
def test_add_is_the_least_squares_projection_of_the_overlap_operator(task: Task, name: str) -> None:
    """With the operator's weights, `add` equals its projector, north and south of the equator."""
    grid, draw = region_grid(task, task.region(name)), np.random.default_rng(2)
    field = draw.normal(280, 10, (2, 3, *grid.fine.shape))
    coarse = draw.normal(280, 10, (2, 3, *grid.coarse.shape))
    weights = torch.from_numpy(grid.overlap.block_weights)[None, None]
    got = add(*tensors(field, coarse), weights).numpy()
    np.testing.assert_allclose(got, grid.overlap.projector()(field, coarse), rtol=1e-12)


def test_add_moves_the_field_least() -> None:
    """Any other field with the same block means is farther by area-weighted squares."""
    field, coarse, weights = case(4)
    got = add(*tensors(field, coarse, weights)).numpy()
    nearest = (weights * (got - field) ** 2).sum()
    other = np.random.default_rng(3).normal(0, 1e-3, field.shape)
    zero = np.zeros_like(coarse)
    # Made to have zero block means by the loop, not by the layer.
    within = loop(by_add, other, zero, weights, 4)
    for sign in (1, -1):
        assert (weights * (got + sign * within - field) ** 2).sum() > nearest


def test_add_is_idempotent() -> None:
    """A field that meets the constraint stays as it is."""
    field, coarse, weights = tensors(*case(4))
    once = add(field, coarse, weights)
    torch.testing.assert_close(add(once, coarse, weights), once, rtol=0, atol=1e-13)


@EVERY
@pytest.mark.parametrize("fine", [(9, 20), (12, 18), (12, 10), (6, 20), (2, 3)])
def test_blocks_that_are_not_whole_and_square_are_refused(
    layer: Layer, fine: tuple[int, int]
) -> None:
    """Rows, columns or both do not divide into the coarse cells with one factor: ValueError."""
    with pytest.raises(ValueError, match="whole blocks"):
        layer(torch.zeros(1, 1, *fine), torch.zeros(1, 1, 3, 5), torch.ones(1, 1, *fine))


@pytest.mark.parametrize("layer", [add, mult, softmax, bounded, soft_plus])
def test_layers_stay_on_the_device_of_their_input(layer: Layer) -> None:
    """They run on torch's `meta` device, which no other device mixes with."""
    field, coarse, weights = (tensor.to("meta") for tensor in tensors(*case(4)))
    got = layer(field, coarse, weights)
    assert got.device.type == "meta"
    assert got.shape == field.shape


def test_no_layer_names_a_device() -> None:
    """Nor `cuda`, nor a way back to the processor, in any of the modules."""
    found = [entry.name for entry in pkgutil.iter_modules(constraints.__path__)]
    assert {"blocks", "rules", "projection", "soft", "spaces"} <= set(found)
    for name in found:
        source = inspect.getsource(import_module(f"{constraints.__name__}.{name}"))
        assert "cuda" not in source
        assert ".cpu(" not in source


@EVERY
def test_inputs_are_not_changed(layer: Layer) -> None:
    """The same tensors go on to the loss and to the checks of conservation."""
    given = tensors(*case(4))
    before = [tensor.clone() for tensor in given]
    layer(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


@EVERY
def test_strided_fields_are_taken_as_they_are(layer: Layer) -> None:
    """channels_last, as convolutions leave it, and a crop of a larger field."""
    field, coarse, weights = tensors(*case(4))
    expected = layer(field, coarse, weights)
    strided = field.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(strided, coarse, weights), expected, rtol=1e-13, atol=1e-13)
    crop = functional.pad(field, (2, 3, 1, 4))[..., 1:-4, 2:-3]
    torch.testing.assert_close(layer(crop, coarse, weights), expected, rtol=1e-13, atol=1e-13)


def test_registered_layers() -> None:
    """Every name has its layer; those that act in the loss or after the fact have none."""
    trained = {"add": add, "mult": mult, "softmax": softmax, "projection": add}
    for name, layer in trained.items():
        assert layer_for(name) is layer
    for name in ("none", "soft", "post_hoc"):
        assert layer_for(name) is None
    assert set(get_args(Constraint)) == {*trained, "none", "soft", "post_hoc", "scaled_add"}


def test_bounds_are_those_of_each_variable() -> None:
    """`scaled_add` by name keeps each channel to its own bounds; without any it is refused."""
    bounds = Bounds(torch.tensor([0.0, -1.0, 2.0]), torch.tensor([1.0, 1.0, 3.0]))
    layer = layer_for("scaled_add", bounds)
    assert layer is not None
    field, _, weights = tensors(*case(4))
    middle = ((bounds.low + bounds.high) / 2)[:, None, None].expand(2, 3, 3, 5)
    got = layer(field, middle, weights)
    for channel in range(3):
        low, high = bounds.low[channel].item(), bounds.high[channel].item()
        assert low <= got[:, channel].min() < low + 0.1
        assert high - 0.1 < got[:, channel].max() <= high
    with pytest.raises(ValueError, match="bounds"):
        layer_for("scaled_add")
