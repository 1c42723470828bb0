"""A trained network as a predictor, on fixed batches that count from the region's start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.adaptation import adaptation, adapted_card
from baselines.adaptation.adapted import Adapt, Adapted
from baselines.adaptation.few_shot import fine_tuned
from baselines.constraints import Projection, add, mult
from baselines.context import Context, region_context
from baselines.data import region_weights
from baselines.downscaler import Downscaler
from baselines.models import family
from baselines.runs import card, load_run
from benchmark.errors import InputError, Problem
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.predictor import Fields
from benchmark.toml_model import nearest

BATCH = 32
"""Steps in one forward pass. Part of the result: a batch decides the last bits."""
PROBES = {"shuffled-statics": "the land and orography of the next region"}
"""Defects on purpose: a network that does not mind them has not used what they spoil."""


@dataclass(frozen=True)
class Network:
    """The network of a finished run; `post_hoc` projects its predictions onto the constraint.

    adapt: what a region is predicted with where the regime knows something of it; statics: whose
    static fields a network that reads them is given, its own where there is none.
    """

    card: ModelCard
    model: Downscaler
    threads: int
    post_hoc: bool
    member_count: int = 1
    adapt: Adapt | None = None
    statics: Callable[[RegionStore], RegionStore] | None = None
    _latest: dict[str, tuple[Adapted, Tensor | Projection]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, 1, ny, nx) float32 fields by variable.

        Whole batches from the region's start are computed and cut to `steps`, so that an answer
        does not depend on what else was asked for. The skip, the layer and the projection are
        float64: what is left of the constraint is the rounding to float32.
        """
        torch.set_num_threads(self.threads)
        names = region.task.variable_names
        start, stop, _ = steps.indices(len(region.times))
        first = start - start % BATCH
        adapted, weights = self._for(region)
        batches = []
        for low in range(first, stop, BATCH):
            whole = slice(low, min(low + BATCH, len(region.times)))
            coarse = np.stack([region.read("coarse", name, whole) for name in names], axis=1)
            batches.append(self._forward(adapted, coarse, weights, self._context(region, whole)))
        fine = np.concatenate(batches)[start - first : stop - first]
        return {name: np.ascontiguousarray(fine[:, k, None]) for k, name in enumerate(names)}

    def _context(self, region: RegionStore, steps: slice) -> Context | None:
        if not self.model.reads_context:
            return None
        return region_context(region, steps, statics=self.statics and self.statics(region))

    def _for(self, region: RegionStore) -> tuple[Adapted, Tensor | Projection]:
        """What a region is predicted with, and its operator: costly where cells are shared.

        Kept for the latest region alone: a network for each would fill the memory.
        """
        found = self._latest.get(region.name)
        if found is None:
            adapted = Adapted(self.model) if self.adapt is None else self.adapt(region)
            found = adapted, region_weights(region, torch.float64)
            self._latest.clear()
            self._latest[region.name] = found
        return found

    @torch.inference_mode()
    def _forward(
        self,
        adapted: Adapted,
        coarse: NDArray[np.float32],
        weights: Tensor | Projection,
        context: Context | None,
    ) -> NDArray[np.float32]:
        model, there = adapted.model, torch.from_numpy(coarse)
        seen = torch.from_numpy(adapted.seen(coarse))
        fine = model.finish(model.raw(seen, context), seen.double(), weights)
        if adapted.maps:
            restored = torch.from_numpy(adapted.restored(fine.numpy()))
            fine = _constrained(model, restored, there.double(), weights)
        if self.post_hoc:
            fine = _projected(fine, there.double(), weights)
        return fine.float().numpy()


def _constrained(
    model: Downscaler, fine: Tensor, coarse: Tensor, weights: Tensor | Projection
) -> Tensor:
    """The model's own layer on what it made for mapped inputs, with the true ones.

    The layer has to act twice. Before the map back, since what a network gives a hard layer may
    have any block mean, and only behind it are these values of rain that a non-linear map can be
    applied to. After it, since no map but a linear one conserves a mean. A softmax of the logarithm
    of a field that is no longer in logits is `mult`, which keeps it >= 0 and dry blocks dry.
    """
    if model.layer is None:
        return fine
    if not isinstance(weights, Tensor):
        return weights(fine, coarse)
    return (mult if model.in_logits else model.layer)(fine, coarse, weights)


def _projected(fine: Tensor, coarse: Tensor, weights: Tensor | Projection) -> Tensor:
    return add(fine, coarse, weights) if isinstance(weights, Tensor) else weights(fine, coarse)


def open_network(
    folder: Path,
    store: PairStore,
    *,
    post_hoc: bool = False,
    adapt: str | None = None,
    probe: str | None = None,
) -> Network:
    """The predictor of a run folder.

    adapt: one of `ADAPTATIONS`, for a zero-shot run; it makes it a `target_inputs` row. probe: one
    of `PROBES`, a defect on purpose, which makes it a control.
    Errors: InputError when the run is unfinished, of another task, is to be projected though it
    was trained with a layer, to be adapted though it is not zero-shot or lacks what that needs, or
    to be probed for statics that it does not read.
    """
    record, model = load_run(folder, store.task)
    request = record.request
    constraint = request.constraint
    if post_hoc and constraint not in ("none", "soft", "post_hoc"):
        raise InputError(
            Problem(
                str(folder), "a run without a layer to project post hoc", f"one with {constraint}",
                "Leave out --post-hoc.",
            )
        )  # fmt: skip
    projected = post_hoc or constraint == "post_hoc"
    declared = card(record, constraint="post_hoc" if projected else constraint)
    change = fine_tuned(folder, record, model, store) if request.regime == "few_shot" else None
    if adapt is not None:
        chosen = adaptation(adapt)
        if request.regime != "zero_shot":
            raise InputError(
                Problem(
                    f"--adapt {adapt}: {folder}", "a zero-shot run", f"a run of {request.regime}",
                    "Leave out --adapt, or choose another run.",
                )
            )  # fmt: skip
        declared = adapted_card(declared, chosen)
        change = chosen.start(store, record, model)
    if probe is not None:
        _check_probe(probe, folder, request.model, adapt)
        declared = declared.model_copy(
            update={
                "model": f"{declared.model}-{probe}",
                "title": f"{declared.title}, control: {PROBES[probe]}",
            }
        )
    return Network(
        card=declared,
        model=model,
        threads=request.config.training.threads,
        post_hoc=projected,
        adapt=change,
        statics=None if probe is None else partial(_next_region, store),
    )


def _next_region(store: PairStore, region: RegionStore) -> RegionStore:
    """The one after it among the test regions by name; the first after the last."""
    names = [other.name for other in expected_regions(store)]
    return store.region(names[(names.index(region.name) + 1) % len(names)])


def _check_probe(probe: str, folder: Path, model: str, adapt: str | None) -> None:
    if probe not in PROBES:
        known = list(PROBES)
        raise InputError(Problem("--probe", " or ".join(known), probe, nearest(probe, known)))
    if adapt is not None:
        fix = "Leave one of the two out."
        raise InputError(Problem("--probe", "a run as it is", f"--adapt {adapt}", fix))
    if not family(model).statics:
        fix = "Probe a network that reads them, such as loan."
        raise InputError(
            Problem(f"--probe {probe}: {folder}", "a network with statics", "none", fix)
        )
