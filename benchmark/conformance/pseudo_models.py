"""The pseudo-models: predictions whose scores are known before any harness sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.conformance.world import (
    FACTOR,
    MEMBERS,
    STEP,
    TEMPERATURE,
    Field,
    Place,
    World,
)
from benchmark.model_card import ModelCard, write_card
from benchmark.pair_store import PairStore
from benchmark.prediction_store import CARD, create_region
from benchmark.task import Task

CONSTANT = {TEMPERATURE: 281.0, "precipitation": 1.0}
"""What `constant` predicts, and what `damped` draws to; `precipitation` sits on a threshold."""
OFFSETS = (1.0, 7.0)
"""Of `offset`, on even and odd test days: their mean is 4, the root of their mean square 5."""
RUNGS = (-1.0, 0.0, 1.0, 2.0, 3.0)
"""The members of `ladder` less the truth."""
STRIPE = 2.0
BY_SURFACE = (1.0, 2.0, 3.0, 4.0)
"""Errors of `by-surface` over sea, lowland, upland and mountain."""
BILINEAR_ERRORS = {"home": 2.0, "equator": 0.5, "polar": 2.0}
"""By how much the errors of `scaled-bilinear` are those of bilinear."""

Draw = Callable[[Place, str], NDArray[Any]]


@dataclass(frozen=True)
class PseudoModel:
    """predict(place, variable) gives (T, M, ny, nx) over the test period."""

    name: str
    what: str
    predict: Draw
    members: int = 1

    def card(self, task: Task) -> ModelCard:
        """What stands beside its predictions."""
        return ModelCard(
            task=task.id, model=self.name, title=self.what, reference="Elsewhere",
            null=True, members="single" if self.members == 1 else "exchangeable",
        )  # fmt: skip


@lru_cache(maxsize=32)
def fields(model: PseudoModel, place: Place, variable: str) -> Field:
    """(T, M, ny, nx) float32 predictions of the test period."""
    found = model.predict(place, variable)
    shape = (len(found), model.members, *place.area.shape)
    return np.ascontiguousarray(np.broadcast_to(found, shape), dtype=np.float32)


def write_pseudo_model(model: PseudoModel, world: World, store: PairStore, folder: Path) -> None:
    """Write its prediction store."""
    folder.mkdir(parents=True, exist_ok=True)
    write_card(folder / CARD, model.card(world.task))
    for name, place in world.places.items():
        group = create_region(folder / f"{name}.zarr", store.region(name), members=model.members)
        for variable in STEP:
            group[variable][:] = fields(model, place, variable)  # type: ignore[index]


def surface_classes(place: Place) -> NDArray[np.int64]:
    """(ny, nx): 0 sea; land below 500 m 1, below 1500 m 2, above 3."""
    land = 1 + (place.orography >= 500).astype(np.int64) + (place.orography >= 1500)
    return np.asarray(np.where(place.land_fraction >= 0.5, land, 0))


def bilinear(place: Place, variable: str) -> NDArray[np.float64]:
    """(T, ny, nx) between coarse centres, constant beyond the outermost; of the test period."""
    field = place.coarse[variable][place.steps("test")].astype(np.float64)
    for axis, edges in ((1, -place.y_edges), (2, place.x_edges)):
        blocks = edges[::FACTOR]
        known, wanted = (blocks[1:] + blocks[:-1]) / 2, (edges[1:] + edges[:-1]) / 2
        # What one coarse cell alone would give, for each: the columns of the interpolation.
        weights = np.stack([np.interp(wanted, known, row) for row in np.eye(len(known))])
        field = np.moveaxis(np.moveaxis(field, axis, -1) @ weights, -1, axis)
    return np.asarray(field)


def _test(place: Place, variable: str) -> Field:
    return place.whole[variable][place.steps("test")]


def _one(found: NDArray[Any]) -> NDArray[Any]:
    """(T, ny, nx) as one member."""
    return found[:, None]


def _days(place: Place) -> NDArray[np.int64]:
    """(T, 1, 1) the number of each step's test day."""
    return np.asarray(np.arange(len(_test(place, TEMPERATURE)))[:, None, None] // 2)


def _climatology(place: Place, variable: str) -> NDArray[Any]:
    mean = place.truth[variable][place.steps("train")].astype(np.float64).mean(axis=0)
    return np.broadcast_to(mean, (len(_test(place, variable)), 1, *mean.shape))


def _coarse_repeat(place: Place, variable: str) -> NDArray[Any]:
    coarse = place.coarse[variable][place.steps("test")]
    return _one(coarse.repeat(FACTOR, axis=1).repeat(FACTOR, axis=2))


def _constant(place: Place, variable: str) -> NDArray[Any]:
    return _one(np.full_like(_test(place, variable), CONSTANT[variable]))


def _offset(place: Place, variable: str) -> NDArray[Any]:
    return _one(_test(place, variable) + np.where(_days(place) % 2, OFFSETS[1], OFFSETS[0]))


def _permuted(place: Place, variable: str) -> NDArray[Any]:
    # A step and its neighbour in time change days: 7 has no factor in common with 24.
    truth = _test(place, variable)
    return _one(truth[(np.arange(len(truth)) * 7 + 3) % len(truth)])


def _drawn(place: Place, variable: str) -> NDArray[Any]:
    generator = np.random.default_rng([7, *variable.encode(), *place.name.encode()])
    test = place.steps("test")
    drawn = [place.law.draw(variable, generator)[test] for _ in range(MEMBERS)]
    return np.stack(drawn, axis=1)


def _ladder(place: Place, variable: str) -> NDArray[Any]:
    return np.asarray(_one(_test(place, variable)) + np.array(RUNGS)[:, None, None])


def _damped(place: Place, variable: str) -> NDArray[Any]:
    return _one((_test(place, variable) + CONSTANT[variable]) / 2)


def _stripes(place: Place, variable: str) -> NDArray[Any]:
    truth = _test(place, variable)
    return _one(truth + STRIPE * (-1.0) ** np.arange(truth.shape[-1]))


def _by_surface(place: Place, variable: str) -> NDArray[Any]:
    return _one(_test(place, variable) + np.array(BY_SURFACE)[surface_classes(place)])


def _scaled_bilinear(place: Place, variable: str) -> NDArray[Any]:
    truth = _test(place, variable).astype(np.float64)
    return _one(truth + BILINEAR_ERRORS[place.name] * (bilinear(place, variable) - truth))


PSEUDO_MODELS = {
    model.name: model
    for model in (
        PseudoModel("perfect", "the truth", lambda place, v: _one(_test(place, v))),
        PseudoModel("coarse-repeat", "every cell the value of its coarse cell", _coarse_repeat),
        PseudoModel("climatology", "the training period's mean at every cell", _climatology),
        PseudoModel("constant", "one value everywhere", _constant),
        PseudoModel("shifted", "the truth, one cell further east",
                    lambda place, v: _one(np.roll(_test(place, v), 1, axis=2))),
        PseudoModel("permuted", "the truth of other times", _permuted),
        PseudoModel("drawn", "members from the law that the truth is drawn from", _drawn, MEMBERS),
        PseudoModel("offset", "the truth plus 1 on even and 7 on odd days", _offset),
        PseudoModel("ladder", "five members, the truth plus -1, 0, 1, 2, 3", _ladder, MEMBERS),
        PseudoModel("damped", "half way from the truth to a constant", _damped),
        PseudoModel("stripes", "the truth plus and minus 2 in columns by turns", _stripes),
        PseudoModel("by-surface", "the truth plus 1, 2, 3, 4 by the class of the surface",
                    _by_surface),
        PseudoModel("bilinear", "the reference of the deterministic board",
                    lambda place, v: _one(bilinear(place, v))),
        PseudoModel("scaled-bilinear", "errors of bilinear, twice or half as large",
                    _scaled_bilinear),
    )
}  # fmt: skip
"""{name: pseudo-model}."""
