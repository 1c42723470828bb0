"""SR-CNN of Harder et al. (JMLR 24(365), 2023): residual blocks after transposed convolutions."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.family import Family
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen

REFERENCE = "Harder et al., JMLR 24(365), 2023, arXiv 2208.05424"


class SRCNNConfig(Frozen):
    """Width and depth; the defaults are the published ones (100,833 parameters at factor 4)."""

    width: Annotated[int, Field(ge=1)] = 32
    blocks: Annotated[int, Field(ge=0)] = 4


class ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), 3 x 3, no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, ny, nx) to the same shape."""
        return (x + self.second(self.first(x).relu())).relu()


class SRCNN(nn.Module):
    """Conv3-ReLU, transposed convolutions up to the factor, Conv3-ReLU, blocks, Conv3-ReLU, Conv1.

    (batch, channels, Ny, Nx) to (batch, channels, factor Ny, factor Nx), normalised units. The
    upsampling has no activation and the network no normalisation layers, as published.
    """

    def __init__(self, channels: int, factor: float, config: SRCNNConfig) -> None:
        super().__init__()
        width = config.width
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            *_upsampling(width, factor),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            *(ResidualBlock(width) for _ in range(config.blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        features = self.body(x)
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features.float())


def _upsampling(width: int, factor: float) -> list[nn.Module]:
    """log2(factor) transposed convolutions of 2, or one of 3 (the paper's WRF case)."""
    doublings = math.frexp(factor)[1] - 1
    if doublings >= 1 and factor == 2**doublings:
        return [nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(doublings)]
    if factor == 3:
        return [nn.ConvTranspose2d(width, width, 3, stride=3)]
    raise InputError(
        Problem(
            "srcnn",
            "a factor of at least 2: a power of 2, or 3",
            f"{factor:g}",
            "Choose a model that upsamples by any factor.",
        )
    )


FAMILY = Family("SR-CNN", REFERENCE, SRCNNConfig, SRCNN)
