"""What a recipe is: something that yields a region's times, static fields and blocks of steps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.pair_writer import Steps
from benchmark.task import Region


@dataclass(frozen=True)
class RegionData:
    """One region ready to be written; `blocks` are (first step, fields) in time order."""

    times: NDArray[np.datetime64]
    static: Mapping[str, NDArray[np.float32]]
    blocks: Iterable[tuple[int, Steps]]


class Recipe(Protocol):
    """The source of a task's pair store.

    source_ids: what was read, by name, with a version or hash; configuration: every setting, both
    kept in the manifests.
    """

    source_ids: dict[str, str]
    configuration: dict[str, Any]

    def region(self, region: Region) -> RegionData:
        """The data of one region."""
        ...
