"""Bilinear dressed with training residuals: the reference of the probabilistic board."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from benchmark.errors import InputError, Problem
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear
from benchmark.task import Task

BANK_SIZE = 256
"""At most this many residual fields are kept."""
TRIED = 16 * BANK_SIZE
"""At most so many steps are drawn in search of fields with a truth."""


@dataclass(frozen=True)
class ResidualBank:
    """Fields of fine minus bilinear from training regions and days, by variable.

    residuals: (n, ny, nx) for each variable, entry k of every variable from the same place and
    time. A member is `bilinear + residual`, with one entry for all variables drawn uniformly and
    independently for each (region, time, member); non-negative variables are cut at 0.
    """

    residuals: Mapping[str, NDArray[np.float64]]
    task_id: str
    nonnegative: frozenset[str]

    @classmethod
    def from_training(cls, store: PairStore) -> "ResidualBank":
        """Draw up to 256 (region, step) pairs of the `train` split without replacement.

        Missing data: where the truth is missing, the residual is that of the nearest cell that has
        one (in cells, of the same field), since a member must be whole: masks of the sea or of a
        radar's reach differ from region to region. A step where a variable has no truth at all is
        passed over and the next one drawn; InputError where that is so in all of `TRIED`.
        """
        period = store.task.period_of("train")
        regions = store.regions("train")
        pairs = [
            (region, step)
            for region in regions
            for step in range(*region.steps(period).indices(len(region.times)))
        ]
        order = _generator(store.task.id, "bank").permutation(len(pairs))[:TRIED]
        found: dict[int, dict[str, NDArray[np.float64]]] = {}
        for k in order.tolist():
            residuals = _residuals(store.task, *pairs[k])
            if residuals is not None:
                found[k] = residuals
            if len(found) == BANK_SIZE:
                break
        if not found:
            raise _nothing_known(store.task, len(order))
        return cls(
            {
                name: np.stack([found[k][name] for k in sorted(found)])
                for name in store.task.variable_names
            },
            store.task.id,
            frozenset(v.name for v in store.task.variables if v.nonnegative),
        )

    def predict(self, region: RegionStore, steps: slice) -> dict[str, NDArray[np.float32]]:
        """(time, member, ny, nx) dressed fields of a region by variable, in the task's members."""
        bilinear, members = Bilinear.on(region.grid), region.task.members
        times = region.times[steps]
        return {
            name: np.stack(
                [
                    self.dress(field, name, region.name, time, members=members)
                    for field, time in zip(
                        bilinear(region.read("coarse", name, steps)), times, strict=True
                    )
                ]
            )
            for name in region.task.variable_names
        }

    def dress(
        self, bilinear: NDArray[np.float64], variable: str, region: str, time: np.datetime64, *,
        members: int,
    ) -> NDArray[np.float32]:  # fmt: skip
        """(members, ny, nx): one bilinear field (ny, nx) with `members` residuals added."""
        bank = self.residuals[variable]
        stamp = str(time.astype("datetime64[s]"))
        # One generator for a member, so that more members extend a draw and never change it.
        drawn = [
            int(_generator(self.task_id, region, stamp, str(member)).integers(len(bank)))
            for member in range(members)
        ]
        dressed = bilinear + bank[drawn]
        if variable in self.nonnegative:
            dressed = np.maximum(dressed, 0.0)
        return dressed.astype(np.float32)


def _residuals(task: Task, region: RegionStore, step: int) -> dict[str, NDArray[np.float64]] | None:
    """Fine minus bilinear of every variable at one step; None where one has no fine value."""
    at, bilinear = slice(step, step + 1), Bilinear.on(region.grid)
    residuals = {}
    for name in task.variable_names:
        fine = region.read("fine", name, at)[0].astype(np.float64)
        known = np.isfinite(fine)
        if not known.any():
            return None
        residuals[name] = fine - bilinear(region.read("coarse", name, at)[0])
        if not known.all():
            residuals[name] = _nearest_known(residuals[name], known)
    return residuals


def _nearest_known(field: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The field with each missing cell's value taken from the nearest known one, in cells."""
    from scipy.ndimage import distance_transform_edt  # slow to import, and most truth is whole

    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(field[rows, columns])


def _nothing_known(task: Task, tried: int) -> InputError:
    return InputError(
        Problem(
            f"training period of {task.id}",
            "fine fields to take residuals from",
            f"no value in any of {tried} steps",
            "The dressed reference is not defined for this task: check its fine product.",
        )
    )


def _generator(*words: str) -> np.random.Generator:
    """A generator seeded by words: the same for everyone, whatever the order of the work."""
    digest = blake3("/".join(words).encode()).digest(16)
    return np.random.default_rng(int.from_bytes(digest, "little"))
