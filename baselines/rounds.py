"""In which order a training stream reads: blocks of a store by rounds, samples within a round.

Reading one sample costs as much as reading the chunks that hold it, and consecutive hours look
alike. So the steps of a region are read in blocks of whole chunks, and the samples of a pool of
blocks from many places and times are shuffled together: a round. All of it is a function of the
seed and of a sample's place in the stream, so that a stream starts anywhere without reading what
came before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Balance = Literal["samples", "regions"]
Index = NDArray[np.int64]


class Purpose(IntEnum):
    """What is drawn; each has draws of its own."""

    BLOCKS, PLACES, SAMPLES = range(3)


@dataclass(frozen=True)
class Piece:
    """Consecutive steps of one region, read at once: a block, or what an epoch needs of it."""

    region: int
    first: int
    stop: int


@dataclass(frozen=True)
class Round:
    """Pieces whose samples are shuffled together, and the places that they take in the stream.

    start, stop: the samples of the stream before the round, and with it.
    """

    pieces: tuple[Piece, ...]
    seed: int
    start: int
    stop: int

    def places(self) -> Index:
        """The place in the stream of each sample of the pieces, one piece after another."""
        generator = _generator(self.seed, Purpose.SAMPLES, self.start, 0)
        return self.start + generator.permutation(self.stop - self.start)


@dataclass(frozen=True)
class Stream:
    """The samples of some regions in a shuffled order without end.

    edges: the first step of each block of a region, ascending, and the stop of the last; pool:
    blocks in a round, at most. In an epoch every region has its own number of samples ("samples"),
    or each as many as the largest ("regions"), which goes through a smaller one several times and
    goes on there in the next epoch: within a region no sample comes up more than once more often
    than another. The blocks of each region are spread evenly over an epoch, so that the rounds hold
    them in proportion. Every round is used up to its last sample.
    """

    edges: tuple[Index, ...]
    pool: int
    seed: int
    balance: Balance

    @property
    def shares(self) -> list[int]:
        """Samples of each region in an epoch."""
        own = [int(edges[-1] - edges[0]) for edges in self.edges]
        return own if self.balance == "samples" else [max(own) if n else 0 for n in own]

    def rounds(self, sample: int = 0) -> Iterator[Round]:
        """All rounds from that which holds a sample of the stream."""
        for epoch in count(sample // sum(self.shares)):
            for found in self.epoch(epoch):
                if found.stop > sample:
                    yield found

    def epoch(self, number: int) -> list[Round]:
        """The rounds of one epoch, of as equal numbers of blocks as can be."""
        start = number * sum(self.shares)
        rounds = []
        pieces = self._pieces(number)
        for part in np.array_split(np.arange(len(pieces)), -(-len(pieces) // self.pool)):
            chosen = tuple(pieces[k] for k in part)
            stop = start + sum(piece.stop - piece.first for piece in chosen)
            rounds.append(Round(chosen, self.seed, start, stop))
            start = stop
        return rounds

    def _pieces(self, epoch: int) -> list[Piece]:
        """What an epoch reads: the k-th of a region's n pieces at random in [k, k + 1) / n."""
        places, pieces = [], []
        for region, share in enumerate(self.shares):
            own = self._region_pieces(region, epoch * share, (epoch + 1) * share)
            drawn = _generator(self.seed, Purpose.PLACES, epoch, region).random(len(own))
            places.append((np.arange(len(own)) + drawn) / max(1, len(own)))
            pieces += own
        return [pieces[k] for k in np.argsort(np.concatenate(places), kind="stable")]

    def _region_pieces(self, region: int, first: int, stop: int) -> list[Piece]:
        """The samples `first` to `stop` of a region that is gone through again and again."""
        edges = self.edges[region]
        begins, ends = edges[:-1], edges[1:]
        total = int(edges[-1] - edges[0])
        pieces = []
        for turn in range(first // total, -(-stop // total)) if stop > first else ():
            generator = _generator(self.seed, Purpose.BLOCKS, region, turn)
            order = generator.permutation(len(begins))
            before = turn * total
            for begin, end in zip(begins[order].tolist(), ends[order].tolist(), strict=True):
                low = begin + max(0, first - before)
                high = end - max(0, before + end - begin - stop)
                if low < high:
                    pieces.append(Piece(region, low, high))
                before += end - begin
        return pieces


def block_edges(steps: slice, size: int) -> Index:
    """The edges of blocks that end at multiples of `size` steps of the store."""
    inner = np.arange(steps.start // size + 1, -(-steps.stop // size)) * size
    return np.concatenate([[steps.start], inner, [steps.stop]]).astype(np.int64)


def _generator(seed: int, purpose: Purpose, first: int, second: int) -> np.random.Generator:
    return np.random.default_rng([seed, int(purpose), first, second])
