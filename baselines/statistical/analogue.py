"""Analogues: the detail that the most similar coarse fields of the training days had."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from baselines.statistical.base import (
    Array,
    Fitted,
    Place,
    Rule,
    StatisticalFamily,
    Training,
    scaling,
)
from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore
from benchmark.toml_model import Frozen

REFERENCE = "Zorita and von Storch (1999), doi 10.1175/1520-0442(1999)012<2474:TAMAAS>2.0.CO;2"

CHUNK = 512
"""Candidates that are compared at once."""


class AnalogueConfig(Frozen):
    """`neighbours`: analogues whose details are averaged; `centred`: compare fields less their own
    mean over the box; `every`: keep each n-th training step."""

    neighbours: Annotated[int, Field(ge=1)]
    centred: bool
    every: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, eq=False)
class Analogue(Fitted):
    """y = B x + mean over k analogues j of (fine_j - B x_j).

    Analogues are the training steps, of any source region with a box of the same shape, whose
    coarse fields of all variables are nearest: least sum of squares over cells and variables in
    units of the source deviations. What is added has no regard to where it came from: coasts and
    mountains of the analogue's region come along, which is what an analogue knows elsewhere.
    Of equal distances the first in the order of regions and times is taken. Training steps with
    missing truth are no candidates. The fine fields stay in the pair store and are read, from
    training days alone, as they are needed.

    mean, sd: (V,) of the coarse fields; library: (n, V, Ny, Nx) float32 by region; steps: (n,)
    indices into the region's times.
    Errors: InputError where the sources have fewer such steps than neighbours.
    """

    config: AnalogueConfig
    mean: Array
    sd: Array
    library: Mapping[str, NDArray[np.float32]]
    steps: Mapping[str, NDArray[np.int64]]

    @classmethod
    def fit(cls, training: Training, config: AnalogueConfig) -> Self:
        """Keep the coarse fields; nothing else is fitted."""
        mean, sd = scaling(training)
        library: dict[str, list[NDArray[np.float32]]] = {}
        steps: dict[str, list[int]] = {}
        for sample in training.samples(config.every):
            if np.isfinite(sample.fine).all():
                name = sample.place.region.name
                pattern = _pattern(sample.coarse, mean, sd, centred=config.centred)
                library.setdefault(name, []).append(pattern)
                steps.setdefault(name, []).append(sample.step)
        return cls(
            config, mean, sd,
            {name: np.stack(found) for name, found in library.items()},
            {name: np.array(found, dtype=np.int64) for name, found in steps.items()},
        )  # fmt: skip

    def on(self, place: Place) -> Rule:
        """Search the library for each coarse field, and read the analogues' details."""
        region, cells = place.region, place.region.grid.fine.shape
        shape = (len(self.mean), *region.grid.coarse.shape)
        store = PairStore(region.task, region.path.parent)
        sources = {name: Place(store.region(name)) for name in sorted(self.library)}
        names = [
            name
            for name, source in sources.items()
            if self.library[name].shape[1:] == shape and source.region.grid.fine.shape == cells
        ]
        candidates = [(name, int(step)) for name in names for step in self.steps[name]]
        if len(candidates) < self.config.neighbours:
            raise InputError(
                Problem(
                    f"analogues for {region.name}",
                    f"{self.config.neighbours} whole training steps with boxes of {cells} cells",
                    str(len(candidates)), "Choose fewer neighbours, or another model.",
                )
            )  # fmt: skip

        def rule(coarse: Array) -> Array:
            pattern = _pattern(coarse, self.mean, self.sd, centred=self.config.centred)
            distance = np.concatenate([squared_distance(self.library[n], pattern) for n in names])
            nearest = np.argsort(distance, kind="stable")[: self.config.neighbours]
            chosen = [candidates[k] for k in nearest]
            details = [_detail(sources[name], step) for name, step in chosen]
            return np.asarray(place.bilinear(coarse) + np.mean(details, axis=0))

        return rule


def _pattern(coarse: Array, mean: Array, sd: Array, *, centred: bool) -> NDArray[np.float32]:
    """(V, Ny, Nx) what is compared."""
    if centred:
        mean = coarse.mean(axis=(1, 2))
    return ((coarse - mean[:, None, None]) / sd[:, None, None]).astype(np.float32)


def squared_distance(library: NDArray[np.float32], pattern: NDArray[np.float32]) -> Array:
    """(n,) sums of squares between (n, ...) candidates and one pattern, some at a time."""
    flat = pattern.ravel().astype(np.float64)
    found = [
        ((library[low : low + CHUNK].reshape(-1, flat.size) - flat) ** 2).sum(axis=1)
        for low in range(0, len(library), CHUNK)
    ]
    return np.concatenate(found)


def _detail(source: Place, step: int) -> Array:
    """(V, ny, nx) fine less bilinear of one training step."""
    region, at = source.region, slice(step, step + 1)
    coarse, fine = (
        np.concatenate([region.read(side, name, at) for name in region.task.variable_names])
        for side in ("coarse", "fine")
    )
    return np.asarray(fine.astype(np.float64) - source.bilinear(coarse))


FAMILY = StatisticalFamily("analogues", REFERENCE, AnalogueConfig, Analogue)
