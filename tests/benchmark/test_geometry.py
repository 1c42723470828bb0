"""Areas of cells on the sphere against cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from benchmark.geometry import EARTH_RADIUS_M, cell_area
from benchmark.grid import RegionGrid


def test_cells_of_the_globe_sum_to_the_sphere() -> None:
    """Areas of a global grid sum to 4 pi R^2 and depend on latitude only."""
    area = cell_area(np.linspace(90, -90, 181), np.linspace(-180, 180, 361))
    assert area.shape == (180, 360)
    assert area.sum() == pytest.approx(4 * math.pi * EARTH_RADIUS_M**2, rel=1e-13)
    np.testing.assert_allclose(area, np.repeat(area[:, :1], 360, axis=1), rtol=1e-12)


def test_one_cell_by_hand() -> None:
    """The northern hemisphere's quarter is pi R^2 / 2; the direction of edges does not matter."""
    quarter = cell_area(np.array([0.0, 90.0]), np.array([0.0, 90.0]))
    assert quarter[0, 0] == pytest.approx(math.pi * EARTH_RADIUS_M**2 / 2, rel=1e-13)
    turned = cell_area(np.array([90.0, 0.0]), np.array([0.0, 90.0]))
    assert turned[0, 0] == quarter[0, 0]


def test_a_grid_has_the_areas_of_its_cells(all_grids: list[RegionGrid]) -> None:
    """Rows of a region's grid run from north to south: northern cells are the smaller ones."""
    grid = next(grid for grid in all_grids if grid.fine.y.first > 50)
    assert np.all(np.diff(grid.fine.area[:, 0]) > 0)
    whole, blocks = grid.fine.area.sum(), grid.coarse.area.sum()
    assert whole == pytest.approx(blocks, rel=1e-12)
