"""The regimes between zero-shot and oracle: what a network may learn of the target, and how.

`target_inputs` adapts a finished zero-shot run when it predicts (`ADAPTATIONS`), from the coarse
fields of the target's training period; `few_shot` fits it on a few labelled days (`few_shot`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from baselines.adaptation.adabn import (
    batch_norms,
    coarse_batches,
    renormalised,
    without_batch_norm,
)
from baselines.adaptation.adapted import Adapt, Adapted
from baselines.adaptation.quantile_mapping import QuantileMap, map_between, rain_channels, wet_law
from baselines.downscaler import Downscaler
from baselines.runs import RunRecord
from baselines.sources import source_regions
from benchmark.errors import InputError, Problem
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.toml_model import nearest


@dataclass(frozen=True)
class Adaptation:
    """One way to use the target's inputs. suffix: of the model's name, since a row's path has no
    other place for it; title: what it adds to the model's title."""

    suffix: str
    title: str
    reference: str
    start: Callable[[PairStore, RunRecord, Downscaler], Adapt]


def adaptation(name: str) -> Adaptation:
    """The adaptation called `name`; InputError with the nearest known name otherwise."""
    if name not in ADAPTATIONS:
        known = list(ADAPTATIONS)
        raise InputError(Problem("--adapt", " or ".join(known), name, nearest(name, known)))
    return ADAPTATIONS[name]


def adapted_card(card: ModelCard, chosen: Adaptation) -> ModelCard:
    """The card of an adapted run: `target_inputs`, under a name of its own."""
    return card.model_copy(
        update={
            "model": f"{card.model}{chosen.suffix}",
            "title": f"{card.title}, {chosen.title}",
            "reference": f"{card.reference}; {chosen.reference}",
            "regime": "target_inputs",
        }
    )


def _mapped_quantiles(
    store: PairStore, record: RunRecord, model: Downscaler, *, back_transform: bool
) -> Adapt:
    """Regions trained on stay as they are: their inputs are the source."""
    channels = rain_channels(store.task)
    sources = source_regions(store, record.request.regime, record.request.sources)
    known = {region.name for region in sources}
    laws = {}

    def adapt(region: RegionStore) -> Adapted:
        if region.name in known:
            return Adapted(model)
        maps: dict[int, QuantileMap] = {}
        for k, name in channels.items():
            if k not in laws:
                laws[k] = wet_law(sources, name)
            maps[k] = map_between(wet_law([region], name), laws[k])
        return Adapted(model, maps, back_transform)

    return adapt


def _renormalised(store: PairStore, record: RunRecord, model: Downscaler) -> Adapt:
    if not batch_norms(model.network):
        task = store.task
        raise without_batch_norm(record.request.model, len(task.variables), task.factor)
    sources = source_regions(store, record.request.regime, record.request.sources)
    known = {region.name for region in sources}

    def adapt(region: RegionStore) -> Adapted:
        if region.name in known:
            return Adapted(model)
        batches = coarse_batches(region, context=model.reads_context)
        return Adapted(renormalised(model, batches))

    return adapt


_RAINSHIFT = "quantile mapping after Harder et al. 2026, doi 10.1038/s41598-025-34557-4"

ADAPTATIONS: dict[str, Adaptation] = {
    "quantile-mapping": Adaptation(
        "-qm", "quantile-mapped inputs", _RAINSHIFT, partial(_mapped_quantiles, back_transform=True)
    ),
    "quantile-mapping-one-way": Adaptation(
        "-qm-one-way", "quantile-mapped inputs, not mapped back", _RAINSHIFT,
        partial(_mapped_quantiles, back_transform=False),
    ),
    "adabn": Adaptation(
        "-adabn", "AdaBN", "AdaBN of Li et al. 2016, arXiv 1603.04779", _renormalised
    ),
}  # fmt: skip
"""What `elsewhere predict RUN --adapt NAME` can do. The second one is the first without the way
back, as in a reimplementation of RainShift: its predictions stay in the sources' range."""
