"""The constraint layers against loops over blocks, and where they could go wrong."""

import inspect
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import constraints
from baselines.constraints import LAYERS, Layer, add, block_mean, softmax
from benchmark.grid import region_grid
from benchmark.task import Task

Array = NDArray[np.float64]
BOTH = pytest.mark.parametrize("layer", [add, softmax])
COARSE_SHAPE = (2, 3, 3, 5)


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


def loop_add(field: Array, coarse: Array, weights: Array, factor: int) -> Array:
    """AddCL, block by block."""
    out = np.full_like(field, np.nan)
    for n, c, j, i, rows, columns in blocks(coarse.shape, factor):
        block, share = field[n, c, rows, columns], weights[n, 0, rows, columns]
        out[n, c, rows, columns] = block + coarse[n, c, j, i] - (share * block).sum()
    return out


def loop_softmax(field: Array, coarse: Array, weights: Array, factor: int) -> Array:
    """SmCL, block by block."""
    out = np.full_like(field, np.nan)
    for n, c, j, i, rows, columns in blocks(coarse.shape, factor):
        power, share = np.exp(field[n, c, rows, columns]), weights[n, 0, rows, columns]
        out[n, c, rows, columns] = coarse[n, c, j, i] * power / (share * power).sum()
    return out


LOOPS: dict[Layer, Callable[[Array, Array, Array, int], Array]] = {
    add: loop_add,
    softmax: loop_softmax,
}


def tensors(*arrays: Array, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.from_numpy(array).to(dtype) for array in arrays]


@BOTH
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_equals_a_loop_over_blocks(layer: Layer, factor: int) -> None:
    """Every cell of every block, with area weights that differ by sample and cell."""
    field, coarse, weights = case(factor)
    got = layer(*tensors(field, coarse, weights)).numpy()
    np.testing.assert_allclose(got, LOOPS[layer](field, coarse, weights, factor), rtol=1e-12)


@BOTH
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


@BOTH
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


@BOTH
def test_gradients_are_right(layer: Layer) -> None:
    """Numerical against analytic derivatives by field and by coarse, in float64."""
    field, coarse, weights = tensors(*case(2))
    field, coarse, weights = field[:1, :1, :4, :4], coarse[:1, :1, :2, :2], weights[:1, :, :4, :4]
    field.requires_grad_(), coarse.requires_grad_()
    assert torch.autograd.gradcheck(lambda f, x: layer(f, x, weights), (field, coarse))


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_keeps_its_dtype(layer: Layer, dtype: torch.dtype) -> None:
    """No hidden cast: the answer has the input's dtype and is right to a few of its digits."""
    field, coarse, weights = case(4)
    got = layer(*tensors(field, coarse, weights, dtype=dtype))
    assert got.dtype == dtype
    expected = LOOPS[layer](field, coarse, weights, 4)
    scale = abs(expected).max()
    assert abs(got.double().numpy() - expected).max() < 8 * torch.finfo(dtype).eps * scale


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
    within = loop_add(other, zero, weights, 4)
    for sign in (1, -1):
        assert (weights * (got + sign * within - field) ** 2).sum() > nearest


def test_add_is_idempotent() -> None:
    """A field that meets the constraint stays as it is."""
    field, coarse, weights = tensors(*case(4))
    once = add(field, coarse, weights)
    torch.testing.assert_close(add(once, coarse, weights), once, rtol=0, atol=1e-13)


@BOTH
@pytest.mark.parametrize("fine", [(9, 20), (12, 18), (12, 10), (6, 20), (2, 3)])
def test_blocks_that_are_not_whole_and_square_are_refused(
    layer: Layer, fine: tuple[int, int]
) -> None:
    """Rows, columns or both do not divide into the coarse cells with one factor: ValueError."""
    with pytest.raises(ValueError, match="whole blocks"):
        layer(torch.zeros(1, 1, *fine), torch.zeros(1, 1, 3, 5), torch.ones(1, 1, *fine))


@BOTH
def test_layers_stay_on_the_device_of_their_input(layer: Layer) -> None:
    """They run on torch's `meta` device, which no other device mixes with, and name no device."""
    field, coarse, weights = (tensor.to("meta") for tensor in tensors(*case(4)))
    got = layer(field, coarse, weights)
    assert got.device.type == "meta"
    assert got.shape == field.shape
    source = inspect.getsource(constraints)
    assert "cuda" not in source
    assert ".cpu(" not in source


@BOTH
def test_inputs_are_not_changed(layer: Layer) -> None:
    """The same tensors go on to the loss and to the checks of conservation."""
    given = tensors(*case(4))
    before = [tensor.clone() for tensor in given]
    layer(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_registered_layers() -> None:
    """`none` has no layer; the projection after the fact is the one of `add`."""
    assert LAYERS["none"] is None
    assert LAYERS["add"] is LAYERS["post_hoc"] is add
    assert LAYERS["softmax"] is softmax
