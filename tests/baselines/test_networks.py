"""What every network keeps to: shapes, factors, sizes, seeds, precision, conservation, learning."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.context import Context
from baselines.data import fit_scaling
from baselines.downscaler import Scaling
from baselines.edsr import EDSR
from baselines.models import MODELS, build_network, family, load_config
from baselines.network import Network
from baselines.runs import Request, build
from baselines.sources import source_regions
from baselines.unet import UNet
from benchmark.errors import InputError
from benchmark.model_card import HARD_CONSTRAINTS, ModelCard
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Task

Command = Callable[..., CompletedProcess[str]]
Conservation = Callable[[RegionStore, NDArray[np.floating], NDArray[np.floating]], float]

SMALL = {
    "srcnn": ("width=8", "blocks=1"),
    "espcn": ("width=8", "kernel=5"),
    "edsr": ("width=8", "blocks=1", "kernel=3"),
    "unet": ("width=4", "blocks=1", "levels=2"),
    "resnet": ("width=8", "blocks=1"),
    "dfno": ("width=8", "blocks=1", "layers=2", "modes=4", "projection=8"),
    "reslim": ("width=16", "depth=1", "decoder_depth=1", "heads=2"),
    "srdrn": ("width=8", "blocks=1", "wide=8"),
    "vit": ("width=16", "depth=1", "heads=2"),
    "loan": ("width=8", "blocks=1", "conditions=4"),
    "memoriser": ("width=8", "blocks=1", "experts=2", "waves=4", "hidden=8"),
}
"""Smaller than what ships, so that this is quick; a network that is not here is as it ships."""

FACTORS = (2, 4, 8, 16, 5, 2.5)
REFUSED = {
    "srcnn": {5, 2.5}, "espcn": {2.5}, "edsr": {2.5}, "reslim": {2.5}, "srdrn": {2.5},
    "unet": set(), "resnet": set(), "dfno": set(), "vit": set(), "loan": set(), "memoriser": set(),
}  # fmt: skip
"""Which of `FACTORS` the design of a network does not allow."""

BATCH_NORMALISED = {"srdrn"}
"""Those whose samples see their batch while fitting; all others never do."""

PUBLISHED = {
    "srcnn": ((), 1, 1, 100_833),
    "espcn": ((), 4, 1, 726_992),
    "edsr": (("width=128", "kernel=13"), 4, 1, 2_170_049),
    "unet": (("width=64", "blocks=3"), 4, 1, 19_972_161),
}
"""Settings, input and output fields, and the count that the paper gives at factor 4."""


def settings(model: str) -> list[str]:
    return [f"network.{setting}" for setting in SMALL.get(model, ())]


def small(model: str, *, channels: int = 3, factor: float = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    config = load_config(model, settings=settings(model))
    return build_network(model, config, channels=channels, factor=factor)


def shaken(network: nn.Module) -> nn.Module:
    """Weights that start at 0 (a last layer, a query) moved away from it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def fields(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def made_up(x: Tensor, factor: float) -> Context:
    """A land with a coast and a hill, on a box at 40 N, one hour a sample."""
    count, rows, columns = len(x), round(x.shape[-2] * factor), round(x.shape[-1] * factor)
    y, x = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    static = torch.stack([(x > 0.4).float(), (x * y).square()])
    place = torch.stack([0.7 - 0.3 * y, 0.4 * x - 0.1])
    hours = 0.1 + 2 * math.pi * torch.arange(count) / 24
    clock = torch.stack([hours.cos(), hours.sin(), (2 * hours).cos(), (2 * hours).sin()], dim=1)
    shape = (count, 2, rows, columns)
    return Context(static.expand(shape), place.expand(shape), clock[:, :, None, None])


def ask(
    network: nn.Module, x: Tensor, factor: float = 4, *, context: Context | None = None
) -> Tensor:
    """The raw output; of a network that reads a context, in this one or one that is made up."""
    if not getattr(network, "reads_context", False):
        return network(x)
    return network(x, context or made_up(x, factor))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("model", MODELS)
def test_a_factor_gives_fine_fields_or_a_reason(model: str, factor: float) -> None:
    """(batch, channels, factor Ny, factor Nx) of any box, or an InputError that names both."""
    try:
        network = small(model, channels=2, factor=factor)
    except InputError as error:
        assert factor in REFUSED.get(model, FACTORS)
        (problem,) = error.problems
        assert (problem.where, problem.got) == (model, f"{factor:g}")
        return
    assert factor not in REFUSED.get(model, ())
    with torch.no_grad():
        for rows, columns in ((6, 8), (4, 6)):
            got = ask(network, torch.zeros(2, 2, rows, columns), factor)
            assert got.shape == (2, 2, rows * factor, columns * factor)


@pytest.mark.parametrize("factor", [0.5, 0, -2, math.nan, math.inf])
@pytest.mark.parametrize("model", MODELS)
def test_no_network_is_made_for_what_is_no_factor(model: str, factor: float) -> None:
    """Below 1, or not finite."""
    with pytest.raises(InputError, match="factor of at least"):
        small(model, factor=factor)


@pytest.mark.parametrize("model", [name for name, refused in REFUSED.items() if not refused])
def test_rainshift_boxes_and_boxes_that_do_not_fit(model: str) -> None:
    """80 to 200 at 2.5; 5 x 8 coarse cells would be 12.5 x 20 fine ones."""
    network = small(model, channels=1, factor=2.5)
    with torch.no_grad():
        assert ask(network, torch.zeros(1, 1, 80, 80), 2.5).shape == (1, 1, 200, 200)
    with pytest.raises(InputError, match=r"12\.5 x 20") as caught:
        ask(network, torch.zeros(1, 1, 5, 8), 2.5)
    assert caught.value.problems[0].where == "a box of 5 x 8 coarse cells"


@pytest.mark.parametrize("model", MODELS)
def test_boxes_of_any_size(model: str) -> None:
    """Odd sides too: nothing is lost at the last row and column, which depend on their input."""
    network = shaken(small(model)).eval()
    x = fields(1, 3, 7, 5)
    other = x.clone()
    other[..., -1, -1] += 1
    with torch.no_grad():
        before, after = ask(network, x), ask(network, other)
    assert before.shape == (1, 3, 28, 20)
    assert (before != after)[..., -4:, -4:].all()


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_sizes_are_a_setting_away(model: str) -> None:
    """The paper's parameter count, with its fields, from what ships and at most two settings."""
    keys, inputs, outputs, expected = PUBLISHED[model]
    chosen = family(model)
    config = load_config(model, settings=[f"network.{key}" for key in keys])
    network = chosen.config.model_validate(config.network)
    assert network == chosen.config()
    words = {} if outputs == inputs else {"outputs": outputs}
    with torch.device("meta"):
        built = chosen.build(inputs, 4, network, **words)
    assert sum(parameter.numel() for parameter in built.parameters()) == expected


def test_edsr_adds_its_input_in_every_block_and_once_more() -> None:
    """With zero blocks and an identity after them, twice the first layer's output goes on."""
    network, x = small("edsr"), fields(1, 3, 5, 6)
    assert isinstance(network, EDSR)
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.zero_()
        nn.init.dirac_(network.body[-1].weight)  # type: ignore[arg-type]
        first = network.stem(x)
        expected = network.head(network.upsampling(network.mix(2 * first)))
        torch.testing.assert_close(network(x), expected)


def test_the_unet_starts_at_zero() -> None:
    """As published; every block's output is a skip, in the order of a stack."""
    network, x = small("unet"), fields(1, 3, 4, 6)
    assert isinstance(network, UNet)
    assert not network(x).any()
    blocks = [block for level in network.up for block in level.children()]
    assert [block.first.in_channels for block in blocks] == [16 + 8, 8 + 4]  # type: ignore[union-attr]


@pytest.mark.parametrize("model", [name for name in MODELS if name not in BATCH_NORMALISED])
def test_a_sample_does_not_see_its_batch(model: str) -> None:
    """Fitting or not: no statistics over samples, none kept, no dropout."""
    network = shaken(small(model)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = fields(3, 3, 6, 6)
    other = torch.cat([x[:1], 5 * x[1:] + 3])
    with torch.no_grad():
        torch.testing.assert_close(ask(network, x)[0], ask(network, other)[0], rtol=1e-5, atol=1e-6)
        assert torch.equal(ask(network, x), ask(network, x))
        trained, evaluated = ask(network, x), ask(network.eval(), x)
    assert torch.equal(trained, evaluated)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("model", sorted(BATCH_NORMALISED))
def test_a_sample_sees_its_batch_while_fitting_only(model: str) -> None:
    """Evaluated, it sees the statistics of training, which the saved weights hold; none change."""
    network = shaken(small(model)).train()
    x = fields(3, 3, 6, 6)
    other = torch.cat([x[:1], 5 * x[1:] + 3])
    with torch.no_grad():
        assert not torch.allclose(ask(network, x)[0], ask(network, other)[0], rtol=0.01)
        before = {name: value.clone() for name, value in network.eval().state_dict().items()}
        got = ask(network, x)
        torch.testing.assert_close(got[0], ask(network, other)[0], rtol=1e-5, atol=1e-6)
        loaded = small(model, seed=1).eval()
        loaded.load_state_dict(before)
        assert torch.equal(ask(loaded, x), got)
        fresh = [value for name, value in small(model).state_dict().items() if "running" in name]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    kept = [value for name, value in before.items() if "running" in name]
    assert kept
    assert all(not torch.equal(one, other) for one, other in zip(kept, fresh, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_is_a_network(model: str) -> None:
    """The same seed gives the same weights, another one others; forward draws nothing."""
    first, again, other = (small(model, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    network = small(model)
    state = torch.get_rng_state()
    ask(network, fields(1, 3, 4, 4))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_learns(model: str) -> None:
    """A finite gradient that is not 0 reaches each; `channels_last`, as in training."""
    network = shaken(small(model)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out = ask(network, fields(2, 3, 6, 6).contiguous(memory_format=torch.channels_last))
    (out * fields(*out.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("model", MODELS)
def test_the_output_is_single_precision_under_bf16(model: str) -> None:
    """Finite float32, no bfloat16 numbers in disguise, and near the full-precision answer."""
    network, x = shaken(small(model)), fields(2, 3, 6, 6)
    with torch.no_grad():
        full = ask(network, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = ask(network, x)
    assert got.dtype == torch.float32
    assert got.isfinite().all()
    assert not torch.equal(got, got.bfloat16().float())
    assert not torch.equal(got, full)
    assert (got - full).abs().max() < 0.1 * full.abs().max()


@pytest.mark.parametrize("model", ["srcnn", "espcn", "edsr", "resnet", "unet", "srdrn", "loan"])
def test_convolutions_do_not_know_where_they_are(model: str) -> None:
    """A shifted field gives the shifted answer away from the edges.

    By 2 coarse cells, a whole cell of the U-Net's coarsest grid here, the statics with them. Not
    so, by design: dfno, whose waves are those of the box, reslim and vit, whose tokens have
    positions, and the memoriser.
    """
    network, x = shaken(small(model, channels=1, factor=2)).eval(), fields(1, 1, 44, 44)
    context = made_up(x, 2)
    moved_too = replace(context, static=context.static.roll((4, 4), (-2, -1)))
    with torch.no_grad():
        here = ask(network, x, context=context)
        there = ask(network, x.roll((2, 2), (-2, -1)), context=moved_too)
    inner, moved = here[..., 34:50, 34:50], there[..., 38:54, 38:54]
    torch.testing.assert_close(moved, inner, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(there[..., 34:50, 34:50], inner, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("model", "reads"),
    [("loan", {"static", "clock"}), ("memoriser", {"place"})],
)
def test_a_network_reads_its_part_of_the_context(model: str, reads: set[str]) -> None:
    """Every part that it reads changes the answer, and no other does: LOAN knows no longitude."""
    network, x = shaken(small(model)), fields(2, 3, 6, 6)
    context = made_up(x, 4)
    with torch.no_grad():
        usual = ask(network, x, context=context)
        for part in ("static", "place", "clock"):
            other = replace(context, **{part: getattr(context, part) + 0.3})
            same = torch.equal(ask(network, x, context=other), usual)
            assert same is (part not in reads), part


@pytest.fixture(scope="module")
def scaling(store: PairStore, task: Task) -> Scaling:
    """The zero-shot constants."""
    return fit_scaling(task, source_regions(store, "zero_shot"))


def request_for(model: str, **changes: object) -> Request:
    config = load_config(model, settings=settings(model))
    values = {
        "task": "era5-sample@1", "data_hash": "none", "model": model, "regime": "zero_shot",
        "constraint": "none", "skip": True, "seed": 0, "config": config,
    }  # fmt: skip
    return Request.model_validate({**values, **changes})


@pytest.mark.parametrize("model", MODELS)
def test_every_hard_layer_holds(
    model: str, store: PairStore, task: Task, scaling: Scaling, residual_ulps: Conservation
) -> None:
    """max |A y - x| <= 4 eps32 max |x|, with random weights and in a region never seen."""
    region, steps = store.region("andes-south"), slice(0, 3)
    card = ModelCard(task=task.id, model=model, title="untrained", reference="none")
    coarse = {name: region.read("coarse", name, steps) for name in task.variable_names}
    for constraint in ("none", *HARD_CONSTRAINTS):
        torch.manual_seed(0)
        request = request_for(model, constraint=constraint, skip=constraint != "mult")
        downscaler = build(request, scaling, task).eval()
        shaken(downscaler.network)
        predictor = Network(card, downscaler, threads=1, post_hoc=constraint == "post_hoc")
        got = predictor.predict(region, steps)
        ulps = [residual_ulps(region, got[name][:, 0], coarse[name]) for name in coarse]
        assert (min(ulps) > 1000) if constraint == "none" else (max(ulps) <= 4), constraint


@pytest.mark.parametrize("model", ["edsr", "loan"])
def test_a_new_network_on_the_command_line(
    model: str, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """By its name and nothing else, with or without a context; the card says which it was."""
    words = [f"--set={key}" for key in (*settings(model), "training.steps=2", "training.batch=2")]
    run, out = tmp_path / "run", tmp_path / "predictions"
    words += ["--set=training.validate_every=1", "--out", str(run), "--data", str(data)]
    done = elsewhere("train", "era5-sample", model, *words)
    assert done.returncode == 0, done.stderr
    count = sum(parameter.numel() for parameter in small(model).parameters())
    assert json.loads((run / "run.json").read_bytes())["parameters"] == count
    done = elsewhere("predict", "era5-sample", run, "--out", out, "--data", data)
    assert done.returncode == 0, done.stderr
    assert f'title = "{family(model).title}"' in (out / "model.toml").read_text()
