"""The projection onto fields that coarsen to the input: consistent, idempotent, least change."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.projection import Map

Array = NDArray[np.float64]
CERRA = Map("+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=0 +R=6371229")
FACTORS = (2.0, 2.5, 4.0, 5.0)


def operator(factor: float, *, size: float = 1.0, cells: int = 20) -> AreaOverlap:
    """A square grid of `cells` cells at high latitudes, where areas differ most."""
    index = np.arange(cells + 1, dtype=np.float64)
    fine = 70.0 - size * index, 5.0 + size * index
    count = round(cells / factor)
    blocks = size * factor * np.arange(count + 1, dtype=np.float64)
    coarse = 70.0 - blocks, 5.0 + blocks
    return AreaOverlap.from_edges(fine=fine, coarse=coarse)


def fields(overlap: AreaOverlap, seed: int = 0) -> tuple[Array, Array]:
    """A fine field and an unrelated coarse one, in kelvin."""
    generator = np.random.default_rng(seed)
    return (
        generator.normal(280, 10, overlap.fine_shape),
        generator.normal(280, 10, overlap.coarse_shape),
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_the_result_coarsens_to_the_input(factor: float) -> None:
    """A P(f, x) = x to 1e-12 relative, whatever f."""
    overlap = operator(factor)
    fine, coarse = fields(overlap)
    found = overlap.projector()(fine, coarse)
    np.testing.assert_allclose(overlap(found), coarse, rtol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_projecting_twice_changes_nothing(factor: float) -> None:
    """P(P(f, x), x) = P(f, x)."""
    overlap = operator(factor)
    fine, coarse = fields(overlap)
    project = overlap.projector()
    once = project(fine, coarse)
    np.testing.assert_allclose(project(once, coarse), once, rtol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_consistent_field_is_left_alone(factor: float) -> None:
    """P(f, A f) = f: nothing moves where nothing is violated."""
    overlap = operator(factor)
    fine, _ = fields(overlap)
    np.testing.assert_allclose(overlap.projector()(fine, overlap(fine)), fine, rtol=1e-13)


@pytest.mark.parametrize("factor", [2.0, 4.0, 5.0])
def test_on_a_partition_it_adds_the_residual_to_every_cell(factor: float) -> None:
    """With whole blocks each cell gets its block's x - A f, the same for all of them."""
    overlap, n = operator(factor), int(factor)
    fine, coarse = fields(overlap)
    residual = (coarse - overlap(fine)).repeat(n, axis=0).repeat(n, axis=1)
    np.testing.assert_allclose(overlap.projector()(fine, coarse), fine + residual, rtol=1e-12)


@pytest.mark.parametrize("factor", [2.0, 2.5, 5.0])
def test_it_is_the_least_area_weighted_change(factor: float) -> None:
    """The correction equals numpy's minimum-norm solution in the norm of the cell areas.

    min sum_i a_i d_i^2 subject to A d = x - A f; with z = sqrt(a) d this is the minimum-norm
    solution of (A / sqrt(a)) z = r, which lstsq finds by a singular value decomposition.
    """
    overlap = operator(factor, size=3.0, cells=10)
    fine, coarse = fields(overlap)
    dense = np.asarray(overlap.matrix.todense())
    root = np.sqrt(overlap.area.ravel())
    residual = (coarse - overlap(fine)).ravel()
    z = np.linalg.lstsq(dense / root, residual, rcond=None)[0]
    expected = fine + (z / root).reshape(fine.shape)
    found = overlap.projector()(fine, coarse)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Equal weights are another projection, except on a partition's rows of equal areas.
    if factor == 2.5:
        plain = np.linalg.lstsq(dense, residual, rcond=None)[0].reshape(fine.shape)
        assert abs(found - fine - plain).max() > 1e-3


def test_any_other_consistent_field_is_further_away() -> None:
    """Moving along the null space of A only adds to the area-weighted change."""
    overlap = operator(2.5, cells=10)
    fine, coarse = fields(overlap)
    project = overlap.projector()
    found = project(fine, coarse)
    area = overlap.area

    def change(field: Array) -> float:
        return float((area * (field - fine) ** 2).sum())

    zero = np.zeros(overlap.coarse_shape)
    for seed in range(20):
        direction = project(np.random.default_rng(seed).normal(size=fine.shape), zero)
        np.testing.assert_allclose(overlap(found + direction), coarse, rtol=1e-12)
        assert change(found + direction) > change(found)


def test_leading_dimensions_are_projected_one_by_one() -> None:
    """(time, member, y, x) fields give what each field gives alone."""
    overlap = operator(2.5)
    generator = np.random.default_rng(4)
    fine = generator.normal(size=(2, 3, *overlap.fine_shape))
    coarse = generator.normal(size=(2, 3, *overlap.coarse_shape))
    project = overlap.projector()
    found = project(fine, coarse)
    assert found.shape == fine.shape
    for k in np.ndindex(2, 3):
        np.testing.assert_allclose(found[k], project(fine[k], coarse[k]), atol=1e-13)


@pytest.mark.parametrize("factor", [2.0, 2.5])
def test_on_a_lambert_grid(factor: float) -> None:
    """Areas that are no product of row and column: consistent, and the least change."""
    y, x = np.linspace(-2e6, 2e6, 11), np.linspace(-3e6, 1e6, 11)
    edges = np.linspace(0, 1, round(10 / factor) + 1)
    coarse_edges = y[0] + edges * (y[-1] - y[0]), x[0] + edges * (x[-1] - x[0])
    area = CERRA.area((y, x))
    overlap = AreaOverlap.from_projected_edges(fine=(y, x), coarse=coarse_edges, area=area)
    fine, coarse = fields(overlap)
    found = overlap.projector()(fine, coarse)
    np.testing.assert_allclose(overlap(found), coarse, rtol=1e-12)
    root = np.sqrt(area.ravel())
    residual = (coarse - overlap(fine)).ravel()
    z = np.linalg.lstsq(np.asarray(overlap.matrix.todense()) / root, residual, rcond=None)[0]
    np.testing.assert_allclose(found, fine + (z / root).reshape(fine.shape), rtol=1e-12)
