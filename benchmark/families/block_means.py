"""The CRPS of block means: over which distances a model adds value.

Means over 2, 4, 8 and 16 fine cells a side, weighted by area. Blocks start half a coarse cell away
from the coarse blocks, whose means a constrained model has for free.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmark.engine import compiled
from benchmark.families.base import Array, Domain, Field, Slab, Statistic, Sums
from benchmark.families.ensemble import crps_sums
from benchmark.grid import crop

SCALES = (2, 4, 8, 16)
"""Sides of the blocks in fine cells; a side of 1 is the cell itself."""

STATISTICS = (
    Statistic("scale_abs_error", "ensemble", "mean_m |x_m - t| of block means", "scale",
              dims=("scale",)),
    Statistic("scale_pair_spread", "ensemble", "sum_{i<j} |x_i - x_j| of block means", "scale",
              dims=("scale",)),
)  # fmt: skip


def reduce(slab: Slab) -> Sums:
    """(T, scales) sums over blocks, times their areas; a block with a missing truth is left out.

    A region too small for a scale has no blocks there, and its scores are missing.
    """
    truths = block_means(slab.truth[:, None], slab.domain)[:, 0]
    members = block_means(slab.members, slab.domain)
    areas, ends = block_areas(slab.domain)
    sums = crps_sums(members, np.ascontiguousarray(truths), areas, ends)
    names = ("scale_abs_error", "scale_weight", "scale_pair_spread")
    return {name: sums[..., k] for k, name in enumerate(names)}


def block_means(fields: Field, domain: Domain) -> Field:
    """(T, M, blocks) area means over the blocks of every scale, one after the other, float32."""
    areas, ends = block_areas(domain)
    offset = domain.margin + block_offset(domain)
    if compiled():
        from benchmark.kernels import block_means as kernel

        return kernel.block_means(fields, domain.area, areas, ends, offset, domain.margin)
    sums, means = _inside(fields * domain.area, domain), []
    for start, stop in pairwise(ends):
        sums = _quarter(sums)
        flat = sums.reshape(*fields.shape[:2], -1)
        means.append((flat / areas[start:stop]).astype(np.float32))
    return np.concatenate(means, axis=-1)


def block_offset(domain: Domain) -> int:
    """Half a coarse cell in fine cells, at least 1."""
    cells = domain.overlap.in_y.sum(axis=1).mean()
    return max(1, round(float(cells)) // 2)


def _inside(fields: Array, domain: Domain) -> Array:
    """The scored interior of (..., ny, nx) fields without its first rows and columns."""
    offset = block_offset(domain)
    return np.asarray(crop(fields, domain.margin)[..., offset:, offset:])


@lru_cache(maxsize=64)
def block_areas(domain: Domain) -> tuple[Array, NDArray[np.int64]]:
    """(areas of all blocks in m2, where each scale's blocks end, after a leading 0)."""
    areas, sums = [], _inside(domain.area, domain)
    for _ in SCALES:
        sums = _quarter(sums)
        areas.append(sums.ravel())
    return np.concatenate(areas), np.cumsum([0, *(area.size for area in areas)])


def _quarter(sums: Array) -> Array:
    """Sums of 2 x 2 neighbours; an odd last row or column is left out."""
    ny, nx = (size - size % 2 for size in sums.shape[-2:])
    rows = sums[..., 0:ny:2, :nx] + sums[..., 1:ny:2, :nx]
    return np.asarray(rows[..., 0::2] + rows[..., 1::2])
