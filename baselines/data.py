"""Training pairs of a task in memory, from the regions and days that a regime allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from baselines.downscaler import Scaling
from benchmark.errors import InputError, Problem
from benchmark.model_card import check_sources
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear
from benchmark.task import Period, Split, Task

SOURCE_SPLITS: dict[str, tuple[Split, ...]] = {
    "zero_shot": ("train",),
    "oracle": ("train", "test_ood"),
}
"""Whose training and validation days a regime learns from."""


@dataclass(frozen=True)
class Pairs:
    """n samples: coarse (n, V, Ny, Nx), fine (n, V, ny, nx), in physical units, float32.

    valid: where fine is not missing (there it is 0); block_weights, area: (n, 1, ny, nx), the
    area weight of a cell in its block and its share of its box (mean 1).
    """

    coarse: Tensor
    fine: Tensor
    valid: Tensor
    block_weights: Tensor
    area: Tensor

    def __len__(self) -> int:
        return len(self.coarse)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Pairs":
        """The pairs with `change` applied to every tensor."""
        return Pairs(*(change(getattr(self, entry.name)) for entry in fields(self)))

    def take(self, index: Tensor) -> "Pairs":
        """The samples at `index`."""
        return self.map(lambda tensor: tensor[index])

    def mirrored(self, axes: list[int]) -> "Pairs":
        """The pairs mirrored along some of the axes -2 (north-south) and -1 (east-west)."""
        return self.map(lambda tensor: tensor.flip(axes)) if axes else self


def load_pairs(regions: Sequence[RegionStore], period: Period) -> Pairs:
    """Every step of `period` in `regions`, region by region.

    Errors: InputError when there is none.
    """
    parts = [_region_pairs(region, region.steps(period)) for region in regions]
    if sum(len(part) for part in parts) == 0:
        raise InputError(
            Problem("training data", "at least one step", "none", "Check the task's periods.")
        )
    return Pairs(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in (entry.name for entry in fields(Pairs))
        )
    )


def _region_pairs(region: RegionStore, steps: slice) -> Pairs:
    names = region.task.variable_names
    coarse = np.stack([region.read("coarse", name, steps) for name in names], axis=1)
    fine = np.stack([region.read("fine", name, steps) for name in names], axis=1)
    valid = np.isfinite(fine)
    shape = (len(coarse), 1, *fine.shape[-2:])
    area = region.grid.fine.area
    return Pairs(
        coarse=torch.from_numpy(coarse),
        fine=torch.from_numpy(np.where(valid, fine, np.float32(0))),
        valid=torch.from_numpy(valid),
        block_weights=block_weights(region).expand(*shape),
        area=torch.from_numpy((area / area.mean()).astype(np.float32)).expand(*shape),
    )


def block_weights(region: RegionStore, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, 1, ny, nx) weights of the task's coarsening operator; they sum to 1 in each block."""
    return torch.from_numpy(region.grid.overlap.block_weights).to(dtype)[None, None]


def source_regions(store: PairStore, regime: str, sources: Sequence[str] = ()) -> list[RegionStore]:
    """The regions whose labelled training days may be used: `sources`, or all of the regime's.

    Errors: InputError where a source is no training region, or they are all of them.
    """
    if not sources:
        return store.regions(*SOURCE_SPLITS[regime])
    problems = check_sources(store.task, sources, where="sources")
    if problems:
        raise InputError(problems)
    return [store.region(name) for name in sorted(sources)]


def fit_scaling(task: Task, regions: Sequence[RegionStore]) -> Scaling:
    """Constants of the fine fields over the training period of `regions`, missing cells left out.

    Errors: InputError where a variable does not vary.
    """
    moments = np.zeros((len(task.variables), 4))
    for region in regions:
        steps, bilinear = region.steps(task.periods.train), Bilinear.on(region.grid)
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
