"""A trained network as a predictor: the same bits however it is asked, and conservation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines import network
from baselines.data import fit_scaling
from baselines.downscaler import Downscaler, Scaling
from baselines.network import Network, open_network
from baselines.nulls import null
from baselines.runs import CHECKPOINT, RECORD, WEIGHTS, Request, build
from baselines.sources import source_regions
from baselines.training import train
from benchmark.errors import InputError
from benchmark.model_card import ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.task import Task

Make = Callable[..., Request]
Ulps = Callable[[RegionStore, NDArray[np.floating], NDArray[np.floating]], float]
pytestmark = pytest.mark.usefixtures("quick_data")


def everything(region: RegionStore) -> slice:
    return slice(0, len(region.times))


@pytest.fixture(scope="module")
def scaling(store: PairStore, task: Task) -> Scaling:
    """The zero-shot constants."""
    return fit_scaling(task, source_regions(store, "zero_shot"))


def untrained(
    request: Request, scaling: Scaling, task: Task, *, loud: float = 1.0
) -> tuple[Downscaler, Network]:
    """A network with random weights, its output made `loud` times larger."""
    torch.manual_seed(11)
    model = build(request, scaling, task).eval()
    with torch.no_grad():
        model.network.head.weight.mul_(loud)  # type: ignore[union-attr, operator]
    card = ModelCard(task=task.id, model="srcnn", title="untrained", reference="none")
    return model, Network(card, model, threads=1, post_hoc=request.constraint == "post_hoc")


@pytest.fixture
def trained(store: PairStore, tiny: Make, tmp_path: Path) -> Callable[..., Path]:
    """trained(**fields): the folder of a run of ten steps."""

    def make(*settings: str, **fields: object) -> Path:
        folder = tmp_path / "run"
        train(store, tiny(*settings, **fields), folder)
        return folder

    return make


@pytest.mark.parametrize("batch", [32, 5])
@pytest.mark.parametrize("constraint", ["add", "softmax", "post_hoc"])
def test_an_answer_does_not_depend_on_the_steps_asked_for(
    store: PairStore, task: Task, tiny: Make, scaling: Scaling, constraint: str, batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One step, a few across batches, or all: the same bits, in the order asked."""
    monkeypatch.setattr(network, "BATCH", batch)
    _, predictor = untrained(tiny(constraint=constraint), scaling, task)
    region = store.region("andes-south")
    whole = predictor.predict(region, everything(region))
    singles = [slice(step, step + 1) for step in range(24)]
    for steps in (*singles, slice(3, 12), slice(16, 24), slice(10, 15)):
        for variable, field in predictor.predict(region, steps).items():
            np.testing.assert_array_equal(field, whole[variable][steps], strict=True)


def test_shape_and_type(store: PairStore, task: Task, tiny: Make, scaling: Scaling) -> None:
    """(time, 1, ny, nx) float32 of each variable in the task's order, finite and contiguous."""
    _, predictor = untrained(tiny(), scaling, task)
    got = predictor.predict(store.region("europe-west"), slice(4, 9))
    assert tuple(got) == task.variable_names
    for field in got.values():
        assert field.shape == (5, predictor.member_count, 32, 32)
        assert field.dtype == np.float32
        assert field.flags.c_contiguous
        assert np.isfinite(field).all()


def test_predictions_are_the_models_fields(
    store: PairStore, task: Task, tiny: Make, scaling: Scaling
) -> None:
    """Variables and steps are where they belong: against the module, one step at a time."""
    model, predictor = untrained(tiny(skip=False), scaling, task)
    region = store.region("tibetan-plateau")
    got = predictor.predict(region, everything(region))
    for step in (0, 7, 23):
        at = slice(step, step + 1)
        coarse = np.stack([region.read("coarse", n, at) for n in task.variable_names], axis=1)
        with torch.no_grad():
            expected = model(torch.from_numpy(coarse), torch.ones(1, 1, 32, 32) / 16)
        for k, variable in enumerate(task.variable_names):
            np.testing.assert_allclose(
                got[variable][step, 0], expected[0, k].numpy(), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("constraint", ["add", "softmax", "post_hoc"])
def test_hard_layers_hold_in_every_block_variable_and_region(
    store: PairStore, task: Task, tiny: Make, scaling: Scaling, residual_ulps: Ulps,
    constraint: str, skip: bool,
) -> None:  # fmt: skip
    """max |A y - x| <= 4 eps32 max |x| for random weights, dry blocks and all regions included."""
    _, predictor = untrained(tiny(constraint=constraint, skip=skip), scaling, task, loud=10)
    _, free = untrained(tiny(skip=skip), scaling, task, loud=10)
    dry = 0
    for entry in task.regions:
        region = store.region(entry.name)
        fields = predictor.predict(region, everything(region))
        unbound = free.predict(region, everything(region))
        for variable in task.variable_names:
            coarse = region.read("coarse", variable, everything(region))
            assert residual_ulps(region, fields[variable][:, 0], coarse) <= 4, variable
            assert residual_ulps(region, unbound[variable][:, 0], coarse) > 1000, variable
            if constraint == "softmax":
                empty = coarse.repeat(4, axis=1).repeat(4, axis=2) == 0
                assert (fields[variable][:, 0][empty] == 0).all()
                assert (fields[variable] >= 0).all()
                dry += int(empty.sum())
    assert dry > 0 or constraint != "softmax"


@pytest.mark.parametrize(
    ("constraint", "post_hoc", "bound"),
    [("add", False, True), ("softmax", False, True), ("post_hoc", False, True),
     ("none", True, True), ("none", False, False), ("soft", True, True), ("soft", False, False)],
)  # fmt: skip
def test_a_trained_run_conserves_as_its_card_says(
    store: PairStore, task: Task, trained: Callable[..., Path], residual_ulps: Ulps,
    constraint: str, post_hoc: bool, bound: bool,
) -> None:  # fmt: skip
    """From training through the files to the predictions of every test region."""
    predictor = open_network(trained(constraint=constraint), store, post_hoc=post_hoc)
    assert predictor.card.constraint == ("post_hoc" if post_hoc else constraint)
    for region in expected_regions(store):
        steps = region.steps(task.periods.test)
        for variable, field in predictor.predict(region, steps).items():
            ulps = residual_ulps(region, field[:, 0], region.read("coarse", variable, steps))
            assert ulps <= 4 if bound else ulps > 1000


@pytest.mark.parametrize("constraint", ["add", "softmax", "post_hoc"])
def test_only_the_rounding_of_the_stored_values_is_left(
    store: PairStore, task: Task, tiny: Make, scaling: Scaling, residual_ulps: Ulps,
    constraint: str,
) -> None:  # fmt: skip
    """Computed in float64: temperatures, all near one size, miss by at most half an ulp or so."""
    _, predictor = untrained(tiny(constraint=constraint), scaling, task)
    for name in ("andes-south", "europe-west", "tibetan-plateau"):
        region = store.region(name)
        fine = predictor.predict(region, everything(region))["t2m"][:, 0]
        coarse = region.read("coarse", "t2m", everything(region))
        assert residual_ulps(region, fine, coarse) <= 0.6


def test_post_hoc_changes_nothing_but_the_block_means(
    store: PairStore, trained: Callable[..., Path]
) -> None:
    """Projected predictions are the plain ones plus one number a block."""
    folder, region = trained(), store.region("andes-south")
    plain = open_network(folder, store).predict(region, everything(region))
    projected = open_network(folder, store, post_hoc=True).predict(region, everything(region))
    change = (projected["t2m"] - plain["t2m"]).reshape(24, 8, 4, 8, 4)
    assert np.ptp(change, axis=(2, 4)).max() < 1e-3
    assert abs(change).max() > 0.1


@pytest.mark.parametrize("constraint", ["add", "softmax"])
def test_post_hoc_on_a_run_with_a_layer_is_refused(
    store: PairStore, trained: Callable[..., Path], constraint: str
) -> None:
    """It would change the card and nothing else."""
    folder = trained(constraint=constraint)
    with pytest.raises(InputError, match=f"one with {constraint}"):
        open_network(folder, store, post_hoc=True)


def test_the_card_says_what_was_trained(
    store: PairStore, task: Task, trained: Callable[..., Path]
) -> None:
    """Regime, skip, seed, selection and size come from the run's record."""
    folder = trained(constraint="add", skip=False, seed=9, regime="oracle")
    card = open_network(folder, store).card
    assert (card.task, card.model, card.regime) == (task.id, "srcnn", "oracle")
    assert (card.constraint, card.skip, card.seed) == ("add", False, 9)
    assert (card.selection, card.null, card.members) == ("val_id", False, "single")
    assert card.parameters == 847


def test_what_is_predicted_is_the_best_step(
    store: PairStore, task: Task, trained: Callable[..., Path]
) -> None:
    """Opening a run twice gives the same bits, and other ones than bilinear."""
    folder, region = trained("training.precision=bf16"), store.region("europe-west")
    first = open_network(folder, store).predict(region, slice(16, 24))
    again = open_network(folder, store).predict(region, slice(16, 24))
    bilinear = null("bilinear", store).predict(region, slice(16, 24))
    for variable in task.variable_names:
        np.testing.assert_array_equal(first[variable], again[variable])
        assert not np.allclose(first[variable], bilinear[variable], rtol=1e-5)


def test_a_run_of_another_task_is_refused(
    store: PairStore, task: Task, trained: Callable[..., Path]
) -> None:
    """Another revision is another task."""
    folder = trained()
    other = task.model_copy(update={"revision": task.revision + 1})
    with pytest.raises(InputError, match=f"a run of {other.id}"):
        open_network(folder, PairStore(other, store.folder))


def test_an_unfinished_run_is_refused(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """It says how to finish it; a folder without a run says so too."""

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, tiny(), tmp_path, report=stop)
    assert (tmp_path / CHECKPOINT).exists()
    with pytest.raises(InputError, match=r"unfinished.*elsewhere train"):
        open_network(tmp_path, store)
    with pytest.raises(InputError, match="no such file"):
        open_network(tmp_path / "nowhere", store)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "gone", "a pickle"])
def test_damaged_weights_are_an_input_error(
    store: PairStore, trained: Callable[..., Path], damage: str
) -> None:
    """Nothing that is not safetensors is opened, least of all by unpickling."""
    folder = trained()
    path = folder / WEIGHTS
    whole = path.read_bytes()
    path.unlink()
    if damage == "a pickle":
        torch.save({"head.weight": torch.zeros(1)}, path)
    elif damage != "gone":
        path.write_bytes({"truncated": whole[:-50], "empty": b"", "garbage": b"\x00" * 64}[damage])
    with pytest.raises(InputError, match="safetensors"):
        open_network(folder, store)


def test_weights_of_another_network_are_an_input_error(
    store: PairStore, tiny: Make, trained: Callable[..., Path], tmp_path: Path
) -> None:
    """A file that is whole but does not fit the record, as after a mixed-up copy."""
    folder = trained()
    train(store, tiny("network.width=6"), tmp_path / "wider")
    (folder / WEIGHTS).write_bytes((tmp_path / "wider" / WEIGHTS).read_bytes())
    with pytest.raises(InputError, match="weights"):
        open_network(folder, store)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"schema_version": 2}'])
def test_a_damaged_record_is_an_input_error(
    store: PairStore, trained: Callable[..., Path], content: str
) -> None:
    """An empty, foreign or newer run.json."""
    folder = trained()
    (folder / RECORD).write_text(content)
    with pytest.raises(InputError, match="problems in it"):
        open_network(folder, store)


def test_threads_are_those_of_training(
    store: PairStore, task: Task, tiny: Make, scaling: Scaling
) -> None:
    """The last bits depend on them, so predicting sets what the run was trained with."""
    _, predictor = untrained(tiny(), scaling, task)
    torch.set_num_threads(1)
    replace(predictor, threads=2).predict(store.region("europe-west"), slice(0, 1))
    assert torch.get_num_threads() == 2
