"""Constraints that are trained in, from a request to stored fields."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines import fit, training
from baselines.constraints import violation
from baselines.data import load_pairs
from baselines.losses import LOSSES, mean_square
from baselines.network import open_network
from baselines.runs import Request, load_run
from baselines.training import train
from benchmark.model_card import HARD_CONSTRAINTS
from benchmark.pair_store import PairStore, RegionStore

Make = Callable[..., Request]
Conservation = Callable[[RegionStore, NDArray[np.floating], NDArray[np.floating]], float]
pytestmark = pytest.mark.usefixtures("quick_data")
STEPS = slice(0, 6)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("constraint", ["scaled_add", "mult", "projection"])
def test_a_layer_that_is_trained_in_conserves_elsewhere(
    store: PairStore, tiny: Make, residual_ulps: Conservation, tmp_path: Path,
    constraint: str, skip: bool,
) -> None:  # fmt: skip
    """A claim of the card that scoring checks: 4 eps32 max |x|, in a region never seen."""
    assert constraint in HARD_CONSTRAINTS
    record = train(store, tiny(constraint=constraint, skip=skip), tmp_path)
    assert len({point.train for point in record.curve}) > 1
    network = open_network(tmp_path, store)
    assert network.card.constraint == constraint
    region = store.region("andes-south")
    fields = network.predict(region, STEPS)
    for name in store.task.variable_names:
        coarse = region.read("coarse", name, STEPS)
        assert residual_ulps(region, fields[name][:, 0], coarse) <= 4


def test_the_soft_loss_trades_error_for_violation(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """The same network, seed and steps: less violation, of either kind of run the loss at
    validation is the plain error.
    """
    validation = load_pairs(store.regions("train"), store.task.periods.val)
    violated, error = {}, {}
    for name in ("none", "soft"):
        request = tiny("training.steps=200", "training.validate_every=40", constraint=name)
        record = train(store, request, tmp_path / name)
        _, model = load_run(tmp_path / name, store.task)
        with torch.no_grad():
            found = model(validation.coarse, validation.block_weights)
        squares = violation(
            found, validation.coarse, validation.block_weights, validation.area
        ).numpy()
        violated[name] = (squares / record.scaling.increment**2).mean()
        error[name] = mean_square(found, validation, record.scaling).item()
        assert min(point.val for point in record.curve) == pytest.approx(error[name], rel=1e-4)
    assert violated["soft"] < 0.9 * violated["none"]


def test_the_soft_loss_is_what_is_minimised(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.01 of the plain loss and 0.99 of the violation in the same units, at every step."""
    plain: list[float] = []
    squares: list[float] = []
    loss, violated = mean_square, fit.violation
    units: list[NDArray[np.float64]] = []

    def seen_loss(*words: object) -> torch.Tensor:
        value = loss(*words)  # type: ignore[arg-type]
        plain.append(value.item())
        return value

    def seen_violation(*words: torch.Tensor) -> torch.Tensor:
        value = violated(*words)
        squares.append(float((value.detach().numpy() / units[0]).mean()))
        return value

    monkeypatch.setitem(LOSSES, "mse", seen_loss)
    monkeypatch.setattr(fit, "violation", seen_violation)
    fit_scaling = training.fit_scaling

    def scaling(*words: object) -> object:
        found = fit_scaling(*words)  # type: ignore[arg-type]
        units.append(found.increment**2)
        return found

    monkeypatch.setattr(training, "fit_scaling", scaling)
    settings = ("training.steps=3", "training.validate_every=3")
    record = train(store, tiny(*settings, constraint="soft"), tmp_path)
    steps = [0.01 * p + 0.99 * v for p, v in zip(plain[:3], squares, strict=True)]
    assert record.curve[0].train == pytest.approx(np.mean(steps), rel=1e-5)
