"""The order of a training stream, without a store: who comes how often, and beside whom."""

from collections import Counter

import numpy as np
import pytest

from baselines.rounds import Balance, Stream, block_edges

BALANCES: tuple[Balance, ...] = ("samples", "regions")


@pytest.mark.parametrize("balance", BALANCES)
def test_no_sample_is_favoured_in_the_long_run(balance: Balance) -> None:
    """When every region has been gone through a whole number of times, all counts are equal."""
    stores = (
        block_edges(slice(3, 33), 8),
        block_edges(slice(0, 20), 8),
        block_edges(slice(9, 9), 8),
    )
    order = Stream(stores, pool=3, seed=0, balance=balance)
    counts: Counter[tuple[int, int]] = Counter()
    for epoch in range(2):
        for found in order.epoch(epoch):
            assert found.stop - found.start == sum(p.stop - p.first for p in found.pieces)
            assert sorted(found.places()) == list(range(found.start, found.stop))
            counts.update((p.region, step) for p in found.pieces for step in range(p.first, p.stop))
    often = {"samples": (2, 2), "regions": (2, 3)}[balance]
    expected = {(0, step): often[0] for step in range(3, 33)}
    expected |= {(1, step): often[1] for step in range(20)}
    assert counts == expected


def test_rounds_hold_regions_in_proportion_and_batches_mix_them() -> None:
    """Of nine regions of 40 blocks, each round of 18 has 2 of each, one more or less."""
    order = Stream((block_edges(slice(0, 640), 16),) * 9, pool=18, seed=0, balance="regions")
    rounds = order.epoch(0)
    assert len(rounds) == 20
    for found in rounds:
        counts = Counter(piece.region for piece in found.pieces)
        assert set(counts) == set(range(9))
        assert max(counts.values()) <= 4
        blocks = np.repeat(np.arange(18), [p.stop - p.first for p in found.pieces])
        for batch in blocks[np.argsort(found.places())].reshape(-1, 16):
            assert len(set(batch)) >= 6
    for region in range(9):
        own = [p.first for found in rounds for p in found.pieces if p.region == region]
        again = [p.first for found in order.epoch(1) for p in found.pieces if p.region == region]
        assert sorted(own) == sorted(again) == list(range(0, 640, 16))
        assert sorted(own) != own != again
