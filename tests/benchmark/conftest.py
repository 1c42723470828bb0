"""What the tests of the harness share: a smaller pair store, steps at random, invented cases."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.case_table import assemble, fold_cases
from benchmark.coarsen import AreaOverlap
from benchmark.families import conservation, ensemble, moments
from benchmark.families.base import Step
from benchmark.geometry import cell_area
from benchmark.grid import RegionGrid
from benchmark.pair_store import PairStore
from benchmark.references import DressedReference
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StreamedPredictions
from benchmark.task import Task

Array = NDArray[np.float64]
MakeStep = Callable[..., Step]
MakeTotals = Callable[..., xr.Dataset]
MakeCases = Callable[..., xr.Dataset]

SMALL = ("europe-west", "japan-okhotsk", "west-africa", "andes-south", "tibetan-plateau")


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
def dressed(small: PairStore, streamed_dressed: StreamedPredictions) -> Scored:
    """Its scores, in one thread and blocks of the default size. Copy the table to change it."""
    return score_cases(small, streamed_dressed)


@pytest.fixture(scope="session")
def make_step() -> MakeStep:
    """A function that makes a random step: 8 x 12 cells, 2 x 3 blocks, weights, a mask."""

    def make(
        seed: int = 0, *, members: int = 5, missing: float = 0.2, ties: bool = False, **fields: Any
    ) -> Step:
        generator = np.random.default_rng(seed)
        lat, lon = np.linspace(50.0, 42.0, 9), np.linspace(0.0, 12.0, 13)
        overlap = AreaOverlap.from_edges(fine=(lat, lon), coarse=(lat[::4], lon[::4]))
        x = generator.gamma(2.0, size=(members, 8, 12))
        truth = generator.gamma(2.0, size=(8, 12))
        if ties:
            x, truth = np.floor(x), np.floor(truth)
        valid = generator.random((8, 12)) >= missing
        land = generator.random((8, 12)) < 0.4
        masks = np.stack([np.ones_like(land), land, ~land])
        content: dict[str, Any] = {
            "members": x,
            "truth": np.where(valid, truth, 0.0),
            "bilinear": generator.gamma(2.0, size=(8, 12)),
            "coarse": generator.gamma(2.0, size=(2, 3)),
            "weights": np.where(valid & masks, cell_area(lat, lon), 0.0),
            "overlap": overlap,
            "whole": valid.reshape(2, 4, 3, 4).all(axis=(1, 3)),
            "block_area": cell_area(lat[::4], lon[::4]),
        }
        return Step(**(content | fields))

    return make


@pytest.fixture(scope="session")
def make_totals() -> MakeTotals:
    """A function that folds steps into totals with the dims of a case table's, all families."""

    def make(*steps: Step) -> xr.Dataset:
        rows = [_reduce(step) for step in steps]
        stacked = {name: np.stack([row[name] for row in rows])[:, None] for name in rows[0]}
        labels = np.zeros(len(rows), dtype="datetime64[s]")
        cases, folded = fold_cases(stacked, labels)
        stub: Any = type("Stub", (), {"variable_names": ("v",), "id": "invented@1"})()
        table = assemble(stub, {"r": (cases, folded)}, members=len(steps[0].members))
        return table.isel(variable=0, region=0, case=0)

    return make


def _reduce(step: Step) -> dict[str, Array]:
    """Every statistic and weight of one step, in the harness's own words."""
    weights = {
        "weight": step.weights.sum(axis=(1, 2)),
        "block_weight": np.asarray(step.block_area.sum()),
        "whole_block_weight": np.asarray(step.block_area[step.whole].sum()),
    }
    return weights | moments.reduce(step) | ensemble.reduce(step) | conservation.reduce(step)


@pytest.fixture(scope="session")
def make_cases() -> MakeCases:
    """A function that invents a case table in which each region and case has a given RMSE.

    rmse: region to (case,) RMSE, the same for every variable; weight 1 for each case.
    """

    def make(task: Task, cases: NDArray[np.datetime64], rmse: Mapping[str, Array]) -> xr.Dataset:
        def spread(values: Array) -> Array:  # case, variable, stratum
            shape = (len(cases), len(task.variable_names), 3)
            return np.broadcast_to(np.asarray(values)[:, None, None], shape).copy()

        regions = {
            name: (
                cases,
                {
                    "weight": spread(np.ones(len(cases))),
                    "squared_error": spread(np.asarray(values) ** 2),
                    "coarse_max": np.ones((len(cases), len(task.variable_names))),
                },
            )
            for name, values in rmse.items()
        }
        return assemble(task, regions, members=1)

    return make


@pytest.fixture(scope="session")
def all_grids(task: Task, store: PairStore) -> list[RegionGrid]:
    """The grids of every region of the task."""
    return [store.region(region.name).grid for region in task.regions]
