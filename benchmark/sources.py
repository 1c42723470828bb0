"""The two sources of predictions: a prediction store, and a model that predicts as it is asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from benchmark.chunk_reader import StepReader, open_steps
from benchmark.errors import InputError, Problem
from benchmark.hashing import text_digest
from benchmark.model_card import ModelCard, read_card
from benchmark.pair_store import RegionStore
from benchmark.prediction_store import CARD
from benchmark.predictor import Fields, Predictor
from benchmark.task import Task

READING = (OSError, ValueError, KeyError, RuntimeError, TypeError, BaseZarrError)
"""What a store that is absent, damaged or no store may raise."""


def _unreadable(path: Path, name: str, error: Exception) -> InputError:
    got = f"{type(error).__name__}: {error}"[:200]
    fix = "Run `elsewhere validate` for every problem."
    return InputError(Problem(f"{path}: {name}", "readable values", got, fix))


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

    def slabs(
        self, region: RegionStore, steps: slice, *, size: int
    ) -> Iterator[tuple[slice, Fields]]:
        """Steps counted in the region's pair store; the store holds the test period.

        Chunks are decoded into one buffer a variable, used again for every slab.
        """
        first = region.steps(self.task.periods.test).start
        path = self.folder / f"{region.name}.zarr"
        readers = {name: self._open(path, name) for name in self.task.variable_names}
        buffers: dict[str, NDArray[Any]] = {}
        for start in range(steps.start, steps.stop, size):
            slab = slice(start, min(start + size, steps.stop))
            within = slice(slab.start - first, slab.stop - first)
            fields = {}
            for name, reader in readers.items():
                try:
                    fields[name] = reader.read(within, out=buffers.get(name))
                except READING as error:
                    raise _unreadable(path, name, error) from None
                buffers.setdefault(name, fields[name])
            yield slab, fields

    def _open(self, path: Path, name: str) -> StepReader:
        try:
            return open_steps(path, name)
        except READING as error:
            raise _unreadable(path, name, error) from None

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

    def slabs(
        self, region: RegionStore, steps: slice, *, size: int
    ) -> Iterator[tuple[slice, Fields]]:
        """Predict all the steps at once, so that batches are those of a stored prediction."""
        fields = self.predictor.predict(region, steps)
        for start in range(steps.start, steps.stop, size):
            slab = slice(start, min(start + size, steps.stop))
            within = slice(slab.start - steps.start, slab.stop - steps.start)
            yield slab, {name: values[within] for name, values in fields.items()}

    def fingerprint(self) -> str:
        """The card and the identity."""
        return text_digest(f"{self.identity}\n{self.card.model_dump_json()}")
