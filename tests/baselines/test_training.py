"""Fitting: the loss, seeds, selection, what a run folder holds, and what stops a run."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines import fit, training
from baselines.data import Pairs, fit_scaling, load_pairs
from baselines.launch import resolve_precision
from baselines.losses import mean_square as loss
from baselines.models import TrainingConfig
from baselines.runs import CHECKPOINT, RECORD, WEIGHTS, Request, RunRecord
from baselines.sources import source_regions
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task

Make = Callable[..., Request]
pytestmark = pytest.mark.usefixtures("quick_data")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def same(first: Path, second: Path) -> bool:
    """Whether two runs kept the same weights, bit for bit."""
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("constraint", ["none", "add", "softmax"])
def test_a_seed_decides_the_run(
    store: PairStore, tiny: Make, tmp_path: Path, constraint: str, precision: str
) -> None:
    """The same seed gives the same weights and curve, whatever torch drew before; another not."""
    settings = (f"training.precision={precision}", "training.mirror=true")
    records = []
    for k, seed in enumerate((3, 3, 4)):
        torch.manual_seed(k)
        request = tiny(*settings, constraint=constraint, seed=seed)
        records.append(train(store, request, tmp_path / str(k)))
        assert torch.initial_seed() == k, "training leaves the global generator alone"
    assert records[0].curve == records[1].curve
    assert records[0].best_step == records[1].best_step
    assert same(tmp_path / "0", tmp_path / "1")
    assert records[0].curve != records[2].curve
    assert not same(tmp_path / "0", tmp_path / "2")


def test_a_seed_decides_the_first_weights(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """After one step too small to matter, what is left of a run is where it started."""
    settings = ("training.steps=1", "training.learning_rate=1e-9")
    for seed in (0, 1):
        train(store, tiny(*settings, seed=seed), tmp_path / str(seed))
    first, second = (weights_of(tmp_path / str(seed))["head.weight"] for seed in (0, 1))
    assert (first - second).abs().max() > 0.01


def test_training_draws_nothing_from_the_global_generator(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """What a user draws after training does not depend on it."""
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    train(store, tiny(), tmp_path / "run")
    assert torch.equal(torch.rand(4), expected)


def test_the_run_folder_is_whole_and_holds_no_pickle(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """run.json and weights, no checkpoint left; the record says what was done, how and where."""
    request = tiny("training.validate_every=3", seed=5)
    record = train(store, request, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [RECORD, WEIGHTS]
    written = json.loads((tmp_path / "run" / RECORD).read_text())
    assert written["request"]["seed"] == 5
    assert written["request"]["data_hash"] == store.data_hash
    assert written["request"]["config"]["training"]["steps"] == 10
    assert written["request"]["config"]["network"] == {"width": 4, "blocks": 1}
    assert [point["step"] for point in written["curve"]] == [3, 6, 9, 10]
    assert all(math.isfinite(point["train"] + point["val"]) for point in written["curve"])
    assert written["seconds"] > 0
    assert "1 thread" in written["hardware"]
    assert written["packages"]["torch"] == torch.__version__
    assert written["precision"] == "float32"
    assert written["parameters"] == sum(t.numel() for t in weights_of(tmp_path / "run").values())
    assert RunRecord.model_validate(written) == record


def test_checkpoints_are_safetensors_too(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """An interrupted run holds one file, which opens without pickle."""
    folder = tmp_path / "run"

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, tiny(), folder, report=stop)
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
    names = set(load_file(folder / CHECKPOINT))
    assert "generator" in names
    assert {name.split(".")[0] for name in names} == {"model", "best", "adam", "generator"}


def test_the_loss_is_the_documented_one(store: PairStore, task: Task) -> None:
    """Mean over variables of sum w (p - t)^2 / (sum w increment^2), in numpy, cells missing."""
    regions = [store.region("europe-west")]
    scaling = fit_scaling(task, regions)
    pairs = load_pairs(regions, task.periods.val)
    pairs.valid[1, :, 4:20, 7] = False
    predicted = pairs.fine + torch.randn(pairs.fine.shape, generator=torch.manual_seed(0))
    predicted[1, :, 4:20, 7] = 1e6
    expected = []
    for k in range(3):
        w = pairs.area[:, 0].double().numpy() * pairs.valid[:, k].numpy()
        squares = (predicted[:, k] - pairs.fine[:, k]).double().numpy() ** 2
        expected.append((w * squares).sum() / (w.sum() * scaling.increment[k] ** 2))
    assert loss(predicted, pairs, scaling).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_bilinear_costs_about_one(store: PairStore, task: Task) -> None:
    """The unit of the loss: bilinear over the training days, each variable counted alike."""
    regions = source_regions(store, "zero_shot")
    scaling = fit_scaling(task, regions)
    pairs = load_pairs(regions, task.periods.train)
    bilinear = torch.nn.functional.interpolate(pairs.coarse, scale_factor=4, mode="bilinear")
    assert loss(bilinear, pairs, scaling).item() == pytest.approx(1, abs=0.05)


def test_a_batch_can_be_learned_by_heart(
    store: PairStore, task: Task, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without skip or layer, two samples are fitted far below the error of bilinear."""
    regions = source_regions(store, "zero_shot")
    scaling = fit_scaling(task, regions)
    two = load_pairs(regions, task.periods.train).take(torch.tensor([3, 40]))
    bilinear = torch.nn.functional.interpolate(two.coarse, scale_factor=4, mode="bilinear")

    def only_two(*_: object) -> Pairs:
        return two

    monkeypatch.setattr(training, "load_pairs", only_two)
    request = tiny(
        "network.width=24", "training.steps=500", "training.validate_every=100",
        "training.batch=2", "training.learning_rate=0.004", skip=False,
    )  # fmt: skip
    record = train(store, request, tmp_path / "run")
    to_beat = loss(bilinear, two, scaling).item()
    assert record.curve[0].val > to_beat
    assert record.curve[-1].val < 0.5 * to_beat


def test_the_best_validation_step_is_kept(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """The weights kept are those that the same run had at the step of lowest validation loss."""
    settings = (
        "training.schedule=constant", "training.learning_rate=0.3", "training.validate_every=1"
    )  # fmt: skip
    record = train(store, tiny(*settings, "training.steps=8"), tmp_path / "long")
    lowest = min(record.curve, key=lambda point: point.val)
    assert record.best_step == lowest.step
    assert lowest.step < 8, "the last step must not be the best for this test to mean anything"
    short = tiny(*settings, f"training.steps={lowest.step}")
    assert train(store, short, tmp_path / "short").best_step == lowest.step
    assert same(tmp_path / "long", tmp_path / "short")


def test_a_finished_run_is_returned_and_not_repeated(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request on a finished folder reads no data and changes no file."""
    record = train(store, tiny(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    def never(*_: object) -> Pairs:
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "load_pairs", never)
    monkeypatch.setattr(training, "fit_scaling", never)
    assert train(store, tiny(), tmp_path) == record
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ([], {"seed": 1}), ([], {"skip": False}), ([], {"constraint": "add"}),
        ([], {"regime": "oracle"}), ([], {"data_hash": "another"}), (["training.steps=11"], {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_with_another_run_is_refused(
    store: PairStore,
    tiny: Make,
    tmp_path: Path,
    settings: list[str],
    fields: dict[str, object],
    finished: bool,
) -> None:
    """Finished or interrupted, a run with other settings is neither resumed nor overwritten."""

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    if finished:
        train(store, tiny(), tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(store, tiny(), tmp_path, report=stop)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="other settings"):
        train(store, tiny(*settings, **fields), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InputError that names the step; what was saved before still leads to the undisturbed run."""
    undisturbed = train(store, tiny(), tmp_path / "undisturbed")
    original = fit.learning_rate

    def leap(step: int, config: TrainingConfig) -> float:
        return 1e30 if step == 5 else original(step, config)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "learning_rate", leap)
        with pytest.raises(InputError, match="training step 7"):
            train(store, tiny(), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [CHECKPOINT]
    assert train(store, tiny(), tmp_path / "run").curve == undisturbed.curve
    assert same(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (3, 1), (4, 4)])
def test_a_network_that_diverges_at_a_validation_is_no_result(
    store: PairStore, tiny: Make, tmp_path: Path, steps: int, every: int
) -> None:
    """A validation loss that is not finite stops the run too; nothing says that it is finished."""
    request = tiny(
        f"training.steps={steps}", f"training.validate_every={every}",
        "training.learning_rate=1e30",
    )  # fmt: skip
    with pytest.raises(InputError, match="finite"):
        train(store, request, tmp_path / "run")
    assert not (tmp_path / "run" / RECORD).exists()
    assert not (tmp_path / "run" / WEIGHTS).exists()
    if (tmp_path / "run" / CHECKPOINT).exists():
        saved = load_file(tmp_path / "run" / CHECKPOINT)
        assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_poisoned_data_stop_at_the_first_step(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN in a coarse field is found at once and leaves no folder that looks like a run."""
    original = training.load_pairs

    def poisoned(*arguments: object) -> Pairs:
        pairs = original(*arguments)  # type: ignore[arg-type]
        pairs.coarse[:, 0, 2, 2] = math.nan
        return pairs

    monkeypatch.setattr(training, "load_pairs", poisoned)
    with pytest.raises(InputError, match="training step 1"):
        train(store, tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_precision_is_resolved_and_recorded(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """`auto` becomes what was used, and is asked for by name otherwise."""
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bf16") == "bf16"
    resolved = resolve_precision("auto")
    request = tiny("training.precision=auto", "training.steps=1")
    assert train(store, request, tmp_path / "run").precision == resolved
    assert resolved in ("float32", "bf16")


def test_cosine_schedule_falls_to_zero_and_constant_does_not(tiny: Make) -> None:
    """Half a cosine over the steps: full at the start, half in the middle, next to 0 at the end."""
    cosine = tiny("training.steps=100").config.training
    rates = [fit.learning_rate(step, cosine) for step in range(100)]
    assert rates[0] == cosine.learning_rate
    assert rates[50] == pytest.approx(cosine.learning_rate / 2)
    assert rates[-1] < 1e-3 * cosine.learning_rate
    assert all(a > b for a, b in pairwise(rates))
    constant = tiny("training.schedule=constant").config.training
    assert {fit.learning_rate(step, constant) for step in range(10)} == {0.01}
