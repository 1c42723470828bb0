"""The projection onto A y = x for coarse cells that share fine cells: factor 2.5, shifted boxes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, kron
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor, nn

from baselines.constraints.blocks import widened
from benchmark.coarsen import AreaOverlap

DROPPED = 2.0**-60
"""Entries of the inverse below this share of its largest are rounding, and left out."""
COLUMNS = 512
"""Columns of the inverse that are solved for at once."""
SMALL = 64
"""Groups of at most so many coarse cells are inverted as dense matrices, all at once."""

Entries = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64]]


class Projection(nn.Module):
    """y = f + D^-1 A' (A D^-1 A')^-1 (x - A f), D = diag(cell areas), for one `AreaOverlap`.

    Of all fields with A y = x the one nearest to f by area-weighted squares; on whole blocks it
    is the layer `add`. With A = diag(1 / T) S diag(area), S the shares and T the coarse areas,
    y = f + S' K^-1 (T x - S (area f)), K = S diag(area) S': areas cancel on the way back, S acts
    along two axes, and K^-1, symmetric, is made once in float64. At rational factors coarse cells
    are coupled in small groups and K^-1 is sparse; on irregular grids it fills as 1 / distance
    decays, up to (Ny Nx)^2 entries.

    Where the coarse box is shifted, its outermost cells lie on fewer fine cells, whose mean then is
    asked to be x, and fine cells beyond it stay as they are; both lie in the margin.

    forward: field (..., ny, nx), coarse (..., Ny, Nx) in any floating dtype; computed in float32
    or wider, also under autocast. Buffers move with the module and are not saved.
    """

    share_y: Tensor
    share_x: Tensor
    area: Tensor
    total: Tensor
    inverse: Tensor

    def __init__(self, overlap: AreaOverlap) -> None:
        super().__init__()
        unit = float(overlap.area.mean())
        self.unit = unit
        for name, values in (
            ("share_y", overlap.in_y),
            ("share_x", overlap.in_x),
            ("area", overlap.area / unit),
            ("total", overlap.total / unit),
        ):
            self.register_buffer(name, torch.from_numpy(values.copy()), persistent=False)
        self.register_buffer("inverse", _inverse(overlap, unit), persistent=False)

    def forward(self, field: Tensor, coarse: Tensor) -> Tensor:
        """The constrained field."""
        field, coarse = widened(field, coarse)
        dtype = field.dtype
        # Autocast would take the products of the shares in bfloat16.
        with torch.autocast(field.device.type, enabled=False):
            lack = self.total.to(dtype) * coarse - self._mass(field)
            columns = lack.reshape(-1, self.inverse.shape[0]).T
            change = _Symmetric.apply(columns, self.inverse.to(dtype)).T.reshape(lack.shape)
            return field + self.share_y.to(dtype).T @ change @ self.share_x.to(dtype)

    def coarsen(self, field: Tensor) -> Tensor:
        """A f: (..., ny, nx) to (..., Ny, Nx), in float32 or wider."""
        field, _ = widened(field, field)
        with torch.autocast(field.device.type, enabled=False):
            return self._mass(field) / self.total.to(field.dtype)

    def _mass(self, field: Tensor) -> Tensor:
        """S (area f): what each coarse cell holds."""
        dtype = field.dtype
        return self.share_y.to(dtype) @ (field * self.area.to(dtype)) @ self.share_x.to(dtype).T


class _Symmetric(torch.autograd.Function):
    """A constant symmetric sparse matrix times columns; it is its own derivative."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        return torch.sparse.mm(matrix, columns)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (matrix,) = ctx.saved_tensors
        return torch.sparse.mm(matrix, gradients[0]), None


def _inverse(overlap: AreaOverlap, unit: float) -> Tensor:
    """K^-1 as a sparse tensor, float64: group by group of coarse cells that are coupled."""
    shares = csr_array(kron(csr_array(overlap.in_y), csr_array(overlap.in_x)))
    matrix = csr_array(shares @ diags_array(overlap.area.ravel() / unit) @ shares.T)
    _, label = connected_components(matrix, directed=False)
    sizes = np.bincount(label)
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(sizes)[:-1])
    parts = []
    for size in np.unique(sizes):
        groups = np.stack([members[k] for k in np.flatnonzero(sizes == size)])
        parts += _dense(matrix, groups) if size <= SMALL else [_long(matrix, g) for g in groups]
    rows, places, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
    inverse = coo_array((entries, (rows, places)), shape=matrix.shape)
    # Exactly symmetric, since its transpose stands for it in the derivative.
    inverse = coo_array((inverse + inverse.T) / 2)
    index = np.stack([inverse.row, inverse.col]).astype(np.int64)
    values = torch.from_numpy(inverse.data)
    return torch.sparse_coo_tensor(
        torch.from_numpy(index), values, matrix.shape, check_invariants=True
    ).coalesce()


def _dense(matrix: csr_array, groups: NDArray[np.integer]) -> list[Entries]:
    """The inverse of many small groups (count, size) of one size, as (rows, columns, values)."""
    rows = np.broadcast_to(groups[:, :, None], (*groups.shape, groups.shape[1]))
    columns = rows.swapaxes(1, 2)
    blocks = np.asarray(matrix[rows.ravel(), columns.ravel()]).reshape(rows.shape)
    return [(rows.ravel(), columns.ravel(), np.linalg.inv(blocks).ravel())]


def _long(matrix: csr_array, group: NDArray[np.integer]) -> Entries:
    """The inverse of one large group, column by column, without its rounding."""
    solve = splu(matrix[group][:, group].tocsc()).solve
    parts = []
    for first in range(0, len(group), COLUMNS):
        wanted = np.arange(first, min(first + COLUMNS, len(group)))
        unit_columns = np.zeros((len(group), len(wanted)))
        unit_columns[wanted, np.arange(len(wanted))] = 1.0
        found = solve(unit_columns)
        rows, places = np.nonzero(np.abs(found) > DROPPED * np.abs(found).max())
        parts.append((group[rows], group[wanted[places]], found[rows, places]))
    rows, places, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, places, values
