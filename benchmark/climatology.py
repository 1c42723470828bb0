"""The training-period mean of the truth at every cell, kept beside the pair store.

Anomalies from it show what pooled scores of temperature hide: the difference between warm and cold
places is in every model's input.
"""

import io
import math
import zipfile

import numpy as np
from numpy.typing import NDArray

from benchmark.files import write_atomically
from benchmark.hashing import text_digest
from benchmark.pair_store import RegionStore
from benchmark.zarr_io import steps_per_shard


def training_mean(region: RegionStore, variable: str) -> NDArray[np.float64]:
    """(ny, nx) mean over the training period; NaN where a cell never has a truth.

    Computed shard by shard in float64 and kept under the digest of the truth and the period.
    """
    period = region.task.periods.train
    words = (region.digest("fine", variable), period.first.isoformat(), period.last.isoformat())
    key = text_digest("\n".join(words))[:16]
    path = region.path.parent / "climatology" / f"{region.name}-{variable}-{key}.npz"
    try:
        with np.load(path) as kept:
            return np.asarray(kept["mean"], np.float64)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        mean = _mean(region, variable)
    buffer = io.BytesIO()
    np.savez(buffer, mean=mean)
    write_atomically(path, buffer.getvalue())
    return mean


def _mean(region: RegionStore, variable: str) -> NDArray[np.float64]:
    steps = region.steps(region.task.periods.train)
    size = steps_per_shard(4 * math.prod(region.grid.fine.shape), len(region.times))
    total, count = np.zeros(region.grid.fine.shape), np.zeros(region.grid.fine.shape)
    for start in range(steps.start, steps.stop, size):
        values = region.read("fine", variable, slice(start, min(start + size, steps.stop)))
        for truth in values:
            known = np.isfinite(truth)
            total += np.where(known, truth, 0.0)
            count += known
    mean = np.divide(total, count, where=count > 0, out=np.full(total.shape, np.nan))
    return np.asarray(mean, np.float64)
