"""A score in a process of its own, for `tests/cli/test_kill.py`."""

import os
import time
from pathlib import Path

from benchmark.engine import VARIABLE
from benchmark.evaluate import reference_cases, score
from benchmark.pair_store import PairStore
from benchmark.references import REFERENCES
from benchmark.sources import StoredPredictions

LENGTH = "seconds.txt"


def scored(store: PairStore, predictions: Path, out: Path) -> None:
    """Score step by step."""
    os.environ[VARIABLE] = "numpy"  # has nothing to load
    score(store, StoredPredictions(store.task, predictions), out, steps_per_block=1)


def timed(store: PairStore, predictions: Path, out: Path) -> None:
    """Score, and note in `LENGTH`, beside `out`, how long it takes where the references are."""
    os.environ[VARIABLE] = "numpy"
    for name in REFERENCES:
        reference_cases(store, name)
    began = time.monotonic()
    scored(store, predictions, out)
    out.with_name(LENGTH).write_text(f"{time.monotonic() - began}")
