"""How unlike two products are at coarse scale: what a real pair's scores are to be read against."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmark.families.spectrum import Rings, spectral_sums
from benchmark.grid import overlap
from benchmark.metric_table import Value, value
from benchmark.pair_store import RegionStore
from benchmark.spectral_metrics import coherence
from benchmark.toml_model import Frozen
from benchmark.zarr_io import steps_per_shard

Array = NDArray[np.float64]

_FEWEST_CELLS = 4
_PARTS = ("power_p", "power_t", "cross")


class Octave(Frozen):
    """The coherence of the waves from `shortest_km` up to twice that."""

    shortest_km: float
    coherence: Value


class Mismatch(Frozen):
    """Coarse against the coarsened fine fields, over the scored coarse cells and training period.

    bias: mean coarse less mean fine, in `units`; correlation: over cells and times together;
    variance_ratio: coarse over fine, likewise; weighted by cell area. coherence: by octaves of
    wavelength from the finest one, sum C / sum sqrt(Pp Pt) of DCT-II rings, 1 where all waves are
    in their place, over the `whole_steps` without a missing cell; empty on a region with fewer
    than 4 cells along a side. values: cells times steps that both have.
    Missing data: a coarse cell with any fine one missing is left out of both. None where nothing
    is left, or one of the two does not vary.
    """

    variable: str
    region: str
    units: str
    bias: Value
    correlation: Value
    variance_ratio: Value
    coherence: tuple[Octave, ...]
    values: int
    whole_steps: int


def region_mismatch(
    region: RegionStore, variable: str, *, report: Callable[[int], None] = lambda _: None
) -> Mismatch:
    """The mismatch of one region and variable; see `kept_mismatch` for a whole task's.

    Read block by block: memory stays bounded by a shard, whatever the period. report(steps done):
    before each block.
    Errors: InputError where the region is damaged, or the task has no such variable.
    """
    units = region.task.variable(variable).units
    scored = region.grid.scored.coarse
    coarsen = overlap(region.grid.fine, scored)
    area = scored.area / scored.area.mean()
    rings = _rings(scored.shape, scored.cell_km)
    sums = _Sums(np.zeros((3, len(rings.k) if rings else 0)))
    steps = region.steps(region.task.periods.train)
    size = steps_per_shard(4 * math.prod(region.grid.fine.shape), len(region.times))
    for start in range(steps.start, steps.stop, size):
        report(start - steps.start)
        block = slice(start, min(start + size, steps.stop))
        coarse = region.grid.crop_coarse(region.read("coarse", variable, block))
        fine = coarsen(region.read("fine", variable, block))
        # One step a time, in order: the sums must not depend on the blocks.
        for x, y in zip(coarse.astype(np.float64), fine, strict=True):
            sums.add(x, y, area, rings)
    return Mismatch(
        variable=variable,
        region=region.name,
        units=units,
        bias=value(sums.bias),
        correlation=value(sums.correlation),
        variance_ratio=value(sums.variance_ratio),
        coherence=_octaves(rings, sums.spectra) if rings else (),
        values=sums.values,
        whole_steps=sums.whole,
    )


@dataclass
class _Sums:
    """Area-weighted sums over steps; values are less those of the first step's means."""

    spectra: Array
    values: int = 0
    whole: int = 0
    origin: float | None = None
    moments: Array = field(default_factory=lambda: np.zeros(6))

    def add(self, coarse: Array, fine: Array, area: Array, rings: Rings | None) -> None:
        known = np.isfinite(coarse) & np.isfinite(fine)
        if not known.any():
            return
        if self.origin is None:
            self.origin = float(fine[known].mean())
        x, y, w = coarse[known] - self.origin, fine[known] - self.origin, area[known]
        self.moments += [
            w.sum(), (w * x).sum(), (w * y).sum(), (w * x * x).sum(), (w * y * y).sum(),
            (w * x * y).sum(),
        ]  # fmt: skip
        self.values += x.size
        if rings and known.all():
            p, t = (values[None].astype(np.float32) for values in (coarse, fine))
            found = spectral_sums(p, t, rings)
            self.spectra += np.stack([found[part][0] for part in _PARTS])
            self.whole += 1

    @property
    def bias(self) -> float:
        w, x, y, *_ = self.moments
        return float((x - y) / w) if w else math.nan

    @property
    def _variances(self) -> tuple[float, float, float]:
        w, x, y, xx, yy, xy = self.moments
        if not w:
            return math.nan, math.nan, math.nan
        return xx / w - (x / w) ** 2, yy / w - (y / w) ** 2, xy / w - x * y / w**2

    @property
    def correlation(self) -> float:
        vx, vy, both = self._variances
        return float(both / math.sqrt(vx * vy)) if vx > 0 and vy > 0 else math.nan

    @property
    def variance_ratio(self) -> float:
        vx, vy, _ = self._variances
        return float(vx / vy) if vx > 0 and vy > 0 else math.nan


def _rings(shape: tuple[int, int], cell_km: tuple[float, float]) -> Rings | None:
    if min(shape) < _FEWEST_CELLS:
        return None
    return Rings.on(*shape, dy_km=cell_km[0], dx_km=cell_km[1])


def _octaves(rings: Rings, spectra: Array) -> tuple[Octave, ...]:
    """Rings by octave of their wavelength, those of half a cell's rounding too."""
    octave = np.maximum(np.floor(np.log2(1 / rings.k / rings.finest_km) + 1e-9).astype(int), 0)
    return tuple(
        Octave(
            shortest_km=float(rings.finest_km * 2.0**k),
            coherence=value(float(coherence(*(part[octave == k] for part in spectra)))),
        )
        for k in np.unique(octave)
    )
