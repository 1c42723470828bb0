"""Constraints that are asked for and not enforced: the soft loss, and clipping."""

import torch
from torch import Tensor

from baselines.constraints.blocks import block_factor, block_mean, split, widened
from baselines.constraints.overlapping import Overlapping

ALPHA = 0.99
"""Weight of the violation in the main tables of Harder et al. (2023)."""


def violation(
    predicted: Tensor, coarse: Tensor, weights: Tensor | Overlapping, area: Tensor
) -> Tensor:
    """(channel,) area-weighted mean square of A y - x over samples and blocks, in units squared.

    predicted (batch, channel, ny, nx), coarse (batch, channel, Ny, Nx); weights sum to 1 in each
    block, area is the cells' in any unit, both (batch or 1, 1, ny, nx). Where coarse cells share
    fine ones, weights are the batch's operators, which know the areas.
    """
    if isinstance(weights, Overlapping):
        squares = (weights.coarsen(predicted) - coarse).square()
        blocks = weights.totals().to(squares.dtype)
        return (blocks * squares).sum(dim=(0, 2, 3)) / blocks.sum()
    factor = block_factor(predicted, coarse)
    predicted, coarse, weights, area = widened(predicted, coarse, weights, area)
    squares = (block_mean(predicted, weights, factor) - coarse).square()
    blocks = split(area, factor).sum(dim=(-3, -1)).expand(len(coarse), 1, -1, -1)
    return (blocks * squares).sum(dim=(0, 2, 3)) / blocks.sum()


def soft_loss(
    error: Tensor, violated: Tensor, units: Tensor | float = 1.0, *, alpha: float = ALPHA
) -> Tensor:
    """(1 - alpha) error + alpha mean over variables of violated / units.

    error: the mean squared error as a number, in `units` as well; violated: (channel,) of
    `violation`; units: what a variable's squares are measured in, e.g. the mean square of fine
    minus bilinear (1: the field's own unit squared, as published). No guarantee that A y = x.
    """
    return (1 - alpha) * error + alpha * (violated / units).mean()


def clip(field: Tensor) -> Tensor:
    """max(y, 0), for inference. After a layer it breaks the constraint, and only upwards.

    A clip(y) - x = A max(-y, 0) >= 0 where A y = x: rain is added wherever a block had negative
    cells. The rule `nonnegative` cuts and conserves.
    """
    return torch.relu(field)
