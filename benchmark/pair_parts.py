"""A region's store while it is being built: block by block, by any number of workers, resumable.

A block is a shard of every array, so that no two workers write one file. When a block is written,
its digests are left beside the arrays: it is not written again, whoever stops the build.
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
from benchmark.grid import region_grid
from benchmark.hashing import DIGEST_BYTES, text_digest
from benchmark.manifest import Manifest
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


@dataclass(frozen=True)
class PartialRegion:
    """The store of `region` below `folder`, before it has its name. Can be pickled."""

    task: Task
    region: str
    folder: Path
    times: NDArray[np.datetime64]

    @property
    def path(self) -> Path:
        """The hidden folder that becomes `REGION.zarr`."""
        return self.folder / f".{self.region}.part"

    @property
    def blocks(self) -> list[slice]:
        """The steps of each block; the last may be shorter."""
        size, count = self._block_steps, len(self.times)
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    @property
    def _block_steps(self) -> int:
        grid = region_grid(self.task, self.task.region(self.region)).fine
        return steps_per_shard(4 * int(np.prod(grid.shape)), len(self.times))

    def begin(self, origin: Origin) -> None:
        """Create the arrays, or keep those of an earlier build that was to give the same."""
        plan = self._plan(origin)
        if (self.path / PLAN).is_file() and (self.path / PLAN).read_text() == plan:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        create_region(self.task, self.region, self.path, self.times, shard_steps=self._block_steps)
        write_atomically(self.path / PLAN, plan)

    def is_written(self, block: slice) -> bool:
        """Whether a block is whole."""
        return self._digest_file(block).is_file()

    def write(self, block: slice, steps: Steps) -> None:
        """Write one block."""
        root = zarr.open_group(self.path, mode="r+")
        digests = put_steps(self.task, root, block.start, steps)
        lines = {key: values.tobytes().hex() for key, values in digests.items()}
        write_atomically(self._digest_file(block), json.dumps(lines))

    def finish(self, static: Mapping[str, NDArray[np.float32]], origin: Origin) -> Manifest:
        """Give the whole store its name, and leave its manifest beside it."""
        digests = [self._digests(block) for block in self.blocks]
        root = zarr.open_group(self.path, mode="r+")
        for name in ("digest", "static"):  # of a build that was stopped just here
            shutil.rmtree(self.path / name, ignore_errors=True)
        combined = finish_region(self.task, self.region, root, digests, static)
        target = self.folder / f"{self.region}.zarr"
        (self.folder / f"{self.region}.json").unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        for leftover in (*self.path.glob("block-*.json"), self.path / PLAN):
            leftover.unlink(missing_ok=True)
        self.path.rename(target)
        return leave_manifest(
            self.task, self.region, self.folder,
            times=self.times, digests=combined, origin=origin,
        )  # fmt: skip

    def _plan(self, origin: Origin) -> str:
        """What decides every value, as a digest."""
        words = {
            "task": self.task.model_dump(mode="json"),
            "region": self.region,
            "sources": dict(origin.source_ids),
            "recipe": dict(origin.recipe),
            "times": text_digest(" ".join(self.times.astype(str))),
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
