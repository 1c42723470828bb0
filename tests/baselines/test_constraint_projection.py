"""The trainable projection: the harness's own operator, any ratio of spacings, any areas."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.constraints import Projection, add
from benchmark.coarsen import AreaOverlap
from benchmark.projection import Map

Array = NDArray[np.float64]
CERRA = Map("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=0 +R=6371229")
FACTORS = (2.0, 2.5, 4.0)


def sphere(factor: float, *, cells: int = 20) -> AreaOverlap:
    """A square lat-lon grid at high latitudes."""
    fine = np.arange(cells + 1.0)
    coarse = factor * np.arange(round(cells / factor) + 1)
    return AreaOverlap.from_edges(fine=(70 - fine, 5 + fine), coarse=(70 - coarse, 5 + coarse))


def lambert(factor: float, *, cells: int = 20) -> AreaOverlap:
    """Areas that are no product of row and column."""
    y, x = np.linspace(-2e6, 2e6, cells + 1), np.linspace(-3e6, 1e6, cells + 1)
    share = np.linspace(0, 1, round(cells / factor) + 1)
    coarse = y[0] + share * (y[-1] - y[0]), x[0] + share * (x[-1] - x[0])
    area = CERRA.area((y, x))
    return AreaOverlap.from_projected_edges(fine=(y, x), coarse=coarse, area=area)


def irregular(*, cells: int = 16) -> AreaOverlap:
    """Edges drawn at random on both sides, a fine border outside, areas within a factor of 20."""
    draw = np.random.default_rng(5)

    def edges(count: int, low: float, high: float) -> Array:
        inner = np.sort(draw.uniform(low, high, count - 1))
        return np.array([low, *inner, high])

    fine = edges(cells, 0, 10), edges(cells, 0, 10)
    # Coarse cells wider than a fine one, or two of them could be asked for different means.
    coarse = np.linspace(0.5, 9.7, 5), np.linspace(0.3, 9.1, 4)
    area = np.multiply.outer(np.diff(fine[0]), np.diff(fine[1]))
    return AreaOverlap.from_projected_edges(
        fine=fine, coarse=coarse, area=area * draw.uniform(0.2, 4, area.shape)
    )


OVERLAPS = {
    **{f"sphere {factor:g}": sphere(factor) for factor in FACTORS},
    **{f"Lambert {factor:g}": lambert(factor) for factor in FACTORS},
    "irregular": irregular(),
}
EVERY = pytest.mark.parametrize("overlap", OVERLAPS.values(), ids=OVERLAPS.keys())


def fields(overlap: AreaOverlap, lead: tuple[int, ...] = (3, 2)) -> tuple[Array, Array]:
    draw = np.random.default_rng(1)
    return (
        draw.normal(280, 10, (*lead, *overlap.fine_shape)),
        draw.normal(280, 10, (*lead, *overlap.coarse_shape)),
    )


def run(overlap: AreaOverlap, fine: Array, coarse: Array) -> Array:
    return np.asarray(Projection(overlap)(torch.from_numpy(fine), torch.from_numpy(coarse)).numpy())


@EVERY
def test_it_coarsens_to_the_input(overlap: AreaOverlap) -> None:
    """A y = x by the sparse matrix of the harness, to 1e-12."""
    fine, coarse = fields(overlap)
    np.testing.assert_allclose(overlap(run(overlap, fine, coarse)), coarse, rtol=1e-12)


@EVERY
def test_it_is_the_least_area_weighted_change(overlap: AreaOverlap) -> None:
    """numpy's minimum-norm solution of A d = x - A f in the norm of the cell areas."""
    fine, coarse = fields(overlap, ())
    root = np.sqrt(overlap.area.ravel() / overlap.area.mean())
    lack = (coarse - overlap(fine)).ravel()
    z = np.linalg.lstsq(np.asarray(overlap.matrix.todense()) / root, lack, rcond=None)[0]
    expected = fine + (z / root).reshape(fine.shape)
    np.testing.assert_allclose(run(overlap, fine, coarse), expected, rtol=1e-11)


@EVERY
def test_it_equals_the_projector_of_the_harness(overlap: AreaOverlap) -> None:
    """Training and `elsewhere constrain` project onto the same fields."""
    fine, coarse = fields(overlap)
    expected = overlap.projector()(fine, coarse)
    np.testing.assert_allclose(run(overlap, fine, coarse), expected, rtol=1e-12)


@pytest.mark.parametrize("grid", [sphere, lambert])
@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_on_whole_blocks_it_is_add(grid: type[AreaOverlap], factor: float) -> None:
    """The residual of each block goes to all its cells alike; K^-1 has one entry a coarse cell."""
    overlap = grid(factor)
    fine, coarse = fields(overlap)
    weights = torch.from_numpy(overlap.block_weights)[None, None]
    expected = add(torch.from_numpy(fine), torch.from_numpy(coarse), weights).numpy()
    np.testing.assert_allclose(run(overlap, fine, coarse), expected, rtol=1e-12)
    assert Projection(overlap).inverse.values().numel() == coarse[0, 0].size


@pytest.mark.parametrize("grid", [sphere, lambert])
def test_at_factor_two_and_a_half_the_inverse_is_sparse(grid: type[AreaOverlap]) -> None:
    """Only 2 x 2 coarse cells share fine ones: four entries a row, however large the grid."""
    inverse = Projection(grid(2.5, cells=40)).inverse
    assert inverse.shape == (256, 256)
    assert inverse.values().numel() == 4 * 256


@EVERY
def test_derivatives(overlap: AreaOverlap) -> None:
    """Numerical against analytic ones by field and coarse, in float64."""
    fine, coarse = (torch.from_numpy(array / 280) for array in fields(overlap, (1,)))
    fine.requires_grad_(), coarse.requires_grad_()
    layer = Projection(overlap)
    assert torch.autograd.gradcheck(layer, (fine, coarse), fast_mode=True)


def test_derivatives_element_by_element() -> None:
    """The whole Jacobian of a small grid."""
    layer = Projection(sphere(2.5, cells=5))
    draw = torch.Generator().manual_seed(0)
    fine = torch.randn(2, 5, 5, dtype=torch.float64, generator=draw, requires_grad=True)
    coarse = torch.randn(2, 2, 2, dtype=torch.float64, generator=draw, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (fine, coarse))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_single_and_half_precision(
    overlap: AreaOverlap, dtype: torch.dtype, autocast: bool
) -> None:
    """Computed in float32, also under autocast: A y = x to 1e-6 in a float32 answer."""
    fine, coarse = (torch.from_numpy(array).to(dtype) for array in fields(overlap))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = Projection(overlap)(fine, coarse)
    assert got.dtype == torch.float32
    x = coarse.double().numpy()
    assert abs(overlap(got.numpy()) - x).max() <= 2e-6 * abs(x).max()


def test_it_moves_with_its_module_and_saves_nothing() -> None:
    """Constants of a grid are neither trained nor in a checkpoint; `.float()` converts them."""
    layer = Projection(sphere(2.5)).float()
    assert layer.inverse.dtype == layer.area.dtype == torch.float32
    assert not list(layer.parameters())
    assert not layer.state_dict()
    fine, coarse = (torch.from_numpy(array) for array in fields(sphere(2.5)))
    assert layer(fine.float(), coarse.float()).dtype == torch.float32
