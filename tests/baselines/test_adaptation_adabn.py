"""AdaBN: exactly the statistics of the target's inputs, and nothing else of the network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.adaptation import adabn
from baselines.adaptation.adabn import batch_norms, coarse_batches, renormalised
from baselines.context import Context
from baselines.data import fit_scaling
from baselines.downscaler import Downscaler, Scaling
from baselines.models import load_config
from baselines.network import open_network
from baselines.runs import Request, load_run
from baselines.sources import source_regions
from baselines.training import train
from benchmark.errors import InputError
from benchmark.grid import region_grid
from benchmark.pair_store import PairStore
from benchmark.task import Task

Make = Callable[..., Request]
pytestmark = pytest.mark.usefixtures("quick_data")
SMALL = ("network.width=3", "network.blocks=1", "network.wide=4")


class Normed(nn.Module):
    """Two normalised layers, registered in the opposite of the order in which they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.BatchNorm2d(3)
        self.first = nn.BatchNorm2d(4)
        self.wide, self.narrow = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.wide(x)).relu()
        x = self.second(self.narrow(x)).relu()
        return nn.functional.interpolate(x, scale_factor=4)


class Contextual(Normed):
    """The same with the land fraction added in the end."""

    reads_context = True

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        coarse = nn.functional.avg_pool2d(context.static[:, :1], 4)
        return super().forward(x + coarse)


@pytest.fixture(scope="module")
def scaling(store: PairStore, task: Task) -> Scaling:
    return fit_scaling(task, source_regions(store, "zero_shot"))


def downscaler(network: nn.Module, scaling: Scaling, task: Task) -> Downscaler:
    grid = region_grid(task, task.regions[0])
    return Downscaler(network, scaling, grid, skip=True, constraint="none").eval()


@pytest.mark.parametrize("steps", [32, 4, 1])
@pytest.mark.parametrize("kind", [Normed, Contextual])
def test_it_is_a_training_pass_over_all_inputs_at_once(
    store: PairStore, task: Task, scaling: Scaling, monkeypatch: pytest.MonkeyPatch,
    kind: type[Normed], steps: int,
) -> None:  # fmt: skip
    """torch's own batch statistics of the whole period as one batch, however it is cut."""
    monkeypatch.setattr(adabn, "STEPS", steps)
    torch.manual_seed(3)
    model = downscaler(kind(), scaling, task)
    region = store.region("amazon-northeast")
    period = region.steps(task.periods.train)
    coarse = torch.stack(
        [torch.from_numpy(region.read("coarse", n, period)) for n in task.variable_names], dim=1
    )
    context = None
    if kind is Contextual:
        parts = [found for _, found in coarse_batches(region, context=True)()]
        assert all(part is not None for part in parts)
        context = Context(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("static", "place", "clock")
            )
        )
    adapted = renormalised(model, coarse_batches(region, context=kind is Contextual))
    with torch.no_grad():
        found, before = adapted.raw(coarse, context), model.raw(coarse, context)
        expected = downscaler(model.network, scaling, task).train().raw(coarse, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - before).abs().max() > 0.1


def test_only_the_statistics_change(store: PairStore, task: Task, scaling: Scaling) -> None:
    """Weights stay; the model itself is left alone."""
    model = downscaler(Normed(), scaling, task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = renormalised(model, coarse_batches(store.region("andes-south"), context=False))
    for name, value in adapted.state_dict().items():
        assert torch.equal(model.state_dict()[name], before[name])
        assert torch.equal(value, before[name]) == ("running" not in name), name
    assert not adapted.training


def test_large_means_keep_their_variance(store: PairStore, task: Task, scaling: Scaling) -> None:
    """Sums in float64: float32 would lose the variance beside a mean 10,000 times as large."""

    class Lifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x * 1e-2 + 1e3)

    model = downscaler(Lifted(), scaling, task)
    region = store.region("andes-south")
    (norm,) = batch_norms(renormalised(model, coarse_batches(region, context=False)).network)
    ((coarse, _),) = coarse_batches(region, context=False)()
    lifted = ((coarse - model.mean) / model.sd * 1e-2 + 1e3).double()
    assert norm.running_var is not None
    expected = lifted.var(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(norm.running_var.double(), expected, rtol=1e-4, atol=0.0)


def test_inputs_with_holes_are_an_input_error(
    store: PairStore, task: Task, scaling: Scaling
) -> None:
    def holey() -> Any:
        for coarse, context in coarse_batches(store.region("andes-south"), context=False)():
            coarse[0, 0, 0, 0] = float("nan")
            yield coarse, context

    with pytest.raises(InputError, match="finite statistics"):
        renormalised(downscaler(Normed(), scaling, task), holey)


@pytest.fixture(scope="module")
def run(store: PairStore, tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of a network with batch normalisation."""
    folder = tmp_path_factory.mktemp("runs") / "srdrn"
    own = tiny("training.steps=4")
    network = load_config("srdrn", settings=SMALL).network
    config = own.config.model_copy(update={"network": network})
    request = tiny(model="srdrn", constraint="softmax").model_copy(update={"config": config})
    train(store, request, folder)
    return folder


def test_a_run_is_adapted_region_by_region(
    store: PairStore, task: Task, run: Path, reads: list[Any]
) -> None:
    """Elsewhere, from that region's coarse training period; at home the run as it is."""
    plain, adapted = open_network(run, store), open_network(run, store, adapt="adabn")
    reads.clear()
    there = [
        which.predict(store.region("andes-south"), slice(16, 24))["t2m"]
        for which in (plain, adapted)
    ]
    periods = (store.region("andes-south").steps(task.periods.train), slice(0, 24))
    assert {read.steps for read in reads} == {range(*part.indices(24)) for part in periods}
    assert {(read.region, read.side) for read in reads} == {("andes-south", "coarse")}
    assert not np.array_equal(*there)
    home = [
        which.predict(store.region("europe-west"), slice(16, 24))["t2m"]
        for which in (plain, adapted)
    ]
    np.testing.assert_array_equal(*home)
    model = renormalised(
        load_run(run, task)[1], coarse_batches(store.region("andes-south"), context=False)
    )
    used = adapted.adapt(store.region("andes-south")).model if adapted.adapt else None
    assert used is not None
    for name, value in model.state_dict().items():
        assert torch.equal(used.state_dict()[name], value), name


def test_its_card(store: PairStore, run: Path) -> None:
    card = open_network(run, store, adapt="adabn").card
    assert (card.model, card.regime, card.constraint) == ("srdrn-adabn", "target_inputs", "softmax")
    assert card.title.endswith(", AdaBN")
    assert "arXiv 1603.04779" in card.reference


def test_a_network_without_batch_normalisation_is_refused(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """Those that have it are named."""
    train(store, tiny("training.steps=1"), tmp_path)
    with pytest.raises(InputError, match=r"srcnn has none\. Of the networks here, srdrn can"):
        open_network(tmp_path, store, adapt="adabn")
