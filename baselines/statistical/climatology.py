"""The training period's mean fine field: what is known without looking at the coarse one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from baselines.statistical.base import Array, Fitted, Place, Rule, StatisticalFamily, Training
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen

REFERENCE = "Elsewhere"


class ClimatologyConfig(Frozen):
    """No settings."""


@dataclass(frozen=True, eq=False)
class Climatology(Fitted):
    """y = the region's own mean fine field where it was fitted on, else one number a variable.

    A fine climatology of an unseen region is a label, so zero-shot that is the mean over all
    source regions and days, weighted by cell area; the oracle knows the field of every test
    region. own: (V, ny, nx) by region, a cell without any truth holding the number; pooled: (V,).
    Missing truth is left out. Errors: InputError where a variable has no truth at all.
    """

    config: ClimatologyConfig
    own: Mapping[str, Array]
    pooled: Array

    @classmethod
    def fit(cls, training: Training, config: ClimatologyConfig) -> Self:
        """Sums step by step."""
        sums: dict[str, Array] = {}
        counts: dict[str, Array] = {}
        for sample in training.samples():
            name, valid = sample.place.region.name, np.isfinite(sample.fine)
            sums[name] = sums.get(name, 0.0) + np.where(valid, sample.fine, 0.0)
            counts[name] = counts.get(name, 0.0) + valid.astype(np.float64)
        area = {place.region.name: place.area for place in training.places}
        total = sum((area[name] * sums[name]).sum(axis=(1, 2)) for name in sums)
        weight = np.asarray(sum((area[name] * counts[name]).sum(axis=(1, 2)) for name in sums))
        for variable, found in zip(training.task.variable_names, weight, strict=True):
            if not found > 0:
                raise InputError(
                    Problem(
                        f"fine {variable} in the training period", "some values", "none",
                        "Check the pair store.",
                    )
                )  # fmt: skip
        pooled = np.asarray(total / weight)
        own = {}
        for name, count in counts.items():
            fill = np.broadcast_to(pooled[:, None, None], count.shape).copy()
            own[name] = np.divide(sums[name], count, out=fill, where=count > 0)
        return cls(config, own, pooled)

    def on(self, place: Place) -> Rule:
        """The same field at every step."""
        shape = (len(self.pooled), *place.region.grid.fine.shape)
        unseen = np.broadcast_to(self.pooled[:, None, None], shape)
        field = self.own.get(place.region.name, unseen)
        return lambda coarse: field  # noqa: ARG005


FAMILY = StatisticalFamily(
    "climatology of the training days", REFERENCE, ClimatologyConfig, Climatology
)
