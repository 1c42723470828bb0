"""SRDRN of Wang et al.: residual blocks with batch normalisation on the coarse grid, then stages.

The generator of SRGAN (Ledig et al., CVPR 2017, arXiv 1609.04802) with wide stages of convolution
and nearest-neighbour repetition in the place of its pixel shuffles. The layers and the size are
second-hand (the papers' text was not at hand), but they agree. Where ours departs:

* No dropout (theirs: 0.1): training has no seeded noise yet, and a resumed run must be the same
  run.
* Convolutions before a normalisation have no bias, which it would cancel.
* A stage for each prime factor, smallest first: theirs are 2, 3 and 2.

The one network here with statistics of its training data inside, which a region elsewhere does
not share: with `elsewhere predict --adapt adabn` they are taken from the target's inputs.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.family import Family
from baselines.upsampling import prime_stages, whole_factor
from benchmark.toml_model import Frozen

REFERENCE = "Wang et al., Water Resour. Res. 57, 2021, doi 10.1029/2020WR029308"


class SRDRNConfig(Frozen):
    """The defaults give the reported size: about 6.29 M with 6 inputs and one output at 12x."""

    width: Annotated[int, Field(ge=1)] = 64
    blocks: Annotated[int, Field(ge=0)] = 16
    wide: Annotated[int, Field(ge=1)] = 512
    """Width of the stages."""


class Norm(nn.BatchNorm2d):
    """Batch normalisation in float32, whatever the precision around it."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, ny, nx) to the same shape, float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """x + norm(conv(prelu(norm(conv(x))))), 3 x 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            Norm(width),
            nn.PReLU(width, init=0.0),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            Norm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, ny, nx) to the same shape."""
        return x + self.body(x)


class SRDRN(nn.Module):
    """Conv3-PReLU; blocks, Conv3 and norm with a long skip; (Conv3, nearest, PReLU) a stage; Conv9.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units; zero
    padding. While fitting, a sample sees its batch; evaluated, it sees the running statistics. Any
    whole factor. outputs: `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: SRDRNConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width, wide = config.width, config.wide
        stages = prime_stages(whole_factor("srdrn", factor))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(width, init=0.0)
        )
        self.body = nn.Sequential(
            *(Block(width) for _ in range(config.blocks)),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            Norm(width),
        )
        upsampling: list[nn.Module] = []
        for index, times in enumerate(stages):
            upsampling += [
                nn.Conv2d(wide if index else width, wide, 3, padding=1),
                nn.Upsample(scale_factor=times, mode="nearest"),
                nn.PReLU(wide, init=0.0),
            ]
        self.upsampling = nn.Sequential(*upsampling)
        self.head = nn.Conv2d(wide, outputs or channels, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        x = self.stem(x)
        features = self.upsampling(x + self.body(x))
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features.float())


FAMILY = Family("SRDRN", REFERENCE, SRDRNConfig, SRDRN)
