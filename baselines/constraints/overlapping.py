"""The operator A of a batch where coarse cells share fine ones, so that each region has its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.constraints.projection import Projection


@dataclass(frozen=True)
class Overlapping:
    """The projections of the regions that a batch is drawn from, and which sample is of which.

    region: (batch,) indices into `projections`; axes: those of -2 and -1 along which the batch is
    mirrored (a region's cells are larger on its equatorward side, so its operator is mirrored
    with it).
    """

    projections: Sequence[Projection]
    region: Tensor
    axes: tuple[int, ...] = ()

    def __call__(self, field: Tensor, coarse: Tensor) -> Tensor:
        """The projection of every sample (batch, V, ny, nx) onto A y = x of its own region."""
        return self._each(lambda operator, f, x: operator(f, x), field, coarse)

    def coarsen(self, field: Tensor) -> Tensor:
        """A f: (batch, V, Ny, Nx)."""
        return self._each(lambda operator, f: operator.coarsen(f), field)

    def totals(self) -> Tensor:
        """(batch, 1, Ny, Nx) areas of the coarse cells, in one unit for all regions."""
        areas = torch.stack([operator.total * operator.unit for operator in self.projections])
        return areas[self.region, None].flip(self.axes)

    def _each(self, act: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        found, order = [], []
        for number in self.region.unique().tolist():
            index = (self.region == number).nonzero()[:, 0]
            part = [tensor[index].flip(self.axes) for tensor in tensors]
            found.append(act(self.projections[number], *part).flip(self.axes))
            order.append(index)
        return torch.cat(found)[torch.cat(order).argsort()]
