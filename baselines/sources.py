"""Whose labelled days a model may learn from: the regions of its regime, or a set of them."""

from collections.abc import Sequence

from benchmark.errors import InputError
from benchmark.model_card import check_sources
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Split

SOURCE_SPLITS: dict[str, tuple[Split, ...]] = {
    "zero_shot": ("train",),
    "oracle": ("train", "test_ood"),
}
"""Whose training and validation days a regime learns from."""
TARGETS: tuple[Split, ...] = ("test_ood",)
"""What an oracle learns from that knows the targets only."""


def source_regions(
    store: PairStore, regime: str, sources: Sequence[str] = (), *, target_only: bool = False
) -> list[RegionStore]:
    """The regions whose labelled training days may be used: `sources`, or all of the regime's.

    target_only: the oracle that has seen no source region, for reference.
    Errors: InputError where a source is no training region, or they are all of them.
    """
    if not sources:
        return store.regions(*(TARGETS if target_only else SOURCE_SPLITS[regime]))
    problems = check_sources(store.task, sources, where="sources")
    if problems:
        raise InputError(problems)
    return [store.region(name) for name in sorted(sources)]
