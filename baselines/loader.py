"""Batches from pair stores on disk, read by worker processes while the processor trains.

A worker reads a whole round (`baselines.rounds`), every block of it chunk by chunk and checked,
and hands its shuffled samples over in shared memory; what does not change within a region is read
once. Rounds come in the stream's order whatever the number of workers.
"""

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from baselines.data import TENSORS, Pairs, region_pairs
from baselines.rounds import Balance, Index, Round, Stream, block_edges
from benchmark.errors import InputError, Problem
from benchmark.pair_store import SIDES, RegionStore
from benchmark.task import Period

POOL = 32
"""Blocks in a round: a block is about 1 MiB of each fine variable."""
WASTE = 0.25
"""What coarse chunks that a block needs a part of may add to what is decoded, at most."""
CONSTANT = ("block_weights", "area", "static", "place")
"""The fields of `Pairs` that are the same at all steps of a region; others are read each time."""
VARYING = tuple(name for name in TENSORS if name not in CONSTANT)

Fields = dict[str, Tensor]


def stream(
    regions: Sequence[RegionStore],
    period: Period,
    *,
    batch: int,
    seed: int,
    balance: Balance,
    workers: int,
    first_step: int = 0,
    rank: int = 0,
    world: int = 1,
    pool: int = POOL,
) -> Iterator[Pairs]:
    """Batches of `batch` samples of `period` in `regions`, from training step `first_step` on.

    Without end, shuffled, no sample of an epoch left out: see `Stream`. The batch of a step
    depends on `seed`, `batch`, `balance`, `pool` and the stores alone, not on `workers` (0: read
    in this process) or `first_step`. rank, world: where several processes train together, each
    gets the samples rank, rank + world, ... of every batch; each reads all of the blocks.
    Memory: a round of `pool` blocks for each worker, in shared memory, and one here. Workers are
    started at once and end with the iterator or with this process, however that ends.
    Errors: InputError when there is no step, or values are not those that were built (a worker's
    as this process's); ValueError when the processes cannot share a batch evenly.
    """
    if batch % world:
        raise ValueError(f"a batch of {batch} cannot be shared evenly by {world} processes")
    steps = [region.steps(period) for region in regions]
    if not any(chosen.start < chosen.stop for chosen in steps):
        raise InputError(
            Problem("training data", "at least one step", "none", "Check the task's periods.")
        )
    edges = tuple(
        block_edges(chosen, block_steps(region))
        for region, chosen in zip(regions, steps, strict=True)
    )
    reader = RoundReader(tuple(regions), rank, world, first_step * batch)
    constants = _constants(regions, steps)
    loader: DataLoader[Fields | tuple[Problem, ...]] = DataLoader(
        reader,
        batch_size=None,
        sampler=Stream(edges, pool, seed, balance).rounds(first_step * batch),
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        # Workers of a fork server would outlive a killed process; a fork cannot copy threads.
        multiprocessing_context="spawn" if workers else None,
        # Its base seed would be drawn from the global generator, which is the training's.
        generator=torch.Generator(),
        collate_fn=_as_read,
    )
    with _interrupts_held() if workers else nullcontext():
        rounds = iter(loader)
    return _batches(_sound(rounds), constants, batch // world)


def block_steps(region: RegionStore) -> int:
    """Steps in a block: the fewest whole fine chunks that keep to `WASTE`.

    A read decodes whole chunks (of a shard just those that it needs, besides 16 bytes of index a
    chunk). Coarse chunks hold more steps than fine ones, so that a block of one fine chunk would
    decode as much again for its few coarse fields.
    """
    name = region.task.variable_names[0]
    coarse, fine = (
        zarr.open_array(region.path, path=f"{side}/{name}", mode="r").chunks for side in SIDES
    )
    return fine[0] * max(1, int(np.ceil(np.prod(coarse) / (WASTE * np.prod(fine)))))


@dataclass(frozen=True)
class RoundReader(Dataset[Fields | tuple[Problem, ...]]):
    """Reads rounds, here or in a worker: the samples that this process needs, in their order.

    first: the first sample of the stream that is needed.
    """

    regions: tuple[RegionStore, ...]
    rank: int
    world: int
    first: int

    def __getitem__(self, round_: Round) -> Fields | tuple[Problem, ...]:
        """Varying fields of a round; an InputError, which torch would garble, as its problems."""
        try:
            return self._read(round_)
        except InputError as error:
            return error.problems

    def _read(self, round_: Round) -> Fields:
        places, rows = round_.places(), self._rows(round_)
        fields: Fields = {}
        done = 0
        for piece in round_.pieces:
            part = slice(piece.first, piece.stop)
            pairs = region_pairs(self.regions[piece.region], part, number=piece.region)
            to = torch.from_numpy(rows[places[done : done + len(pairs)] - round_.start])
            done += len(pairs)
            for name in VARYING:
                values = getattr(pairs, name)
                if name not in fields:
                    fields[name] = _room(values, rows.max() + 1)
                fields[name][to[to >= 0]] = values[to >= 0]
        return fields

    def _rows(self, round_: Round) -> Index:
        """Which of this process's samples of the round each place is; -1 for none of them."""
        places = np.arange(round_.start, round_.stop)
        ours = (places % self.world == self.rank) & (places >= self.first)
        return np.where(ours, np.cumsum(ours) - 1, -1)


def _room(like: Tensor, count: int) -> Tensor:
    """An empty tensor for `count` samples, in shared memory where a worker asks.

    Left to torch, a thread of the worker would move it there, and abort the worker if that is
    told to end meanwhile.
    """
    room = like.new_empty((count, *like.shape[1:]))
    return room if get_worker_info() is None else room.share_memory_()


def _as_read(found: Any) -> Any:
    return found


def _sound(rounds: Iterable[Fields | tuple[Problem, ...]]) -> Iterator[Fields]:
    """The rounds; InputError where one could not be read."""
    for found in rounds:
        if isinstance(found, tuple):
            raise InputError(found)
        yield found


def _constants(regions: Sequence[RegionStore], steps: Sequence[slice]) -> Fields:
    """(regions, ...) the constant fields of each region, from its first step."""
    tables: Fields = {}
    for number, (region, chosen) in enumerate(zip(regions, steps, strict=True)):
        if chosen.start < chosen.stop:
            pairs = region_pairs(region, slice(chosen.start, chosen.start + 1))
            for name in CONSTANT:
                value = getattr(pairs, name)[0]
                tables.setdefault(name, value.new_zeros((len(regions), *value.shape)))
                tables[name][number] = value
    return tables


def _batches(rounds: Iterable[Fields], constants: Fields, size: int) -> Iterator[Pairs]:
    """Batches of `size` samples, with what is constant in the region of each."""
    for fields in _cut(rounds, size):
        numbers = fields["region"][:, 0, 0, 0]
        everything: dict[str, Any] = dict(fields)
        everything |= {name: table[numbers] for name, table in constants.items()}
        yield Pairs(**everything)


def _cut(rounds: Iterable[Fields], size: int) -> Iterator[Fields]:
    """Parts of `size` samples; one may begin in a round and end in another."""
    held: list[Fields] = []
    missing = size
    for fields in rounds:
        count, start = len(fields["region"]), 0
        while start < count:
            stop = min(count, start + missing)
            held.append({name: values[start:stop] for name, values in fields.items()})
            missing, start = missing - (stop - start), stop
            if missing == 0:
                if len(held) > 1:
                    held = [{name: torch.cat([part[name] for part in held]) for name in VARYING}]
                yield held[0]
                held, missing = [], size


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes started within never see Ctrl-C: this one does, and ends them."""
    # Started later, together with the first process, it would let interrupts through again.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
