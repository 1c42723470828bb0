"""A control that remembers where it was: it must do well at home and fail elsewhere.

After the spatial mixture of experts (Dryden and Hoefler, NeurIPS 2022), which routes by location:
a small network on the fine grid has several last layers, a gate made of latitude and longitude
alone mixes them, and a map made of these alone is added. At home that stores the mean of what
interpolation misses in each cell; elsewhere the same weights say something, but nothing that was
learned. A task on which this row does not fall far behind the same network without a place
(`resnet`) does not test transfer. No candidate for use.

Theirs has one weight a cell of one fixed grid, and nothing to say of any other. Ours reads random
Fourier features of the place (Rahimi and Recht, NIPS 2007; Tancik et al., NeurIPS 2020, arXiv
2006.10739), so that it has an answer anywhere; every expert is mixed in, theirs are chosen.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.context import Context
from baselines.family import Family
from baselines.srcnn import ResidualBlock
from baselines.upsampling import any_factor, upsample
from benchmark.toml_model import Frozen

REFERENCE = "control, after Dryden and Hoefler, NeurIPS 2022, arXiv 2211.13491"
EARTH_KM = 6371.0
SEED = 0
"""Of the waves, which are the same in every run."""

Wavelength = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MemoriserConfig(Frozen):
    """No size is published for this; the shortest waves span a few cells of 1 degree."""

    width: Annotated[int, Field(ge=1)] = 32
    blocks: Annotated[int, Field(ge=0)] = 2
    experts: Annotated[int, Field(ge=2)] = 8
    waves: Annotated[int, Field(ge=1)] = 64
    """Random waves for each of the wavelengths."""
    wavelengths_km: Annotated[tuple[Wavelength, ...], Field(min_length=1)] = (4000.0, 1000.0, 400.0)
    hidden: Annotated[int, Field(ge=1)] = 128
    """Width of what remembers."""


class Waves(nn.Module):
    """sin(w n) and cos(w n) of random waves w, n the unit vector of a place: no date line, no pole.

    w is normal with a standard deviation of 2 pi R / wavelength along each axis, R the Earth's
    radius; drawn once from a fixed seed and never learned.
    """

    frequencies: Tensor

    def __init__(self, wavelengths_km: tuple[float, ...], waves: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(SEED)
        sizes = [2 * math.pi * EARTH_KM / length for length in wavelengths_km]
        drawn = [size * torch.randn(waves, 3, generator=generator, device="cpu") for size in sizes]
        self.register_buffer("frequencies", torch.cat(drawn))

    def forward(self, place: Tensor) -> Tensor:
        """(batch, 2, ny, nx) latitude and longitude in radians to (batch, features, ny, nx)."""
        lat, lon = place.unbind(1)
        point = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)
        # In full precision: in bfloat16 the angles would be off by whole radians.
        with torch.autocast(place.device.type, enabled=False):
            angles = torch.einsum("kc,bcyx->bkyx", self.frequencies.to(place.dtype), point)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Memoriser(nn.Module):
    """Bilinear, Conv3-ReLU, residual blocks, then sum_e gate_e(place) Conv1_e + local(place).

    (batch, channels, Ny, Nx) and its context to (batch, outputs, factor Ny, factor Nx), normalised
    units; zero padding. gate (a softmax) and local: Conv1-ReLU twice and a Conv1 of `Waves`. Any
    factor of at least 1. outputs: `channels` unless said.
    """

    reads_context = True

    def __init__(
        self, channels: int, factor: float, config: MemoriserConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.outputs, self.experts = outputs or channels, config.experts
        self.factor = any_factor("memoriser", factor)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            *(ResidualBlock(width) for _ in range(config.blocks)),
        )
        self.waves = Waves(config.wavelengths_km, config.waves)
        self.memory = nn.Sequential(
            nn.Conv2d(2 * len(self.waves.frequencies), hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
        )
        self.recall = nn.Conv2d(hidden, config.experts + self.outputs, 1)
        self.heads = nn.Conv2d(width, config.experts * self.outputs, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        features = self.body(upsample(x, self.factor, "bilinear"))
        memory = self.memory(self.waves(context.place))
        # What makes the output stays in full precision: bfloat16 would quantise it.
        with torch.autocast(x.device.type, enabled=False):
            gate, local = self.recall(memory.float()).split([self.experts, self.outputs], dim=1)
            experts = self.heads(features.float()).unflatten(1, (self.experts, self.outputs))
            return (gate.softmax(dim=1)[:, :, None] * experts).sum(dim=1) + local


FAMILY = Family("location memoriser (control)", REFERENCE, MemoriserConfig, Memoriser)
