"""What the tests of the harness share: a smaller pair store, slabs at random, invented cases."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark import step_sums
from benchmark.bins import Bins
from benchmark.case_table import assemble, total
from benchmark.domain import scored_names
from benchmark.families.base import Domain, Slab
from benchmark.families.spectrum import Rings
from benchmark.grid import RegionGrid, region_grid
from benchmark.pair_store import PairStore
from benchmark.reduce import reduce_slab
from benchmark.references import DressedReference
from benchmark.region import Region
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StreamedPredictions
from benchmark.step_sums import RegionSums
from benchmark.strata import STRATA
from benchmark.task import BinsOf, Task

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
MakeCases = Callable[..., xr.Dataset]

SMALL = ("europe-west", "japan-okhotsk", "west-africa", "andes-south", "tibetan-plateau")


@pytest.fixture(params=["numba", "numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two engines: what depends on the engine is tested with both."""
    monkeypatch.setenv("ELSEWHERE_ENGINE", request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def small_task(task: Task) -> Task:
    """era5-sample with two training, one validation and two test regions."""
    regions = tuple(region for region in task.regions if region.name in SMALL)
    return task.model_copy(update={"regions": regions})


@pytest.fixture(scope="session")
def small(store: PairStore, small_task: Task) -> PairStore:
    """The pair store of `small_task`: the same folder, fewer regions."""
    return PairStore(small_task, store.folder)


@pytest.fixture(scope="session")
def streamed_dressed(small: PairStore) -> StreamedPredictions:
    """The dressed reference of the small task: eight members."""
    return StreamedPredictions(DressedReference(small), identity="dressed")


@pytest.fixture(scope="session")
def dressed(
    small: PairStore,
    streamed_dressed: StreamedPredictions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Scored:
    """Its scores, in one thread and blocks of the default size. Copy the table to change it."""
    return score_cases(small, streamed_dressed, work=tmp_path_factory.mktemp("dressed"))


@pytest.fixture(scope="session")
def invented(task: Task) -> Callable[..., Task]:
    """A function that makes a task of one region of (ny, nx) cells of 1 degree, one variable `v`.

    The northern edge is at 50 degrees, so that areas differ.
    """

    def make(shape: tuple[int, int], factor: float, bins: Bins, **of_variable: Any) -> Task:
        ny, nx = shape
        region = Region(name="r", role="train", lat=(50.0 - ny, 50.0), lon=(0.0, nx))
        content = {"kind": bins.kind, "low": bins.low, "high": bins.high, "width": bins.width,
                   "per_octave": bins.per_octave}  # fmt: skip
        known = {"name": "v", "bins": BinsOf.model_validate(content), "thresholds": (),
                 "percentiles": ()}  # fmt: skip
        variable = task.variables[2].model_copy(update=known | of_variable)
        return task.model_copy(
            update={
                "regions": (region,), "variables": (variable,), "vectors": (), "spacing": 1.0,
                "factor": factor, "margin": 0, "windows": (1, 3), "lags": (1, 2),
            }
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def make_slab(invented: Callable[..., Task]) -> MakeSlab:
    """A function that makes a slab of rain at random: 12 x 16 cells, 3 x 4 blocks, four classes.

    domain: fields of its domain that are to be others; other names are fields of the slab.
    """

    def make(
        seed: int = 0, *, steps: int = 1, members: int = 5, shape: tuple[int, int] = (12, 16),
        factor: float = 4.0, missing: float = 0.2, ties: bool = False, bins: Bins | None = None,
        domain: Mapping[str, Any] | None = None, **fields: Any,
    ) -> Slab:  # fmt: skip
        generator = np.random.default_rng(seed)
        bins = bins or Bins("log2", 2.0**-10, 256.0, per_octave=128)
        grid = region_grid(*_task_and_region(invented(shape, factor, bins)))
        dy, dx = grid.fine.cell_km
        known: dict[str, Any] = {
            "area": grid.fine.area,
            "labels": generator.integers(0, 4, shape).astype(np.uint8),
            "classes": 4,
            "intensity": (0.5, 1.5, 3.0),
            "thresholds": np.array([1.0, 4.0]),
            "windows": (1, 3),
            "bins": bins,
            "rings": Rings.on(*shape, dy_km=dy, dx_km=dx),
            "lags": (1, 2),
            "data_range": (0.0, 20.0),
            "climatology": generator.gamma(2.0, size=shape),
            "overlap": grid.overlap,
            "coarse_area": grid.coarse.area,
            "image_every": 1,
            "papers": ("orbit2", "wassdiff", "ganvsdiffusion"),
        }
        x = generator.gamma(2.0, size=(steps, members, *shape))
        truth = generator.gamma(2.0, size=(steps, *shape))
        if ties:
            x, truth = np.floor(x), np.floor(truth)
        coarse = generator.gamma(2.0, size=(steps, *grid.coarse.shape)).astype(np.float32)
        lost = generator.random(truth.shape) < missing
        content: dict[str, Any] = {
            "domain": Domain(**(known | dict(domain or {}))),
            "members": x.astype(np.float32),
            "truth": np.where(lost, np.nan, truth).astype(np.float32),
            "bilinear": generator.gamma(2.0, size=truth.shape),
            "coarse": coarse,
            "first": 0,
        }
        return Slab(**(content | fields))

    return make


def _task_and_region(task: Task) -> tuple[Task, Region]:
    return task, task.regions[0]


@pytest.fixture(scope="session")
def make_table(invented: Callable[..., Task]) -> MakeTotals:
    """A function that folds slabs into the case table of one invented region, a case a step."""

    def make(*slabs: Slab) -> xr.Dataset:
        first = slabs[0]
        domain = first.domain
        known = domain.thresholds[np.isfinite(domain.thresholds)]
        factor = domain.area.shape[0] / domain.coarse_area.shape[0]
        task = invented(
            domain.area.shape, factor, domain.bins,
            thresholds=tuple(known.tolist()), intensity=domain.intensity,
            data_range=domain.data_range,
            units="mm d-1",
        )  # fmt: skip
        parts = []
        for slab in slabs:
            sums, counts = reduce_slab(slab)
            parts.append(([sums], [counts], {"v": np.zeros((len(slab.truth), 32), np.uint8)}))
        steps = sum(len(slab.truth) for slab in slabs)
        labels = np.datetime64("2001-01-01", "s") + np.arange(steps) * np.timedelta64(86400, "s")
        folded = step_sums.fold([step_sums.pack(parts)], labels)
        return assemble(task, {"r": folded}, members=first.members.shape[1])

    return make


@pytest.fixture(scope="session")
def make_totals(make_table: MakeTotals) -> MakeTotals:
    """A function that folds slabs into totals of one variable and region, as metrics take them."""
    return lambda *slabs: total(make_table(*slabs)).isel(variable=0, region=0)


@pytest.fixture(scope="session")
def cell_weights() -> Callable[[Slab], Array]:
    """A function that gives (strata, T, ny, nx) areas of the cells with a truth in each stratum.

    By the definitions, cell by cell; strata in the order of `benchmark.strata.STRATA`.
    """

    def of(slab: Slab) -> Array:
        domain, found = slab.domain, np.zeros((len(STRATA), *slab.truth.shape))
        for k, i, j in np.ndindex(slab.truth.shape):
            t = float(slab.truth[k, i, j])
            if np.isnan(t):
                continue
            label = int(domain.labels[i, j])
            inside = ["all", ("sea", "lowland", "upland", "mountain")[label]]
            inside += ["land"] if label > 0 else []
            if domain.intensity:
                inside.append(f"intensity-{1 + sum(t >= bound for bound in domain.intensity)}")
            for name in inside:
                found[STRATA.index(name), k, i, j] = domain.area[i, j]
        return found

    return of


@pytest.fixture(scope="session")
def make_cases() -> MakeCases:
    """A function that invents a case table in which each region and case has a given RMSE.

    rmse: region to (case,) RMSE, the same for every variable; weight 1 for each case.
    """

    def make(task: Task, cases: NDArray[np.datetime64], rmse: Mapping[str, Array]) -> xr.Dataset:
        shape = (len(cases), len(scored_names(task)))

        def spread(values: Array) -> Array:  # case, variable, stratum
            return np.broadcast_to(np.asarray(values)[:, None, None], (*shape, len(STRATA))).copy()

        regions = {
            name: RegionSums(
                cases=cases,
                by_case={
                    "weight": spread(np.ones(len(cases))),
                    "squared_error": spread(np.asarray(values) ** 2),
                    "coarse_max": np.ones(shape),
                    "t_max": np.full(shape, -np.inf),
                },
                period={"bin_t": np.zeros((shape[1], 1))},
                digests={},
            )
            for name, values in rmse.items()
        }
        return assemble(task, regions, members=1)

    return make


@pytest.fixture(scope="session")
def all_grids(task: Task, store: PairStore) -> list[RegionGrid]:
    """The grids of every region of the task."""
    return [store.region(region.name).grid for region in task.regions]


@pytest.fixture
def fresh_store(small: PairStore, tmp_path: Path) -> PairStore:
    """The small pair store in a folder of its own, with nothing kept beside it yet."""
    folder = tmp_path / small.folder.name
    folder.mkdir()
    for region in small.task.regions:
        for suffix in ("zarr", "json"):
            name = f"{region.name}.{suffix}"
            (folder / name).symlink_to(small.folder / name)
    return replace(small, folder=folder)
