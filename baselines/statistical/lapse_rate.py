"""Temperature moved along a lapse rate from the coarse to the fine orography."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from baselines.statistical.base import Array, Fitted, Place, Rule, StatisticalFamily, Training
from benchmark.errors import InputError, Problem
from benchmark.task import Task
from benchmark.toml_model import Frozen

REFERENCE = "Sheridan et al. (2010), doi 10.1002/met.177; ICAO's 6.5 K/km as a constant"


class LapseRateConfig(Frozen):
    """`rate`: K/km that temperature falls with height, or `fitted` on the source regions."""

    rate: Literal["fitted"] | Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, eq=False)
class LapseRate(Fitted):
    """y = B x - rate (z - B A z) for air temperature in K; every other variable is bilinear.

    z is the fine orography in km, A z its coarse form and B bilinear interpolation, so that only
    heights that the coarse grid does not see move a temperature. rate: (V,) K/km, 0 for the other
    variables; fitted: least squares of the increment of the source regions and days, weighted by
    cell area, missing truth left out. One number a variable: neither season nor inversions.
    Errors: InputError when the task has no `air_temperature` in K, or the sources have no height.
    """

    config: LapseRateConfig
    rate: Array

    @classmethod
    def fit(cls, training: Training, config: LapseRateConfig) -> Self:
        """Fit the rate, or take the configured one."""
        chosen = temperatures(training.task)
        if config.rate != "fitted":
            return cls(config, np.where(chosen, float(config.rate), 0.0))
        across, along = np.zeros(len(chosen)), np.zeros(len(chosen))
        for sample in training.samples():
            place = sample.place
            increment = sample.fine - place.bilinear(sample.coarse)
            weight = place.area * np.isfinite(increment)
            height = place.orography_detail
            across -= (weight * height * np.nan_to_num(increment)).sum(axis=(1, 2))
            along += (weight * height**2).sum(axis=(1, 2))
        if not (along[chosen] > 0).all():
            raise InputError(
                Problem(
                    "orography of the source regions", "heights that the coarse grid does not see",
                    "none", "Use --set model.rate=6.5.",
                )
            )  # fmt: skip
        return cls(config, np.divide(across, along, out=np.zeros_like(along), where=chosen))

    def on(self, place: Place) -> Rule:
        """Bilinear, less the rate times the height."""
        fall = self.rate[:, None, None] * place.orography_detail
        return lambda coarse: place.bilinear(coarse) - fall


def temperatures(task: Task) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(V,) which variables are air temperatures in K; InputError where none is."""
    chosen = np.array(
        [v.standard_name == "air_temperature" and v.units == "K" for v in task.variables]
    )
    if not chosen.any():
        found = ", ".join(f"{v.name} ({v.standard_name}, {v.units})" for v in task.variables)
        raise InputError(
            Problem(
                f"variables of {task.id}", "an air_temperature in K", found,
                "Choose another model: a lapse rate is one of temperature.",
            )
        )  # fmt: skip
    return chosen


FAMILY = StatisticalFamily(
    "bilinear + lapse rate", REFERENCE, LapseRateConfig, LapseRate, statics=("orography",)
)
