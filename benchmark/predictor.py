"""What a model is to the harness: fields on request, region by region, step by step."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.model_card import ModelCard
from benchmark.pair_store import RegionStore

Fields = Mapping[str, NDArray[np.float32]]


class Predictor(Protocol):
    """A model that predicts from a region's coarse fields (and what its regime allows)."""

    @property
    def card(self) -> ModelCard:
        """Its declaration."""
        ...

    @property
    def member_count(self) -> int:
        """1, or the task's members."""
        ...

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, member, ny, nx) float32 fields by variable for `steps` of the region's store.

        The answer for a step must not depend on which other steps are asked for.
        """
        ...
