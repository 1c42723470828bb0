"""`elsewhere build`: from a task's recipe to its pair store, block by block, resumable."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import InputError, Problem
from benchmark.execution import check_scheduler, run_tasks
from benchmark.grid import region_grid
from benchmark.hashing import text_digest
from benchmark.kept_mismatch import keep_mismatch, kept_mismatch
from benchmark.leaks import check_task
from benchmark.lock import only_writer
from benchmark.manifest import read_manifest
from benchmark.pair_parts import PartialRegion
from benchmark.pair_store import PairStore, RegionStore
from benchmark.pair_writer import Origin
from benchmark.region import Region
from benchmark.task import Task
from benchmark.task_files import write_contract
from benchmark.writable import check_writable
from data_recipes.problems import gathered, raise_all
from data_recipes.recipe import Recipe, RegionPlan, Report, no_times
from data_recipes.shipped import shipped_recipe
from data_recipes.source import Advance, no_report


@dataclass(frozen=True)
class Size:
    """What building takes, in bytes: yet to be fetched, kept of that, and at most written."""

    fetched: int
    kept: int
    written: int


def build(
    task: Task,
    data: Path,
    *,
    recipe: Recipe | None = None,
    regions: Sequence[str] = (),
    workers: int = 1,
    scheduler: str | None = None,
    report: Report = no_report,
    advance: Advance = no_report,
) -> PairStore:
    """Build the pair store of `task` under `data/TASK@REVISION`.

    A region that is whole and was made by the same recipe from the same sources is kept, and so is
    every whole block of one that was stopped. A real pair's whole regions also get their mismatch
    (`kept_mismatch`). recipe: default the one that ships; regions: only these (default: all);
    workers: threads that make blocks, of which each takes the memory of one; scheduler: the
    address of the user's own dask.distributed scheduler, whose workers see the same folders.
    Errors: InputError when the task leaks, has no region of that name, there is too little
    room, or no scheduler answers.
    """
    problems = check_task(task)
    if problems:
        raise InputError(problems)
    recipe = recipe or shipped_recipe(task, data)
    folder = data / task.id
    chosen = chosen_regions(task, regions)
    to_do = [region for region in chosen if not _is_current(folder, task, region, recipe)]
    if to_do:
        check_writable(data, where="the data folder")
    with gathered(problems):
        _check_room(data, size_of(task, to_do, recipe))
    with gathered(problems):
        recipe.check_keys(to_do)
    raise_all(problems)
    if to_do and scheduler is not None:
        check_scheduler(scheduler)
    recipe.fetch(to_do, advance=advance)
    for region in chosen:
        if region not in to_do and kept_mismatch(_stored(folder, task, region)) is not None:
            report(region.name, 0, 0)
            continue
        with only_writer(folder / f".{region.name}.lock", of=f"{folder / region.name}.zarr"):
            # Another build may have ended it in the meantime.
            if _is_current(folder, task, region, recipe):
                report(region.name, 0, 0)
            else:
                _build_region(folder, task, region, recipe, workers, scheduler, report)
            keep_mismatch(
                _stored(folder, task, region),
                report=lambda done, total, what: report(what, done, total),
            )
    write_contract(folder, task)
    return PairStore(task, folder)


def _stored(folder: Path, task: Task, region: Region) -> RegionStore:
    """A region as it is on disk now."""
    return PairStore(task, folder).region(region.name)


def chosen_regions(task: Task, names: Sequence[str]) -> list[Region]:
    """The regions of these names, or all of a task, sorted by name."""
    chosen = [task.region(name) for name in names] or list(task.regions)
    return sorted(set(chosen), key=lambda region: region.name)


def size_of(task: Task, regions: Sequence[Region], recipe: Recipe) -> Size:
    """What building these regions takes; float32 as it is, before zstd."""
    written = 0
    for region in regions:
        grid = region_grid(task, region)
        cells = math.prod(grid.fine.shape) + math.prod(grid.coarse.shape)
        written += 4 * cells * recipe.steps * len(task.variables)
    return Size(*recipe.to_fetch(regions), written)


@dataclass(frozen=True, eq=False)
class _Work:
    """Makes and writes one block; sent to the user's workers."""

    partial: PartialRegion
    plan: RegionPlan

    def __call__(self, block: slice) -> int:
        self.partial.write(block, self.plan.steps(block))
        return int(block.stop - block.start)


def _build_region(
    folder: Path,
    task: Task,
    region: Region,
    recipe: Recipe,
    workers: int,
    scheduler: str | None,
    report: Report,
) -> None:
    plan = recipe.region(region, workers=workers, scheduler=scheduler, report=report)
    problems = no_times(task, region, plan.times)
    if problems:
        raise InputError(problems)
    origin = Origin(recipe.source_ids(region), _settings(task, region, recipe), plan.missing)
    partial = PartialRegion(task, region.name, folder, plan.times)
    partial.begin(origin)
    left = [block for block in partial.blocks if not partial.is_written(block)]
    total = len(plan.times)
    done = total - sum(block.stop - block.start for block in left)
    report(region.name, done, total)

    def arrived(_: slice, steps: int) -> None:
        nonlocal done
        done += steps
        report(region.name, done, total)

    work = _Work(partial, plan)
    run_tasks(work, left, done=arrived, workers=workers, scheduler=scheduler)
    partial.finish(plan.static, origin)


def _check_room(data: Path, size: Size) -> None:
    """Refuse to start what cannot end; downloads stay beside the store."""
    at = next(folder for folder in (data, *data.absolute().parents) if folder.exists())
    free = shutil.disk_usage(at).free
    if size.kept + size.written > free:
        raise InputError(
            Problem(
                str(data),
                f"room for {gigabytes(size.kept)} of downloads and at most "
                f"{gigabytes(size.written)} of pairs",
                f"{gigabytes(free)} free",
                "Make room, choose another folder with --data, or build some --regions only.",
            )
        )


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _is_current(folder: Path, task: Task, region: Region, recipe: Recipe) -> bool:
    path = folder / f"{region.name}.json"
    if not (path.is_file() and (folder / f"{region.name}.zarr").is_dir()):
        return False
    try:
        manifest = read_manifest(path)
    except InputError:
        return False  # a damaged manifest is what building again mends
    return (
        manifest.task == task.id
        and manifest.region == region.name
        and manifest.source_ids == recipe.source_ids(region)
        and manifest.recipe == _settings(task, region, recipe)
    )


def _settings(task: Task, region: Region, recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings, and a digest of what the task says of a region's values."""
    whole = dict.fromkeys(
        ("track", "factor", "spacing", "coarse_shift", "static", "sources", "periods"), True
    )
    written = {"name", "units", "standard_name", "long_name", "cell_methods"}
    words = task.model_dump(mode="json", include=whole | {"variables": {"__all__": written}})
    words["region"] = region.model_dump(mode="json", exclude={"role"})
    settings = {"contract": text_digest(json.dumps(words, sort_keys=True))}
    return recipe.configuration(region) | settings
