"""The area-overlap operator A: from fine to coarse, the one owner of what coarsening means.

Recipes make coarse fields with it, constraint layers take its weights, metrics measure
residuals with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, kron

from benchmark.geometry import cell_area

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AreaOverlap:
    """(A f)_J = sum_i |I_i n J| f_i / sum_i |I_i n J| over fine cells I and coarse cells J.

    Both grids follow the same two axes, so that |I_i n J| is the fine cell's area times the share
    of it that J covers along y times that along x: in_y (Ny, ny) and in_x (Nx, nx), in [0, 1].
    area: (ny, nx) m2. Any ratio of grid spacings, 2.5 too. A fine cell outside every coarse cell
    counts nowhere. Missing data: a NaN in a fine cell makes its coarse cells NaN.
    Errors: ValueError where a coarse cell is covered by no fine cell.
    """

    in_y: Array
    in_x: Array
    area: Array

    def __post_init__(self) -> None:
        if not np.all(self.total > 0):
            raise ValueError("a coarse cell is covered by no fine cell")

    @classmethod
    def from_edges(cls, *, fine: tuple[Array, Array], coarse: tuple[Array, Array]) -> "AreaOverlap":
        """The operator between two lat-lon grids given by (lat edges, lon edges) in degrees.

        Exact on the sphere: areas are differences of sin(lat) times differences of lon.
        """
        fine_y, coarse_y = (np.sin(np.deg2rad(edges[0])) for edges in (fine, coarse))
        return cls(
            in_y=_shares(fine_y, coarse_y),
            in_x=_shares(np.deg2rad(fine[1]), np.deg2rad(coarse[1])),
            area=cell_area(*fine),
        )

    @classmethod
    def from_projected_edges(
        cls, *, fine: tuple[Array, Array], coarse: tuple[Array, Array], area: Array
    ) -> "AreaOverlap":
        """The operator between two grids of one map projection, by (y edges, x edges) in m.

        area: (ny, nx) m2, the true areas of the fine cells, e.g. `projection.Map.area`.
        A cut through a fine cell divides its area as it divides the cell on the map: the scale
        hardly changes within a cell.
        """
        return cls(in_y=_shares(fine[0], coarse[0]), in_x=_shares(fine[1], coarse[1]), area=area)

    @property
    def fine_shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.in_y.shape[1], self.in_x.shape[1]

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """(Ny, Nx)."""
        return self.in_y.shape[0], self.in_x.shape[0]

    @cached_property
    def total(self) -> Array:
        """(Ny, Nx) sum_i |I_i n J| in m2."""
        return np.asarray(self.in_y @ self.area @ self.in_x.T)

    @cached_property
    def matrix(self) -> csr_array:
        """(Ny Nx, ny nx) sparse, rows summing to 1."""
        shares = csr_array(kron(csr_array(self.in_y), csr_array(self.in_x)))
        overlap = shares @ diags_array(self.area.ravel())
        return csr_array(diags_array(1 / self.total.ravel()) @ overlap)

    def __call__(self, field: NDArray[np.floating]) -> Array:
        """Coarsen (..., ny, nx) to (..., Ny, Nx), in float64 whatever comes in."""
        lead = field.shape[:-2]
        columns = field.reshape(-1, self.matrix.shape[1]).astype(np.float64).T
        return np.ascontiguousarray((self.matrix @ columns).T).reshape(*lead, *self.coarse_shape)

    @property
    def is_partition(self) -> bool:
        """Whether every fine cell lies in one coarse cell: none is shared, and none left out."""
        return all(bool((np.count_nonzero(s, axis=0) == 1).all()) for s in (self.in_y, self.in_x))

    @property
    def block_weights(self) -> Array:
        """(ny, nx) weight of each fine cell in its coarse cell; they sum to 1 in each block.

        Errors: ValueError where the coarse cells do not partition the fine ones (factor 2.5),
        since a cell then has no single weight.
        """
        if not self.is_partition:
            raise ValueError(
                "the coarse cells do not partition the fine cells "
                "(is the factor an integer, and the coarse box not shifted?)"
            )
        return np.asarray(self.matrix.sum(axis=0), dtype=np.float64).reshape(self.fine_shape)

    def projector(self) -> Callable[[NDArray[np.floating], NDArray[np.floating]], Array]:
        """The projection onto {y : A y = x} that moves a field least, by area-weighted squares.

        P(f, x) = f + D^-1 A' (A D^-1 A')^-1 (x - A f), D = diag(cell areas): on a partition this
        adds to every cell of a block the block's residual. Works for any ratio of spacings.
        Returns a function of f (..., ny, nx) and x (..., Ny, Nx) in float64.
        """
        from scipy.sparse.linalg import splu  # slow to import, and scoring has no use for it

        spread = csr_array(diags_array(1 / self.area.ravel()) @ self.matrix.T)
        solve = splu((self.matrix @ spread).tocsc())

        def project(field: NDArray[np.floating], coarse: NDArray[np.floating]) -> Array:
            residual = coarse.astype(np.float64) - self(field)
            lead = residual.shape[:-2]
            columns = residual.reshape(-1, self.matrix.shape[0]).T
            correction = (spread @ solve.solve(np.ascontiguousarray(columns))).T
            return np.asarray(field + correction.reshape(*lead, *self.fine_shape))

        return project


def _shares(fine: Array, coarse: Array) -> Array:
    """(n_coarse, n_fine) shares of fine intervals that lie in coarse ones, by their edges."""
    fine_low, fine_high = np.minimum(fine[:-1], fine[1:]), np.maximum(fine[:-1], fine[1:])
    low, high = np.minimum(coarse[:-1], coarse[1:]), np.maximum(coarse[:-1], coarse[1:])
    lengths = np.minimum(high[:, None], fine_high) - np.maximum(low[:, None], fine_low)
    # Edges that should coincide differ by rounding: a sliver is not an overlap, nor a gap.
    shares = lengths / (fine_high - fine_low)
    return np.where(shares > 1 - 1e-9, 1.0, np.where(shares > 1e-9, shares, 0.0))
