"""Ridge regression of what bilinear misses, on coarse fields and statics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field

from baselines.interpolation import cubic_weights, nearest_weights
from baselines.statistical.base import (
    Array,
    Fitted,
    Place,
    Rule,
    StatisticalFamily,
    Training,
    scaling,
)
from benchmark.task import STATICS
from benchmark.toml_model import Frozen

REFERENCE = "Hoerl and Kennard (1970), doi 10.2307/1267351; MLR of Gutierrez et al. (2019)"

AROUND = [(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if (j, i) != (0, 0)]
"""The eight neighbours of a coarse cell, as steps to the south and east."""


class LinearConfig(Frozen):
    """`ridge`: penalty on the squared coefficients of standardised features, per unit of weight;
    `every`: fit on each n-th step."""

    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    every: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, eq=False)
class Linear(Fitted):
    """y = B x + intercept + coefficients . features, one regression a variable for all cells.

    With z the coarse fields in units of their source mean and deviation, the features of a fine
    cell are, of every variable: B z; cubic convolution of z less B z; what the projection onto
    A y = z would add to B z; the nearest coarse cell less B z; its eight neighbours less itself.
    Of the statics: land fraction and orography, and both less B A of themselves. And the products
    of B z with land fraction, land detail and orography detail.

    Least squares of y - B x over source regions and days, each cell weighted by its area, with a
    ridge on all but the intercept, so that on its own training data it is never worse than
    bilinear. Missing truth is left out. Normal equations are summed step by step.

    mean, sd: (V,) of the coarse fields; intercept: (V,); coefficients: (V, features) in units of
    the variable. A feature that does not vary has coefficient 0.
    """

    config: LinearConfig
    mean: Array
    sd: Array
    intercept: Array
    coefficients: Array

    @classmethod
    def fit(cls, training: Training, config: LinearConfig) -> Self:
        """Sum the normal equations, then solve them in standardised features."""
        mean, sd = scaling(training)
        makers = {place.region.name: feature_maker(place) for place in training.places}
        size = 1 + 15 * len(mean) + 4
        gram, moment = np.zeros((len(mean), size, size)), np.zeros((len(mean), size))
        for sample in training.samples(config.every):
            place = sample.place
            features = makers[place.region.name](_units(sample.coarse, mean, sd))
            design = np.vstack([np.ones((1, features.shape[1])), features])
            increment = (sample.fine - place.bilinear(sample.coarse)).reshape(len(mean), -1)
            there = np.isfinite(increment)
            for k, target in enumerate(increment):
                if k == 0 or (there[k] != there[k - 1]).any():
                    weighted = design * (place.area.ravel() * there[k])
                    product = weighted @ design.T
                gram[k] += product
                moment[k] += weighted @ np.nan_to_num(target)
        solved = [_solve(*sums, config.ridge) for sums in zip(gram, moment, strict=True)]
        return cls(
            config, mean, sd,
            np.array([intercept for intercept, _ in solved]),
            np.stack([coefficients for _, coefficients in solved]),
        )  # fmt: skip

    def on(self, place: Place) -> Rule:
        """Bilinear and the regression of its increment."""
        make = feature_maker(place)

        def rule(coarse: Array) -> Array:
            bilinear = place.bilinear(coarse)
            increment = self.coefficients @ make(_units(coarse, self.mean, self.sd))
            increment += self.intercept[:, None]
            return np.asarray(bilinear + increment.reshape(bilinear.shape))

        return rule


def feature_maker(place: Place) -> Callable[[Array], Array]:
    """features(z (V, Ny, Nx)) -> (15 V + 4, ny nx) in one region; see `Linear`."""
    grid = place.region.grid
    centres = ((grid.coarse.y, grid.fine.y), (grid.coarse.x, grid.fine.x))
    cubic_y, cubic_x = (cubic_weights(a.centres, b.centres) for a, b in centres)
    row, column = (nearest_weights(a.centres, b.centres).argmax(axis=1) for a, b in centres)
    statics = np.stack([place.land, place.orography, place.land_detail, place.orography_detail])
    modifiers = (place.land, place.land_detail, place.orography_detail)

    def features(z: Array) -> Array:
        bilinear = place.bilinear(z)
        padded = np.pad(z, ((0, 0), (1, 1), (1, 1)), mode="edge")
        nearest = z[:, row[:, None], column]
        around = [padded[:, (row + 1 + j)[:, None], column + 1 + i] - nearest for j, i in AROUND]
        parts = [
            bilinear,
            cubic_y @ z @ cubic_x.T - bilinear,
            place.project(bilinear, z) - bilinear,
            nearest - bilinear,
            *around,
            *(bilinear * field for field in modifiers),
            statics,
        ]
        return np.concatenate(parts).reshape(-1, grid.fine.shape[0] * grid.fine.shape[1])

    return features


def _units(coarse: Array, mean: Array, sd: Array) -> Array:
    return np.asarray((coarse - mean[:, None, None]) / sd[:, None, None])


def _solve(gram: Array, moment: Array, ridge: float) -> tuple[float, Array]:
    """(intercept, coefficients) of min mean w (d - a - b.f)^2 + ridge |b sd(f)|^2.

    gram: (1 + F, 1 + F) weighted sums of products of (1, features); moment: (1 + F,) of these
    with the target.
    """
    weight = gram[0, 0]
    if not weight > 0:
        return 0.0, np.zeros(len(moment) - 1)
    mean, target = gram[0, 1:] / weight, moment[0] / weight
    covariance = gram[1:, 1:] / weight - np.outer(mean, mean)
    variance = np.diag(covariance).copy()
    varies = variance > 1e-12 * (mean**2 + variance)
    sd = np.sqrt(variance[varies])
    correlation = covariance[np.ix_(varies, varies)] / np.outer(sd, sd)
    along = (moment[1:] / weight - mean * target)[varies] / sd
    coefficients = np.zeros(len(mean))
    coefficients[varies] = np.linalg.solve(correlation + ridge * np.eye(len(sd)), along) / sd
    return float(target - mean @ coefficients), coefficients


FAMILY = StatisticalFamily(
    "linear regression with statics", REFERENCE, LinearConfig, Linear, statics=STATICS
)
