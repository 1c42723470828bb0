"""Probes: a network predicts with a defect on purpose, and its card says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.context import Context, region_context
from baselines.models import load_config
from baselines.network import open_network
from baselines.runs import Request
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task

Make = Callable[..., Request]
SMALL = ("network.width=4", "network.blocks=1", "network.conditions=4")
AT = slice(16, 20)


@pytest.fixture(scope="module")
def run(store: PairStore, tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of a network that reads statics, so that its maps are no longer 0."""
    folder = tmp_path_factory.mktemp("runs") / "loan"
    request = tiny("training.steps=6", model="loan")
    network = load_config("loan", settings=SMALL).network
    config = request.config.model_copy(update={"network": network})
    train(store, request.model_copy(update={"config": config}), folder)
    return folder


def test_statics_are_those_of_the_next_test_region(store: PairStore, task: Task, run: Path) -> None:
    """By name, the first after the last; time and coarse fields stay its own."""
    names = sorted(region.name for region in task.regions_of("test_id", "test_ood"))
    plain = open_network(run, store)
    probed = open_network(run, store, probe="shuffled-statics")
    for name, other in ((names[0], names[1]), (names[-1], names[0])):
        region = store.region(name)
        own = region_context(region, AT)
        swapped = Context(
            static=region_context(store.region(other), AT).static, place=own.place, clock=own.clock
        )
        coarse = np.stack([region.read("coarse", n, AT) for n in task.variable_names], axis=1)
        with torch.no_grad():
            expected = plain.model(torch.from_numpy(coarse), torch.ones(4, 1, 32, 32) / 16, swapped)
        found = probed.predict(region, AT)["t2m"][:, 0]
        np.testing.assert_allclose(found, expected[:, 0].numpy(), rtol=1e-6)
        assert not np.allclose(found, plain.predict(region, AT)["t2m"][:, 0], rtol=1e-6)


def test_the_card_says_so(store: PairStore, run: Path) -> None:
    plain, card = (open_network(run, store, probe=p).card for p in (None, "shuffled-statics"))
    assert card.model == "loan-shuffled-statics"
    assert card.title == "LOAN, control: the land and orography of the next region"
    own = {"model", "title"}
    assert card.model_dump(exclude=own) == plain.model_dump(exclude=own)


def test_what_cannot_be_probed(store: PairStore, tiny: Make, run: Path, tmp_path: Path) -> None:
    """An unknown probe, a network without statics, an adapted run."""
    train(store, tiny("training.steps=1"), tmp_path)
    with pytest.raises(InputError, match="Did you mean 'shuffled-statics'"):
        open_network(run, store, probe="shuffled-static")
    with pytest.raises(InputError, match="a network with statics"):
        open_network(tmp_path, store, probe="shuffled-statics")
    with pytest.raises(InputError, match="a run as it is"):
        open_network(run, store, adapt="quantile-mapping", probe="shuffled-statics")
