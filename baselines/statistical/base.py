"""What a statistical model is: fitted on training steps, then a function of one coarse field."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import gcd
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.pair_store import RegionStore
from benchmark.reference import Bilinear
from benchmark.task import Period, Static, Task
from benchmark.toml_model import Frozen

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Rule = Callable[[Array], Array]
"""rule(coarse (V, Ny, Nx)) -> fine (V, ny, nx), both in physical units and float64."""
Report = Callable[[int, int, str], None]
"""report(done, total, text): after each region that a fit has read."""

BLOCK = 32
"""Steps that a fit reads at once; it holds no more fields than these."""


@dataclass(frozen=True)
class Place:
    """A region's fixed fields on its fine grid, and how its coarse fields get there."""

    region: RegionStore

    @cached_property
    def bilinear(self) -> Bilinear:
        """Between cell centres, edges clamped."""
        return Bilinear.on(self.region.grid)

    @cached_property
    def project(self) -> Callable[[NDArray[np.floating], NDArray[np.floating]], Array]:
        """The projection onto A y = x."""
        return self.region.grid.overlap.projector()

    @cached_property
    def area(self) -> Array:
        """(ny, nx) cell areas, mean 1."""
        area = self.region.grid.fine.area
        return np.asarray(area / area.mean())

    @cached_property
    def land(self) -> Array:
        """(ny, nx) land fraction, 0 to 1."""
        return self.region.static("land_fraction").astype(np.float64)

    @cached_property
    def orography(self) -> Array:
        """(ny, nx) height in km."""
        return self.region.static("orography").astype(np.float64) / 1000

    @cached_property
    def land_detail(self) -> Array:
        """(ny, nx) what the coarse grid does not see of the land fraction: z - B A z."""
        return self._detail(self.land)

    @cached_property
    def orography_detail(self) -> Array:
        """(ny, nx) what it does not see of the orography, in km: z - B A z."""
        return self._detail(self.orography)

    def _detail(self, field: Array) -> Array:
        return np.asarray(field - self.bilinear(self.region.grid.overlap(field)))


@dataclass(frozen=True)
class Sample:
    """One step of one region: coarse (V, Ny, Nx), fine (V, ny, nx), float64, NaN where missing."""

    place: Place
    step: int
    coarse: Array
    fine: Array


@dataclass(frozen=True)
class Training:
    """The labelled days that a fit may see: some regions and one period."""

    regions: tuple[RegionStore, ...]
    period: Period
    report: Report = lambda *_: None

    @property
    def task(self) -> Task:
        """Of all regions."""
        return self.regions[0].task

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """One a region."""
        return tuple(Place(region) for region in self.regions)

    def every(self, values: int) -> int:
        """n so that each n-th step has about `values` fine cells in all at most.

        n is prime to 24, so that all hours of the day count.
        """
        cells = sum(
            len(range(*region.steps(self.period).indices(len(region.times))))
            * int(np.prod(region.grid.fine.shape))
            for region in self.regions
        )
        every = max(1, -(-cells // values))
        while gcd(every, 24) > 1:
            every += 1
        return every

    def samples(self, every: int = 1) -> Iterator[Sample]:
        """Each `every`-th step of the period, region by region, in time order.

        Errors: InputError where a region has no step in the period.
        """
        for done, place in enumerate(self.places, start=1):
            region = place.region
            steps = region.steps(self.period)
            if steps.start >= steps.stop:
                raise InputError(
                    Problem(
                        f"{region.name}: training period", "at least one step", "none",
                        "Check the task's periods.",
                    )
                )  # fmt: skip
            for low in range(steps.start, steps.stop, BLOCK):
                block = range(low, min(low + BLOCK, steps.stop))
                chosen = [step for step in block if (step - steps.start) % every == 0]
                if chosen:
                    yield from _read(place, block, chosen)
            self.report(done, len(self.places), region.name)


def _read(place: Place, block: range, chosen: list[int]) -> Iterator[Sample]:
    region, steps = place.region, slice(block.start, block.stop)
    names = region.task.variable_names
    coarse, fine = (
        {name: region.read(side, name, steps) for name in names} for side in ("coarse", "fine")
    )
    for step in chosen:
        at = step - block.start
        yield Sample(
            place,
            step,
            np.stack([coarse[name][at] for name in names]).astype(np.float64),
            np.stack([fine[name][at] for name in names]).astype(np.float64),
        )


@dataclass(frozen=True, eq=False)
class Fitted(ABC):
    """A fitted model: its settings, and arrays (or mappings of arrays by region)."""

    config: Any

    @classmethod
    @abstractmethod
    def fit(cls, training: Training, config: Any) -> Self:
        """Fit on a set of regions and days."""

    @abstractmethod
    def on(self, place: Place) -> Rule:
        """The model in one region: a function of one coarse field, so of no other step."""

    def arrays(self) -> Arrays:
        """Everything that was fitted, by name; `field/REGION` for what each region has."""
        found: Arrays = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                found |= {
                    f"{entry.name}/{key}": np.ascontiguousarray(a) for key, a in value.items()
                }
            elif entry.name != "config":
                found[entry.name] = np.ascontiguousarray(value)
        return found

    @classmethod
    def from_arrays(cls, config: Any, arrays: Arrays) -> Self:
        """The model of `arrays()`. Errors: ValueError where they are another model's."""
        values: dict[str, Any] = {}
        for name, array in arrays.items():
            field, slash, key = name.partition("/")
            if slash:
                values.setdefault(field, {})[key] = array
            else:
                values[field] = array
        expected = {entry.name for entry in fields(cls)} - {"config"}
        if set(values) != expected:
            raise ValueError(f"{sorted(values)} instead of {sorted(expected)}")
        return cls(config=config, **values)


def scaling(training: Training) -> tuple[Array, Array]:
    """(V,) mean and standard deviation of the coarse fields, each cell counting alike.

    Errors: InputError where a variable does not vary.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for sample in training.samples():
        count += int(np.prod(sample.coarse.shape[1:]))
        total = total + sample.coarse.sum(axis=(1, 2))
        squares = squares + (sample.coarse**2).sum(axis=(1, 2))
    mean = total / count
    sd = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    for name, value in zip(training.task.variable_names, sd, strict=True):
        if not value > 0:
            raise InputError(
                Problem(
                    f"coarse {name} in the training period", "a field that varies",
                    "a constant one", "Check the pair store.",
                )
            )  # fmt: skip
    return mean, sd


@dataclass(frozen=True)
class StatisticalFamily:
    """One model: what its settings look like, and how it is fitted and applied."""

    title: str
    reference: str
    config: type[Frozen]
    model: type[Fitted]
    statics: tuple[Static, ...] = ()
    """The static fields that it reads; tasks without them are refused."""
