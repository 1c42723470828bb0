"""Reslim, the vision transformer of ORBIT-2 (Wang et al., SC'25), with TILES (`tiling`).

It works on the coarse grid: one token for 2 x 2 cells and all variables, which a query attends to;
the last layer makes the fine cells, and a light convolutional path is added. As published, apart
from what follows.

* Positions count patches from the tile's corner; theirs are a table of the globe (90 x 180 patches
  at 1 degree), stretched over whatever tile or box. Their sizes, "9.5 M" and "126 M",
  count that table, which is not trained: 5,354,371 + 16,200 x 256 = 9,501,571.
* The light path sees the outputs' own coarse fields and, where there are any, statics.
* No dropout or stochastic depth: training has no seeded noise yet, and a resumed run must be
  the same run.
* The resolution is a constant of the config, in units of 100 km so that a step of Adam moves it
  no further than a bias.
* Odd boxes are continued by their last row or column to whole patches, then cut. With tiles, halos
  carry no loss (theirs do), and are as wide along both axes (theirs are half as high).
"""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from baselines.family import Family
from baselines.tiling import tiled
from baselines.upsampling import whole_factor
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen

REFERENCE = "Wang et al., ORBIT-2, SC'25, arXiv 2505.04802"
PATCH = 2
SPREAD = 0.02
"""Standard deviation of the weights of linear layers at the start, cut at two."""


class ReslimConfig(Frozen):
    """The defaults are the published 9.5 M configuration (`interm_8m`)."""

    width: Annotated[int, Field(ge=4, multiple_of=4)] = 256
    depth: Annotated[int, Field(ge=0)] = 6
    decoder_depth: Annotated[int, Field(ge=0)] = 4
    heads: Annotated[int, Field(ge=1)] = 4
    light_width: Annotated[int, Field(ge=1)] = 4
    """Channels of the convolutional path at the fine grid."""
    resolution_km: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 111.0
    """Of the coarse grid."""
    tiles: Annotated[int, Field(ge=1)] = 1
    """Tiles along each axis; attention stays in a tile and its halo, in training too."""
    halo: Annotated[int, Field(ge=0, multiple_of=PATCH)] = 2
    """In coarse cells."""


class Attention(nn.Module):
    """Multi-head attention with one linear layer each for queries, for keys and values, and out."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key_value = nn.Linear(width, 2 * width, bias=bias)
        self.out = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(n, q, width) and (n, k, width) to (n, q, width)."""
        key, value = self.key_value(asked).chunk(2, dim=-1)
        query, key, value = (self._split(part) for part in (self.query(asking), key, value))
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), the hidden layer four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, bias=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same shape."""
        normed = self.first(x)
        x = x + self.attention(normed, normed)
        return x + self.mlp(self.second(x))


class Tokens(nn.Module):
    """One token a patch: embeddings of each variable, aggregated by one learned query."""

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        # One embedding a variable: a convolution with as many groups.
        self.embed = nn.Conv2d(channels, channels * width, PATCH, stride=PATCH, groups=channels)
        self.variable = nn.Parameter(torch.zeros(channels, width))
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.attention = Attention(width, heads, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, Ny, Nx) to (n, patches, width), row by row."""
        each = self.embed(x).flatten(-2).unflatten(1, self.variable.shape)
        each = each.permute(0, 3, 1, 2) + self.variable
        flat = each.flatten(0, 1)
        return self.attention(self.query.expand(len(flat), -1, -1), flat).view(
            len(x), -1, flat.shape[-1]
        )


class Reslim(nn.Module):
    """Tokens, positions, resolution, blocks, an MLP head to fine patches, Conv3; plus Conv3s.

    (batch, channels, Ny, Nx) to (batch, outputs, factor Ny, factor Nx), normalised units. Any whole
    factor. outputs: the first of the channels, all unless said; statics: how many channels after
    them the light path sees too. Errors: InputError where the heads do not divide the width.
    """

    def __init__(
        self,
        channels: int,
        factor: float,
        config: ReslimConfig,
        *,
        outputs: int | None = None,
        statics: int = 0,
    ) -> None:
        super().__init__()
        self.factor, self.config = whole_factor("reslim", factor), config
        self.outputs = outputs or channels
        self.seen = self.outputs + statics
        width, fine = config.width, self.factor**2
        if width % config.heads:
            raise InputError(
                Problem(
                    "reslim", f"heads that divide the width of {width}", str(config.heads),
                    "Change network.heads or network.width.",
                )
            )  # fmt: skip
        self.tokens = Tokens(channels, width, config.heads)
        self.resolution = nn.Linear(1, width)
        self.blocks = nn.Sequential(*(Block(width, config.heads) for _ in range(config.depth)))
        decoder: list[nn.Module] = [nn.LayerNorm(width)]
        for _ in range(config.decoder_depth):
            decoder += [nn.Linear(width, width), nn.GELU()]
        decoder.append(nn.Linear(width, self.outputs * PATCH**2 * fine))
        self.decoder = nn.Sequential(*decoder)
        self.head = nn.Conv2d(self.outputs, self.outputs, 3, padding=1)
        self.light = nn.Sequential(
            nn.Conv2d(self.seen, config.light_width * fine, 3, padding=1),
            nn.GELU(),
            nn.PixelShuffle(self.factor),
        )
        self.light_head = nn.Conv2d(config.light_width, self.outputs, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=SPREAD, a=-2 * SPREAD, b=2 * SPREAD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coarse fields to the raw fine output."""
        rows, columns = x.shape[-2:]
        padding = (0, -columns % PATCH, 0, -rows % PATCH)
        x = functional.pad(x, padding, mode="replicate")
        count, halo = self.config.tiles, self.config.halo
        run = partial(tiled, self.tile, factor=self.factor, count=count, halo=halo, unit=PATCH)
        fine = self.tile(x) if count == 1 else run(x)
        return fine[..., : rows * self.factor, : columns * self.factor]

    def tile(self, x: Tensor) -> Tensor:
        """What a tile alone gives; its sides are whole patches."""
        grid = (x.shape[-2] // PATCH, x.shape[-1] // PATCH)
        tokens = self.tokens(x) + positions(*grid, self.config.width).to(x)
        tokens = tokens + self.resolution(x.new_tensor([self.config.resolution_km / 100]))
        patches = self.decoder(self.blocks(tokens)).transpose(1, 2).unflatten(-1, grid)
        # Channels are (output, row, column) of a patch: a pixel shuffle puts them in their place.
        coarse = functional.pixel_shuffle(patches, PATCH * self.factor)
        light = self.light(x[:, : self.seen])
        # The heads stay in full precision: bfloat16 would quantise the output itself.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(coarse.float()) + self.light_head(light.float())


def positions(rows: int, columns: int, width: int) -> Tensor:
    """(rows columns, width) sines and cosines: half of the channels for x, half for y.

    sin(p w_k), cos(p w_k) with w_k = 10000^(-4 k / width), k = 0 ... width / 4 - 1, p in patches
    from the first row and column (He et al., CVPR 2022, arXiv 2111.06377).
    """
    waves = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) * 4 / width)
    halves = []
    for axis, cells in ((1, columns), (0, rows)):
        angle = torch.arange(cells, dtype=torch.float64)[:, None] * waves
        wave = torch.cat([angle.sin(), angle.cos()], dim=-1)
        wave = wave[None] if axis else wave[:, None]
        halves.append(wave.expand(rows, columns, -1))
    return torch.cat(halves, dim=-1).flatten(0, 1).float()


FAMILY = Family("Reslim", REFERENCE, ReslimConfig, Reslim)
