"""Interpolation of coarse fields: the reference's numbers, in both engines."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from benchmark.families.bilinear import interpolate
from benchmark.grid import RegionGrid, region_grid
from benchmark.reference import Bilinear
from benchmark.region import Region
from benchmark.task import Task

pytestmark = pytest.mark.usefixtures("engine")


def grid(task: Task, factor: float) -> RegionGrid:
    """A box of 30 x 40 cells of 1 degree."""
    region = Region(name="r", role="train", lat=(20.0, 50.0), lon=(-10.0, 30.0))
    changed = {"factor": factor, "margin": 1, "spacing": 1.0}
    return region_grid(task.model_copy(update=changed), region)


@pytest.mark.parametrize("factor", [2.0, 2.5, 5.0, 10.0])
def test_it_is_bilinear(task: Task, factor: float) -> None:
    """On the whole box, as the reference, and as scipy between coarse centres, clamped."""
    where = grid(task, factor)
    coarse = np.random.default_rng(0).normal(280, 10, (3, *where.coarse.shape)).astype(np.float32)
    found = interpolate(coarse, where)
    assert found.dtype == np.float64
    assert found.flags.c_contiguous
    expected = Bilinear.on(where)(coarse)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    y, x = where.coarse.y.centres, where.coarse.x.centres
    at_y = np.clip(where.fine.y.centres, y.min(), y.max())
    at_x = np.clip(where.fine.x.centres, x.min(), x.max())
    points = np.stack(np.meshgrid(at_y, at_x, indexing="ij"), axis=-1)
    for k in range(3):
        library = RegularGridInterpolator((y[::-1], x), coarse[k, ::-1].astype(np.float64))
        np.testing.assert_allclose(found[k], library(points), rtol=1e-12)


def test_every_step_alone(task: Task) -> None:
    """A step has the same bits whatever steps are with it; a missing input spreads, unfilled."""
    where = grid(task, 2.5)
    coarse = np.random.default_rng(1).normal(size=(5, *where.coarse.shape)).astype(np.float32)
    whole = interpolate(coarse, where)
    for k in range(5):
        np.testing.assert_array_equal(interpolate(coarse[k : k + 1], where)[0], whole[k])
    coarse[2, 5, 6] = np.nan
    found = np.isnan(interpolate(coarse, where))
    assert found[2].any()
    assert not found[[0, 1, 3, 4]].any()
