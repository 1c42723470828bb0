"""`elsewhere build`: from a task's recipe to its pair store, region by region, resumable."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.errors import InputError, Problem
from benchmark.leaks import check_task
from benchmark.manifest import read_manifest
from benchmark.pair_store import PairStore
from benchmark.pair_writer import write_region
from benchmark.task import Region, Task
from data_recipes.era5_sample.recipe import EmbeddedERA5
from data_recipes.recipe import Recipe

RECIPES: dict[str, Callable[[Task], Recipe]] = {"era5-sample": EmbeddedERA5}

Report = Callable[[str, bool], None]
"""report(region, built): a region is there; `built` is False when it already was."""


def build(
    task: Task,
    data: Path,
    *,
    regions: Sequence[str] = (),
    report: Report = lambda *_: None,
) -> PairStore:
    """Build the pair store of `task` under `data/TASK@REVISION`.

    A region that is whole and was made by the same recipe from the same sources is kept, so an
    interrupted build goes on where it stopped. regions: only these (default: all).
    Errors: InputError when the task leaks, has no recipe here, or has no region of that name.
    """
    problems = check_task(task)
    if problems:
        raise InputError(problems)
    if task.name not in RECIPES:
        raise InputError(
            Problem(task.id, "a task with a recipe", "one without", "Build another task.")
        )
    chosen = [task.region(name) for name in regions] or list(task.regions)
    recipe = RECIPES[task.name](task)
    folder = data / task.id
    for region in sorted(chosen, key=lambda region: region.name):
        built = not _is_current(folder, task, region, recipe)
        if built:
            _build_region(folder, task, region, recipe)
        report(region.name, built)
    return PairStore(task, folder)


def _build_region(folder: Path, task: Task, region: Region, recipe: Recipe) -> None:
    data = recipe.region(region)
    write_region(
        task,
        region.name,
        folder,
        times=data.times,
        static=data.static,
        blocks=data.blocks,
        source_ids=recipe.source_ids,
        recipe=recipe.configuration,
    )


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
        and manifest.source_ids == recipe.source_ids
        and manifest.recipe == recipe.configuration
    )
