"""The vision transformer of ClimateLearn (Nguyen et al., NeurIPS 2023), on interpolated fields.

Coarse fields are interpolated to the fine grid and cut into patches, one token each; no token
grows, so the cost is that of the fine grid (`reslim` works on the coarse one). The layers are
those of the released configurations. Where ours departs:

* Positions are the fixed sines and cosines that theirs start from, counted in patches from the
  box's corner. Theirs are then learned, one vector for each patch of one grid: a table that knows
  no other box.
* No dropout or stochastic depth (theirs: 0.1): training has no seeded noise yet, and a resumed run
  must be the same run.
* Odd boxes are continued by their last row and column to whole patches, then cut.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from baselines.family import Family
from baselines.reslim import SPREAD, Block, positions
from baselines.upsampling import any_factor, upsample
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen

REFERENCE = "Nguyen et al., ClimateLearn, NeurIPS 2023, arXiv 2307.01909"


class ViTConfig(Frozen):
    """The defaults are those of its ERA5 task (5.625 to 2.8125 degrees); PRISM: depth 8, 2."""

    width: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    depth: Annotated[int, Field(ge=0)] = 4
    decoder_depth: Annotated[int, Field(ge=0)] = 1
    heads: Annotated[int, Field(ge=1)] = 4
    patch: Annotated[int, Field(ge=1)] = 2
    """Side of a token, in fine cells."""


class ViT(nn.Module):
    """Bilinear, a token for each patch, positions, blocks, norm, an MLP back to the patches.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units. Any
    factor of at least 1. outputs: `channels` unless said. Errors: InputError where the heads do
    not divide the width.
    """

    def __init__(
        self, channels: int, factor: float, config: ViTConfig, *, outputs: int | None = None
    ) -> None:
        super().__init__()
        width, patch = config.width, config.patch
        self.factor, self.patch, self.width = any_factor("vit", factor), patch, width
        if width % config.heads:
            raise InputError(
                Problem(
                    "vit", f"heads that divide the width of {width}", str(config.heads),
                    "Change network.heads or network.width.",
                )
            )  # fmt: skip
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential(*(Block(width, config.heads) for _ in range(config.depth)))
        decoder: list[nn.Module] = [nn.LayerNorm(width)]
        for _ in range(config.decoder_depth):
            decoder += [nn.Linear(width, width), nn.GELU()]
        self.decoder = nn.Sequential(*decoder)
        self.head = nn.Linear(width, (outputs or channels) * patch**2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=SPREAD, a=-2 * SPREAD, b=2 * SPREAD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        fine = upsample(x, self.factor, "bilinear")
        rows, columns = fine.shape[-2:]
        padding = (0, -columns % self.patch, 0, -rows % self.patch)
        embedded = self.embed(functional.pad(fine, padding, mode="replicate"))
        grid = (embedded.shape[-2], embedded.shape[-1])
        tokens = embedded.flatten(-2).transpose(1, 2)
        tokens = tokens + positions(*grid, self.width).to(tokens)
        features = self.decoder(self.blocks(tokens))
        # The head stays in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            patches = self.head(features.float()).transpose(1, 2).unflatten(-1, grid)
            # Channels are (output, row, column) of a patch: a pixel shuffle puts them in place.
            whole = functional.pixel_shuffle(patches, self.patch)
        return whole[..., :rows, :columns]


FAMILY = Family("ViT of ClimateLearn", REFERENCE, ViTConfig, ViT)
