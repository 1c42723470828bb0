"""TILES: a field in overlapping tiles that a network sees one by one (ORBIT-2, arXiv 2505.04802).

Attention costs the square of the number of cells; within tiles the cost is linear. Every tile is a
core, which is kept, in a halo, which is cut. The result is that of the whole field wherever the
network looks no further than the halo, and elsewhere depends on the tile and its halo alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """Half-open ranges of one axis: the core within the field, the tile with its halo."""

    core: tuple[int, int]
    whole: tuple[int, int]


def tiles(cells: int, count: int, halo: int, *, unit: int = 1) -> list[Tile]:
    """`count` tiles of one axis, all of one size: at the field's border they grow inwards.

    cells and halo are multiples of `unit`, and so are all bounds (a patch is never cut). With more
    tiles than units there are as many as units.
    """
    units = cells // unit
    count = min(count, units)
    edges = [index * units // count * unit for index in range(count + 1)]
    size = max(high - low for low, high in pairwise(edges)) + 2 * halo
    size = min(size, cells)
    out = []
    for low, high in pairwise(edges):
        first = min(max(low - halo, 0), cells - size)
        out.append(Tile((low, high), (first, first + size)))
    return out


def tiled(
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    factor: int,
    count: int,
    halo: int,
    unit: int = 1,
) -> Tensor:
    """`network` on count x count tiles of (batch, channels, Ny, Nx), the cores put together.

    network: (n, channels, My, Mx) to (n, outputs, factor My, factor Mx); called once, with the
    tiles of all samples as one batch. halo, unit: in coarse cells, see `tiles`.
    """
    rows = tiles(x.shape[-2], count, halo, unit=unit)
    columns = tiles(x.shape[-1], count, halo, unit=unit)
    pieces = [x[..., slice(*row.whole), slice(*column.whole)] for row in rows for column in columns]
    answers = iter(network(torch.cat(pieces)).split(len(x)))
    return torch.cat(
        [
            torch.cat([_core(next(answers), row, column, factor) for column in columns], dim=-1)
            for row in rows
        ],
        dim=-2,
    )


def _core(answer: Tensor, row: Tile, column: Tile, factor: int) -> Tensor:
    """The fine cells of a tile's core."""
    (top, bottom), (left, right) = (
        tuple((edge - tile.whole[0]) * factor for edge in tile.core) for tile in (row, column)
    )
    return answer[..., top:bottom, left:right]
