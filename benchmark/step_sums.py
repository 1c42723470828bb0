"""The sums of a block of steps as flat arrays: quick to write, to read and to add.

One file a finished block; a block is there whole or not at all.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.families.base import Array, Sums
from benchmark.files import write_atomically
from benchmark.statistics import STATISTICS

KINDS = ("case", "period", "max")
Layout = Mapping[str, tuple[int, ...]]
"""{name: shape after (time, variable)}, in the order of the columns."""


@dataclass(frozen=True)
class StepSums:
    """What one block was reduced to: columns of each kind for (time, variable).

    columns[kind]: (T, V, F) float64; layouts[kind]: which columns are which statistic; counts:
    {name: (V, ...)} of the block as a whole, exact in any order; digests: {variable: (T, 32)} of
    the predictions that were scored.
    """

    columns: dict[str, Array]
    layouts: dict[str, Layout]
    counts: Sums
    digests: dict[str, NDArray[np.uint8]]


def kind_of(name: str) -> str:
    """How the steps of a statistic are folded: by case, over the period, or to a maximum."""
    statistic = STATISTICS[name]
    return "max" if statistic.fold == "max" else statistic.keep


Reduced = tuple[Sequence[Sums], Sequence[Sums], Mapping[str, NDArray[np.uint8]]]
"""A slab: (sums of each variable, counts of each variable, digests of the predictions)."""


def pack(slabs: Sequence[Reduced]) -> StepSums:
    """One block from its slabs.

    Statistics are (T, ...) with equal shapes for all variables of a slab.
    """
    first = slabs[0][0][0]
    names = {kind: sorted(n for n in first if kind_of(n) == kind) for kind in KINDS}
    layouts: dict[str, Layout] = {
        kind: {n: first[n].shape[1:] for n in names[kind]} for kind in KINDS
    }
    columns = {kind: _columns(slabs, names[kind]) for kind in KINDS}
    counts = {
        name: np.sum([[found[name] for found in counts] for _, counts, _ in slabs], axis=0)
        for name in slabs[0][1][0]
    }
    digests = {v: np.concatenate([d[v] for _, _, d in slabs]) for v in slabs[0][2]}
    return StepSums(columns, layouts, counts, digests)


def _columns(slabs: Sequence[Reduced], names: Iterable[str]) -> Array:
    """(T, V, F): for each variable, all statistics of all steps side by side."""
    by_variable = []
    for v in range(len(slabs[0][0])):
        parts = [np.concatenate([sums[v][name] for sums, _, _ in slabs]) for name in names]
        flat = [np.asarray(part, np.float64).reshape(len(part), -1) for part in parts]
        by_variable.append(np.concatenate(flat, axis=1))
    return np.stack(by_variable, axis=1)


def unpack(columns: Array, layout: Layout) -> Sums:
    """{name: (..., *shape)} from (..., F) columns."""
    found, start = {}, 0
    for name, shape in layout.items():
        stop = start + prod(shape)
        found[name] = columns[..., start:stop].reshape(*columns.shape[:-1], *shape)
        start = stop
    return found


def save(path: Path, block: StepSums) -> None:
    """Write a finished block, atomically."""
    header = json.dumps({kind: list(layout.items()) for kind, layout in block.layouts.items()})
    arrays: dict[str, NDArray[np.generic]] = {f"columns/{k}": a for k, a in block.columns.items()}
    arrays |= {f"counts/{name}": values for name, values in block.counts.items()}
    arrays |= {f"digest/{name}": values for name, values in block.digests.items()}
    arrays["layouts"] = np.frombuffer(header.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> StepSums | None:
    """A finished block; None where the file is not one, so that the block is reduced again."""
    try:
        with np.load(path) as stored:
            header = json.loads(stored["layouts"].tobytes())

            def part(prefix: str) -> dict[str, NDArray[np.generic]]:
                keys = [key for key in stored.files if key.startswith(prefix)]
                return {key.removeprefix(prefix): stored[key] for key in keys}

            return StepSums(
                columns=part("columns/"),  # type: ignore[arg-type]
                layouts={k: {n: tuple(shape) for n, shape in v} for k, v in header.items()},
                counts=part("counts/"),  # type: ignore[arg-type]
                digests=part("digest/"),  # type: ignore[arg-type]
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None


@dataclass(frozen=True)
class RegionSums:
    """One region's sums: by case (case, variable, ...), and of the period (variable, ...)."""

    cases: NDArray[np.datetime64]
    by_case: Sums
    period: Sums
    digests: dict[str, NDArray[np.uint8]]


def fold(blocks: Iterable[StepSums], labels: NDArray[np.datetime64]) -> RegionSums:
    """Fold a region's blocks, given in time order; labels: the case of each step.

    Steps are added one by one in time order, so that the cuts between blocks cannot change a bit.
    """
    cases, index = np.unique(labels, return_inverse=True)
    step = 0
    digests: dict[str, list[NDArray[np.uint8]]] = {}
    for number, block in enumerate(blocks):
        if number == 0:
            layouts = block.layouts
            shape = {kind: block.columns[kind].shape[1:] for kind in KINDS}
            by_case = np.zeros((len(cases), *shape["case"]))
            largest = np.full((len(cases), *shape["max"]), -np.inf)
            period = np.zeros(shape["period"])
            counts = {name: np.zeros_like(values) for name, values in block.counts.items()}
        for k in range(len(block.columns["case"])):
            by_case[index[step]] += block.columns["case"][k]
            np.maximum(largest[index[step]], block.columns["max"][k], out=largest[index[step]])
            period += block.columns["period"][k]
            step += 1
        for name, values in block.counts.items():
            counts[name] += values
        for name, digest in block.digests.items():
            digests.setdefault(name, []).append(digest)
    return RegionSums(
        cases=cases,
        by_case=unpack(by_case, layouts["case"]) | unpack(largest, layouts["max"]),
        period=unpack(period, layouts["period"]) | counts,
        digests={name: np.concatenate(found) for name, found in digests.items()},
    )
