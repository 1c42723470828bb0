"""Rows that need no training: interpolation, its projection, zero rain, and the references."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from baselines.interpolation import (
    KERNELS,
    ConservativeRemapping,
    interpolate,
    shifted_south_east,
)
from benchmark.model_card import Constraint, ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.predictor import Fields, Predictor
from benchmark.references import REFERENCES

Array = NDArray[np.float64]
Rule = Callable[[RegionStore, str, Array], Array]
"""rule(region, variable, coarse (time, Ny, Nx)) -> fine (time, ny, nx)."""


@dataclass(frozen=True)
class Interpolation:
    """A deterministic null that interpolates each field on its own."""

    card: ModelCard
    rule: Rule
    member_count: int = 1

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, 1, ny, nx) fields by variable."""
        return {
            name: self.rule(region, name, region.read("coarse", name, steps).astype(np.float64))
            .astype(np.float32)[:, None]
            for name in region.task.variable_names
        }  # fmt: skip


def _kernel(name: str) -> Rule:
    def rule(region: RegionStore, variable: str, coarse: Array) -> Array:  # noqa: ARG001
        return interpolate(KERNELS[name], region.grid, coarse)

    return rule


def _projected(region: RegionStore, variable: str, coarse: Array) -> Array:
    """Bilinear, then the projection onto the coarse field by least area-weighted squares."""
    field = _kernel("bilinear")(region, variable, coarse)
    return region.grid.overlap.projector()(field, coarse)


def _conservative(region: RegionStore, variable: str, coarse: Array) -> Array:  # noqa: ARG001
    """Second-order conservative remapping."""
    return ConservativeRemapping.on(region.grid)(coarse)


def _shifted(region: RegionStore, variable: str, coarse: Array) -> Array:
    """A control: bilinear, registered wrongly by one fine cell in both directions.

    What it loses against bilinear is what such an error costs any model.
    """
    return shifted_south_east(_kernel("bilinear")(region, variable, coarse))


def _zero_rain(region: RegionStore, variable: str, coarse: Array) -> Array:
    """No precipitation anywhere; the other variables bilinear."""
    field = _kernel("bilinear")(region, variable, coarse)
    return np.zeros_like(field) if variable == "precipitation" else field


_RULES: dict[str, tuple[str, Constraint, Rule]] = {
    "nearest": ("nearest neighbour (enlarge)", "none", _kernel("nearest")),
    "bicubic": ("bicubic (cubic convolution, a = -0.75)", "none", _kernel("bicubic")),
    "bicubic-pil": ("bicubic as PIL resizes (a = -0.5)", "none", _kernel("bicubic-pil")),
    "conservative": ("second-order conservative remapping", "none", _conservative),
    "bilinear-projected": ("bilinear + post-hoc projection", "post_hoc", _projected),
    "bilinear-shifted": ("control: bilinear moved by one fine cell", "none", _shifted),
    "zero-rain": ("zero rain, bilinear otherwise", "none", _zero_rain),
}
NULLS = (*REFERENCES, *_RULES)


def null(name: str, store: PairStore) -> Predictor:
    """The null called `name`, one of `NULLS`."""
    if name in REFERENCES:
        return REFERENCES[name](store)
    title, constraint, rule = _RULES[name]
    card = ModelCard(
        task=store.task.id,
        model=name,
        title=title,
        reference="Elsewhere",
        null=True,
        constraint=constraint,
    )
    return Interpolation(card, rule)
