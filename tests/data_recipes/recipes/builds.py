"""Small builds of shipped recipes: whole, killed in the middle, and by workers."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from attempts import attempt
from numpy.typing import NDArray
from played.http import PlayedServer, Request
from played.killed import at_home, killed_at

from benchmark import pair_writer, zarr_io
from benchmark.manifest import Manifest, read_manifest
from benchmark.task import Period, Periods, Task
from benchmark.task_files import load_task
from benchmark.toml_model import read_table
from data_recipes.build import build
from data_recipes.pair_recipe import PairRecipe
from data_recipes.retries import Retries
from data_recipes.shipped import recipe_of
from data_recipes.sources.rainshift import REGIONS

Span = tuple[str, str]


def _briefly(seconds: float) -> None:
    """Stands for a wait, also for those that a provider asks for."""
    time.sleep(min(seconds, 0.002))


QUICK = Retries(attempts=6, base_s=0.001, longest_s=0.002, timeout_s=20, sleep=_briefly)
RECIPES = resources.files("data_recipes") / "recipes"


@dataclass(frozen=True)
class Job:
    """One build, as it can be sent to a process.

    table: the recipe; steps: of a block; regions: only these; files: the folder of own files.
    """

    task: Task
    table: dict[str, Any]
    data: Path
    steps: int = 8
    regions: tuple[str, ...] = ()
    files: Path | None = None

    @property
    def folder(self) -> Path:
        """Where its pair store is."""
        return self.data / self.task.id

    def blocks(self, region: str) -> int:
        """How many blocks of a region that is not whole are written."""
        return len(list(self.folder.glob(f".{region}.part/block-*.json")))


def small(name: str, regions: Sequence[str], *periods: Span) -> Task:
    """A shipped task with these of its regions, and short periods; nothing else is changed."""
    task = load_task(name)
    train, val, test = (
        Period(first=datetime.fromisoformat(first), last=datetime.fromisoformat(last))
        for first, last in periods
    )
    hours = task.periods.embargo_hours
    changes = {
        "regions": tuple(region for region in task.regions if region.name in regions),
        "periods": Periods(train=train, val=val, test=test, embargo_hours=hours),
        "season_coverage": "partial",
        "few_shot": None,
    }
    return task.model_copy(update=changes)


def times_of(periods: Sequence[Span], *, every_hours: int) -> NDArray[np.datetime64]:
    """All times of some periods, both ends included."""
    step = np.timedelta64(every_hours * 3600, "s")
    spans = (np.array(span, "datetime64[s]") for span in periods)
    return np.concatenate([np.arange(first, last + step, step) for first, last in spans])


def shipped_table(name: str) -> dict[str, Any]:
    """A recipe that ships, as its file has it."""
    with resources.as_file(RECIPES / f"{name}.toml") as path:
        return read_table(path)


def recipe(job: Job) -> PairRecipe:
    """The recipe of a job, that does not wait long between tries."""
    made = recipe_of(job.task, job.table, Path("recipe.toml"), job.data, files=job.files)
    assert isinstance(made, PairRecipe)
    if job.files is None:
        patient = made.sources.items()
        made.sources = {name: replace(source, retries=QUICK) for name, source in patient}
    return made


def blocks_of(steps: int, patch: Callable[[object, str, int], None]) -> None:
    """Have blocks of so many steps."""
    patch(zarr_io, "CHUNK_BYTES", 1)
    patch(zarr_io, "CHUNKS_PER_SHARD", steps)


def made(job: Job, **options: Any) -> dict[str, Manifest]:
    """Build in this process; {region: its manifest}."""
    build(job.task, job.data, recipe=recipe(job), regions=job.regions, **options)
    return manifests(job)


def manifests(job: Job) -> dict[str, Manifest]:
    """{region: its manifest} of those that are whole."""
    found = sorted(path for path in job.folder.glob("*.json") if path.name != "task.json")
    return {path.stem: read_manifest(path) for path in found}


def same_store(job: Job, other: Job) -> bool:
    """Whether a job's regions have the manifests and the values that they have in another."""
    found, expected = manifests(job), manifests(other)
    assert set(found) == set(job.regions)
    return all(
        found[region] == expected[region]
        and all(
            stored(job, region, group).identical(stored(other, region, group))
            for group in ("coarse", "fine", "static", "digest")
        )
        for region in job.regions
    )


def stored(job: Job, region: str, group: str) -> xr.Dataset:
    """A group as any user of xarray sees it."""
    path = job.folder / f"{region}.zarr"
    return xr.open_zarr(path, group=group, consolidated=False, chunks=None)


def pixels(region: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes and longitudes of the 200 x 200 centres of IMERG in a box of RainShift."""
    _, north, west, _ = REGIONS[region]
    return north - 0.05 - 0.1 * np.arange(200), west + 0.05 + 0.1 * np.arange(200)


def area_means(values: Any, lat_edges: Any, factor: int) -> NDArray[np.float64]:
    """(..., y, x) block means, weighted by the differences of sin(latitude) of the rows' edges."""
    weights = np.abs(np.diff(np.sin(np.radians(lat_edges))))
    shape = values.shape
    split = (*shape[:-2], shape[-2] // factor, factor, shape[-1] // factor, factor)
    blocks = np.asarray(values, np.float64).reshape(split).mean(axis=-1)
    rows = weights.reshape(-1, factor)
    return np.asarray((blocks * rows[..., None]).sum(axis=-2) / rows.sum(axis=1)[:, None])


def killed_while_fetching(job: Job, server: PlayedServer, dies: Callable[[Request], bool]) -> None:
    """Build in a process that gets SIGKILL at the first request for which `dies` is true."""
    killed_at(server, dies, _build, job)


def killed_while_writing(job: Job) -> None:
    """Build in a process that gets SIGKILL between the coarse and the fine of its second block."""
    assert attempt(at_home, dict(os.environ), _build, (job, 3)), "it ended before"


def _build(job: Job, last: int | None = None) -> None:
    """In the child. last: the array of a block that is the last to be written."""
    blocks_of(job.steps, setattr)
    true_digests, calls = pair_writer.step_digests, count(1)

    def dying(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return true_digests(values)

    pair_writer.step_digests = dying
    made(job)


def at(job: Job, folder: Path, **changes: Any) -> Job:
    """The same job with another data folder."""
    return replace(job, data=folder, **changes)


def resume(job: Job, **options: Any) -> None:
    """Build on after kills: from what was written then, which is some steps and not all."""
    told: list[tuple[str, int, int]] = []
    made(job, report=lambda *report: told.append(report), **options)
    _, done, steps = told[0]
    assert 0 < done < steps


def by_a_cluster(whole: Job, folder: Path, scheduler: str) -> Job:
    """The last region of a job again, by the workers of a cluster, from what was fetched for it."""
    # On a folder that all workers see.
    (folder / "downloads").symlink_to(whole.data / "downloads")
    again = at(whole, folder, regions=whole.regions[-1:])
    made(again, scheduler=scheduler)
    return again
