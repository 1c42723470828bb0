"""Training where coarse cells share fine ones: ERA5 boxes of 30 degrees at factor 2.5.

The oracle of the constraint is scipy's sparse operator in float64, region by region.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.constraints import Overlapping, violation
from baselines.data import load_pairs, projections_of
from baselines.models import load_config
from baselines.network import open_network
from baselines.runs import Request
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task
from data_recipes.build import build

STEPS = slice(0, 5)
NAMES = ("amazon-northeast", "andes-south", "europe-west", "japan-okhotsk", "west-africa")


@pytest.fixture(scope="module")
def uneven(task: Task) -> Task:
    """Five regions of era5-sample, two degrees smaller, at factor 2.5."""
    regions = [
        region.model_copy(
            update={
                "lat": (region.lat[0], region.lat[1] - 2),
                "lon": (region.lon[0], region.lon[1] - 2),
            }
        )
        for region in task.regions
        if region.name in NAMES
    ]
    return task.model_copy(update={"factor": 2.5, "margin": 2, "regions": tuple(regions)})


@pytest.fixture(scope="module")
def pairs_at_two_and_a_half(uneven: Task, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return build(uneven, tmp_path_factory.mktemp("uneven"))


def request(store: PairStore, constraint: str, *settings: str, model: str = "resnet") -> Request:
    quick = (
        "network.width=8", "network.blocks=1", "training.steps=60", "training.batch=6",
        "training.validate_every=20", "training.precision=bf16", "training.mirror=true",
        "training.learning_rate=0.003",
    )  # fmt: skip
    return Request.model_validate(
        {
            "task": store.task.id, "data_hash": store.data_hash, "model": model,
            "regime": "zero_shot", "constraint": constraint, "skip": True, "seed": 0,
            "config": load_config(model, settings=[*quick, *settings]),
        }
    )  # fmt: skip


@pytest.mark.parametrize("constraint", ["projection", "post_hoc"])
@pytest.mark.parametrize("region", ["europe-west", "andes-south"])
def test_a_projection_holds_to_rounding(
    pairs_at_two_and_a_half: PairStore, tmp_path: Path, constraint: str, region: str
) -> None:
    """|A y - x| <= 4 eps32 max |x| of float32 predictions, at home and elsewhere."""
    store = pairs_at_two_and_a_half
    train(store, request(store, constraint), tmp_path)
    place = store.region(region)
    fields = open_network(tmp_path, store).predict(place, STEPS)
    for name in store.task.variable_names:
        coarse = place.read("coarse", name, STEPS).astype(np.float64)
        worst = abs(place.grid.overlap(fields[name][:, 0]) - coarse).max()
        assert worst <= 4 * np.finfo(np.float32).eps * abs(coarse).max()


def test_without_a_layer_it_does_not_hold(
    pairs_at_two_and_a_half: PairStore, tmp_path: Path
) -> None:
    """So that the test above can fail."""
    store = pairs_at_two_and_a_half
    train(store, request(store, "none"), tmp_path)
    place = store.region("europe-west")
    field = open_network(tmp_path, store).predict(place, STEPS)["t2m"][:, 0]
    assert abs(place.grid.overlap(field) - place.read("coarse", "t2m", STEPS)).max() > 0.01


def test_each_sample_has_the_operator_of_its_region(
    pairs_at_two_and_a_half: PairStore,
) -> None:
    """Mirrored batches too: A y = x by the region's own sparse operator, sample by sample."""
    store = pairs_at_two_and_a_half
    regions = [store.region(name) for name in ("andes-south", "europe-west")]
    pairs = load_pairs(regions, store.task.periods.val).take(torch.tensor([3, 0, 1, 2]))
    projections = projections_of(regions)
    for axes in ([], [-2], [-1], [-2, -1]):
        batch = pairs.mirrored(axes)
        weights = batch.weights(projections)
        assert isinstance(weights, Overlapping)
        field = batch.fine.double() + 1.0
        upright = [field.flip(axes).numpy(), batch.coarse.double().flip(axes).numpy()]
        found = weights(field, batch.coarse.double()).flip(axes).numpy()
        means = weights.coarsen(field).flip(axes).numpy()
        for sample, number in enumerate(batch.region[:, 0, 0, 0].tolist()):
            overlap = regions[number].grid.overlap
            expected = overlap.projector()(upright[0][sample], upright[1][sample])
            np.testing.assert_allclose(found[sample], expected, rtol=0, atol=1e-9)
            np.testing.assert_allclose(means[sample], overlap(upright[0][sample]), atol=1e-9)


def test_the_violation_is_that_of_the_sparse_operator(
    pairs_at_two_and_a_half: PairStore,
) -> None:
    """Coarse cells count by their true areas, samples of both regions alike."""
    store = pairs_at_two_and_a_half
    regions = [store.region(name) for name in ("andes-south", "europe-west")]
    pairs = load_pairs(regions, store.task.periods.val)
    field = pairs.fine.double() * 1.01
    got = violation(
        field, pairs.coarse.double(), pairs.weights(projections_of(regions)), pairs.area
    )
    above, below = np.zeros(3), 0.0
    for sample, number in enumerate(pairs.region[:, 0, 0, 0].tolist()):
        overlap = regions[number].grid.overlap
        error = overlap(field[sample].numpy()) - pairs.coarse[sample].numpy()
        above += (overlap.total * error**2).sum(axis=(1, 2))
        below += overlap.total.sum()
    np.testing.assert_allclose(got.numpy(), above / below, rtol=1e-9)


def test_the_soft_constraint_lowers_the_violation(
    pairs_at_two_and_a_half: PairStore, tmp_path: Path
) -> None:
    """The same network, seed and steps; in units of bilinear's error, over the variables."""
    store = pairs_at_two_and_a_half
    place, violated = store.region("europe-west"), {}
    for constraint in ("none", "soft"):
        settings = ("steps=400", "validate_every=400", "mirror=false")
        asked = request(store, constraint, *(f"training.{word}" for word in settings))
        record = train(store, asked, tmp_path / constraint)
        fields = open_network(tmp_path / constraint, store).predict(place, STEPS)
        violated[constraint] = np.mean(
            [
                ((place.grid.overlap(fields[n][:, 0]) - place.read("coarse", n, STEPS)) ** 2).mean()
                / unit**2
                for n, unit in zip(store.task.variable_names, record.increment, strict=True)
            ]
        )
    assert violated["soft"] < 0.7 * violated["none"]


@pytest.mark.parametrize("constraint", ["add", "scaled_add", "mult", "softmax"])
def test_layers_of_whole_blocks_are_refused(
    pairs_at_two_and_a_half: PairStore, tmp_path: Path, constraint: str
) -> None:
    """Before anything is fitted, with what to use instead."""
    store = pairs_at_two_and_a_half
    with pytest.raises(InputError, match="projection") as caught:
        train(store, request(store, constraint), tmp_path)
    assert caught.value.problems[0].got == "a factor of 2.5"
    assert not any(tmp_path.iterdir())
