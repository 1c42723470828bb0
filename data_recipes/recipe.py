"""What a recipe is: what knows a region's times and static fields, and makes its steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import Problem
from benchmark.manifest import Interval
from benchmark.pair_writer import Steps
from benchmark.region import Region
from benchmark.task import Task
from data_recipes.source import Advance, Load, no_report

Report = Callable[[str, int, int], None]
"""report(region, steps done, all its steps): after each block; 0 of 0 where it was there.

Also ("missing cells of REGION" or "mismatch of REGION", steps done, all of them) before each block
that is read for that.
"""


@dataclass(frozen=True, eq=False)
class RegionPlan:
    """One region, ready to be written.

    times: what will be built; missing: what was expected and is not there; static: (ny, nx)
    fields; steps: makes the fields of a block of `times`, anywhere, in any order: it can be
    pickled, and gives the same values whoever calls it.
    """

    times: NDArray[np.datetime64]
    static: Mapping[str, NDArray[np.float32]]
    steps: Callable[[slice], Steps]
    missing: tuple[Interval, ...] = ()


def no_times(task: Task, region: Region, times: NDArray[np.datetime64]) -> list[Problem]:
    """Of a region without times in a period of one of its splits."""
    kinds = {"train": ("train", "val", "test"), "val_ood": ("val",), "test_ood": ("test",)}
    problems = []
    for kind in kinds[region.role]:
        period = getattr(task.periods, kind)
        first, last = (np.datetime64(time, "s") for time in (period.first, period.last))
        if not ((times >= first) & (times <= last)).any():
            problems.append(
                Problem(
                    f"{task.id}: {region.name}, period {kind}",
                    f"times from {period.first} to {period.last}",
                    "none that its products have whole",
                    "Check the recipe's times, the periods, and what arrived.",
                )
            )
    return problems


class Recipe(Protocol):
    """The source of a task's pair store."""

    @property
    def steps(self) -> int:
        """How many times a region has where none is missing."""
        ...

    def source_ids(self, region: Region) -> dict[str, str]:
        """What is read for a region, by name, with a version or hash.

        Kept in its manifest with the configuration; where they differ it is built anew.
        """
        ...

    def configuration(self, region: Region) -> dict[str, Any]:
        """Every setting that makes a region."""
        ...

    def to_fetch(self, regions: Sequence[Region]) -> Load:
        """Bytes, about, that are yet to be fetched; what regions share counts once."""
        ...

    def check_keys(self, regions: Sequence[Region]) -> None:
        """Refuse where a key is missing for what is yet to be fetched; asks nobody.

        Errors: InputError with all of them.
        """
        ...

    def fetch(self, regions: Sequence[Region], *, advance: Advance = no_report) -> None:
        """Bring what these regions need; what is here already stays."""
        ...

    def region(
        self,
        region: Region,
        *,
        workers: int = 1,
        scheduler: str | None = None,
        report: Report = no_report,
    ) -> RegionPlan:
        """Plan one region, of which all is here.

        workers, scheduler: who looks through its fields, where that takes long (`run_tasks`).
        """
        ...
