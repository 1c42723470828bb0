"""Networks that work in another space: the layer acts on physical values all the same.

An affine map commutes with means, so min-max-normalised values may be constrained as they are;
the mean of a logarithm is no logarithm of a mean, and a layer there would conserve nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.constraints.blocks import Layer, widened

CEILING = 60.0
"""Logarithms are cut here, at 1e26 of any unit: beyond it float32 overflows, and inf - inf is no
number."""


@dataclass(frozen=True)
class Space:
    """How values are seen by a network: into (physical to its space) and back."""

    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def log_space(unit: float = 1.0) -> Space:
    """z = log(1 + f / unit), for f >= 0; back, z < 0 is a negative value above -unit."""
    return Space(
        into=lambda f: (f / unit).log1p(), back=lambda z: unit * z.clamp_max(CEILING).expm1()
    )


def affine_space(shift: float | Tensor, scale: float | Tensor) -> Space:
    """z = (f - shift) / scale: z-scores, min-max, [-1, 1]."""
    return Space(into=lambda f: (f - shift) / scale, back=lambda z: shift + scale * z)


def physical(layer: Layer, space: Space) -> Layer:
    """The layer for a network whose output is in `space`: coarse fields and answer are physical.

    The way back is computed in float32 or wider.
    """

    def constrained(field: Tensor, coarse: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(field.device.type, enabled=False):
            field, coarse = widened(field, coarse)
            return layer(space.back(field), coarse, weights)

    return constrained
