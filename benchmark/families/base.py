"""A statistic, and the fields of one step that statistics are computed from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """One quantity kept for each case: a weighted sum (or a maximum), never a metric.

    weight: the total that divides it. `cell`: area of scored cells with a truth, by stratum;
    `block`: area of scored coarse blocks; `whole_block`: of those whose truth is complete;
    `none`: not divided (a maximum). fold: how two of them combine.
    """

    name: str
    family: Literal["moments", "ensemble", "conservation"]
    formula: str
    weight: Literal["cell", "block", "whole_block", "none"] = "cell"
    fold: Literal["sum", "max"] = "sum"
    ranks: bool = False
    """True where it has one value a rank."""


@dataclass(frozen=True)
class Step:
    """One variable of one region at one time, cut to the scored interior, in float64.

    members: (M, ny, nx); truth, bilinear: (ny, nx), truth 0 where it is missing; coarse:
    (Ny, Nx); weights: (strata, ny, nx) cell areas in m2, 0 where the truth is missing or the
    stratum excludes the cell; overlap: the coarsening operator A of the interior; whole: (Ny, Nx)
    blocks whose truth is complete; block_area: (Ny, Nx) m2.
    """

    members: Array
    truth: Array
    bilinear: Array
    coarse: Array
    weights: Array
    overlap: AreaOverlap
    whole: NDArray[np.bool_]
    block_area: Array

    @property
    def mean(self) -> Array:
        """The ensemble mean (ny, nx)."""
        return np.asarray(self.members.mean(axis=0))


def cell_sums(step: Step, field: Array) -> Array:
    """sum over cells of weight times field, one for each stratum.

    A plain pairwise sum of one contiguous step: no library call whose order of additions depends
    on threads, so the same step gives the same bits wherever it is computed.
    """
    products = step.weights * field
    return np.asarray(products.reshape(len(products), -1).sum(axis=1))
