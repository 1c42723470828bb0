"""Constraint layers: fine fields that agree with the coarse field they came from.

With in-block area weights a_i (sum 1 in each block) a hard layer returns y with
sum_i a_i y_i = x, in physical units, on any device; float32 or wider whatever comes in. What a
layer does to the cells is a rule (`rules`), which cells it binds is its scope (`blocks`); where
coarse cells share fine ones there is `projection`, and without guarantee `soft`.
"""

from dataclasses import dataclass

from torch import Tensor

from baselines.constraints import rules
from baselines.constraints.blocks import Layer, Rule, block_mean, on_blocks, on_windows
from baselines.constraints.overlapping import Overlapping
from baselines.constraints.projection import Projection
from baselines.constraints.soft import clip, soft_loss, violation
from baselines.constraints.spaces import affine_space, log_space, physical

__all__ = [
    "Bounds",
    "Layer",
    "Overlapping",
    "Projection",
    "Rule",
    "add",
    "affine_space",
    "block_mean",
    "clip",
    "layer_for",
    "log_space",
    "mult",
    "nonnegative",
    "on_blocks",
    "on_windows",
    "physical",
    "proportional",
    "scaled_add",
    "soft_loss",
    "softmax",
    "violation",
]

add = on_blocks(rules.add)
mult = on_blocks(rules.mult)
softmax = on_blocks(rules.softmax)
nonnegative = on_blocks(rules.nonnegative)
proportional = rules.proportional
scaled_add = rules.scaled_add


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest value of each variable, (V,) each, in physical units."""

    low: Tensor
    high: Tensor


def layer_for(constraint: str, bounds: Bounds | None = None) -> Layer | None:
    """The layer that is trained in, by a name of `model_card.Constraint`; None where there is none.

    post_hoc projects the predictions of a network that was trained without a layer; projection is
    add where the coarse cells are whole blocks, and needs a region's own `Projection` elsewhere.
    bounds: those of `scaled_add`. Errors: ValueError where it has none, KeyError for other names.
    """
    if constraint == "scaled_add":
        if bounds is None:
            raise ValueError("scaled_add needs the variables' bounds")
        return on_blocks(scaled_add(bounds.low, bounds.high))
    return _LAYERS[constraint]


_LAYERS: dict[str, Layer | None] = {
    "none": None,
    "soft": None,
    "post_hoc": None,
    "add": add,
    "mult": mult,
    "softmax": softmax,
    "projection": add,
}
