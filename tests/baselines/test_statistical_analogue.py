"""Analogues against scipy's distances, and on their own training days."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from baselines.statistical import analogue
from baselines.statistical.analogue import Analogue, AnalogueConfig, squared_distance
from baselines.statistical.base import Array, Place, Training
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Task

SOURCES = ("europe-east", "europe-west")
UNSEEN = "andes-south"


@pytest.fixture
def training(store: PairStore, task: Task) -> Training:
    return Training(tuple(store.region(name) for name in SOURCES), task.periods.train)


def fit(training: Training, **settings: Any) -> Analogue:
    values = {"neighbours": 1, "centred": False, "every": 1, **settings}
    return Analogue.fit(training, AnalogueConfig.model_validate(values))


def fields(region: RegionStore, side: str, steps: slice) -> Array:
    """(time, V, y, x)."""
    names = region.task.variable_names
    return np.stack([region.read(side, n, steps) for n in names], axis=1).astype(np.float64)


def everything(training: Training) -> tuple[Array, Array]:
    """(n, V, Ny, Nx) coarse fields and (n, V, ny, nx) details of all training steps."""
    coarse, detail = [], []
    for place in training.places:
        steps = place.region.steps(training.period)
        coarse.append(fields(place.region, "coarse", steps))
        detail.append(fields(place.region, "fine", steps) - place.bilinear(coarse[-1]))
    return np.concatenate(coarse), np.concatenate(detail)


@pytest.mark.parametrize("centred", [False, True])
def test_a_training_step_is_its_own_analogue(training: Training, centred: bool) -> None:
    """At distance 0, so its prediction is the truth."""
    fitted = fit(training, centred=centred)
    for place in training.places:
        rule, steps = fitted.on(place), place.region.steps(training.period)
        for at in (steps.start, steps.start + 4, steps.stop - 1):
            one = slice(at, at + 1)
            coarse = fields(place.region, "coarse", one)[0]
            truth = fields(place.region, "fine", one)[0]
            np.testing.assert_allclose(rule(coarse), truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("neighbours", [1, 3])
def test_it_adds_the_mean_detail_of_the_nearest_training_steps(
    training: Training, store: PairStore, centred: bool, neighbours: int
) -> None:
    """scipy's Euclidean distances in units of numpy's deviations, at home and where never seen."""
    coarse, detail = everything(training)
    fitted = fit(training, centred=centred, neighbours=neighbours)
    sd = coarse.std(axis=(0, 2, 3))[:, None, None]

    def pattern(x: Array) -> Array:
        around = x.mean(axis=(-2, -1), keepdims=True) if centred else 0.0
        return ((x - around) / sd).reshape(len(x), -1)

    chosen: set[int] = set()
    for place in (Place(store.region(name)) for name in (UNSEEN, *SOURCES)):
        rule = fitted.on(place)
        for query in fields(place.region, "coarse", slice(16, 24))[::3]:
            distance = cdist(pattern(query[None]), pattern(coarse))[0]
            nearest = np.argsort(distance)[:neighbours]
            chosen |= set(nearest.tolist())
            expected = place.bilinear(query) + detail[nearest].mean(axis=0)
            np.testing.assert_allclose(rule(query), expected, rtol=1e-11, atol=1e-11)
    assert min(chosen) < 11 <= max(chosen)


def test_distances_in_parts_are_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy's, whatever the size of a part; the last part may be short."""
    generator = np.random.default_rng(0)
    library = generator.normal(size=(11, 2, 3, 4)).astype(np.float32)
    pattern = generator.normal(size=(2, 3, 4)).astype(np.float32)
    expected = cdist(library.reshape(11, -1), pattern.reshape(1, -1), "sqeuclidean")[:, 0]
    whole = squared_distance(library, pattern)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    monkeypatch.setattr(analogue, "CHUNK", 3)
    np.testing.assert_array_equal(squared_distance(library, pattern), whole)
    assert squared_distance(library, library[4])[4] == 0


def test_steps_with_missing_truth_are_no_analogues(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one cell of a step's truth is missing, the next nearest step takes its place."""
    region = training.regions[1]
    gone = region.steps(training.period).start + 2
    coarse = fields(region, "coarse", slice(gone, gone + 1))[0]
    truth = fields(region, "fine", slice(gone, gone + 1))[0]
    original = RegionStore.read

    def read(self: RegionStore, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        values = original(self, side, variable, steps)
        if (side, variable, self.name) == ("fine", "wind_speed", region.name):
            values = values.copy()
            if steps.start <= gone < steps.stop:
                values[gone - steps.start, 3, 3] = np.nan
        return values

    monkeypatch.setattr(RegionStore, "read", read)
    fitted = fit(training)
    assert gone not in fitted.steps[region.name]
    assert len(fitted.steps[region.name]) == len(fitted.steps[SOURCES[0]]) - 1
    got = fitted.on(training.places[1])(coarse)
    assert np.isfinite(got).all()
    assert abs(got - truth).max() > 1


def test_every_nth_step_alone(training: Training) -> None:
    fitted = fit(training, every=4)
    for region in training.regions:
        steps = region.steps(training.period)
        assert fitted.steps[region.name].tolist() == list(range(steps.start, steps.stop, 4))


def test_more_neighbours_than_steps_are_refused(training: Training) -> None:
    fitted = fit(training, neighbours=23)
    with pytest.raises(InputError, match=r"expected 23 whole training steps .* got 22"):
        fitted.on(training.places[0])


def test_a_box_of_another_shape_has_no_analogues(training: Training, task: Task) -> None:
    region = task.region(UNSEEN)
    wider = region.model_copy(update={"lon": (region.lon[0], region.lon[1] + 4)})
    other = task.model_copy(update={"regions": (*training.task.regions_of("train"), wider)})
    place = Place(RegionStore(other, UNSEEN, training.regions[0].path.with_name("away.zarr")))
    with pytest.raises(InputError, match=r"boxes of \(32, 36\) cells; got 0"):
        fit(training).on(place)
