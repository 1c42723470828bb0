"""Scoring: one task a (region, block of steps), resumable, to the case table.

Every step is reduced alone in float64 and the steps are folded in time order, so the table does
not depend on blocks, workers or the order of regions.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.case_table import STRATA, assemble, case_labels, fold_cases
from benchmark.errors import InputError, Problem
from benchmark.execution import run_tasks
from benchmark.families import conservation, ensemble, moments
from benchmark.families.base import Array, Step
from benchmark.files import write_atomically
from benchmark.hashing import combine_named, combine_steps, step_digests
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import block_steps, expected_regions
from benchmark.predictor import Fields
from benchmark.reference import Bilinear

Sums = dict[str, NDArray[np.float64]]
Report = Callable[[int, int, str], None]
"""report(blocks done, blocks, region)."""


class Source(Protocol):
    """Where predictions come from: a store, or a model that predicts as it is asked."""

    @property
    def card(self) -> ModelCard:
        """The model's declaration."""
        ...

    @property
    def member_count(self) -> int:
        """Members of every field."""
        ...

    def read(self, region: RegionStore, steps: slice) -> Fields:
        """(time, member, ny, nx) float32 by variable, for steps counted in the region's store."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever the predictions may have changed."""
        ...


@dataclass(frozen=True)
class Block:
    """One task: some steps of one region, counted in the region's store."""

    region: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Its file's name while a score is under way."""
        return f"{self.region}-{self.start}-{self.stop}.npz"


@dataclass(frozen=True)
class Scored:
    """The outcome: the case table, and the digest of what was scored."""

    table: xr.Dataset
    prediction_hash: str


def score_cases(
    store: PairStore,
    source: Source,
    *,
    work: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    steps_per_block: int | None = None,
    report: Report = lambda *_: None,
) -> Scored:
    """Reduce every test step of every test region to the case table.

    work: a folder for the blocks that are done; a later call with the same folder goes on from
    them (the caller names it after everything that decides a block). Peak memory is about
    workers x one block: see `block_steps`.
    Errors: InputError on a prediction that is not finite or has another shape or dtype.
    """
    blocks = _blocks(store, source.member_count, steps_per_block)
    finished: dict[Block, Sums] = {}
    if work is not None:
        for block in blocks:
            path = work / block.name
            if path.exists():
                finished[block] = _load(path)

    def done(block: Block, sums: Sums) -> None:
        finished[block] = sums
        if work is not None:
            _save(work / block.name, sums)
        report(len(finished), len(blocks), block.region)

    run_tasks(
        _Reducer(store, source),
        [block for block in blocks if block not in finished],
        done=done,
        workers=workers,
        scheduler=scheduler,
    )
    return _assemble(store, source.member_count, finished)


@dataclass(frozen=True)
class _Reducer:
    """Reads and reduces one block; picklable, so that a cluster can run it."""

    store: PairStore
    source: Source

    def __call__(self, block: Block) -> Sums:
        region = self.store.region(block.region)
        steps = slice(block.start, block.stop)
        fields = self.source.read(region, steps)
        for name in region.task.variable_names:
            _check(fields[name], region, steps, name, self.source.member_count)
        sums = reduce_block(region, steps, fields)
        for name in region.task.variable_names:
            sums[f"digest/{name}"] = step_digests(fields[name])  # type: ignore[assignment]
        return sums


def reduce_block(region: RegionStore, steps: slice, fields: Fields) -> Sums:
    """{statistic: (time, variable, ...)} of some steps, each step reduced alone."""
    strata = _strata(region)
    per_variable = [
        _reduce_variable(region, steps, strata, name, fields[name])
        for name in region.task.variable_names
    ]
    return {key: np.stack([sums[key] for sums in per_variable], axis=1) for key in per_variable[0]}


def _reduce_variable(
    region: RegionStore, steps: slice, strata: Array, name: str, predicted: NDArray[np.float32]
) -> Sums:
    grid, scored = region.grid, region.grid.scored
    coarse = region.read("coarse", name, steps)
    truth = grid.crop_fine(region.read("fine", name, steps))
    bilinear = grid.crop_fine(Bilinear.on(grid)(coarse))
    inner_coarse = grid.crop_coarse(coarse)
    members = grid.crop_fine(predicted)
    rows: list[dict[str, Array]] = []
    for k in range(len(truth)):
        valid = np.isfinite(truth[k])
        whole = scored.overlap(valid.astype(np.float64)) > 1 - 1e-9
        step = Step(
            members=np.ascontiguousarray(members[k], dtype=np.float64),
            truth=np.where(valid, truth[k].astype(np.float64), 0.0),
            bilinear=np.ascontiguousarray(bilinear[k]),
            coarse=np.ascontiguousarray(inner_coarse[k], dtype=np.float64),
            weights=np.where(valid, strata, 0.0),
            overlap=scored.overlap,
            whole=whole,
            block_area=scored.coarse.area,
        )
        rows.append(_weights(step) | moments.reduce(step) | ensemble.reduce(step)
                    | conservation.reduce(step))  # fmt: skip
    return {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}


def _weights(step: Step) -> dict[str, Array]:
    return {
        "weight": np.asarray(step.weights.reshape(len(step.weights), -1).sum(axis=1)),
        "block_weight": np.asarray(step.block_area.sum()),
        "whole_block_weight": np.asarray(np.where(step.whole, step.block_area, 0.0).sum()),
    }


def _strata(region: RegionStore) -> Array:
    """(strata, ny, nx) scored cell areas in m2, 0 outside the stratum."""
    area = region.grid.scored.fine.area
    land = np.asarray(region.grid.crop_fine(region.static("land_fraction") >= 0.5))
    masks = {"all": np.ones_like(land), "land": land, "sea": ~land}
    return np.stack([np.where(masks[name], area, 0.0) for name in STRATA])


def _blocks(store: PairStore, members: int, steps_per_block: int | None) -> list[Block]:
    blocks = []
    for region in expected_regions(store):
        steps = region.steps(store.task.periods.test)
        size = steps_per_block or block_steps(region, members)
        blocks += [
            Block(region.name, start, min(start + size, steps.stop))
            for start in range(steps.start, steps.stop, size)
        ]
    return blocks


def _check(
    values: NDArray[np.float32], region: RegionStore, steps: slice, name: str, members: int
) -> None:
    """The part of validation that only the values can tell, in the one pass over them."""
    shape = (steps.stop - steps.start, members, *region.grid.fine.shape)
    where, fix = f"{region.name}: {name}", "Run `elsewhere validate` for every problem."
    if values.shape != shape or values.dtype != np.float32:
        got = f"{values.dtype} {values.shape}"
        raise InputError(Problem(where, f"float32 {shape}", got, fix))
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        times = region.times[steps]
        got = f"{count} others between {times[0]} and {times[-1]}"
        raise InputError(Problem(where, "finite values", got, fix))


def _assemble(store: PairStore, members: int, finished: Mapping[Block, Sums]) -> Scored:
    regions, digests = {}, {}
    for region in expected_regions(store):
        blocks = sorted((b for b in finished if b.region == region.name), key=lambda b: b.start)
        steps = {
            key: np.concatenate([finished[block][key] for block in blocks])
            for key in finished[blocks[0]]
        }
        for name in store.task.variable_names:
            digest = steps.pop(f"digest/{name}")
            digests[f"{region.name}/{name}"] = combine_steps(digest.astype(np.uint8))
        times = region.times[blocks[0].start : blocks[-1].stop]
        regions[region.name] = fold_cases(steps, case_labels(store.task, times))
    table = assemble(store.task, regions, members=members)
    return Scored(table, combine_named(digests))


def _save(path: Path, sums: Sums) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **sums)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _load(path: Path) -> Sums:
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}
