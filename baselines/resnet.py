"""A ResNet for any factor, in the place of RainShift's (arXiv 2507.04930).

What is known of theirs: a deterministic ResNet from 80 x 80 to 200 x 200 cells, about 10 MB a
checkpoint, which is some 2.5 M parameters. Its layers are not known to us, so these are our choice
and no count is claimed: bilinear interpolation to the fine grid, which the factor 2.5 asks for,
then the residual blocks of the first author's SR-CNN (`srcnn`) at a width that gives that size.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.family import Family
from baselines.srcnn import ResidualBlock
from baselines.upsampling import any_factor, upsample
from benchmark.toml_model import Frozen

REFERENCE = "after Harder et al., RainShift, Sci. Rep. 16:3733, 2026, arXiv 2507.04930"


class ResNetConfig(Frozen):
    """The defaults give the size of RainShift's checkpoints, 2.5 M parameters."""

    width: Annotated[int, Field(ge=1)] = 128
    blocks: Annotated[int, Field(ge=0)] = 8


class ResNet(nn.Module):
    """Bilinear, Conv3-ReLU, residual blocks, Conv3-ReLU, Conv1.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units; zero
    padding, no normalisation layers. Any factor of at least 1. outputs: `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: ResNetConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width = config.width
        self.factor = any_factor("resnet", factor)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            *(ResidualBlock(width) for _ in range(config.blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(width, outputs or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        features = self.body(upsample(x, self.factor, "bilinear"))
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features.float())


FAMILY = Family("ResNet", REFERENCE, ResNetConfig, ResNet)
