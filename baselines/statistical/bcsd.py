"""Bias correction and spatial disaggregation, with factors that an unseen region can have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from baselines.statistical.base import Array, Fitted, Place, Rule, StatisticalFamily, Training
from baselines.statistical.quantiles import EmpiricalMap, pooled_quantiles
from benchmark.task import STATICS, Task
from benchmark.toml_model import Frozen

REFERENCE = "Wood et al. (2004), doi 10.1023/B:CLIM.0000013685.99609.9e"


class BCSDConfig(Frozen):
    """`values`: at most about this many fine values' steps are pooled; `largest_ratio`: no cell's
    climatology is taken to be more than this many times the interpolated one, or less than the
    inverse."""

    quantiles: Annotated[int, Field(ge=2)]
    values: Annotated[int, Field(ge=1)]
    largest_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)]


@dataclass(frozen=True, eq=False)
class BCSD(Fitted):
    """y = B q(x) + f or, where values are amounts, y = B q(x) exp f.

    q maps coarse values onto the distribution of the coarsened fine ones, pooled over cells,
    source regions and training days: up to rounding the identity where coarse fields are exact
    block means. f is a cell's factor: mean fine less mean B q(x) or, for amounts (never negative,
    not in K), the logarithm of their ratio, kept within +-ln(largest_ratio).

    Wood et al. take f from the target's fine climatology, which zero-shot is a label. So a region
    that was fitted on has its own f, from its training days; any other one has the f that its
    statics predict: least squares of f, weighted by cell area, on 1, land detail, orography
    detail and their products with land fraction (see `Place`), over the source regions. They
    also map each month on its own and sum to months; here the training period is one season and
    the steps are the task's. A cell without truth, or on average dry, has the predicted f.

    coarse, coarsened: (V, quantiles); own: (V, ny, nx) factors by region; statics: (V, 5).
    """

    config: BCSDConfig
    coarse: Array
    coarsened: Array
    own: Mapping[str, Array]
    statics: Array

    @classmethod
    def fit(cls, training: Training, config: BCSDConfig) -> Self:
        """Quantiles first, then the climatologies of what they correct."""

        def pairs() -> Iterator[tuple[Array, Array]]:
            for sample in training.samples(training.every(config.values)):
                yield sample.coarse, sample.place.region.grid.overlap(sample.fine)

        task = training.task
        quantiles = pooled_quantiles(pairs, task.variable_names, config.quantiles)
        maps = _maps(*quantiles, task)
        known = _factors(training, maps, config)
        statics = _on_statics(training, known)
        own = {}
        for place in training.places:
            name = place.region.name
            own[name] = np.where(np.isfinite(known[name]), known[name], _predicted(statics, place))
        return cls(config, *quantiles, own, statics)

    def on(self, place: Place) -> Rule:
        """Correct the coarse field, interpolate it, apply the factors."""
        task = place.region.task
        maps, amounts = _maps(self.coarse, self.coarsened, task), _amounts(task)
        own = self.own.get(place.region.name)
        factor = self._bounded(_predicted(self.statics, place), task) if own is None else own
        add, scale = np.where(amounts, 0.0, factor), np.exp(np.where(amounts, factor, 0.0))

        def rule(coarse: Array) -> Array:
            return np.asarray(place.bilinear(_corrected(coarse, maps)) * scale + add)

        return rule

    def _bounded(self, factor: Array, task: Task) -> Array:
        limit = np.log(self.config.largest_ratio)
        return np.where(_amounts(task), np.clip(factor, -limit, limit), factor)


def _amounts(task: Task) -> NDArray[np.bool_]:
    """(V, 1, 1) variables whose factors are ratios."""
    return np.array([v.nonnegative and v.units != "K" for v in task.variables])[:, None, None]


def _maps(coarse: Array, coarsened: Array, task: Task) -> list[EmpiricalMap]:
    return [
        EmpiricalMap(source, target, variable.nonnegative)
        for source, target, variable in zip(coarse, coarsened, task.variables, strict=True)
    ]


def _corrected(coarse: Array, maps: list[EmpiricalMap]) -> Array:
    return np.stack([change(field) for change, field in zip(maps, coarse, strict=True)])


def _factors(training: Training, maps: list[EmpiricalMap], config: BCSDConfig) -> dict[str, Array]:
    """(V, ny, nx) factors by region, NaN where there is no truth, or a ratio has no base."""
    count: dict[str, Array] = {}
    fine: dict[str, Array] = {}
    base: dict[str, Array] = {}
    for sample in training.samples():
        name, valid = sample.place.region.name, np.isfinite(sample.fine)
        bilinear = sample.place.bilinear(_corrected(sample.coarse, maps))
        for sums, field in ((count, valid), (fine, sample.fine), (base, bilinear)):
            sums.setdefault(name, np.zeros(valid.shape))
            sums[name] += np.where(valid, field, 0.0)
    amounts, limit = _amounts(training.task), np.log(config.largest_ratio)
    found = {}
    for name, n in count.items():
        missing = np.full(n.shape, np.nan)
        difference = np.divide(fine[name] - base[name], n, out=missing.copy(), where=n > 0)
        ratio = np.divide(fine[name], base[name], out=missing, where=base[name] > 0)
        # A ratio of 0 has no logarithm; the bound takes its place.
        logarithm = np.log(np.clip(ratio, np.exp(-limit), np.exp(limit)))
        found[name] = np.where(amounts, logarithm, difference)
    return found


def _predictors(place: Place) -> Array:
    """(5, ny nx) what factors are regressed on."""
    land, orography = place.land_detail, place.orography_detail
    fields = [np.ones_like(land), land, orography, land * place.land, orography * place.land]
    return np.stack(fields).reshape(5, -1)


def _on_statics(training: Training, factors: Mapping[str, Array]) -> Array:
    """(V, 5) least squares of all regions' factors; of least norm where they do not decide it."""
    count = len(training.task.variables)
    gram, moment = np.zeros((count, 5, 5)), np.zeros((count, 5))
    for place in training.places:
        design = _predictors(place)
        for k, factor in enumerate(factors[place.region.name].reshape(count, -1)):
            weighted = design * (place.area.ravel() * np.isfinite(factor))
            gram[k] += weighted @ design.T
            moment[k] += weighted @ np.nan_to_num(factor)
    return np.stack([np.linalg.lstsq(g, m)[0] for g, m in zip(gram, moment, strict=True)])


def _predicted(statics: Array, place: Place) -> Array:
    """(V, ny, nx) factors by the regression."""
    return np.asarray((statics @ _predictors(place)).reshape(-1, *place.region.grid.fine.shape))


FAMILY = StatisticalFamily(
    "bias correction, spatial disaggregation", REFERENCE, BCSDConfig, BCSD, statics=STATICS
)
