"""EDSR in the size of Merizzi et al. (2024): residual blocks on the coarse grid, pixel shuffles.

Published are the layers, their order and widths, and the total. Eleven 3 x 3 convolutions we read
as five residual blocks and one more inside a long skip, as in Lim et al. (CVPR Workshops 2017,
arXiv 1707.02921), whose blocks have no normalisation and no activation after the sum. As in
`espcn`, the first layer keeps the grid (52 to 64 points there), and the doublings before the last
layer are as many as the factor needs, with one stage for each other prime (5 is one).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.family import Family
from baselines.upsampling import prime_stages, whole_factor
from benchmark.toml_model import Frozen

REFERENCE = "Merizzi et al., Neural Comput. Appl. 36, 2024, arXiv 2401.15469"


class EDSRConfig(Frozen):
    """The defaults are published: 2,170,049 parameters with 4 inputs and one output at factor 4."""

    width: Annotated[int, Field(ge=2)] = 128
    blocks: Annotated[int, Field(ge=0)] = 5
    kernel: Annotated[int, Field(ge=1)] = 13
    """Side of the first kernel, in coarse cells."""


class Block(nn.Module):
    """x + conv(relu(conv(x))), 3 x 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, ny, nx) to the same shape."""
        return x + self.second(self.first(x).relu())


class EDSR(nn.Module):
    """Conv13; blocks and Conv3 with a long skip; Conv1; (Conv3, pixel shuffle) a stage; Conv3.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units; zero
    padding, no normalisation layers. Any whole factor. outputs: `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: EDSRConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width, half = config.width, config.width // 2
        stages = prime_stages(whole_factor("edsr", factor))
        self.stem = nn.Conv2d(channels, width, config.kernel, padding="same")
        self.body = nn.Sequential(
            *(Block(width) for _ in range(config.blocks)), nn.Conv2d(width, width, 3, padding=1)
        )
        self.mix = nn.Conv2d(width, width, 1)
        upsampling: list[nn.Module] = []
        for index, times in enumerate(stages):
            wide = nn.Conv2d(half if index else width, half * times**2, 3, padding=1)
            upsampling += [wide, nn.PixelShuffle(times)]
        self.upsampling = nn.Sequential(*upsampling)
        self.head = nn.Conv2d(half, outputs or channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        x = self.stem(x)
        features = self.upsampling(self.mix(x + self.body(x)))
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features.float())


FAMILY = Family("EDSR", REFERENCE, EDSRConfig, EDSR)
