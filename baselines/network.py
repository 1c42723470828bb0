"""A trained network as a predictor, on fixed batches that count from the region's start."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from baselines.constraints import add
from baselines.data import block_weights
from baselines.downscaler import Downscaler
from baselines.runs import card, load_run
from benchmark.errors import InputError, Problem
from benchmark.model_card import ModelCard
from benchmark.pair_store import RegionStore
from benchmark.predictor import Fields
from benchmark.task import Task

BATCH = 32
"""Steps in one forward pass. Part of the result: a batch decides the last bits."""


@dataclass(frozen=True)
class Network:
    """The network of a finished run; `post_hoc` projects its predictions onto the constraint."""

    card: ModelCard
    model: Downscaler
    threads: int
    post_hoc: bool
    member_count: int = 1

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
        weights = block_weights(region, torch.float64)
        batches = []
        for low in range(first, stop, BATCH):
            whole = slice(low, min(low + BATCH, len(region.times)))
            coarse = np.stack([region.read("coarse", name, whole) for name in names], axis=1)
            batches.append(self._forward(torch.from_numpy(coarse), weights))
        fine = np.concatenate(batches)[start - first : stop - first]
        return {name: np.ascontiguousarray(fine[:, k, None]) for k, name in enumerate(names)}

    @torch.inference_mode()
    def _forward(self, coarse: torch.Tensor, weights: torch.Tensor) -> np.ndarray:
        z = self.model.network((coarse - self.model.mean) / self.model.sd)
        exact = coarse.double()
        fine = self.model.finish(z, exact, weights)
        if self.post_hoc:
            fine = add(fine, exact, weights)
        return fine.float().numpy()


def open_network(folder: Path, task: Task, *, post_hoc: bool = False) -> Network:
    """The predictor of a run folder.

    Errors: InputError when the run is unfinished, of another task, or is to be projected though
    it was trained with a layer.
    """
    record, model = load_run(folder, task)
    constraint = record.request.constraint
    if post_hoc and constraint not in ("none", "soft", "post_hoc"):
        raise InputError(
            Problem(
                str(folder), "a run without a layer to project post hoc", f"one with {constraint}",
                "Leave out --post-hoc.",
            )
        )  # fmt: skip
    projected = post_hoc or constraint == "post_hoc"
    return Network(
        card=card(record, constraint="post_hoc" if projected else constraint),
        model=model,
        threads=record.request.config.training.threads,
        post_hoc=projected,
    )
