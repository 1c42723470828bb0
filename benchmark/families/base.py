"""A statistic, and the fields of a few steps that statistics are computed from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.bins import Bins
from benchmark.coarsen import AreaOverlap
from benchmark.families.spectrum import Rings
from benchmark.grid import crop

Array = NDArray[np.float64]
Field = NDArray[np.float32]
Sums = dict[str, Array]
"""{statistic or weight: (time, ...)}."""

Family = Literal[
    "moments", "ensemble", "conservation", "distribution", "events", "neighbourhood", "spectrum",
    "structure", "extremes",
]  # fmt: skip


@dataclass(frozen=True)
class Statistic:
    """One quantity that is kept: a weighted sum (or a maximum), never a metric.

    weight: the total that divides it, a kind in `statistics.WEIGHTS`, or `none`. fold: how two of
    them combine. dims: its own after the common ones. strata: one value a stratum. keep: for each
    case, or only the total of the period (what is large and needs no interval).
    """

    name: str
    family: Family
    formula: str
    weight: str = "cell"
    fold: Literal["sum", "max"] = "sum"
    dims: tuple[str, ...] = ()
    strata: bool = False
    keep: Literal["case", "period"] = "case"


@dataclass(frozen=True, eq=False)
class Domain:
    """What does not change in time, for one region and one variable.

    Fields are of the whole box, and the cells of its border of `margin` cells have no area: cutting
    the interior out of every member would cost as much as reading it. area: (ny, nx) areas in m2
    of the scored cells, 0 in the border. labels: (ny, nx) the static class of each cell, 0 to
    `classes` - 1; intensity: ascending lower bounds of the classes of the truth above the lowest.
    thresholds: (J,) in the variable's units, NaN for none. windows: odd lengths in cells.
    data_range: (low, high) of SSIM. climatology: (ny, nx) training-period mean of the truth, NaN
    where it is not known. coarse_area: (Ny, Nx) m2; overlap: the operator A. conserves:
    False where A of the fine field is not comparable with the coarse one (wind speed).
    """

    area: Array
    labels: NDArray[np.uint8]
    classes: int
    intensity: tuple[float, ...]
    thresholds: Array
    windows: tuple[int, ...]
    bins: Bins
    rings: Rings
    lags: tuple[int, ...]
    data_range: tuple[float, float]
    climatology: Array
    overlap: AreaOverlap
    coarse_area: Array
    image_every: int
    papers: tuple[str, ...]
    conserves: bool = True
    margin: int = 0

    def crop(self, field: NDArray[Any]) -> NDArray[Any]:
        """The scored interior of a (..., ny, nx) field, C-contiguous."""
        return np.ascontiguousarray(crop(field, self.margin))

    @cached_property
    def has_climatology(self) -> bool:
        """Whether every scored cell has one; scores of anomalies are missing otherwise."""
        return bool(np.isfinite(crop(self.climatology, self.margin)).all())

    @cached_property
    def anomaly_origin(self) -> Array:
        """(ny, nx) the climatology where every cell has one, else zeros."""
        origin = self.climatology if self.has_climatology else np.zeros_like(self.climatology)
        return np.nan_to_num(origin)

    @cached_property
    def whole_weights(self) -> Array:
        """(ny, nx) areas as whole numbers up to 2^16: sums of them are exact in any order."""
        return np.asarray(np.round(self.area * (2.0**16 / self.area.max())))


@dataclass(frozen=True)
class Slab:
    """Consecutive steps of one variable of one region.

    members: (T, M, ny, nx); truth: (T, ny, nx), NaN where it is missing; bilinear: (T, ny, nx)
    float64: whole boxes; coarse: (T, Ny, Nx), the scored ones; all C-contiguous. first: the number
    of the first step in the test period.
    """

    domain: Domain
    members: Field
    truth: Field
    bilinear: Array
    coarse: Field
    first: int

    @property
    def one_member(self) -> Field:
        """(T, ny, nx): one member a step, in turn."""
        return one_member(self.members, self.first + np.arange(len(self.members)))


def one_member(members: Field, numbers: NDArray[np.integer]) -> Field:
    """(T, ny, nx): member k mod M at step k; numbers: (T,) each step's number in the test period.

    What is costly and linear in the members' distribution (spectra, SSIM) is computed from one
    member a step; members are exchangeable, so the mean over steps is the same.
    """
    count = members.shape[1]
    if count == 1:
        return members[:, 0]
    return np.asarray(members[np.arange(len(members)), numbers % count])
