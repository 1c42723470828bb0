"""The two sources of predictions: a prediction store, and a model that predicts as it is asked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.errors import InputError, Problem
from benchmark.hashing import text_digest
from benchmark.model_card import ModelCard, read_card
from benchmark.pair_store import RegionStore
from benchmark.prediction_store import CARD
from benchmark.predictor import Fields, Predictor
from benchmark.task import Task
from benchmark.zarr_io import open_group


@dataclass(frozen=True)
class StoredPredictions:
    """A prediction store, read block by block exactly as it is."""

    task: Task
    folder: Path

    @cached_property
    def card(self) -> ModelCard:
        """`model.toml`."""
        return read_card(self.folder / CARD)

    @property
    def member_count(self) -> int:
        """1 for deterministic models, the task's members otherwise."""
        return 1 if self.card.members == "single" else self.task.members

    def read(self, region: RegionStore, steps: slice) -> Fields:
        """Steps counted in the region's pair store; the store holds the test period."""
        first = region.steps(self.task.periods.test).start
        path = self.folder / f"{region.name}.zarr"
        group = open_group(path, fix="Run `elsewhere validate` for every problem.")
        within = slice(steps.start - first, steps.stop - first)
        fields = {}
        for name in self.task.variable_names:
            try:
                fields[name] = np.asarray(group[name][within])  # type: ignore[index]
            except Exception as error:
                got = f"{type(error).__name__}: {error}"[:200]
                raise InputError(
                    Problem(
                        f"{path}: {name}",
                        "readable values",
                        got,
                        "Run `elsewhere validate` for every problem.",
                    )
                ) from None
        return fields

    def fingerprint(self) -> str:
        """Every file's name, size and time of change, and the card."""
        lines = [
            f"{path.relative_to(self.folder)} {status.st_size} {status.st_mtime_ns}"
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and (status := path.stat())
        ]
        return text_digest("\n".join([*lines, self.card.model_dump_json()]))


@dataclass(frozen=True)
class StreamedPredictions:
    """A predictor whose fields are scored and never stored."""

    predictor: Predictor
    identity: str
    """What decides the fields besides the card: the digest of a run's weights, say."""

    @property
    def card(self) -> ModelCard:
        """The predictor's declaration."""
        return self.predictor.card

    @property
    def member_count(self) -> int:
        """The predictor's members."""
        return self.predictor.member_count

    def read(self, region: RegionStore, steps: slice) -> Fields:
        """Predict the steps."""
        return self.predictor.predict(region, steps)

    def fingerprint(self) -> str:
        """The card and the identity."""
        return text_digest(f"{self.identity}\n{self.card.model_dump_json()}")
