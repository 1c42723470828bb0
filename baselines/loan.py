"""Location-aware adaptive normalisation (LOAN), which reads statics and the clock.

Features are normalised, then scaled and shifted by maps that small convolutions make of what is
known of a place: out = norm(h) (1 + gamma) + beta. The paper forecasts the danger of wildfires
with 3-D convolutions over ten days; here the layer sits in the residual blocks of `srcnn` on the
fine grid. Where ours departs further:

* The normalisation is over the channels of each cell and has no weights; theirs is over the batch,
  which would keep statistics of home, as would theirs of the static maps, which are left as are.
* Land fraction and orography are the statics there are; theirs are ten classes of land cover too.
* The day of the year joins the statics in the maps, and the solar hour with it, so that a coast may
  mean something else by night; theirs is added to the pooled features before the last layers.
* The last layers of the maps start at 0 (theirs: a standard deviation of 0.01): an untrained
  network is the same network without conditions.

Latitude and longitude are no inputs: that is the `memoriser`.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from baselines.context import Context
from baselines.family import Family
from baselines.upsampling import any_factor, upsample
from benchmark.task import STATICS
from benchmark.toml_model import Frozen

REFERENCE = "after Eddin et al., TGRS 61, 2023, arXiv 2212.08208"
STATIC, CLOCK = len(STATICS), 4
"""Channels of the two parts of the context that are read."""


class LOANConfig(Frozen):
    """Width and depth of `srcnn`, and 32 channels of conditions as in the paper's first layer."""

    width: Annotated[int, Field(ge=1)] = 32
    blocks: Annotated[int, Field(ge=1)] = 4
    conditions: Annotated[int, Field(ge=1)] = 32
    """Channels of the features of a place that the maps are made of."""


class Modulation(nn.Module):
    """norm(h) (1 + gamma) + beta, the norm over the channels of each cell, without weights.

    gamma and beta are 3 x 3 convolutions of the conditions and start at 0.
    """

    def __init__(self, width: int, conditions: int) -> None:
        super().__init__()
        self.gamma = nn.Conv2d(conditions, width, 3, padding=1)
        self.beta = nn.Conv2d(conditions, width, 3, padding=1)
        for maps in (self.gamma, self.beta):
            nn.init.zeros_(maps.weight)
            nn.init.zeros_(maps.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """(batch, width, ny, nx) and (batch, conditions, ny, nx) to (batch, width, ny, nx)."""
        normed = functional.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
        return normed * (1 + self.gamma(conditions)) + self.beta(conditions)


class Block(nn.Module):
    """relu(x + conv(relu(modulation(conv(x))))), 3 x 3, no bias; x itself passes unnormalised."""

    def __init__(self, width: int, conditions: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.modulation = Modulation(width, conditions)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """(batch, width, ny, nx) and (batch, conditions, ny, nx) to (batch, width, ny, nx)."""
        return (x + self.second(self.modulation(self.first(x), conditions).relu())).relu()


class LOAN(nn.Module):
    """Bilinear, Conv3-ReLU, modulated residual blocks, Conv3-ReLU, Conv1.

    (batch, channels, Ny, Nx) and its context to (batch, outputs, factor Ny, factor Nx), normalised
    units; zero padding. The conditions are Conv3-ReLU-Conv3-ReLU of statics and clock. Any factor
    of at least 1. outputs: `channels` unless said.
    """

    reads_context = True

    def __init__(
        self, channels: int, factor: float, config: LOANConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width = config.width
        self.factor = any_factor("loan", factor)
        self.place = nn.Sequential(
            nn.Conv2d(STATIC + CLOCK, config.conditions, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.conditions, config.conditions, 3, padding=1),
            nn.ReLU(),
        )
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, config.conditions) for _ in range(config.blocks))
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, outputs or channels, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        known = [context.static, context.clock.expand(-1, -1, *context.static.shape[-2:])]
        conditions = self.place(torch.cat(known, dim=1))
        features = self.stem(upsample(x, self.factor, "bilinear")).relu()
        for block in self.blocks:
            features = block(features, conditions)
        features = self.last(features).relu()
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features.float())


FAMILY = Family("LOAN", REFERENCE, LOANConfig, LOAN, statics=STATICS)
