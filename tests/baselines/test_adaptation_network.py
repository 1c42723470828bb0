"""A zero-shot run with quantile-mapped inputs: what is mapped, what is left, what still holds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.adaptation import ADAPTATIONS
from baselines.adaptation.quantile_mapping import law, map_between
from baselines.network import open_network
from baselines.runs import Request
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Task

Make = Callable[..., Request]
Ulps = Callable[[RegionStore, NDArray[np.floating], NDArray[np.floating]], float]
pytestmark = pytest.mark.usefixtures("quick_data")
EUROPE = ("europe-east", "europe-west")
HARD = ("add", "scaled_add", "mult", "softmax", "projection", "post_hoc")


def everything(region: RegionStore) -> slice:
    return slice(0, len(region.times))


@pytest.fixture
def trained(store: PairStore, tiny: Make, tmp_path: Path) -> Callable[..., Path]:
    """trained(**fields): the folder of a run of ten steps."""

    def make(*settings: str, **fields: object) -> Path:
        folder = tmp_path / "run"
        train(store, tiny(*settings, **fields), folder)
        return folder

    return make


def wet(regions: list[RegionStore], task: Task) -> NDArray[np.float32]:
    """The wet coarse values of the training period."""
    fields = [r.read("coarse", "precipitation", r.steps(task.periods.train)) for r in regions]
    values = np.concatenate([field.ravel() for field in fields])
    return values[values > 0]


@pytest.mark.parametrize("constraint", HARD)
@pytest.mark.parametrize("name", ["quantile-mapping", "quantile-mapping-one-way"])
def test_hard_constraints_hold_for_the_true_inputs(
    store: PairStore, trained: Callable[..., Path], residual_ulps: Ulps,
    name: str, constraint: str,
) -> None:  # fmt: skip
    """As the card claims, in every variable of wet, dry and temperate regions."""
    predictor = open_network(trained(constraint=constraint), store, adapt=name)
    assert predictor.card.constraint == constraint
    for region in (store.region(n) for n in ("andes-south", "amazon-northeast", "europe-west")):
        for variable, field in predictor.predict(region, everything(region)).items():
            coarse = region.read("coarse", variable, everything(region))
            assert residual_ulps(region, field[:, 0], coarse) <= 4, variable
            dry = coarse.repeat(4, axis=1).repeat(4, axis=2) == 0
            if constraint in ("scaled_add", "mult", "softmax"):
                assert (field[:, 0][dry] == 0).all()
            if constraint == "softmax":
                assert (field >= 0).all()


@pytest.mark.parametrize(
    ("adapt", "post_hoc", "bound"),
    [(None, False, False), ("quantile-mapping", False, False), ("quantile-mapping", True, True)],
)
def test_without_a_layer_it_holds_post_hoc_only(
    store: PairStore, trained: Callable[..., Path], residual_ulps: Ulps,
    adapt: str | None, post_hoc: bool, bound: bool,
) -> None:  # fmt: skip
    predictor = open_network(trained(), store, adapt=adapt, post_hoc=post_hoc)
    region = store.region("andes-south")
    field = predictor.predict(region, everything(region))["precipitation"][:, 0]
    coarse = region.read("coarse", "precipitation", everything(region))
    assert (residual_ulps(region, field, coarse) <= 4) == bound
    assert predictor.card.constraint == ("post_hoc" if post_hoc else "none")


@pytest.mark.parametrize("constraint", ["none", "add", "softmax"])
@pytest.mark.parametrize("name", ["quantile-mapping", "quantile-mapping-one-way"])
def test_it_is_the_network_between_a_map_and_its_inverse(
    store: PairStore, task: Task, trained: Callable[..., Path], name: str, constraint: str,
    latitude_weights: Callable[[str], NDArray[np.float64]],
) -> None:  # fmt: skip
    """Against the run's own module fed by hand with inputs mapped by hand; t2m goes in as it is.

    What it gives is moved onto the true coarse field last: by one number a block where the layer
    is additive, by one factor a block where it is a softmax.
    """
    folder = trained(sources=EUROPE, constraint=constraint)
    region, steps = store.region("andes-south"), slice(5, 9)
    change = map_between(
        law(wet([region], task)), law(wet([store.region(n) for n in EUROPE], task))
    )
    plain = open_network(folder, store)
    coarse = np.stack([region.read("coarse", n, steps) for n in task.variable_names], axis=1)
    mapped = coarse.astype(np.float64)
    mapped[:, 2] = change.to_source(coarse[:, 2])
    assert not np.allclose(mapped[:, 2], coarse[:, 2], rtol=0.1)
    weights = latitude_weights(region.name)
    with torch.no_grad():
        fed = torch.from_numpy(mapped.astype(np.float32))
        expected = plain.model(fed, torch.from_numpy(weights.astype(np.float32))[None, None])
    expected = expected.numpy().astype(np.float64)
    if name == "quantile-mapping":
        expected[:, 2] = change.to_target(expected[:, 2])
    if constraint != "none":
        mean = (expected * weights).reshape(4, 3, 8, 4, 8, 4).sum(axis=(3, 5))
        mean, true = (x.repeat(4, axis=2).repeat(4, axis=3) for x in (mean, coarse))
        factor = np.divide(true, mean, out=np.zeros_like(mean), where=mean != 0)
        expected = expected * factor if constraint == "softmax" else expected + true - mean
    got = open_network(folder, store, adapt=name).predict(region, steps)
    for k, variable in enumerate(task.variable_names):
        np.testing.assert_allclose(got[variable][:, 0], expected[:, k], rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("sources", [(), EUROPE])
def test_regions_trained_on_stay_as_they_are(
    store: PairStore, task: Task, trained: Callable[..., Path], sources: tuple[str, ...]
) -> None:
    """Bit for bit; every other region is another one, training regions left out included."""
    folder = trained(sources=sources)
    plain = open_network(folder, store)
    adapted = open_network(folder, store, adapt="quantile-mapping")
    trained_on = sources or tuple(region.name for region in task.regions_of("train"))
    for name in ("europe-east", "japan-okhotsk", "tibetan-plateau"):
        region = store.region(name)
        fields = (
            which.predict(region, slice(16, 20))["precipitation"] for which in (plain, adapted)
        )
        assert np.array_equal(*fields) == (name in trained_on)


def test_an_answer_does_not_depend_on_the_steps_or_regions_asked_for(
    store: PairStore, trained: Callable[..., Path]
) -> None:
    predictor = open_network(trained(constraint="softmax"), store, adapt="quantile-mapping")
    region = store.region("andes-south")
    whole = predictor.predict(region, everything(region))
    predictor.predict(store.region("tibetan-plateau"), slice(0, 2))
    for steps in (slice(7, 8), slice(16, 24)):
        for variable, field in predictor.predict(region, steps).items():
            np.testing.assert_array_equal(field, whole[variable][steps], strict=True)


@pytest.mark.parametrize(
    ("name", "model", "title"),
    [
        ("quantile-mapping", "srcnn-qm", "SR-CNN, quantile-mapped inputs"),
        ("quantile-mapping-one-way", "srcnn-qm-one-way",
         "SR-CNN, quantile-mapped inputs, not mapped back"),
    ],
)  # fmt: skip
def test_the_card_says_what_was_done(
    store: PairStore, trained: Callable[..., Path], name: str, model: str, title: str
) -> None:
    folder = trained(constraint="add", seed=2, sources=EUROPE)
    plain, card = open_network(folder, store).card, open_network(folder, store, adapt=name).card
    assert (card.model, card.title, card.regime) == (model, title, "target_inputs")
    assert "Harder et al. 2026" in card.reference
    assert (card.exposure, card.sources) == ("none", EUROPE)
    own = {"model", "title", "regime", "reference"}
    assert card.model_dump(exclude=own) == plain.model_dump(exclude=own)


@pytest.mark.parametrize("name", ADAPTATIONS)
def test_only_zero_shot_runs_are_adapted(
    store: PairStore, trained: Callable[..., Path], name: str
) -> None:
    folder = trained("training.steps=1", regime="oracle")
    with pytest.raises(InputError, match=f"--adapt {name}.*a zero-shot run; got a run of oracle"):
        open_network(folder, store, adapt=name)


def test_an_unknown_adaptation_suggests_the_nearest(
    store: PairStore, trained: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match="Did you mean 'quantile-mapping'"):
        open_network(trained("training.steps=1"), store, adapt="quantil-mapping")
