"""Few-shot runs: each target fine-tuned on its labelled days alone, from one finished run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.adaptation.few_shot import (
    few_shot,
    few_shot_request,
    labelled_days,
    labelled_pairs,
    load_few_shot_config,
    weights_digest,
    weights_path,
)
from baselines.losses import mean_square
from baselines.network import open_network
from baselines.runs import CHECKPOINT, RECORD, WEIGHTS, Request, load_run, load_tensors, read_record
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from benchmark.task import Task

Make = Callable[..., Request]
pytestmark = pytest.mark.usefixtures("quick_data")
EUROPE = ("europe-east", "europe-west")
QUICK = load_few_shot_config(settings=["training.steps=3", "training.learning_rate=0.01"])


@pytest.fixture(scope="module")
def base(store: PairStore, tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zero-shot run with a layer, trained on two regions."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    train(store, tiny("training.steps=4", constraint="softmax", sources=EUROPE, seed=1), folder)
    return folder


@pytest.fixture(scope="module")
def tuned(store: PairStore, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, fine-tuned."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    few_shot(store, few_shot_request(store, base, QUICK), folder, start=base)
    return folder


def test_the_request_keeps_what_it_starts_from(store: PairStore, base: Path) -> None:
    """Network, layer, skip, sources and seed; of the training what `few-shot.toml` says."""
    before, request = read_record(base).request, few_shot_request(store, base, QUICK)
    assert request.regime == "few_shot"
    assert request.start == weights_digest(base)
    kept = {"task", "data_hash", "model", "sources", "constraint", "skip", "seed"}
    assert request.model_dump(include=kept) == before.model_dump(include=kept)
    assert request.config.network == before.config.network
    mine, theirs = request.config.training, before.config.training
    assert (mine.steps, mine.batch, mine.learning_rate, mine.schedule) == (3, 4, 0.01, "constant")
    assert (mine.loss, mine.mirror, mine.threads, mine.precision) == (
        theirs.loss, theirs.mirror, theirs.threads, theirs.precision
    )  # fmt: skip
    assert few_shot_request(store, base, QUICK, seed=7).seed == 7


def test_a_run_folder(store: PairStore, task: Task, base: Path, tuned: Path) -> None:
    """The base's weights and constants, and other weights for each OOD test region."""
    record, start = read_record(tuned), read_record(base)
    assert record.mean == start.mean
    assert record.parameters == start.parameters
    assert (record.curve, record.best_step) == ((), 3)
    assert record.seconds > 0
    targets = {region.name for region in task.regions_of("test_ood")}
    files = {path.name for path in tuned.iterdir()}
    assert files == {RECORD, WEIGHTS} | {f"{name}.safetensors" for name in targets}
    assert (tuned / WEIGHTS).read_bytes() == (base / WEIGHTS).read_bytes()
    heads = [load_tensors(weights_path(tuned, store.region(name)))[0] for name in targets]
    whole = {tensors["head.weight"].numpy().tobytes() for tensors in heads}
    assert len(whole) == len(targets) == 12
    _, metadata = load_tensors(weights_path(tuned, store.region("andes-south")))
    assert len(metadata["curve"]) == 3


def test_only_the_labelled_days_of_the_targets_are_read(
    store: PairStore, task: Task, base: Path, reads: list[Any], tmp_path: Path
) -> None:
    """Seed 1 has 26 March: four steps; neither a source region nor another day is opened."""
    few_shot(store, few_shot_request(store, base, QUICK), tmp_path, start=base)
    assert {read.region for read in reads} == {r.name for r in task.regions_of("test_ood")}
    times = store.region("andes-south").times
    labelled = np.flatnonzero(times.astype("datetime64[D]") == np.datetime64("2026-03-26"))
    assert {tuple(read.steps) for read in reads} == {tuple(labelled)}
    assert len(labelled) >= 3


def test_the_draw_is_the_seeds(store: PairStore, base: Path, tuned: Path, tmp_path: Path) -> None:
    """Another seed, other days and other weights; the same seed, the same bits."""
    region = store.region("andes-south")
    mine = load_tensors(weights_path(tuned, region))[0]
    for seed, same in ((1, True), (2, False), (4, False)):
        folder = tmp_path / f"{seed}"
        few_shot(store, few_shot_request(store, base, QUICK, seed=seed), folder, start=base)
        found = load_tensors(weights_path(folder, region))[0]
        assert all(torch.equal(found[name], mine[name]) for name in mine) == same


def test_it_learns_from_its_days(store: PairStore, task: Task, base: Path, tmp_path: Path) -> None:
    """On the labelled days every target's own network is better than what it started from."""
    config = load_few_shot_config(settings=["training.steps=30", "training.learning_rate=0.003"])
    request = few_shot_request(store, base, config)
    record = few_shot(store, request, tmp_path, start=base)
    _, model = load_run(base, task)
    for region in store.regions("test_ood"):
        pairs = labelled_pairs(region, labelled_days(task, request.seed))
        losses = []
        for weights in (base / WEIGHTS, weights_path(tmp_path, region)):
            model.network.load_state_dict(load_tensors(weights)[0])
            with torch.no_grad():
                predicted = model(pairs.coarse, pairs.block_weights)
            losses.append(mean_square(predicted, pairs, record.scaling).item())
        assert losses[1] < losses[0], region.name


def test_stopped_and_resumed(store: PairStore, base: Path, tuned: Path, tmp_path: Path) -> None:
    """Stopped within the third region: two are kept as they are, the rest is what it would be."""
    request = few_shot_request(store, base, QUICK)
    told: list[tuple[int, int, str]] = []

    def stop(*words: Any) -> None:
        told.append(words)
        if len(told) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        few_shot(store, request, tmp_path, start=base, report=stop)
    names = [region.name for region in store.regions("test_ood")]
    assert told[-1] == (8, 36, names[2])
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(kept) == {f"{name}.safetensors" for name in names[:2]}
    with pytest.raises(InputError, match="no such file"):
        open_network(tmp_path, store)
    told.clear()
    few_shot(store, request, tmp_path, start=base, report=lambda *words: told.append(words))
    assert [words[0] for words in told] == list(range(7, 37))
    for name in names:
        path = tmp_path / f"{name}.safetensors"
        assert name not in names[:2] or path.stat().st_mtime_ns == kept[path.name]
        found, expected = load_tensors(path)[0], load_tensors(tuned / path.name)[0]
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    record = read_record(tmp_path)
    assert few_shot(store, request, tmp_path, start=base) == record


def test_a_folder_of_another_run_is_refused(
    store: PairStore, base: Path, tuned: Path, tmp_path: Path
) -> None:
    """Finished, half-finished or begun by a training: nothing is mixed."""
    other = few_shot_request(store, base, QUICK, seed=2)
    with pytest.raises(InputError, match="a run with other settings"):
        few_shot(store, other, tuned, start=base)
    half = tmp_path / "half"
    half.mkdir()
    path = weights_path(half, store.regions("test_ood")[0])
    path.write_bytes((tuned / path.name).read_bytes())
    with pytest.raises(InputError, match="a run with other settings"):
        few_shot(store, other, half, start=base)
    (tmp_path / CHECKPOINT).write_bytes(b"")
    with pytest.raises(InputError, match="a run with other settings"):
        few_shot(store, other, tmp_path, start=base)


def test_targets_have_their_own_weights_and_others_the_base(
    store: PairStore, base: Path, tuned: Path
) -> None:
    """At home the run it started from, bit for bit; there something else, in every target."""
    before, after = open_network(base, store), open_network(tuned, store)
    for name in ("europe-west", "japan-okhotsk", "andes-south", "tibetan-plateau"):
        region = store.region(name)
        fields = [which.predict(region, slice(16, 20))["t2m"] for which in (before, after)]
        assert np.array_equal(*fields) == (name in ("europe-west", "japan-okhotsk"))
    region = store.region("andes-south")
    model = after.model
    tensors, _ = load_tensors(weights_path(tuned, region))
    model.network.load_state_dict(tensors)
    steps = slice(0, 24)
    coarse = [torch.from_numpy(region.read("coarse", n, steps)) for n in region.task.variable_names]
    with torch.no_grad():
        expected = model(torch.stack(coarse, dim=1), torch.ones(24, 1, 32, 32) / 16)
    np.testing.assert_allclose(
        open_network(tuned, store).predict(region, steps)["t2m"][:, 0],
        expected[:, 0].numpy(), rtol=1e-3,
    )  # fmt: skip


def test_its_card(store: PairStore, tuned: Path) -> None:
    card = open_network(tuned, store).card
    assert (card.model, card.regime, card.selection) == ("srcnn", "few_shot", "none")
    assert (card.exposure, card.sources, card.seed) == ("none", EUROPE, 1)
    assert card.constraint == "softmax"


def test_a_layer_still_holds(store: PairStore, tuned: Path, residual_ulps: Any) -> None:
    predictor = open_network(tuned, store)
    for region in store.regions("test_ood"):
        for variable, field in predictor.predict(region, slice(16, 24)).items():
            coarse = region.read("coarse", variable, slice(16, 24))
            assert residual_ulps(region, field[:, 0], coarse) <= 4


def test_missing_or_foreign_weights_of_a_region(
    store: PairStore, tuned: Path, tmp_path: Path
) -> None:
    """They are missed when that region is predicted, not before."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    for path in tuned.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    region = store.region("andes-south")
    weights_path(folder, region).unlink()
    predictor = open_network(folder, store)
    predictor.predict(store.region("tibetan-plateau"), slice(16, 17))
    with pytest.raises(InputError, match="andes-south"):
        predictor.predict(region, slice(16, 17))
    weights_path(folder, region).write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(InputError, match="other settings"):
        predictor.predict(region, slice(16, 17))


def test_what_it_may_start_from(
    store: PairStore, task: Task, tiny: Make, base: Path, tuned: Path, tmp_path: Path
) -> None:
    """A finished zero-shot run on these data, of a task that lists days."""
    train(store, tiny("training.steps=1", regime="oracle"), tmp_path / "oracle")
    train(store, tiny("training.steps=1", data_hash="of another build"), tmp_path / "foreign")
    for start, said in (
        (tmp_path / "oracle", "one of oracle, val_id"),
        (tuned, "one of few_shot, val_id"),
        (tmp_path / "foreign", "of another build"),
        (tmp_path / "nowhere", "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            few_shot_request(store, start, QUICK)
    bare = PairStore(task.model_copy(update={"few_shot": None}), store.folder)
    with pytest.raises(InputError, match="none in this task"):
        few_shot_request(bare, base, QUICK)


def test_another_start_than_the_requests(
    store: PairStore, tiny: Make, base: Path, tmp_path: Path
) -> None:
    """A run trained anew in its place has other weights."""
    train(store, tiny("training.steps=1"), tmp_path / "other")
    request = few_shot_request(store, base, QUICK)
    for start in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"--base {start}"):
            few_shot(store, request, tmp_path / "run", start=start)


def test_a_labelled_day_without_data(store: PairStore, task: Task) -> None:
    last = task.periods.train.last.date()
    region = store.region("andes-south")
    assert len(labelled_pairs(region, [last])) == 1
    with pytest.raises(InputError, match="at least one step"):
        labelled_pairs(region, [last.replace(day=24)])


def test_the_config(tmp_path: Path) -> None:
    """A small table, refused on unknown keys and values out of range."""
    shipped = load_few_shot_config().training
    assert (shipped.steps, shipped.learning_rate) == (100, 1e-4)
    for setting, said in (
        ("training.rate=1", "training.rate"),
        ("training.steps=0", "training.steps"),
        ("steps=3", "section.key=value"),
    ):
        with pytest.raises(InputError, match=said):
            load_few_shot_config(settings=[setting])
    with pytest.raises(InputError, match="no such file"):
        load_few_shot_config(file=tmp_path / "no.toml")
