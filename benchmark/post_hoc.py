"""Projecting stored predictions onto the coarse field, whoever made them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.errors import InputError, Problem
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard, read_card
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import CARD, expected_regions, write_predictions
from benchmark.predictor import Fields
from benchmark.sources import StoredPredictions
from benchmark.toml_model import nearest
from benchmark.validate import validate_predictions
from benchmark.zarr_io import open_group

Array = NDArray[np.float64]
Move = Callable[[Array, Array], Array]
"""move(field (..., ny, nx), coarse (..., Ny, Nx)) -> field with A y = x, float64."""


def block_shift(overlap: AreaOverlap) -> Move:
    """AddCL: y_i = f_i + x - A f, the residual of a block to all its cells.

    Errors: ValueError where the coarse cells are no whole blocks.
    """
    _ = overlap.block_weights

    def move(field: Array, coarse: Array) -> Array:
        return field + _enlarged(overlap, coarse - overlap(field))

    return move


def nonnegative_shift(overlap: AreaOverlap) -> Move:
    """The nearest y >= 0 with A y = x: y_i = max(f_i + c, 0), one c a block (water-filling).

    Newton steps from the c of `block_shift`, which is too large where that is negative; c only
    falls, and ends when no further cell falls dry. A dry block is exactly 0.
    Errors: ValueError where the coarse cells are no whole blocks, or where x < 0.
    """
    _ = overlap.block_weights

    def move(field: Array, coarse: Array) -> Array:
        if (coarse < 0).any():
            raise ValueError("no non-negative field has a negative mean")
        shift = coarse - overlap(field)
        wet = np.zeros(field.shape, dtype=bool)
        while True:
            y = np.maximum(field + _enlarged(overlap, shift), 0.0)
            before, wet = wet, y > 0
            mean, share = overlap(y), overlap(wet.astype(np.float64))
            if np.array_equal(before, wet):
                break
            excess = np.maximum(mean - coarse, 0.0)
            shift -= np.divide(excess, share, out=np.zeros_like(mean), where=share > 0)
        # What rounding beside a large field has left; x = 0 becomes 0.
        rounding = np.divide(coarse, mean, out=np.zeros_like(mean), where=mean > 0)
        return np.asarray(y * _enlarged(overlap, rounding))

    return move


METHODS: dict[str, Callable[[AreaOverlap], Move]] = {
    "add": block_shift,
    "projection": AreaOverlap.projector,
}

RESUMED = 4.0
"""Float32 roundings by which one step alone may differ from the same step in its block."""


@dataclass(frozen=True)
class Constrained:
    """A prediction store whose fields are moved onto the coarse field block by block.

    method: one of `METHODS`, which are the same on whole blocks. clip: for variables that the
    task calls non-negative, the nearest field that is not negative either. Missing data: where a
    coarse cell is missing its constraint is left out, and on whole blocks the prediction stays.
    """

    source: StoredPredictions
    method: str
    clip: bool = False

    @property
    def card(self) -> ModelCard:
        """The source's, with its constraint."""
        return self.source.card.model_copy(update={"constraint": "post_hoc"})

    @property
    def member_count(self) -> int:
        """The source's members."""
        return self.source.member_count

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, member, ny, nx) float32 fields by variable; each member on its own."""
        ((_, fields),) = self.source.slabs(region, steps, size=steps.stop - steps.start)
        found = {}
        for variable in region.task.variables:
            coarse = region.read("coarse", variable.name, steps)[:, None].astype(np.float64)
            clipped = self.clip and variable.nonnegative
            if clipped and (coarse < 0).any():
                raise InputError(
                    Problem(
                        f"{region.name}: coarse {variable.name}", "values >= 0 for --clip",
                        f"a smallest of {np.nanmin(coarse):.4g}", "Leave out --clip.",
                    )
                )  # fmt: skip
            field = fields[variable.name].astype(np.float64)
            overlap, move = region.grid.overlap, self._move(region, clipped)
            moved = move_known(overlap, move, field, coarse, clipped=clipped)
            found[variable.name] = moved.astype(np.float32)
        return found

    def _move(self, region: RegionStore, clipped: bool) -> Move:
        key = (region.name, clipped)
        if key not in self._moves:
            make = nonnegative_shift if clipped else METHODS[self.method]
            self._moves[key] = make(region.grid.overlap)
        return self._moves[key]

    @cached_property
    def _moves(self) -> dict[tuple[str, bool], Move]:
        return {}


def constrain(
    store: PairStore, predictions: Path, out: Path, *, method: str, clip: bool = False
) -> Iterator[str]:
    """Check, then write the constrained predictions to `out` as the iterator is drained.

    It yields each region's name when it is whole, and goes on where it stopped, as predicting
    does. Errors, before anything is written: InputError for an unknown method, every
    problem that `validate` finds, predictions that are constrained already, blocks that are not
    whole for `add` and `clip`, and a folder that holds the constrained form of something else.
    """
    if method not in METHODS:
        known = list(METHODS)
        raise InputError(Problem("--with", " or ".join(known), method, nearest(method, known)))
    problems = validate_predictions(store, predictions)
    if problems:
        raise InputError(problems)
    constrained = Constrained(StoredPredictions(store.task, predictions), method, clip)
    _check_source(predictions, constrained)
    regions = expected_regions(store)
    for region in regions:
        _check_blocks(region, constrained)
    if (out / CARD).exists() and read_card(out / CARD) == constrained.card:
        _check_resumed(out, regions, constrained)
    return write_predictions(constrained, store, out)


def move_known(
    overlap: AreaOverlap, move: Move, field: Array, coarse: Array, *, clipped: bool = False
) -> Array:
    """`move` where some coarse cells may be missing: their own mean is asked of them, and cells
    that lie in no other one stay as they are."""
    known = np.isfinite(coarse)
    if known.all():
        return move(field, coarse)
    mean = overlap(field)
    asked = np.where(known, coarse, np.maximum(mean, 0.0) if clipped else mean)
    touched = _enlarged(overlap, known.astype(np.float64)) > 0
    return np.where(touched, move(field, asked), field)


def _check_source(predictions: Path, constrained: Constrained) -> None:
    """An unconstrained model's predictions: a layer's work is not to be done twice."""
    constraint = constrained.source.card.constraint
    if constraint in HARD_CONSTRAINTS:
        raise InputError(
            Problem(
                f"{predictions / CARD}: constraint", "none or soft", constraint,
                "These predictions are constrained already.",
            )
        )  # fmt: skip


def _check_blocks(region: RegionStore, constrained: Constrained) -> None:
    if constrained.method != "add" and not constrained.clip:
        return
    try:
        _ = region.grid.overlap.block_weights
    except ValueError as error:
        option = "--clip" if constrained.clip else "--with add"
        fix = "Use --with projection, without --clip."
        raise InputError(Problem(option, "coarse cells of whole blocks", str(error), fix)) from None


def _check_resumed(out: Path, regions: Sequence[RegionStore], constrained: Constrained) -> None:
    """What is there already is the constrained form of these predictions: its first step is.

    The card alone would not tell one folder of a model's predictions from another.
    """
    for region in regions:
        path = out / f"{region.name}.zarr"
        if not path.exists():
            continue
        first = region.steps(region.task.periods.test).start
        expected = constrained.predict(region, slice(first, first + 1))
        group = open_group(path, fix="Delete the folder.")
        for name, values in expected.items():
            found = group.get(name)
            # One step is solved for as all are, but for the last bits.
            allowed = RESUMED * np.finfo(np.float32).eps * float(np.abs(values).max())
            if not isinstance(found, zarr.Array) or not np.allclose(
                np.asarray(found[:1]), values, rtol=0, atol=allowed
            ):
                raise InputError(
                    Problem(
                        f"{path}: {name}", "the constrained form of these predictions",
                        "other values", "Choose another --out, or delete the folder.",
                    )
                )  # fmt: skip


def _enlarged(overlap: AreaOverlap, coarse: NDArray[np.floating]) -> Array:
    """Each coarse value in all cells of its block."""
    return np.asarray(overlap.in_y.T @ coarse @ overlap.in_x)
