"""Scoring: one task a (region, block of steps), resumable, to the case table.

A block's fields are read slab by slab (a few steps that fit a core's cache), hashed, and reduced
by every family while they are there. Every step is reduced alone and the steps are folded in time
order, so the table does not depend on blocks, slabs, workers or the order of regions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark import step_sums
from benchmark.case_table import assemble, case_labels
from benchmark.derived import divergence, speed, vorticity
from benchmark.domain import padded, region_domain
from benchmark.engine import compiled
from benchmark.errors import InputError, Problem
from benchmark.execution import run_tasks
from benchmark.families.base import Domain, Slab, Sums, one_member
from benchmark.families.bilinear import interpolate
from benchmark.hashing import combine_named, combine_steps, step_digests
from benchmark.model_card import ModelCard
from benchmark.pair_store import SIDES, PairStore, RegionStore
from benchmark.prediction_store import block_steps, expected_regions
from benchmark.predictor import Fields
from benchmark.reduce import reduce_slab, reduce_spectra
from benchmark.step_sums import StepSums
from benchmark.task import Vector

SLAB_BYTES = 8 * 2**20
"""Members of one variable that are reduced at once, at least a step: few enough for the caches,
enough for the calls to cost nothing."""

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

    def slabs(
        self, region: RegionStore, steps: slice, *, size: int
    ) -> Iterator[tuple[slice, Fields]]:
        """Consecutive slabs of `size` steps, counted in the region's store, that cover `steps`.

        Fields are (time, member, ny, nx) float32 by variable; they may be overwritten by the next.
        """
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
    work: Path,
    workers: int = 1,
    scheduler: str | None = None,
    steps_per_block: int | None = None,
    report: Report = lambda *_: None,
) -> Scored:
    """Reduce every test step of every test region to the case table.

    work: a folder for the blocks that are done; a later call with the same folder goes on from
    them (the caller names it after everything that decides a block). Memory: see `memory_bound`.
    Errors: InputError on a prediction that is not finite or has another shape or dtype.
    """
    blocks = _blocks(store, source.member_count, steps_per_block)
    reducer = _Reducer(store, source, work)
    waiting = [block for block in blocks if step_sums.load(work / block.name) is None]
    finished = len(blocks) - len(waiting)
    for region in expected_regions(store):  # what every worker needs is made once, here
        reducer.domains(region)

    def done(block: Block, _: None) -> None:
        nonlocal finished
        if not (work / block.name).is_file():
            got = "no such file here, though a worker has written one"
            fix = "Give --out on a file system that this machine and all workers share."
            raise InputError(Problem(str(work / block.name), "a finished block", got, fix))
        finished += 1
        report(finished, len(blocks), block.region)

    run_tasks(reducer, waiting, done=done, workers=workers, scheduler=scheduler)
    return _assemble(store, source.member_count, blocks, work)


def memory_bound(store: PairStore, members: int, *, workers: int, streamed: bool) -> int:
    """Bytes that scoring needs at most beyond the imported libraries and the case table.

    A worker holds a slab of each variable up to four times (decoded, for pictures, in vectors,
    reduced), the truth of a block and its sums; a streamed model also the block that it predicted.
    """
    needs = []
    for region in expected_regions(store):
        step = 4 * members * int(np.prod(region.grid.fine.shape))
        slab = _slab_steps(region, members) * step
        block = block_steps(region, members) * step * len(store.task.variables)
        sums = 16 * 2**20 + 2 * block // members  # and the truth of a block
        needs.append(4 * slab * (len(store.task.variables) + 1) + sums + (block if streamed else 0))
    return workers * max(needs)


@dataclass(frozen=True)
class _Reducer:
    """Reads and reduces one block, and writes its sums; picklable, so that a cluster can run it."""

    store: PairStore
    source: Source
    work: Path

    def __call__(self, block: Block) -> None:
        region = self.store.region(block.region)
        size = _slab_steps(region, self.source.member_count)
        whole = slice(block.start, block.stop)
        pairs = Pairs.read(region, whole)
        slabs = self.source.slabs(region, whole, size=size)
        reduced = [self._reduce(region, pairs, steps, fields) for steps, fields in slabs]
        step_sums.save(self.work / block.name, step_sums.pack(reduced))

    def domains(self, region: RegionStore) -> dict[str, Domain]:
        """The domain of every variable of a region, made once."""
        if region.name not in self._known:
            self._known[region.name] = {
                variable.name: region_domain(self.store, region, variable)
                for variable in self.store.task.scored_variables
            }
        return self._known[region.name]

    @cached_property
    def _known(self) -> dict[str, dict[str, Domain]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "source": self.source, "work": self.work}

    def _reduce(
        self, region: RegionStore, pairs: "Pairs", steps: slice, fields: Fields
    ) -> tuple[list[Sums], list[Sums], dict[str, NDArray[np.uint8]]]:
        """(sums, counts, digests) of one slab, by variable."""
        task, domains = self.store.task, self.domains(region)
        slabs = {}
        for name in task.variable_names:
            check_shape(fields[name], region, steps, name, self.source.member_count)
            # Compiled kernels find it on the way; numpy would only warn on the way.
            if not compiled() and not np.isfinite(fields[name]).all():
                refuse_values(fields[name], region, steps, name)
            slabs[name] = make_slab(region, domains[name], pairs, name, steps, fields[name])
        reduced = [reduce_slab(slab) for slab in slabs.values()]
        for (name, slab), (found, _) in zip(slabs.items(), reduced, strict=True):
            # A member that is not finite, the border included, makes the sums of p so.
            if not np.isfinite(found["p"]).all():
                refuse_values(slab.members, region, steps, name)
        sums, counts = [found for found, _ in reduced], [found for _, found in reduced]
        for vector in task.vectors:
            for slab in _speed_slabs(region, domains, pairs, vector, steps, fields):
                found, counted = reduce_slab(slab)
                sums.append(found)
                counts.append(counted)
            for slab in _derivative_slabs(region, domains, pairs, vector, steps, fields):
                sums.append(reduce_spectra(slab, sums[0]))
                counts.append({name: np.zeros_like(v) for name, v in counts[0].items()})
        longest = max(len(domain.bins) for domain in domains.values())
        counts = [
            {name: padded(values, longest) for name, values in found.items()} for found in counts
        ]
        return sums, counts, {name: step_digests(fields[name]) for name in task.variable_names}


@dataclass(frozen=True)
class Pairs:
    """Coarse and fine fields of a block, read at once: their chunks hold more steps than a slab."""

    start: int
    fields: dict[tuple[str, str], NDArray[np.float32]]

    @classmethod
    def read(cls, region: RegionStore, steps: slice) -> "Pairs":
        """All variables of both sides, checked against their digests."""
        keys = [(side, name) for side in SIDES for name in region.task.variable_names]
        return cls(steps.start, {key: region.read(*key, steps) for key in keys})

    def of(self, side: str, name: str, steps: slice) -> NDArray[np.float32]:
        """Some of the steps."""
        return self.fields[side, name][steps.start - self.start : steps.stop - self.start]


def make_slab(
    region: RegionStore, domain: Domain, pairs: Pairs, name: str, steps: slice,
    predicted: NDArray[np.float32],
) -> Slab:  # fmt: skip
    """Some steps of one variable, with their truth, coarse input and bilinear."""
    grid = region.grid
    coarse = pairs.of("coarse", name, steps)
    return Slab(
        domain=domain,
        members=predicted,
        truth=pairs.of("fine", name, steps),
        bilinear=interpolate(coarse, grid),
        coarse=np.ascontiguousarray(grid.crop_coarse(coarse)),
        first=steps.start - region.steps(region.task.periods.test).start,
    )


def _speed_slabs(
    region: RegionStore, domains: dict[str, Domain], pairs: Pairs, vector: Vector, steps: slice,
    fields: Fields,
) -> Iterator[Slab]:  # fmt: skip
    names = (vector.eastward, vector.northward)
    parts = [make_slab(region, domains[n], pairs, n, steps, fields[n]) for n in names]
    u, v = parts
    yield Slab(
        # The speed of coarse components is not the mean of fine speeds: nothing is conserved.
        domain=replace(domains[vector.speed.name], conserves=False),
        members=speed(u.members, v.members),
        truth=speed(u.truth, v.truth),
        bilinear=np.hypot(u.bilinear, v.bilinear),
        coarse=speed(u.coarse, v.coarse),
        first=u.first,
    )


def _derivative_slabs(
    region: RegionStore, domains: dict[str, Domain], pairs: Pairs, vector: Vector, steps: slice,
    fields: Fields,
) -> Iterator[Slab]:  # fmt: skip
    """Divergence, then vorticity, of one member a step; derivatives before the margin is cut."""
    names, grid = (vector.eastward, vector.northward), region.grid
    first = steps.start - region.steps(region.task.periods.test).start
    numbers = first + np.arange(steps.stop - steps.start)
    u, v = one_member(fields[names[0]], numbers), one_member(fields[names[1]], numbers)
    true_u, true_v = (pairs.of("fine", name, steps) for name in names)
    for derivative in (divergence, vorticity):
        p, t = (
            found.astype(np.float32)
            for found in (derivative(u, v, grid.fine), derivative(true_u, true_v, grid.fine))
        )
        empty = np.zeros((len(t), 0, 0))
        domain = domains[names[0]]
        yield Slab(domain, p[:, None], t, empty, empty.astype(np.float32), first)


def _slab_steps(region: RegionStore, members: int) -> int:
    return max(1, SLAB_BYTES // (4 * members * int(np.prod(region.grid.fine.shape))))


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


def check_shape(
    values: NDArray[np.float32], region: RegionStore, steps: slice, name: str, members: int
) -> None:
    """InputError where fields are not what the task asks for."""
    shape = (steps.stop - steps.start, members, *region.grid.fine.shape)
    if values.shape != shape or values.dtype != np.float32:
        where, got = f"{region.name}: {name}", f"{values.dtype} {values.shape}"
        fix = "Run `elsewhere validate` for every problem."
        raise InputError(Problem(where, f"float32 {shape}", got, fix))


def refuse_values(
    values: NDArray[np.float32], region: RegionStore, steps: slice, name: str
) -> None:
    """InputError that says how many values are not finite, and when."""
    times = region.times[steps]
    got = f"{np.count_nonzero(~np.isfinite(values))} others between {times[0]} and {times[-1]}"
    fix = "Run `elsewhere validate` for every problem."
    raise InputError(Problem(f"{region.name}: {name}", "finite values", got, fix))


def _assemble(store: PairStore, members: int, blocks: list[Block], work: Path) -> Scored:
    regions, digests = {}, {}
    for region in expected_regions(store):
        mine = [block for block in blocks if block.region == region.name]
        times = region.times[mine[0].start : mine[-1].stop]
        folded = step_sums.fold(_finished(mine, work), case_labels(store.task, times))
        regions[region.name] = folded
        for name, digest in folded.digests.items():
            digests[f"{region.name}/{name}"] = combine_steps(digest.astype(np.uint8))
    table = assemble(store.task, regions, members=members)
    return Scored(table, combine_named(digests))


def _finished(blocks: list[Block], work: Path) -> Iterator[StepSums]:
    """The blocks' sums in time order, one in memory at a time."""
    for block in blocks:
        sums = step_sums.load(work / block.name)
        if sums is None:
            got = "no file, or a damaged one"
            fix = "Score again: what is finished is kept."
            raise InputError(Problem(str(work / block.name), "a finished block", got, fix))
        yield sums
