"""Lanes: values at many grid cells at once, in whatever form an engine has them.

The formulas of the pointwise families take lanes and give lanes. numpy arrays of one row of cells
are lanes; the compiled engine has its own (`benchmark.kernels.lanes`). So each statistic is
written once.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Lanes = Any
"""A numpy array (cells,), or the vector of a compiled engine: + - * abs < >= work on both."""


class Ops(Protocol):
    """What formulas need beyond operators."""

    def wide(self, lanes: Lanes) -> Lanes:
        """In float64."""
        ...

    def where(self, mask: Lanes, then: Lanes, otherwise: Lanes) -> Lanes:
        """`then` where the mask holds."""
        ...

    def lesser(self, first: Lanes, second: Lanes) -> Lanes:
        """The smaller of both."""
        ...

    def greater(self, first: Lanes, second: Lanes) -> Lanes:
        """The larger of both."""
        ...

    def equal(self, first: Lanes, second: Lanes) -> Lanes:
        """Where both are equal."""
        ...

    def count(self, masks: Sequence[Lanes]) -> Lanes:
        """How many of the masks hold, int32."""
        ...

    def number(self, count: Lanes) -> Lanes:
        """An int32 count as float64."""
        ...


class ArrayOps:
    """`Ops` of numpy arrays."""

    def wide(self, lanes: Lanes) -> Lanes:
        """In float64."""
        return np.asarray(lanes, dtype=np.float64)

    def where(self, mask: Lanes, then: Lanes, otherwise: Lanes) -> Lanes:
        """`then` where the mask holds."""
        return np.where(mask, then, otherwise)

    def lesser(self, first: Lanes, second: Lanes) -> Lanes:
        """The smaller of both."""
        return np.minimum(first, second)

    def greater(self, first: Lanes, second: Lanes) -> Lanes:
        """The larger of both."""
        return np.maximum(first, second)

    def equal(self, first: Lanes, second: Lanes) -> Lanes:
        """Where both are equal."""
        return first == second

    def count(self, masks: Sequence[Lanes]) -> Lanes:
        """How many of the masks hold, int32."""
        return np.sum(masks, axis=0, dtype=np.int32)

    def number(self, count: Lanes) -> Lanes:
        """An int32 count as float64."""
        return np.asarray(count, dtype=np.float64)


def add_up(terms: Sequence[Lanes]) -> Lanes:
    """The sum of lanes, added in pairs: short chains, small rounding, one order everywhere."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(terms) - len(terms) % 2 :]
    return terms[0]


def rank(members: Sequence[Lanes], ops: Ops) -> list[Lanes]:
    """The members in ascending order at every cell, by Batcher's odd-even merge sort.

    A fixed network of comparators (63 for 16 members) has no branches, so it runs on lanes.
    Ref: Batcher 1968, doi 10.1145/1468075.1468121.
    """
    ranked = list(members)
    for low, high in comparators(len(ranked)):
        pair = ranked[low], ranked[high]
        ranked[low], ranked[high] = ops.lesser(*pair), ops.greater(*pair)
    return ranked


def comparators(count: int) -> list[tuple[int, int]]:
    """Batcher's network for `count` entries: the pairs to be compared, in order."""
    pairs: list[tuple[int, int]] = []
    size = 1
    while size < count:
        step = size
        while step >= 1:
            for first in range(step % size, count - step, 2 * step):
                for place in range(first, min(first + step, count - step)):
                    if place // (2 * size) == (place + step) // (2 * size):
                        pairs.append((place, place + step))
            step //= 2
        size *= 2
    return pairs
