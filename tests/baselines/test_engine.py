"""What the training engine can be asked for: averages, clipping, selection, balance, processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines import fit, training
from baselines.batches import by_region
from baselines.context import clock_angles, region_context
from baselines.data import load_pairs
from baselines.launch import resolve_precision
from baselines.models import load_config
from baselines.runs import CHECKPOINT, RECORD, WEIGHTS, Request, card
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore

Command = Callable[..., CompletedProcess[str]]
Make = Callable[..., Request]
pytestmark = pytest.mark.usefixtures("quick_data")


def states(patch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights after every step of what is trained from here on."""
    kept: list[dict[str, torch.Tensor]] = []
    update = fit.update

    def seen(state: fit.Fit, *words: object) -> float:
        if not kept:
            kept.append({k: v.clone() for k, v in state.model.network.state_dict().items()})
        number = update(state, *words)  # type: ignore[arg-type]
        kept.append({k: v.clone() for k, v in state.model.network.state_dict().items()})
        return number

    patch.setattr(training, "update", seen)
    return kept


def test_the_average_of_the_weights_is_kept(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a <- 0.75 a + 0.25 w after every step, from the first step's weights on."""
    kept = states(monkeypatch)
    request = tiny("training.ema=0.75", "training.steps=6", "training.validate_every=6")
    train(store, request, tmp_path)
    found = load_file(tmp_path / WEIGHTS)
    for name, value in found.items():
        average = kept[1][name].double()
        for state in kept[2:]:
            average = 0.75 * average + 0.25 * state[name].double()
        torch.testing.assert_close(value.double(), average, rtol=1e-5, atol=1e-7)
    assert any((value - kept[-1][name]).abs().max() > 1e-4 for name, value in found.items())


def test_a_long_gradient_is_cut(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the norm that is asked for; without it the same steps have longer ones."""
    longest = []
    for name, clip in (("cut", 0.01), ("free", 0.0)):
        norms: list[float] = []
        step = torch.optim.Adam.step

        def seen(self: torch.optim.Adam, *words: object, norms: list[float] = norms) -> object:
            gradients = [p.grad for p in self.param_groups[0]["params"]]
            whole = torch.cat([g.ravel() for g in gradients])
            norms.append(float(torch.linalg.vector_norm(whole)))
            return step(self, *words)  # noqa: B023 the same one in every turn

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", seen)
            train(store, tiny(f"training.clip={clip}"), tmp_path / name)
        longest.append(max(norms))
    assert longest[0] <= 0.01 * (1 + 1e-5)
    assert longest[1] > 0.02


@pytest.mark.parametrize(
    "words",
    [
        ("training.ema=0.9", "training.clip=0.1", "training.balance=regions"),
        ("training.data=stream", "training.mirror=true"),
        ("training.data=stream", "training.workers=1", "training.balance=regions"),
        ("training.overfit=true", "training.mirror=true"),
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    store: PairStore, tiny: Make, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """An average is part of the checkpoint; a stream begins where it was."""
    request = tiny(*words)
    undisturbed = train(store, request, tmp_path / "undisturbed")

    def stop(step: int, *_: object) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, request, tmp_path / "run", report=stop)
    assert (tmp_path / "run" / CHECKPOINT).exists()
    assert train(store, request, tmp_path / "run").curve == undisturbed.curve
    first, second = (load_file(tmp_path / n / WEIGHTS) for n in ("undisturbed", "run"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_patience_stops_a_run_that_gets_no_better(
    store: PairStore, tiny: Make, tmp_path: Path
) -> None:
    """After so many validations without a new best, and not before."""
    words = ("training.steps=400", "training.validate_every=4", "training.learning_rate=0.03")
    record = train(store, tiny(*words, "training.patience=3"), tmp_path)
    steps = [point.step for point in record.curve]
    assert steps[-1] < 400
    assert steps[-1] == record.best_step + 3 * 4
    for last in steps[:-1]:
        losses = {point.step: point.val for point in record.curve if point.step <= last}
        assert last - min(losses, key=losses.__getitem__) < 3 * 4, "stopped too late"


def test_selection_on_other_regions(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """The same steps; the validation loss is that of the `val_ood` regions; the card says so."""
    curves = {}
    for selection in ("val_id", "val_ood"):
        request = tiny(selection=selection)
        record = train(store, request, tmp_path / selection)
        curves[selection] = record.curve
        declared = card(record, constraint="none")
        assert declared.selection == selection
        assert declared.model == ("srcnn" if selection == "val_id" else "srcnn-val-ood")
    assert [p.train for p in curves["val_id"]] == [p.train for p in curves["val_ood"]]
    assert all(a.val != b.val for a, b in zip(curves["val_id"], curves["val_ood"], strict=True))


def test_a_request_that_contradicts_itself(tiny: Make) -> None:
    """What no regime allows is refused before anything is read."""
    for words in (
        {"target_only": True},
        {"regime": "oracle", "selection": "val_ood"},
        {"regime": "few_shot"},
        {"start": "0" * 64},
    ):
        with pytest.raises(ValueError, match=r"oracle|val_ood|few-shot"):
            tiny(**words)


def test_regions_are_drawn_alike() -> None:
    """However many samples each has; every sample of a region as often as the others."""
    sizes = torch.tensor([1, 10, 89])
    region = torch.repeat_interleave(torch.tensor([4, 0, 7]), sizes)
    drawn = by_region(region, 60_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=100)
    for number, size in ((4, 1), (0, 10), (7, 89)):
        own = counts[region == number].double()
        assert own.sum() == pytest.approx(20_000, rel=0.03)
        # Within five standard deviations of a multinomial count.
        expected = 20_000 / size
        assert (own - expected).abs().max() < 5 * expected**0.5 + 0.03 * expected


def test_regions_weigh_alike_in_training(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """Another draw than that of the samples, of which each region here has as many."""
    curves = [
        train(store, tiny(f"training.balance={balance}"), tmp_path / balance).curve
        for balance in ("samples", "regions")
    ]
    assert curves[0] != curves[1]


def test_the_context_is_that_of_the_place_and_the_time(store: PairStore) -> None:
    """Orography in km, radians, and clocks that agree with a calendar."""
    region = store.region("andes-south")
    steps = slice(0, 3)
    context = region_context(region, steps)
    height = torch.from_numpy(region.static("orography"))
    torch.testing.assert_close(context.static[1, 1], height / 1000)
    assert torch.equal(context.static[0, 0], torch.from_numpy(region.static("land_fraction")))
    assert context.place.shape == context.static.shape == (3, 2, 32, 32)
    # The first row is the northernmost: 20 degrees south, less half a cell.
    np.testing.assert_allclose(np.degrees(context.place[0, 0, 0].numpy()), -20.0, atol=1e-4)
    np.testing.assert_allclose(np.degrees(context.place[0, 1, 3, 0].numpy()), -89.0, atol=1e-4)
    other = store.region("europe-west")
    moved = region_context(region, steps, statics=other)
    assert torch.equal(moved.static, region_context(other, steps).static)
    assert torch.equal(moved.place, context.place)
    assert torch.equal(moved.clock, context.clock)


def test_the_clock_is_local() -> None:
    """Noon is noon, midwinter is midwinter, on both hemispheres."""
    june = np.array(["2026-06-21T12:00:00"], "datetime64[s]")
    december = np.array(["2026-12-21T00:00:00"], "datetime64[s]")
    north = clock_angles(june, latitude=50, longitude=0)[0]
    south = clock_angles(december, latitude=-50, longitude=180)[0]
    assert north[1] == pytest.approx(np.pi)
    assert np.cos(south[1]) == pytest.approx(-1)
    assert np.cos(north[0] - south[0]) == pytest.approx(1, abs=1e-3)
    opposite = clock_angles(june, latitude=-50, longitude=0)[0]
    assert np.cos(north[0] - opposite[0]) == pytest.approx(-1, abs=1e-3)


def test_a_gpu_that_is_not_there(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """One clear problem, and nothing is written."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="GPU"):
        train(store, tiny("training.device=cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 only where there are units for it; what is asked for is what comes."""
    for units, expected in (({"amx_bf16": True}, "bf16"), ({}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units)
        assert resolve_precision("auto", torch.device("cpu")) == expected
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_learns_the_same(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """To rounding; the weights are those of the plain network by name, so that it is read alike."""
    words = ("network.blocks=0", "training.steps=4", "training.validate_every=4")
    plain = train(store, tiny(*words), tmp_path / "plain")
    compiled = train(store, tiny(*words, "training.compile=true"), tmp_path / "compiled")
    assert compiled.curve[0].val == pytest.approx(plain.curve[0].val, rel=1e-4)
    first, second = (load_file(tmp_path / name / WEIGHTS) for name in ("plain", "compiled"))
    assert first.keys() == second.keys()


def test_a_machine_without_a_compiler(
    store: PairStore, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear problem that says what is lacking, and no finished run."""
    from torch._inductor import config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    torch.compiler.reset()
    words = ("network.width=5", "network.blocks=0", "training.compile=true")
    with pytest.raises(InputError, match="C\\+\\+ compiler") as caught:
        train(store, tiny(*words), tmp_path / "run")
    assert caught.value.problems[0].where == "training.compile"
    assert not (tmp_path / "run" / RECORD).exists()


def test_a_stream_teaches_what_memory_teaches(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """Other batches of the same samples: about the same loss after as many steps, and nothing of
    it depends on the number of workers."""
    found = {}
    for name, words in (
        ("memory", ()),
        ("stream", ("training.data=stream",)),
        ("workers", ("training.data=stream", "training.workers=2")),
    ):
        steps = ("training.steps=100", "training.validate_every=100")
        found[name] = train(store, tiny(*steps, *words), tmp_path / name).curve[-1]
    # A streamed validation is a mean over regions, all of which have as many samples here.
    assert found["stream"].val == pytest.approx(found["memory"].val, rel=0.05)
    assert found["stream"].val < 1
    assert found["stream"] == found["workers"]


def launched(count: int, words: list[str], data: Path) -> CompletedProcess[str]:
    """The command line under torch's launcher, as a user with several processors starts it."""
    environment = os.environ | {"ELSEWHERE_DATA": str(data), "OMP_NUM_THREADS": "1"}
    program = "from benchmark.cli import main; main()"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, f"--nproc-per-node={count}", "--no-python", sys.executable, "-c", program,
         *words],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip


def test_two_processes_fit_what_one_fits(data: Path, elsewhere: Command, tmp_path: Path) -> None:
    """The same batches, shared out: the same curve to rounding, written once, said once."""
    words = [
        "train", "era5-sample", "srcnn", "--constraint", "softmax", "--skip", "--json",
        "--set", "network.width=8", "--set", "network.blocks=1", "--set", "training.steps=30",
        "--set", "training.validate_every=10", "--set", "training.precision=float32",
        "--set", "training.ema=0.5", "--set", "training.mirror=true",
    ]  # fmt: skip
    one = elsewhere(*words, "--out", tmp_path / "one", env={"ELSEWHERE_DATA": str(data)})
    assert one.returncode == 0, one.stderr
    two = launched(2, [*words, "--out", str(tmp_path / "two")], data)
    assert two.returncode == 0, two.stderr
    assert json.loads(two.stdout)["run"] == str(tmp_path / "two")
    records = [json.loads((tmp_path / name / RECORD).read_text()) for name in ("one", "two")]
    assert [record["processes"] for record in records] == [1, 2]
    assert records[1]["hardware"].startswith("2 processes")
    for name in ("train", "val"):
        curves = [[point[name] for point in record["curve"]] for record in records]
        np.testing.assert_allclose(curves[0], curves[1], rtol=2e-4)
    assert records[1]["curve"][-1]["val"] < records[1]["curve"][0]["val"]


def test_two_processes_tune_what_one_tunes(data: Path, elsewhere: Command, tmp_path: Path) -> None:
    """Few-shot too: the weights of every target are those of one process, to rounding."""
    small = [
        "--set", "network.width=4", "--set", "network.blocks=1", "--set", "training.steps=4",
        "--set", "training.validate_every=4", "--set", "training.precision=float32",
    ]  # fmt: skip
    base = tmp_path / "base"
    done = elsewhere("train", "era5-sample", "srcnn", *small, "--out", base, "--data", data)
    assert done.returncode == 0, done.stderr
    words = ["train", "era5-sample", "srcnn", "--regime", "few_shot", "--base", str(base)]
    words += ["--set", "training.steps=3", "--data", str(data)]
    assert elsewhere(*words, "--out", tmp_path / "one").returncode == 0
    two = launched(2, [*words, "--out", str(tmp_path / "two")], data)
    assert two.returncode == 0, two.stderr
    names = sorted(path.name for path in (tmp_path / "one").glob("*.safetensors"))
    assert len(names) == 13
    for name in names:
        first, second = (load_file(tmp_path / run / name) for run in ("one", "two"))
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-6)


def test_a_batch_that_processes_cannot_share(data: Path, tmp_path: Path) -> None:
    """Said before anything is fitted."""
    words = ["train", "era5-sample", "srcnn", "--set", "training.batch=5"]
    got = launched(2, [*words, "--out", str(tmp_path / "run")], data)
    assert got.returncode != 0
    assert "a multiple of 2 processes" in got.stderr
    assert not (tmp_path / "run" / RECORD).exists()


def test_unknown_keys_and_values_are_refused() -> None:
    """The new ones too, each with what is allowed."""
    for word in (
        "loss=huber", "balance=days", "data=disk", "ema=1", "clip=-1", "workers=-1", "patience=-1",
        "device=tpu", "quantile=1", "alpha=2", "tv=-1", "momentum=0.9",
    ):  # fmt: skip
        with pytest.raises(InputError, match=word.partition("=")[0]):
            load_config("srcnn", settings=[f"training.{word}"])


@pytest.mark.parametrize("loss", ["mae", "log_mse", "amse", "quantile"])
def test_a_loss_is_what_falls(store: PairStore, tiny: Make, tmp_path: Path, loss: str) -> None:
    """Each of them, by name; what is validated is the loss itself."""
    words = ("training.steps=60", "training.validate_every=20", f"training.loss={loss}")
    record = train(store, tiny(*words, "training.quantile=0.7"), tmp_path)
    assert record.curve[-1].train < record.curve[0].train
    request = tiny(*words, "training.quantile=0.7")
    pairs = load_pairs(store.regions("train"), store.task.periods.val)
    from baselines.losses import loss_of
    from baselines.runs import load_run

    _, model = load_run(tmp_path, store.task)
    with torch.no_grad():
        value = loss_of(request.config.training)(
            model(pairs.coarse, pairs.block_weights), pairs, record.scaling
        )
    assert min(point.val for point in record.curve) == pytest.approx(value.item(), rel=1e-4)


def test_the_prior_smooths(store: PairStore, tiny: Make, tmp_path: Path) -> None:
    """With a large weight the fields that are kept vary less from cell to cell."""
    from baselines.losses import total_variation
    from baselines.runs import load_run

    pairs = load_pairs(store.regions("train"), store.task.periods.val)
    found = []
    for weight in (0, 10):
        folder = tmp_path / str(weight)
        words = ("training.steps=60", "training.validate_every=60", f"training.tv={weight}")
        record = train(store, tiny(*words, skip=False), folder)
        _, model = load_run(folder, store.task)
        with torch.no_grad():
            field = model(pairs.coarse, pairs.block_weights)
        found.append(total_variation(field, pairs, record.scaling).item())
    assert found[1] < 0.9 * found[0]
