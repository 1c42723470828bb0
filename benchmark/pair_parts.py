"""A region's store while it is being built: block by block, by any number of workers, resumable.

A block is a shard of every array, so that no two workers write one file. When a block is written,
its digests are left beside the arrays: it is not written again, whoever stops the build. Whole
stores get their names by renaming, the manifest last: a region without one is not there.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmark.files import write_atomically
from benchmark.grid import Grid, region_grid
from benchmark.hashing import DIGEST_BYTES, text_digest
from benchmark.manifest import Manifest, read_manifest
from benchmark.pair_writer import (
    Digests,
    Origin,
    Steps,
    create_region,
    finish_region,
    leave_manifest,
    put_steps,
)
from benchmark.task import Task
from benchmark.zarr_io import steps_per_shard

PLAN = "plan.json"
STORE = "store"


def blocks_of(fine: Grid, count: int) -> list[slice]:
    """Of `count` steps, those that are built at once: as many as make a shard of a fine field."""
    size = _block_steps(fine, count)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _block_steps(fine: Grid, count: int) -> int:
    return steps_per_shard(4 * int(np.prod(fine.shape)), count)


@dataclass(frozen=True)
class PartialRegion:
    """The store of `region` below `folder`, before it has its name. Can be pickled."""

    task: Task
    region: str
    folder: Path
    times: NDArray[np.datetime64]

    @property
    def path(self) -> Path:
        """The hidden folder in which the store grows, and what says how far it is."""
        return self.folder / f".{self.region}.part"

    @property
    def blocks(self) -> list[slice]:
        """The steps of each block; the last may be shorter."""
        return blocks_of(self._fine, len(self.times))

    @property
    def _fine(self) -> Grid:
        return region_grid(self.task, self.task.region(self.region)).fine

    def begin(self, origin: Origin) -> None:
        """Create the arrays, or keep those of an earlier build that was to give the same."""
        plan = self._plan(origin)
        kept = self.path / PLAN
        if kept.is_file() and kept.read_text() == plan:
            return
        kept.unlink(missing_ok=True)  # first: what is half removed is no plan's
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        store, steps = self.path / STORE, _block_steps(self._fine, len(self.times))
        create_region(self.task, self.region, store, self.times, shard_steps=steps)
        write_atomically(kept, plan)

    def is_written(self, block: slice) -> bool:
        """Whether a block is whole."""
        return self._digest_file(block).is_file()

    def write(self, block: slice, steps: Steps) -> None:
        """Write one block."""
        root = zarr.open_group(self.path / STORE, mode="r+")
        digests = put_steps(self.task, root, block.start, steps)
        lines = {key: values.tobytes().hex() for key, values in digests.items()}
        write_atomically(self._digest_file(block), json.dumps(lines))

    def finish(self, static: Mapping[str, NDArray[np.float32]], origin: Origin) -> Manifest:
        """Give the whole store its name, and leave its manifest beside it."""
        manifest = self.path / f"{self.region}.json"
        if not manifest.is_file():
            self._complete(static, origin)
        store, target = self.path / STORE, self.folder / f"{self.region}.zarr"
        final = self.folder / manifest.name
        if store.is_dir():  # it is not where a build was stopped just below
            final.unlink(missing_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            store.rename(target)
        manifest.replace(final)
        shutil.rmtree(self.path)
        return read_manifest(final)

    def _complete(self, static: Mapping[str, NDArray[np.float32]], origin: Origin) -> None:
        """Write what needs all blocks: digests, static fields and the manifest."""
        store = self.path / STORE
        for name in ("digest", "static"):  # of a build that was stopped just here
            shutil.rmtree(store / name, ignore_errors=True)
        for leftover in store.rglob("*.partial"):  # of a write that was killed
            leftover.unlink()
        root = zarr.open_group(store, mode="r+")
        blocks = [self._digests(block) for block in self.blocks]
        combined = finish_region(self.task, self.region, root, blocks, static)
        leave_manifest(
            self.task, self.region, self.path, times=self.times, digests=combined, origin=origin
        )

    def _plan(self, origin: Origin) -> str:
        """What decides every value, as a digest."""
        words = {
            "region": self.region,
            "sources": dict(origin.source_ids),
            "recipe": dict(origin.recipe),
            "missing": [interval.model_dump(mode="json") for interval in origin.missing],
            "times": text_digest(" ".join(self.times.astype(str))),
            "task": self.task.id,
        }
        return text_digest(json.dumps(words, sort_keys=True, default=str)) + "\n"

    def _digest_file(self, block: slice) -> Path:
        return self.path / f"block-{block.start:08d}.json"

    def _digests(self, block: slice) -> Digests:
        lines = json.loads(self._digest_file(block).read_text())
        return {
            key: np.frombuffer(bytes.fromhex(line), np.uint8).reshape(-1, DIGEST_BYTES)
            for key, line in lines.items()
        }
