"""The residual U-Net of Merizzi et al. (2024), on coarse fields interpolated to the fine grid.

Written from the published description; its parameter count is theirs. There, four time steps are
interpolated to 256 x 256 points. Here interpolation is between cell centres, at any factor, and a
box whose size the poolings do not divide is continued by its last row and column, then cut.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from baselines.family import Family
from baselines.upsampling import any_factor, upsample
from benchmark.toml_model import Frozen

REFERENCE = "Merizzi et al., Neural Comput. Appl. 36, 2024, arXiv 2401.15469"
MULTIPLES = (1, 2, 4, 6)
"""Widths of the levels and, one deeper, of the bottleneck: 64, 128, 256 and 384."""


class UNetConfig(Frozen):
    """The defaults are published: 19,972,161 parameters with 4 inputs and one output."""

    width: Annotated[int, Field(ge=1)] = 64
    """Of the first level; the others are 2, 4 and 6 times as wide."""
    blocks: Annotated[int, Field(ge=1)] = 3
    levels: Annotated[int, Field(ge=1, le=3)] = 3
    """How often the grid is halved."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each cell: no cell or sample sees another."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ny, nx) to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """x + conv(swish(conv(norm(x)))), 3 x 3; x goes through a 1 x 1 where the widths differ."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
        self.norm = ChannelNorm(channels, eps=1e-3)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ny, nx) to (batch, width, ny, nx)."""
        return self.shortcut(x) + self.second(functional.silu(self.first(self.norm(x))))


class UNet(nn.Module):
    """Bilinear, Conv1, levels of blocks down and up with a skip from every block, Conv1.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units; 2 x 2
    mean pooling, bilinear doubling, zero padding. The last convolution starts at 0, as published:
    an untrained network with a skip is the bilinear field. Any factor of at least 1. outputs:
    `channels` unless said.
    """

    def __init__(
        self, channels: int, factor: float, config: UNetConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        self.factor = any_factor("unet", factor)
        widths = [config.width * multiple for multiple in MULTIPLES[: config.levels + 1]]
        self.stem = nn.Conv2d(channels, widths[0], 1)
        into, skips = widths[0], []
        self.down = nn.ModuleList()
        for width in widths[:-1]:
            self.down.append(_blocks([into] + [width] * (config.blocks - 1), width))
            skips += [width] * config.blocks
            into = width
        self.bottleneck = _blocks([into] + [widths[-1]] * (config.blocks - 1), widths[-1])
        into = widths[-1]
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            joined = [into + skips.pop()] + [width + skips.pop() for _ in range(config.blocks - 1)]
            self.up.append(_blocks(joined, width))
            into = width
        self.head = nn.Conv2d(into, outputs or channels, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        fine = upsample(x, self.factor, "bilinear")
        rows, columns = fine.shape[-2:]
        whole = 2 ** len(self.down)
        padding = (0, -columns % whole, 0, -rows % whole)
        features = self.stem(functional.pad(fine, padding, mode="replicate"))
        skips = []
        for level in self.down:
            for block in level.children():
                features = block(features)
                skips.append(features)
            features = functional.avg_pool2d(features, 2)
        for block in self.bottleneck:
            features = block(features)
        for level in self.up:
            features = upsample(features, 2, "bilinear")
            for block in level.children():
                features = block(torch.cat([features, skips.pop()], dim=1))
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features[..., :rows, :columns].float())


def _blocks(channels: list[int], width: int) -> nn.ModuleList:
    return nn.ModuleList(Block(into, width) for into in channels)


FAMILY = Family("residual U-Net", REFERENCE, UNetConfig, UNet)
