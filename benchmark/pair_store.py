"""The pair store: coarse and fine fields of every region, checked as they are read.

`DATA/TASK@REVISION/REGION.zarr` has the groups `coarse` and `fine` (time, y, x), `static` (y, x)
and `digest` (time, 32); `REGION.json` beside it is its manifest, and
`mismatch/REGION.json` is of `kept_mismatch`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from benchmark.chunk_reader import StepReader, open_steps
from benchmark.errors import InputError, Problem
from benchmark.grid import RegionGrid, region_grid
from benchmark.hashing import combine_named, combine_steps, step_digests
from benchmark.manifest import Manifest, read_manifest
from benchmark.task import Period, Split, Task
from benchmark.zarr_io import open_group, read_time

Field = NDArray[np.float32]
SIDES = ("coarse", "fine")
OTHERS = "others: their BLAKE3 digest differs"


@dataclass(frozen=True)
class RegionStore:
    """One region of a pair store, read step by step."""

    task: Task
    name: str
    path: Path

    @cached_property
    def grid(self) -> RegionGrid:
        """The region's grids."""
        return region_grid(self.task, self.task.region(self.name))

    @cached_property
    def times(self) -> NDArray[np.datetime64]:
        """All times of the store, ascending."""
        return read_time(_array(self._root, "fine/time"))

    def steps(self, period: Period) -> slice:
        """The consecutive steps that lie in a period."""
        first = int(np.searchsorted(self.times, np.datetime64(period.first, "s"), side="left"))
        stop = int(np.searchsorted(self.times, np.datetime64(period.last, "s"), side="right"))
        return slice(first, stop)

    def read(self, side: str, variable: str, steps: slice, *, into: Field | None = None) -> Field:
        """(time, y, x) values of `side` ("coarse" or "fine"), in the task's units.

        into: an array to read into where it fits, so that memory is used again.

        Missing data: NaN where the product has none. Errors: InputError when the values are not
        those that were built (their digest differs from the recorded one).
        """
        values = self._decoded_field(f"{side}/{variable}", steps, into)
        if not np.array_equal(step_digests(values), self._recorded(side, variable)[steps]):
            raise self._damaged(f"{side}/{variable}", OTHERS)
        return values

    def _recorded(self, side: str, variable: str) -> NDArray[np.uint8]:
        """The digests of all steps, once they were found to be those of the manifest."""
        if (side, variable) not in self._digests:
            digests = self._decoded(f"digest/{side}_{variable}", slice(None))
            if combine_steps(digests) != self._manifest.digests.get(f"{side}/{variable}"):
                raise self._damaged(f"digest/{side}_{variable}", OTHERS)
            self._digests[side, variable] = digests
        return self._digests[side, variable]

    def _decoded_field(self, name: str, steps: slice, into: Field | None) -> Field:
        try:
            if name not in self._readers:
                self._readers[name] = open_steps(self.path, name)
            return self._readers[name].read(steps, out=into).astype(np.float32, copy=False)
        except (RuntimeError, ValueError, OSError, BaseZarrError) as error:
            raise self._damaged(name, f"{type(error).__name__}: {error}"[:200]) from None

    def _decoded(self, name: str, steps: slice) -> NDArray[Any]:
        try:
            return np.asarray(_array(self._root, name)[steps])
        except (RuntimeError, ValueError, OSError, BaseZarrError) as error:
            raise self._damaged(name, f"{type(error).__name__}: {error}"[:200]) from None

    def _damaged(self, name: str, got: str) -> InputError:
        fix = f"Delete {self.path} and run `elsewhere build {self.task.name}` again."
        return InputError(Problem(f"{self.path}: {name}", "the values that were built", got, fix))

    def static(self, name: str) -> Field:
        """(y, x) static field on the fine grid: `land_fraction` (1) or `orography` (m).

        Read and checked once, and shared by all who ask: not to be written to.
        """
        if name not in self.task.static and name != "cell_area":
            raise InputError(
                Problem(
                    f"{self.task.id}: {name}",
                    "a task with this static field",
                    f"one with {', '.join(self.task.static) or 'none'}",
                    "Choose a model that reads no statics, or build them into the task.",
                )
            )
        if name not in self._statics:
            key = f"static/{name}"
            values = self._decoded(key, slice(None))
            if combine_steps(step_digests(values[None])) != self._manifest.digests[key]:
                raise self._damaged(key, OTHERS)
            self._statics[name] = values.astype(np.float32, copy=False)
        return self._statics[name]

    @property
    def data_hash(self) -> str:
        """The digest of all of the region's values."""
        return combine_named(self._manifest.digests)

    def digest(self, side: str, variable: str) -> str:
        """The digest of a variable's values, as the manifest records it."""
        return self._manifest.digests[f"{side}/{variable}"]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is cached: another process opens files of its own."""
        return {"task": self.task, "name": self.name, "path": self.path}

    @cached_property
    def _manifest(self) -> Manifest:
        return read_manifest(self.path.with_suffix(".json"))

    @cached_property
    def _readers(self) -> dict[str, StepReader]:
        return {}

    @cached_property
    def _statics(self) -> dict[str, Field]:
        return {}

    @cached_property
    def _digests(self) -> dict[tuple[str, str], NDArray[np.uint8]]:
        return {}

    @cached_property
    def _root(self) -> zarr.Group:
        return open_group(self.path, fix=f"Run `elsewhere build {self.task.name}`.")


@dataclass(frozen=True)
class PairStore:
    """All regions of one task, as built under `folder`."""

    task: Task
    folder: Path

    def region(self, name: str) -> RegionStore:
        """One region's store; the same object at every call, so that files are opened once."""
        return self._regions.setdefault(
            name, RegionStore(self.task, name, self.folder / f"{name}.zarr")
        )

    @cached_property
    def _regions(self) -> dict[str, RegionStore]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is cached: another process opens files of its own."""
        return {"task": self.task, "folder": self.folder}

    def regions(self, *splits: Split) -> list[RegionStore]:
        """The stores of one or several splits' regions, sorted by name."""
        return [self.region(region.name) for region in self.task.regions_of(*splits)]

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Every region's manifest, by region."""
        names = [region.name for region in self.task.regions]
        return {name: read_manifest(self.folder / f"{name}.json") for name in names}

    @cached_property
    def data_hash(self) -> str:
        """The digest of everything in the store: variables by region, over sorted regions."""
        return combine_named({name: combine_named(m.digests) for name, m in self.manifests.items()})


def open_pair_store(task: Task, data: Path) -> PairStore:
    """The pair store of `task` under the data folder.

    Errors: InputError naming every region that is missing or belongs to another revision.
    """
    folder = data / task.id
    store = PairStore(task, folder)
    fix = f"Run `elsewhere build {task.name}`."
    missing = [r.name for r in task.regions if not (folder / f"{r.name}.json").is_file()]
    if missing:
        got = "none of them" if len(missing) == len(task.regions) else f"no {', '.join(missing)}"
        expected = f"a pair store with {len(task.regions)} regions"
        raise InputError(Problem(str(folder), expected, got, fix))
    wrong = [n for n, m in store.manifests.items() if (m.task, m.region) != (task.id, n)]
    if wrong:
        expected = f"manifests of {task.id}, each of its own region"
        raise InputError(Problem(str(folder), expected, f"others in {', '.join(wrong)}", fix))
    return store


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    found = root[name]
    if not isinstance(found, zarr.Array):
        raise TypeError(f"{name} is a group")
    return found
