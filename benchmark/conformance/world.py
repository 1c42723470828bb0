"""The small world of the kit: three invented regions, two variables, a law that is known.

Values are multiples of 2^-6 K and 2^-7 mm/h, so that whole offsets, halves and doubles of them are
exact in float32 and answers can be stated on paper. What the world has on purpose: areas that
differ by half within a region, days whose errors and events differ, a stratum that is empty, a
threshold that nothing reaches, a day without a truth, two seasons, one region in the south.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.pair_store import PairStore
from benchmark.pair_writer import Steps, write_region
from benchmark.task import Task

Array = NDArray[np.float64]
Field = NDArray[np.float32]

RADIUS_M = 6_371_229.0
SPACING, FACTOR, MEMBERS = 0.5, 4, 5
BORDER = FACTOR
"""Fine cells along each side that are predicted and not scored: one coarse cell."""

BOXES = {
    "equator": ("test_ood", (-9.0, 5.0), (100.0, 118.0)),
    "home": ("train", (30.0, 56.0), (0.0, 28.0)),
    "polar": ("test_ood", (60.0, 76.0), (-60.0, -48.0)),
}
"""{region: (role, latitudes, longitudes)}; `equator` has its centre in the south."""

LOST_DAY = 5
"""The test day of which `polar` has no truth at all."""

TEMPERATURE, RAIN = "t2m", "precipitation"
STEP = {TEMPERATURE: 2.0**-6, RAIN: 2.0**-7}
PERIODS = {
    "train": ("2001-02-01", 10), "val": ("2001-02-13", 1), "test": ("2001-02-23", 12),
}  # fmt: skip
"""{period: (first day, days)} of two steps a day; the test is half in winter, half in spring."""


def conformance_task() -> Task:
    """The contract of the world."""
    periods: dict[str, Any] = {"embargo_hours": 24}
    for name, times in _times().items():
        periods[name] = {"first": str(times[0]), "last": str(times[-1])}
    variables = [
        {
            "name": TEMPERATURE, "long_name": "temperature", "standard_name": "air_temperature",
            "units": "K", "cell_methods": "time: point", "nonnegative": True,
            "thresholds": [280.0, 400.0], "percentiles": [90], "intensity": [270, 280, 290],
            "bins": {"kind": "linear", "low": 180, "high": 340, "width": 0.125},
            "data_range": [220, 320],
        },
        {
            "name": RAIN, "long_name": "precipitation", "units": "mm h-1",
            "standard_name": "lwe_precipitation_rate", "cell_methods": "time: mean",
            "nonnegative": True, "thresholds": [0.1, 1.0, 500.0], "percentiles": [95],
            "intensity": [0.1, 1, 5], "data_range": [0, 50],
            "bins": {"kind": "log2", "low": 2.0**-10, "high": 1024, "per_octave": 128},
        },
    ]  # fmt: skip
    return Task.model_validate(
        {
            "name": "conformance", "revision": 1, "title": "conformance kit",
            "summary": "An invented world for pseudo-models with known answers.",
            "track": "perfect_model", "factor": FACTOR, "spacing": SPACING, "margin": 1,
            "members": MEMBERS, "case": "day", "season_coverage": "partial", "buffer_km": 500,
            "primary": {"variable": TEMPERATURE, "metric": "rmse"},
            "sources": [{"product": "invented", "licence": "none", "attribution": "Elsewhere"}],
            "windows": [1, 3, 9, 17], "lags": [1, 2, 4, 8, 16], "papers": ["orbit2"],
            "variables": variables, "periods": periods,
            "regions": [
                {"name": name, "role": role, "lat": lat, "lon": lon}
                for name, (role, lat, lon) in BOXES.items()
            ],
        }
    )  # fmt: skip


def _times() -> dict[str, NDArray[np.datetime64]]:
    """Two steps a day, 00 and 12 UTC, by period."""
    return {
        name: np.datetime64(first, "s") + np.arange(2 * days) * np.timedelta64(12, "h")
        for name, (first, days) in PERIODS.items()
    }


@dataclass(frozen=True)
class Law:
    """What a value is drawn from, cell by cell and independently of the others.

    Temperature: signal + sigma N(0, 1). Rain: 0, or with probability `wet` exponential of mean
    `mean_rain`. signal, wet: (T, ny, nx); sigma, mean_rain: (T,).
    """

    signal: Array
    sigma: Array
    wet: Array
    mean_rain: Array

    def draw(self, variable: str, generator: np.random.Generator) -> Field:
        """(T, ny, nx) values at whole multiples of the variable's step."""
        shape = self.signal.shape
        if variable == TEMPERATURE:
            values = self.signal + self.sigma[:, None, None] * generator.standard_normal(shape)
        else:
            amount = self.mean_rain[:, None, None] * generator.standard_exponential(shape)
            values = np.where(generator.random(shape) < self.wet, amount, 0.0)
        return (np.rint(values / STEP[variable]) * STEP[variable]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Place:
    """One region: its fields over all times, and how they came about.

    whole: {variable: (T, ny, nx)} without a gap; truth: the same as the pair store has it, NaN
    where it is lost; coarse: {variable: (T, Ny, Nx)} area means of `whole`.
    """

    name: str
    y_edges: Array
    x_edges: Array
    times: NDArray[np.datetime64]
    law: Law
    whole: dict[str, Field]
    truth: dict[str, Field]
    coarse: dict[str, Field]
    land_fraction: Field
    orography: Field

    @cached_property
    def area(self) -> Array:
        """(ny, nx) m2."""
        return cell_areas(self.y_edges, self.x_edges)

    def steps(self, period: str) -> slice:
        """The steps of a period."""
        return _steps(self.times, period)


@dataclass(frozen=True)
class World:
    """The task and its places."""

    task: Task
    places: dict[str, Place]


def build_world() -> World:
    """The world, the same at every call."""
    return World(conformance_task(), {name: _place(k, name) for k, name in enumerate(BOXES)})


def cell_areas(y_edges: Array, x_edges: Array) -> Array:
    """(ny, nx) m2 of cells between edges in degrees: R^2 d(lon) |sin lat_2 - sin lat_1|."""
    bands = abs(np.diff(np.sin(np.radians(y_edges))))
    widths = abs(np.diff(np.radians(x_edges)))
    return np.asarray(RADIUS_M**2 * bands[:, None] * widths)


def block_means(field: NDArray[Any], area: Array) -> Array:
    """(..., ny / 4, nx / 4) area means of the blocks of 4 x 4 cells, in float64."""
    shape = (*field.shape[:-2], area.shape[0] // FACTOR, FACTOR, area.shape[1] // FACTOR, FACTOR)
    weights = area.reshape(shape[-4:])
    sums = (field.astype(np.float64).reshape(shape) * weights).sum(axis=(-3, -1))
    return np.asarray(sums / weights.sum(axis=(-3, -1)))


def _place(number: int, name: str) -> Place:
    _, (south, north), (west, east) = BOXES[name]
    ny, nx = round((north - south) / SPACING), round((east - west) / SPACING)
    y_edges, x_edges = np.linspace(north, south, ny + 1), np.linspace(west, east, nx + 1)
    times = np.concatenate(list(_times().values()))
    law = _law(y_edges, nx, times)
    generator = np.random.default_rng([2001, number])
    whole = {variable: law.draw(variable, generator) for variable in STEP}
    area, lost = cell_areas(y_edges, x_edges), _lost(name, times, (ny, nx))
    land_fraction, orography = _surface(name, ny, nx)
    return Place(
        name=name, y_edges=y_edges, x_edges=x_edges, times=times, law=law, whole=whole,
        truth={v: np.where(lost, np.float32(np.nan), field) for v, field in whole.items()},
        coarse={v: block_means(field, area).astype(np.float32) for v, field in whole.items()},
        land_fraction=land_fraction, orography=orography,
    )  # fmt: skip


def _law(y_edges: Array, nx: int, times: NDArray[np.datetime64]) -> Law:
    """Calm and stormy days take turns: errors and events differ from case to case."""
    ny, steps = len(y_edges) - 1, np.arange(len(times))
    stormy = times.astype("datetime64[D]").astype(int) % 2 == 1
    phase = 2 * np.pi * (np.arange(nx) / nx + steps[:, None] / 24)
    wave = np.sin(phase)[:, None, :]
    north = np.sin(np.radians((y_edges[:-1] + y_edges[1:]) / 2))[:, None]
    tilt = np.cos(np.pi * (np.arange(ny) + 0.5) / ny)[:, None]
    # 12 hours apart: day and night; and a slow warming, so that training and test differ.
    daily = 2.0 * (steps % 2) + 0.05 * steps
    signal = 296 - 40 * north**2 + 5 * wave * (1 + 0.5 * tilt) + daily[:, None, None]
    wet = np.where(stormy, 0.7, 0.1)[:, None, None] * (0.5 + 0.5 * wave * np.ones((ny, 1)))
    return Law(
        signal=signal, sigma=np.where(stormy, 3.0, 1.0), wet=wet,
        mean_rain=np.where(stormy, 4.0, 1.0),
    )  # fmt: skip


def _surface(name: str, ny: int, nx: int) -> tuple[Field, Field]:
    """(land fraction, orography): all classes at home, no sea in `polar`, no hills at `equator`."""
    y, x = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    height = {
        "home": 60.0 * (x - 12) + 5.0 * y,
        "equator": 4.0 * x,
        "polar": 600.0 + 80.0 * y,
    }[name]
    sea = {"home": x < 16, "equator": x + y < 26, "polar": np.zeros((ny, nx), bool)}[name]
    # Exactly half is land; so is exactly 500 m upland.
    land = np.where(sea, 0.25, 0.5)
    return land.astype(np.float32), np.where(sea, 0.0, np.maximum(height, 1.0)).astype(np.float32)


def _lost(name: str, times: NDArray[np.datetime64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(T, ny, nx): in `polar` a wandering patch of every third test step, and one whole day."""
    lost = np.zeros((len(times), *shape), bool)
    if name == "polar":
        test = lost[_steps(times, "test")]
        for k, field in enumerate(test):
            if k // 2 == LOST_DAY:
                field[:] = True
            elif k % 3 == 0:
                field[6 + k // 2 : 12 + k // 2, 5:11] = True
    return lost


def _steps(times: NDArray[np.datetime64], period: str) -> slice:
    wanted = _times()[period]
    start = int(np.searchsorted(times, wanted[0]))
    return slice(start, start + len(wanted))


def write_world(world: World, folder: Path) -> PairStore:
    """Write the pair store `folder/conformance@1`, by the package's own writer."""
    store = PairStore(world.task, folder / world.task.id)
    for name, place in world.places.items():
        write_region(
            world.task, name, store.folder, times=place.times,
            static={"land_fraction": place.land_fraction, "orography": place.orography},
            blocks=[(0, Steps(coarse=place.coarse, fine=place.truth))],
            source_ids={}, recipe={"name": "benchmark.conformance"},
        )  # fmt: skip
    return store
