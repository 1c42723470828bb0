"""The mismatch of a real pair's regions, kept in the pair store from when a region is whole.

`DATA/TASK@REVISION/mismatch/REGION.json` says which values it was computed from: it is shown for
no others. It is no part of the data hash.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from benchmark.files import write_atomically
from benchmark.hashing import text_digest
from benchmark.mismatch import Mismatch, region_mismatch
from benchmark.pair_store import PairStore, RegionStore
from benchmark.toml_model import Frozen

SCHEMA_VERSION: Literal[1] = 1
"""Another one where the same values would give other numbers."""

Report = Callable[[int, int, str], None]
"""report(steps done, all steps, what): before each block that is read, and so never at the end."""


class KeptMismatch(Frozen):
    """One region's file: of all variables, in the task's order.

    data_hash: of the region's values; contract: a digest of which of them count, and as what.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    data_hash: str
    contract: str
    mismatch: tuple[Mismatch, ...]


def mismatches(
    store: PairStore, variables: Sequence[str] = (), *, report: Report = lambda *_: None
) -> list[Mismatch]:
    """The mismatch of each of the task's regions, by name, and variables (default: all).

    What is kept is shown, the rest computed; nothing is written.
    Errors: InputError where the store is incomplete or damaged, or has no such variable.
    """
    chosen = [store.task.variable(v).name for v in variables or store.task.variable_names]
    found: list[Mismatch] = []
    for region in _by_name(store):
        kept = {one.variable: one for one in kept_mismatch(region) or ()}
        if not kept:
            kept = {one.variable: one for one in _computed(region, chosen, report)}
        found += [kept[name] for name in chosen]
    return found


def keep_mismatches(store: PairStore, *, report: Report = lambda *_: None) -> tuple[Mismatch, ...]:
    """`keep_mismatch` of every region, by name."""
    return tuple(one for region in _by_name(store) for one in keep_mismatch(region, report=report))


def keep_mismatch(region: RegionStore, *, report: Report = lambda *_: None) -> tuple[Mismatch, ...]:
    """The mismatch of a region that is whole; computed and kept first where it is not yet.

    Nothing on the perfect-model track, where there is one product.
    """
    found = kept_mismatch(region)
    if found is None:
        found = tuple(_computed(region, region.task.variable_names, report))
        kept = KeptMismatch(
            data_hash=region.data_hash, contract=_contract(region), mismatch=found
        )  # fmt: skip
        write_atomically(_path(region), kept.model_dump_json(indent=1) + "\n")
    return found


def kept_mismatch(region: RegionStore) -> tuple[Mismatch, ...] | None:
    """What is kept of a region; None where that is nothing, or is of other values than it has.

    Empty on the perfect-model track: there is nothing to keep.
    """
    if region.task.track == "perfect_model":
        return ()
    path = _path(region)
    if not path.is_file():
        return None
    try:
        kept = KeptMismatch.model_validate_json(path.read_bytes())
    except ValidationError:
        return None  # of another schema, or damaged: computing it again mends it
    current = (region.data_hash, _contract(region))
    return kept.mismatch if (kept.data_hash, kept.contract) == current else None


def _by_name(store: PairStore) -> list[RegionStore]:
    return [store.region(name) for name in sorted(region.name for region in store.task.regions)]


def _computed(region: RegionStore, variables: Sequence[str], report: Report) -> list[Mismatch]:
    steps = region.steps(region.task.periods.train)
    count = steps.stop - steps.start
    found: list[Mismatch] = []

    def reading(done: int) -> None:
        report(len(found) * count + done, len(variables) * count, f"mismatch of {region.name}")

    for name in variables:
        found.append(region_mismatch(region, name, report=reading))
    return found


def _path(region: RegionStore) -> Path:
    return region.path.parent / "mismatch" / f"{region.name}.json"


def _contract(region: RegionStore) -> str:
    """What decides the numbers beside the values: the steps, the cells that count, the units."""
    task = region.task
    of_task = {"factor", "spacing", "coarse_shift", "margin"}
    words = task.model_dump(mode="json", include=of_task)
    words["region"] = task.region(region.name).model_dump(mode="json", exclude={"role"})
    words["units"] = [(variable.name, variable.units) for variable in task.variables]
    steps = region.steps(task.periods.train)
    words["steps"] = (steps.start, steps.stop)
    return text_digest(json.dumps(words, sort_keys=True))
