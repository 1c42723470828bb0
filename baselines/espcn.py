"""ESPCN in the size of Merizzi et al. (2024): convolutions on the coarse grid, one pixel shuffle.

The layers, their order and their widths are the published ones (the idea is Shi et al., CVPR 2016,
arXiv 1609.05158). There, four time steps on 52 x 52 points make one field of 256 x 256: a 13 x 13
transposed convolution without padding grows the grid to 64 x 64, and the shuffle is by 4. Here both
grids cover the same box, so the first layer keeps the grid (a transposed convolution of stride 1
is a convolution; same size) and the shuffle is by the whole factor. The activations of the
original are unknown: ReLU is our choice. Where the paper has 16 channels before the shuffle, for
one field at 4x, here there are factor^2 a field.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.family import Family
from baselines.upsampling import whole_factor
from benchmark.toml_model import Frozen

REFERENCE = "Merizzi et al., Neural Comput. Appl. 36, 2024, arXiv 2401.15469"


class ESPCNConfig(Frozen):
    """The defaults are published: 726,992 parameters with 4 inputs and one output at factor 4."""

    width: Annotated[int, Field(ge=2)] = 128
    kernel: Annotated[int, Field(ge=1)] = 13
    """Side of the first kernel, in coarse cells."""


class ESPCN(nn.Module):
    """Conv13, Conv5, Conv3, Conv3 to half the width, ReLU after each, Conv3, pixel shuffle.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units; zero
    padding, no normalisation layers. Any whole factor. outputs: `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: ESPCNConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        times, width = whole_factor("espcn", factor), config.width
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, config.kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding="same"),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding="same"),
            nn.ReLU(),
            nn.Conv2d(width, width // 2, 3, padding="same"),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(width // 2, (outputs or channels) * times**2, 3, padding="same")
        self.shuffle = nn.PixelShuffle(times)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        features = self.body(x)
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.shuffle(self.head(features.float()))


FAMILY = Family("ESPCN", REFERENCE, ESPCNConfig, ESPCN)
