"""The area-overlap operator A: from fine to coarse, the one owner of what coarsening means.

Recipes make coarse fields with it, constraint layers take its weights, metrics measure
residuals with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, kron
from scipy.sparse.linalg import splu

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AreaOverlap:
    """(A f)_J = sum_i |I_i n J| f_i / sum_i |I_i n J| over fine cells I and coarse cells J.

    matrix: (n_coarse, n_fine) sparse, rows summing to 1; areas: (n_fine,) m2. Any ratio of grid
    spacings, 2.5 too. A fine cell outside every coarse cell has an empty column.
    Missing data: a NaN in a fine cell makes its coarse cells NaN.
    """

    matrix: csr_array
    area: Array
    fine_shape: tuple[int, int]
    coarse_shape: tuple[int, int]

    @classmethod
    def from_edges(cls, *, fine: tuple[Array, Array], coarse: tuple[Array, Array]) -> "AreaOverlap":
        """The operator between two lat-lon grids given by (lat edges, lon edges) in degrees.

        Exact on the sphere: areas are differences of sin(lat) times differences of lon, so the
        operator is the Kronecker product of one overlap matrix an axis.
        """
        fine_y, coarse_y = (np.sin(np.deg2rad(edges[0])) for edges in (fine, coarse))
        in_y = _overlaps(fine_y, coarse_y)
        in_x = _overlaps(np.deg2rad(fine[1]), np.deg2rad(coarse[1]))
        overlap = csr_array(kron(csr_array(in_y), csr_array(in_x)))
        total: Array = np.asarray(overlap.sum(axis=1), dtype=np.float64).ravel()
        if not np.all(total > 0):
            raise ValueError("a coarse cell is covered by no fine cell")
        bands, widths = np.abs(np.diff(fine_y)), np.abs(np.diff(np.deg2rad(fine[1])))
        return cls(
            matrix=csr_array(diags_array(1 / total) @ overlap),
            area=np.outer(bands, widths).ravel(),
            fine_shape=(fine[0].size - 1, fine[1].size - 1),
            coarse_shape=(coarse[0].size - 1, coarse[1].size - 1),
        )

    def __call__(self, field: NDArray[np.floating]) -> Array:
        """Coarsen (..., ny, nx) to (..., Ny, Nx), in float64 whatever comes in."""
        lead = field.shape[:-2]
        columns = field.reshape(-1, self.matrix.shape[1]).astype(np.float64).T
        return np.ascontiguousarray((self.matrix @ columns).T).reshape(*lead, *self.coarse_shape)

    @property
    def block_weights(self) -> Array:
        """(ny, nx) weight of each fine cell in its coarse cell; they sum to 1 in each block.

        Errors: ValueError where the coarse cells do not partition the fine ones (factor 2.5),
        since a cell then has no single weight.
        """
        if self.matrix.nnz != self.matrix.shape[1]:
            raise ValueError(
                "the coarse cells do not partition the fine cells (is the factor an integer?)"
            )
        return np.asarray(self.matrix.sum(axis=0), dtype=np.float64).reshape(self.fine_shape)

    def projector(self) -> Callable[[NDArray[np.floating], NDArray[np.floating]], Array]:
        """The projection onto {y : A y = x} that moves a field least, by area-weighted squares.

        P(f, x) = f + D^-1 A' (A D^-1 A')^-1 (x - A f), D = diag(cell areas): on a partition this
        adds to every cell of a block the block's residual. Works for any ratio of spacings.
        Returns a function of f (..., ny, nx) and x (..., Ny, Nx) in float64.
        """
        spread = csr_array(diags_array(1 / self.area) @ self.matrix.T)
        solve = splu((self.matrix @ spread).tocsc())

        def project(field: NDArray[np.floating], coarse: NDArray[np.floating]) -> Array:
            residual = coarse.astype(np.float64) - self(field)
            lead = residual.shape[:-2]
            columns = residual.reshape(-1, self.matrix.shape[0]).T
            correction = (spread @ solve.solve(np.ascontiguousarray(columns))).T
            return np.asarray(field + correction.reshape(*lead, *self.fine_shape))

        return project


def _overlaps(fine: Array, coarse: Array) -> Array:
    """(n_coarse, n_fine) lengths of the overlaps of two sets of consecutive intervals."""
    fine_low, fine_high = np.minimum(fine[:-1], fine[1:]), np.maximum(fine[:-1], fine[1:])
    low, high = np.minimum(coarse[:-1], coarse[1:]), np.maximum(coarse[:-1], coarse[1:])
    lengths = np.minimum(high[:, None], fine_high) - np.maximum(low[:, None], fine_low)
    # Edges that should coincide differ by rounding: a sliver is not an overlap.
    smallest = np.minimum(fine_high - fine_low, (high - low).min())
    return np.where(lengths > 1e-9 * smallest, lengths, 0.0)
