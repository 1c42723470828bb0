"""Separable interpolation between cell centres as one weight matrix an axis, and remapping.

Each kernel returns the (n_fine, n_coarse) weights of one axis, rows summing to 1; a field is
`in_y @ coarse @ in_x'`. Edges are clamped (the outermost coarse value is repeated outwards) but
for the kernel of PIL. Missing data: NaN spreads to the fine cells that would have used it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.grid import Grid, RegionGrid
from benchmark.reference import linear_weights

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]

KEYS_A = -0.75
"""Coefficient of the cubic kernel; the one of torch and OpenCV."""

PIL_A = -0.5
"""Coefficient of the cubic kernel of PIL, and the one with which Keys' method is third order."""


def nearest_weights(source: Array, target: Array) -> Array:
    """The value of the coarse cell whose centre is nearest: "enlarge" of Harder et al. (2023)."""
    weights = np.zeros((target.size, source.size))
    chosen = np.abs(target[:, None] - source[None, :]).argmin(axis=1)
    weights[np.arange(target.size), chosen] = 1.0
    return weights


def cubic_weights(source: Array, target: Array) -> Array:
    """Cubic convolution (Keys 1981, doi 10.1109/TASSP.1981.1163711) with a = -0.75.

    Source coordinates must be equally spaced.
    """
    position = (target - source[0]) / (source[1] - source[0])
    base = np.floor(position).astype(int)
    weights = np.zeros((target.size, source.size))
    rows = np.arange(target.size)
    for offset in (-1, 0, 1, 2):
        column = np.clip(base + offset, 0, source.size - 1)
        np.add.at(weights, (rows, column), _keys(np.abs(position - (base + offset)), KEYS_A))
    return weights


def pil_cubic_weights(source: Array, target: Array) -> Array:
    """Cubic convolution with a = -0.5 as PIL enlarges: cells outside the box have no weight.

    The weights of the others are divided by their sum; PIL clamps no edge. Source coordinates
    must be equally spaced.
    """
    position = (target - source[0]) / (source[1] - source[0])
    weights = _keys(np.abs(position[:, None] - np.arange(source.size)), PIL_A)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _keys(distance: Array, a: float) -> Array:
    d = distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


KERNELS: dict[str, Kernel] = {
    "nearest": nearest_weights,
    "bilinear": linear_weights,
    "bicubic": cubic_weights,
    "bicubic-pil": pil_cubic_weights,
}


def interpolate(kernel: Kernel, grid: RegionGrid, coarse: NDArray[np.floating]) -> Array:
    """Interpolate (..., Ny, Nx) coarse fields to (..., ny, nx) with one of `KERNELS`."""
    in_y = kernel(grid.coarse.y.centres, grid.fine.y.centres)
    in_x = kernel(grid.coarse.x.centres, grid.fine.x.centres)
    return np.asarray(in_y @ coarse.astype(np.float64) @ in_x.T)


def shifted_south_east(field: NDArray[np.floating]) -> Array:
    """A (..., ny, nx) field one cell further south and east, its north and west edges repeated.

    Rows run from north to south and columns from west to east, as in every grid of a task.
    """
    rows, columns = (np.maximum(np.arange(size) - 1, 0) for size in field.shape[-2:])
    return np.asarray(field[..., rows, :][..., columns], dtype=np.float64)


@dataclass(frozen=True)
class ConservativeRemapping:
    """Second-order conservative remapping (Jones 1999).

    With s = sin(latitude) and l = longitude, in which area is ds dl, a coarse cell J holds

        f(s, l) = x_J + G_s,J (s - s_J) + G_l,J (l - l_J)

    about its midpoint, and a fine cell the mean of f over itself; G are differences of the
    neighbours (one-sided at the edges of the box). Offsets average to 0 over a cell, so that
    sum |I| y_I = sum |J| x_J at any factor and, where coarse cells are whole blocks, A y = x.
    Fields linear in s and l come back exactly. No limiter, so it may overshoot below 0, as in
    SCRIP and CDO's `remapcon2`. The first-order form drops G; it is `nearest` at whole factors.
    At least two coarse cells along each axis. On a map s and l are its metres, and areas true but
    for the change of its scale within a coarse cell. Where the coarse box is shifted, its
    outermost cells reach to the end of the fine one.

    share: (n_fine, n_coarse) part of a fine cell that lies in a coarse one; slope: the same
    shape, the weights of the G term. Source: Jones 1999,
    doi 10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2.
    """

    share_y: Array
    slope_y: Array
    share_x: Array
    slope_x: Array

    @classmethod
    def on(cls, grid: RegionGrid) -> "ConservativeRemapping":
        """The remapping from a region's coarse to its fine cells."""

        def heights(part: Grid) -> Array:
            """Edges between which areas are differences; on a map, but for its scale."""
            edges = part.y.edges
            return edges if part.projection.crs else np.sin(np.deg2rad(edges))

        fine_y, coarse_y = heights(grid.fine), heights(grid.coarse)
        return cls(
            *_remapping_weights(coarse_y, fine_y),
            *_remapping_weights(grid.coarse.x.edges, grid.fine.x.edges),
        )

    def __call__(self, coarse: NDArray[np.floating]) -> Array:
        """Remap (..., Ny, Nx) to (..., ny, nx) in float64."""
        x = coarse.astype(np.float64)
        flat = (self.share_y + self.slope_y) @ x @ self.share_x.T
        return np.asarray(flat + self.share_y @ x @ self.slope_x.T)


def _remapping_weights(source: Array, target: Array) -> tuple[Array, Array]:
    """(share, slope) of one axis from the edges of its coarse and fine cells."""
    if source[0] > source[-1]:
        return _remapping_weights(-source, -target)
    # Fine cells beyond a shifted coarse box belong to its outermost cells.
    reach = source.copy()
    reach[0], reach[-1] = min(source[0], target[0]), max(source[-1], target[-1])
    low = np.maximum(target[:-1, None], reach[None, :-1])
    high = np.maximum(np.minimum(target[1:, None], reach[None, 1:]), low)
    share = (high - low) / (high - low).sum(axis=1, keepdims=True)
    centres = (source[:-1] + source[1:]) / 2
    offset = share * ((low + high) / 2 - centres)
    return share, offset @ _differences(centres)


def _differences(centres: Array) -> Array:
    """(n, n) gradients at cell midpoints: the chord of both neighbours, one-sided at the ends."""
    last = centres.size - 1
    rows = np.arange(last + 1)
    before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, last)
    weights = np.zeros((last + 1, last + 1))
    weights[rows, after] += 1 / (centres[after] - centres[before])
    weights[rows, before] -= 1 / (centres[after] - centres[before])
    return weights
