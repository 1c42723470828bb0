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
from data_recipes.source import Advance, no_report


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


def no_times(task: Task, region: Region) -> Problem:
    """Of a region for which nothing can be built."""
    return Problem(
        f"{task.id}: {region.name}",
        "times in the task's periods",
        "none that its products have",
        "Check the recipe's times, and what arrived.",
    )


class Recipe(Protocol):
    """The source of a task's pair store.

    source_ids: what is read, by name, with a version or hash; configuration: every setting. Both
    are kept in the manifests, and where they differ a region is built anew. steps: how many times a
    region has where none is missing.
    """

    @property
    def source_ids(self) -> dict[str, str]:
        """What is read."""
        ...

    @property
    def configuration(self) -> dict[str, Any]:
        """Every setting."""
        ...

    @property
    def steps(self) -> int:
        """How many times are expected."""
        ...

    def estimate(self, region: Region) -> int:
        """Bytes that are yet to be fetched for a region."""
        ...

    def fetch(self, regions: Sequence[Region], *, advance: Advance = no_report) -> None:
        """Bring what these regions need; what is here already stays."""
        ...

    def region(self, region: Region) -> RegionPlan:
        """Plan one region, of which all is here."""
        ...
