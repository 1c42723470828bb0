"""The fine and the coarse grid of one region, from its bounds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.geometry import cell_area
from benchmark.task import Region, Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Cells along one axis by their edges, in degrees; edges run in storage order."""

    first: float
    last: float
    cells: int

    @property
    def edges(self) -> Array:
        """(cells + 1,) edges."""
        return np.linspace(self.first, self.last, self.cells + 1)

    @property
    def centres(self) -> Array:
        """(cells,) centres."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    def cropped(self, margin: int) -> "Axis":
        """The axis without `margin` cells at both ends."""
        edges = self.edges
        return Axis(float(edges[margin]), float(edges[-1 - margin]), self.cells - 2 * margin)


@dataclass(frozen=True)
class Grid:
    """A lat-lon grid: `y` is latitude from north to south, `x` longitude from west to east."""

    y: Axis
    x: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.y.cells, self.x.cells

    @cached_property
    def area(self) -> Array:
        """(ny, nx) cell areas in m2 on the sphere."""
        return cell_area(self.y.edges, self.x.edges)

    def cropped(self, margin: int) -> "Grid":
        """The grid without a border of `margin` cells."""
        return Grid(self.y.cropped(margin), self.x.cropped(margin))


@dataclass(frozen=True)
class RegionGrid:
    """Both grids of a region, and the part of them that is scored.

    `margin` counts coarse cells; the same border is `fine_margin` fine cells wide.
    """

    fine: Grid
    coarse: Grid
    margin: int

    @property
    def fine_margin(self) -> int:
        """The margin in fine cells (whole cells: the margin of a task is chosen so)."""
        return round(self.margin * self.fine.y.cells / self.coarse.y.cells)

    @cached_property
    def scored(self) -> "RegionGrid":
        """The interior that is scored, as a region grid without a margin."""
        return RegionGrid(
            self.fine.cropped(self.fine_margin), self.coarse.cropped(self.margin), margin=0
        )

    @cached_property
    def overlap(self) -> AreaOverlap:
        """The operator A from fine to coarse."""
        return AreaOverlap.from_edges(
            fine=(self.fine.y.edges, self.fine.x.edges),
            coarse=(self.coarse.y.edges, self.coarse.x.edges),
        )

    def crop_fine(self, field: NDArray[np.generic]) -> NDArray[np.generic]:
        """The scored interior of a (..., ny, nx) fine field."""
        return crop(field, self.fine_margin)

    def crop_coarse(self, field: NDArray[np.generic]) -> NDArray[np.generic]:
        """The scored interior of a (..., Ny, Nx) coarse field."""
        return crop(field, self.margin)


def crop(field: NDArray[np.generic], margin: int) -> NDArray[np.generic]:
    """`field` without a border of `margin` cells along its last two axes."""
    if margin == 0:
        return field
    return field[..., margin:-margin, margin:-margin]


def region_grid(task: Task, region: Region) -> RegionGrid:
    """The grids of `region`: fine cells of `task.spacing`, coarse ones `task.factor` times that."""
    (south, north), (west, east) = region.lat, region.lon

    def grid(size: float) -> Grid:
        return Grid(
            y=Axis(north, south, round((north - south) / size)),
            x=Axis(west, east, round((east - west) / size)),
        )

    return RegionGrid(
        fine=grid(task.spacing), coarse=grid(task.spacing * task.factor), margin=task.margin
    )
