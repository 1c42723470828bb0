"""What the tests of the baselines share: tiny training requests, a record of reads, block weights.

The oracles here use nothing of `benchmark.coarsen`: areas are differences of sin(latitude).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines import training
from baselines.data import Pairs
from baselines.downscaler import Scaling
from baselines.models import load_config
from baselines.runs import Request
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Period, Task

TINY = (
    "network.width=4",
    "network.blocks=1",
    "training.steps=10",
    "training.batch=4",
    "training.validate_every=4",
    "training.threads=1",
    "training.precision=float32",
    "training.schedule=cosine",
    "training.mirror=false",
    "training.weight_decay=0.0",
    "training.learning_rate=0.01",
)

Make = Callable[..., Request]
Conservation = Callable[[RegionStore, NDArray[np.floating], NDArray[np.floating]], float]


@dataclass(frozen=True)
class Read:
    """One call of `RegionStore.read`; `steps` are indices into the region's times."""

    region: str
    side: str
    variable: str
    steps: range


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    """Training and predicting set torch's threads; a test leaves them as they were."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(task: Task, store: PairStore) -> Make:
    """make(*settings, **fields): a request that trains in a fraction of a second."""

    def make(*settings: str, **fields: object) -> Request:
        config = load_config("srcnn", settings=[*TINY, *settings])
        values: dict[str, object] = {
            "task": task.id, "data_hash": store.data_hash, "model": "srcnn",
            "regime": "zero_shot", "constraint": "none", "skip": True, "seed": 0,
        }  # fmt: skip
        return Request.model_validate({**values, **fields, "config": config})

    return make


@pytest.fixture(scope="session")
def kept() -> dict[object, Any]:
    """What `quick_data` has loaded."""
    return {}


@pytest.fixture
def quick_data(kept: dict[object, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Training loads each set of pairs once a session; every call gets a copy of its own."""
    fit_scaling, load_pairs = training.fit_scaling, training.load_pairs

    def scaling(task: Task, regions: list[RegionStore]) -> Scaling:
        key = tuple(region.path for region in regions)
        if key not in kept:
            kept[key] = fit_scaling(task, regions)
        return kept[key]

    def pairs(regions: list[RegionStore], period: Period) -> Pairs:
        key = (tuple(region.path for region in regions), period.first)
        if key not in kept:
            kept[key] = load_pairs(regions, period)
        return kept[key].map(torch.clone)

    monkeypatch.setattr(training, "fit_scaling", scaling)
    monkeypatch.setattr(training, "load_pairs", pairs)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Every read of a pair store from here on, in order."""
    recorded: list[Read] = []
    original = RegionStore.read

    def read(self: RegionStore, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        chosen = range(*steps.indices(len(self.times)))
        recorded.append(Read(self.name, side, variable, chosen))
        return original(self, side, variable, steps)

    monkeypatch.setattr(RegionStore, "read", read)
    return recorded


@pytest.fixture(scope="session")
def latitude_weights(task: Task) -> Callable[[str], NDArray[np.float64]]:
    """(ny, nx) share of each fine cell in its block's area, from sin(latitude) of the bounds."""

    def weights(region: str) -> NDArray[np.float64]:
        (south, north), (west, east) = task.region(region).lat, task.region(region).lon
        factor = round(task.factor)
        rows, columns = round((north - south) / task.spacing), round((east - west) / task.spacing)
        out = np.empty((rows, columns))
        for first in range(0, rows, factor):
            edges = north - task.spacing * np.arange(first, first + factor + 1)
            bands = -np.diff(np.sin(np.radians(edges)))
            out[first : first + factor] = (bands / bands.sum() / factor)[:, None]
        return out

    return weights


@pytest.fixture(scope="session")
def residual_ulps(
    task: Task, latitude_weights: Callable[[str], NDArray[np.float64]]
) -> Conservation:
    """max |A y - x| in units of eps32 max |x|, block by block, for (time, ny, nx) fields."""

    def measure(
        region: RegionStore, fine: NDArray[np.floating], coarse: NDArray[np.floating]
    ) -> float:
        factor, weights = round(task.factor), latitude_weights(region.name)
        worst = 0.0
        for j in range(coarse.shape[-2]):
            for i in range(coarse.shape[-1]):
                at = np.s_[j * factor : (j + 1) * factor, i * factor : (i + 1) * factor]
                block = fine[:, at[0], at[1]].astype(np.float64)
                mean = (block * weights[at]).sum(axis=(1, 2))
                worst = max(worst, float(abs(mean - coarse[:, j, i]).max()))
        return worst / (float(np.finfo(np.float32).eps) * float(abs(coarse).max()))

    return measure
