"""Bilinear fields whose values are mapped onto the distribution of fine ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field

from baselines.statistical.base import Array, Fitted, Place, Rule, StatisticalFamily, Training
from baselines.statistical.quantiles import EmpiricalMap, pooled_quantiles
from benchmark.toml_model import Frozen

REFERENCE = "Panofsky and Brier (1968); Gudmundsson et al. (2012), doi 10.5194/hess-16-3383-2012"


class QuantileMappingConfig(Frozen):
    """`values`: at most this many are pooled, by taking each n-th step."""

    quantiles: Annotated[int, Field(ge=2)]
    values: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, eq=False)
class QuantileMapping(Fitted):
    """y = F_fine^-1(F_bilinear(B x)), one map a variable for all cells, source-fitted.

    Distributions are pooled over cells, source regions and training days. Variables that are
    never negative keep their zeros: see `EmpiricalMap`. Gives fields the right distribution and no
    detail that bilinear has not; values beyond those of the sources all get the correction of
    their most extreme cell, so a warmer climate is moved as a whole. Missing truth is left out.
    bilinear, fine: (V, quantiles).
    """

    config: QuantileMappingConfig
    bilinear: Array
    fine: Array

    @classmethod
    def fit(cls, training: Training, config: QuantileMappingConfig) -> Self:
        """Empirical quantiles at equal levels."""

        def pairs() -> Iterator[tuple[Array, Array]]:
            for sample in training.samples(training.every(config.values)):
                yield sample.place.bilinear(sample.coarse), sample.fine

        return cls(config, *pooled_quantiles(pairs, training.task.variable_names, config.quantiles))

    def on(self, place: Place) -> Rule:
        """Bilinear, then the map of each variable."""
        maps = [
            EmpiricalMap(self.bilinear[k], self.fine[k], variable.nonnegative)
            for k, variable in enumerate(place.region.task.variables)
        ]

        def rule(coarse: Array) -> Array:
            return np.stack(
                [change(field) for change, field in zip(maps, place.bilinear(coarse), strict=True)]
            )

        return rule


FAMILY = StatisticalFamily(
    "bilinear + quantile mapping", REFERENCE, QuantileMappingConfig, QuantileMapping
)
