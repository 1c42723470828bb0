"""Training batches from pairs in memory: drawn with replacement, by a seeded generator."""

import torch
from torch import Generator, Tensor

from baselines.data import Pairs
from baselines.launch import Place
from baselines.models import TrainingConfig


def draw(pairs: Pairs, config: TrainingConfig, generator: Generator, at: Place) -> Pairs:
    """This process's part of the next batch, mirrored at random where the config says so.

    Every process draws the whole batch and takes its share, so that one process and several fit
    on the same samples.
    """
    if config.balance == "regions":
        index = by_region(pairs.region[:, 0, 0, 0], config.batch, generator)
    else:
        index = torch.randint(len(pairs), (config.batch,), generator=generator)
    return mirrored(pairs.take(at.share(index)), config, generator)


def mirrored(batch: Pairs, config: TrainingConfig, generator: Generator) -> Pairs:
    """The batch, all of it mirrored by two coins where the config says so."""
    if not config.mirror:
        return batch
    coins = torch.randint(2, (2,), generator=generator).tolist()
    return batch.mirrored([axis for axis, coin in zip((-2, -1), coins, strict=True) if coin])


def by_region(region: Tensor, count: int, generator: Generator) -> Tensor:
    """Indices of samples: a region drawn uniformly for each, then one of its samples.

    region: (n,) the region's number of each sample. Regions with fewer samples are not drawn less.
    """
    numbers, sizes = region.unique(return_counts=True)
    order = region.argsort(stable=True)
    first = sizes.cumsum(0) - sizes
    chosen = torch.randint(len(numbers), (count,), generator=generator)
    within = (torch.rand(count, generator=generator, dtype=torch.float64) * sizes[chosen]).long()
    return order[first[chosen] + within]
