"""What networks share about factors: which they can, and interpolation by any of them."""

import math
from typing import Literal

from torch import Tensor
from torch.nn import functional

from benchmark.errors import InputError, Problem

ROUNDING = 1e-6
"""A factor is read from text: fine cells that miss a whole number by less are whole."""


def whole_factor(model: str, factor: float) -> int:
    """The factor of a network that can only repeat cells; InputError where it is no whole one."""
    if not (math.isfinite(factor) and factor >= 2 and factor == int(factor)):
        raise InputError(
            Problem(
                model, "a whole factor of at least 2", f"{factor:g}",
                "Choose a model that interpolates first, such as unet, resnet or loan.",
            )
        )  # fmt: skip
    return int(factor)


def any_factor(model: str, factor: float) -> float:
    """The factor of a network that interpolates first; InputError below 1."""
    if not (math.isfinite(factor) and factor >= 1):
        raise InputError(
            Problem(model, "a factor of at least 1", f"{factor:g}", "Check the task's spacings.")
        )
    return factor


def prime_stages(factor: int) -> list[int]:
    """The prime factors, smallest first: 8 is three doublings, 5 a stage of its own."""
    stages, rest, prime = [], factor, 2
    while rest > 1:
        while rest % prime == 0:
            stages.append(prime)
            rest //= prime
        prime += 1
    return stages


def fine_shape(rows: int, columns: int, factor: float) -> tuple[int, int]:
    """Fine rows and columns of a box; InputError where they are no whole numbers."""
    exact = (rows * factor, columns * factor)
    shape = (round(exact[0]), round(exact[1]))
    if max(abs(exact[0] - shape[0]), abs(exact[1] - shape[1])) > ROUNDING:
        raise InputError(
            Problem(
                f"a box of {rows} x {columns} coarse cells",
                f"a whole number of fine cells at factor {factor:g}",
                f"{exact[0]:g} x {exact[1]:g}",
                "Cut the box to where both grids end.",
            )
        )
    return shape


def upsample(x: Tensor, factor: float, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """(batch, channels, Ny, Nx) to (batch, channels, factor Ny, factor Nx), in float32.

    Between cell centres of two equally spaced grids that cover the same box, so 2.5 will do. A
    network knows no other registration: where a task's coarse box is shifted (`coarse_shift`, half
    a cell in rainshift) what it upsamples is off by that constant offset, which its convolutions
    can learn; the skip of `Downscaler` has the true coordinates. The edges are clamped (the
    outermost coarse value is repeated outwards), and bicubic is Keys' with a = -0.75, as in
    `interpolation`. Errors: InputError where the fine size is not whole.
    """
    rows, columns = x.shape[-2:]
    size = fine_shape(rows, columns, factor)
    return functional.interpolate(x.float(), size=size, mode=mode, align_corners=False)
