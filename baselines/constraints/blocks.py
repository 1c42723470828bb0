"""Which cells a constraint binds: coarse cells, windows of them, or the whole field.

A rule makes cells of given values out of any; a layer applies a rule to every group of cells. In
a rule the groups are (..., J, h, I, w): J x I groups of h x w cells, whose values belong to
(..., J, 1, I, 1) targets.

Everything is computed in float32 or wider, whatever comes in: bfloat16 and float16 would lose the
constraint. The answer has the dtype of the computation.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""rule(f, x, a): y with sum_i a_i y_i = x in every group; a sums to 1 in each."""

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""layer(field (batch, channel, ny, nx), coarse (batch, channel, Ny, Nx), weights (batch or 1, 1,
ny, nx)): a constrained field. ny / Ny and nx / Nx are the same whole number."""

CELLS = (-3, -1)
"""The dimensions of a group's own cells."""


def on_blocks(rule: Rule) -> Layer:
    """The layer that binds the cells of every coarse cell to its value.

    weights: area weights that sum to 1 in each block. Errors: ValueError where the blocks are not
    whole and square.
    """

    @wraps(rule)
    def layer(field: Tensor, coarse: Tensor, weights: Tensor) -> Tensor:
        factor = block_factor(field, coarse)
        field, coarse, weights = widened(field, coarse, weights)
        cells = rule(split(field, factor), targets(coarse), split(weights, factor))
        return cells.reshape(field.shape)

    return layer


def on_windows(rule: Rule, size: int | None) -> Layer:
    """The relaxed layer: only means over windows of size x size coarse cells are given.

    None is the global form, with the whole field as its one window. The layer's last argument is
    the cell area (batch or 1, 1, ny, nx), in any unit, because a coarse cell counts by its area:
    x = sum_J A_J x_J / sum_J A_J. Windows count from the first row and column; the last ones hold
    what is left. Errors: ValueError where the blocks are not whole and square, or size < 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"windows of at least 1 coarse cell, not {size}")

    def layer(field: Tensor, coarse: Tensor, area: Tensor) -> Tensor:
        factor = block_factor(field, coarse)
        field, coarse, area = widened(field, coarse, area)
        ny, nx = field.shape[-2:]
        height, width = (min(size or n, n) for n in coarse.shape[-2:])
        # Cells beyond the edge repeat the last ones, so that no extreme is new, and have no area.
        below, right = -(ny // factor) % height, -(nx // factor) % width
        beyond = (0, right * factor, 0, below * factor)
        cells = functional.pad(field, beyond, mode="replicate")
        area = functional.pad(area, beyond)
        blocks = split(area, factor).sum(dim=CELLS)
        values = functional.pad(coarse, (0, right, 0, below)) * blocks
        whole = _windows(blocks, height, width).sum(dim=CELLS, keepdim=True)
        target = _windows(values, height, width).sum(dim=CELLS, keepdim=True) / whole
        shape = height * factor, width * factor
        found = rule(_windows(cells, *shape), target, _windows(area, *shape) / whole)
        return found.reshape(cells.shape)[..., :ny, :nx]

    return layer


def block_mean(field: Tensor, weights: Tensor, factor: int) -> Tensor:
    """sum_i a_i f_i over each factor x factor block: (..., ny, nx) to (..., Ny, Nx)."""
    return split(field * weights, factor).sum(dim=CELLS)


def block_factor(field: Tensor, coarse: Tensor) -> int:
    """The whole number of fine cells along a coarse one; ValueError where there is none."""
    factor, rest = divmod(field.shape[-1], coarse.shape[-1])
    if rest or field.shape[-2] != factor * coarse.shape[-2]:
        raise ValueError(
            f"a layer needs whole blocks; {tuple(field.shape[-2:])} fine cells do not divide into "
            f"{tuple(coarse.shape[-2:])} coarse ones"
        )
    return factor


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors in the widest dtype among the first two and float32."""
    dtype = torch.promote_types(tensors[0].dtype, tensors[1].dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)


def split(field: Tensor, factor: int) -> Tensor:
    """(..., ny, nx) viewed as (..., Ny, factor, Nx, factor)."""
    return _windows(field, factor, factor)


def targets(coarse: Tensor) -> Tensor:
    """(..., Ny, Nx) viewed as (..., Ny, 1, Nx, 1)."""
    return coarse[..., :, None, :, None]


def _windows(field: Tensor, height: int, width: int) -> Tensor:
    *lead, ny, nx = field.shape
    return field.reshape(*lead, ny // height, height, nx // width, width)
