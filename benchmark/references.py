"""The two reference models of the boards, as predictors, and their case tables beside the store."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark.dressing import ResidualBank
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.predictor import Fields, Predictor
from benchmark.reference import Bilinear


@dataclass(frozen=True)
class BilinearReference:
    """Bilinear interpolation between cell centres."""

    store: PairStore
    member_count: int = 1

    @property
    def card(self) -> ModelCard:
        """Its declaration."""
        return ModelCard(
            task=self.store.task.id,
            model="bilinear",
            title="bilinear",
            reference="Elsewhere",
            null=True,
        )

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, 1, ny, nx) fields by variable."""
        bilinear = Bilinear.on(region.grid)
        return {
            name: bilinear(region.read("coarse", name, steps)).astype(np.float32)[:, None]
            for name in region.task.variable_names
        }


@dataclass(frozen=True)
class DressedReference:
    """Bilinear dressed with training residuals, in the task's members."""

    store: PairStore

    @property
    def card(self) -> ModelCard:
        """Its declaration."""
        return ModelCard(
            task=self.store.task.id,
            model="bilinear-dressed",
            title="bilinear dressed with training residuals",
            reference="Elsewhere",
            null=True,
            members="exchangeable",
        )

    @property
    def member_count(self) -> int:
        """The task's members."""
        return self.store.task.members

    @cached_property
    def _bank(self) -> ResidualBank:
        return ResidualBank.from_training(self.store)

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, member, ny, nx) fields by variable."""
        return self._bank.predict(region, steps)


REFERENCES: dict[str, Callable[[PairStore], Predictor]] = {
    "bilinear": BilinearReference,
    "bilinear-dressed": DressedReference,
}
