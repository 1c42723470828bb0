"""Training pairs of a task in memory, from the regions and days that a regime allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.constraints import Overlapping, Projection
from baselines.context import Context, region_context
from baselines.downscaler import Scaling
from benchmark.errors import InputError, Problem
from benchmark.pair_store import RegionStore
from benchmark.reference import Bilinear
from benchmark.task import Period, Task

PART = 512
"""Steps of a region that are held at once for the constants. Part of their last bits."""


@dataclass(frozen=True)
class Pairs:
    """n samples: coarse (n, V, Ny, Nx), fine (n, V, ny, nx), in physical units, float32.

    valid: where fine is not missing (there it is 0); area: (n, 1, ny, nx) a cell's share of its
    box (mean 1); block_weights: (n, 1, ny, nx) its area weight in its block, (n, 1, 0, 0) where
    coarse cells share fine ones or leave some out; static, place, clock: see `Context`; region:
    (n, 1, 1, 1) the number of a sample's region among those it was loaded from; axes: along which
    it is mirrored.
    """

    coarse: Tensor
    fine: Tensor
    valid: Tensor
    block_weights: Tensor
    area: Tensor
    static: Tensor
    place: Tensor
    clock: Tensor
    region: Tensor
    axes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.coarse)

    @property
    def context(self) -> Context:
        """What a network may know besides the coarse fields."""
        return Context(self.static, self.place, self.clock)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Pairs":
        """The pairs with `change` applied to every tensor."""
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in TENSORS}
        return replace(self, **changed)

    def take(self, index: Tensor) -> "Pairs":
        """The samples at `index`."""
        return self.map(lambda tensor: tensor[index])

    def mirrored(self, axes: list[int]) -> "Pairs":
        """The pairs mirrored along some of the axes -2 (north-south) and -1 (east-west)."""
        if not axes:
            return self
        return replace(self.map(lambda tensor: tensor.flip(axes)), axes=(*self.axes, *axes))

    def weights(self, projections: Sequence[Projection]) -> Tensor | Overlapping:
        """What a layer needs: area weights in whole blocks, or each sample's own operator.

        projections: those of the regions that the samples were loaded from; see `projections_of`.
        """
        if not projections:
            return self.block_weights
        return Overlapping(projections, self.region[:, 0, 0, 0], self.axes)


TENSORS = tuple(entry.name for entry in fields(Pairs) if entry.name != "axes")


def joined(parts: Sequence[Pairs]) -> Pairs:
    """One set of pairs of several that are not mirrored."""
    whole: dict[str, Any] = {n: torch.cat([getattr(part, n) for part in parts]) for n in TENSORS}
    return Pairs(**whole)


def load_pairs(regions: Sequence[RegionStore], period: Period) -> Pairs:
    """Every step of `period` in `regions`, region by region.

    Errors: InputError when there is none.
    """
    parts = [
        region_pairs(region, region.steps(period), number=k) for k, region in enumerate(regions)
    ]
    if sum(len(part) for part in parts) == 0:
        raise InputError(
            Problem("training data", "at least one step", "none", "Check the task's periods.")
        )
    return joined(parts)


def region_pairs(region: RegionStore, steps: slice, *, number: int = 0) -> Pairs:
    """Some steps of one region, the `number`-th of those that are loaded."""
    names = region.task.variable_names
    coarse = np.stack([region.read("coarse", name, steps) for name in names], axis=1)
    fine = np.stack([region.read("fine", name, steps) for name in names], axis=1)
    valid = np.isfinite(fine)
    count = len(coarse)
    shape = (count, 1, *fine.shape[-2:])
    area = region.grid.fine.area
    context = region_context(region, steps)
    whole = region.grid.overlap.is_partition
    return Pairs(
        coarse=torch.from_numpy(coarse),
        fine=torch.from_numpy(np.where(valid, fine, np.float32(0))),
        valid=torch.from_numpy(valid),
        block_weights=(
            block_weights(region).expand(*shape) if whole else torch.empty(count, 1, 0, 0)
        ),
        area=torch.from_numpy((area / area.mean()).astype(np.float32)).expand(*shape),
        static=context.static,
        place=context.place,
        clock=context.clock,
        region=torch.full((count, 1, 1, 1), number),
    )


def block_weights(region: RegionStore, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, 1, ny, nx) weights of the task's coarsening operator; they sum to 1 in each block."""
    return torch.from_numpy(region.grid.overlap.block_weights).to(dtype)[None, None]


def projections_of(regions: Sequence[RegionStore]) -> tuple[Projection, ...]:
    """The projection of each region where coarse cells share fine ones; none on whole blocks."""
    overlaps = [region.grid.overlap for region in regions]
    return tuple(Projection(overlap) for overlap in overlaps if not overlap.is_partition)


def region_weights(region: RegionStore, dtype: torch.dtype = torch.float32) -> Tensor | Projection:
    """What a layer needs of one region: its area weights in whole blocks, or its projection."""
    if region.grid.overlap.is_partition:
        return block_weights(region, dtype)
    return Projection(region.grid.overlap)


def fit_scaling(task: Task, regions: Sequence[RegionStore]) -> Scaling:
    """Constants of the fine fields over the training period of `regions`, missing cells left out.

    Errors: InputError where a variable does not vary.
    """
    moments = np.zeros((len(task.variables), 4))
    for region in regions:
        bilinear = Bilinear.on(region.grid)
        first, stop, _ = region.steps(task.periods.train).indices(len(region.times))
        for low in range(first, stop, PART):
            steps = slice(low, min(low + PART, stop))
            for k, name in enumerate(task.variable_names):
                fine = region.read("fine", name, steps).astype(np.float64)
                increment = fine - bilinear(region.read("coarse", name, steps))
                valid = np.isfinite(fine)
                moments[k] += [
                    valid.sum(), fine[valid].sum(), (fine[valid] ** 2).sum(),
                    (increment[valid] ** 2).sum(),
                ]  # fmt: skip
    count, total, squares, increments = moments.T
    mean = total / count
    scaling = Scaling(
        mean=mean, sd=np.sqrt(squares / count - mean**2), increment=np.sqrt(increments / count)
    )
    for k, name in enumerate(task.variable_names):
        if not (scaling.sd[k] > 0 and scaling.increment[k] > 0):
            raise InputError(
                Problem(
                    f"{name} in the training period",
                    "a field that varies",
                    "a constant one",
                    "Check the pair store.",
                )
            )
    return scaling
