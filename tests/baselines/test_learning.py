"""What every network must do: learn one batch, and keep every hard constraint at every factor."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch

from baselines.batches import draw
from baselines.constraints import Projection, add
from baselines.context import Context
from baselines.data import load_pairs
from baselines.downscaler import Downscaler, Scaling, physical_bounds
from baselines.launch import Place
from baselines.losses import mean_square
from baselines.models import MODELS, build_network, load_config
from baselines.runs import load_run, read_record
from baselines.statistical.runs import open_statistical
from benchmark.errors import InputError
from benchmark.grid import Axis, Grid, RegionGrid
from benchmark.model_card import HARD_CONSTRAINTS
from benchmark.pair_store import PairStore
from benchmark.reference import Bilinear
from benchmark.task import Task

Command = Callable[..., CompletedProcess[str]]

SMALL = {
    "srcnn": ("width=8", "blocks=1"),
    "espcn": ("width=16", "kernel=5"),
    "edsr": ("width=16", "blocks=1", "kernel=3"),
    "unet": ("width=8", "blocks=1", "levels=2"),
    "resnet": ("width=8", "blocks=1"),
    "dfno": ("width=8", "blocks=1", "layers=2", "modes=4", "projection=16"),
    "reslim": ("width=32", "depth=1", "decoder_depth=1", "heads=2"),
    "srdrn": ("width=16", "blocks=1", "wide=16"),
    "vit": ("width=32", "depth=1", "heads=2"),
    "loan": ("width=8", "blocks=1", "conditions=4"),
    "memoriser": ("width=8", "blocks=1", "experts=2", "waves=8", "hidden=16"),
}
"""Quick to fit; a network that is not here is as it ships."""

FACTORS = (2.0, 4.0, 8.0, 16.0, 5.0, 2.5)
EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("model", MODELS)
def test_every_network_learns_one_batch(
    model: str, store: PairStore, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """On the command line, below the error of bilinear on that very batch, by a fifth."""
    words = [
        *(f"network.{word}" for word in SMALL.get(model, ())), "training.overfit=true",
        "training.steps=150", "training.validate_every=50", "training.batch=4",
        "training.learning_rate=0.01", "training.precision=float32",
    ]  # fmt: skip
    settings = [part for word in words for part in ("--set", word)]
    out = ["--out", tmp_path / "run", "--data", data]
    done = elsewhere("train", "era5-sample", model, "--skip", *settings, *out)
    assert done.returncode == 0, done.stderr

    record = read_record(tmp_path / "run")
    pairs = load_pairs(store.regions("train"), store.task.periods.train)
    config, one = record.request.config.training, Place(torch.device("cpu"))
    batch = draw(pairs, config, torch.Generator().manual_seed(0), one)
    grid = store.regions("train")[0].grid
    bilinear = torch.from_numpy(Bilinear.on(grid)(batch.coarse.numpy()).astype(np.float32))
    aim = mean_square(bilinear, batch, record.scaling).item()
    _, kept = load_run(tmp_path / "run", store.task)
    with torch.no_grad():
        found = mean_square(
            kept(batch.coarse, batch.block_weights, batch.context), batch, record.scaling
        ).item()
    assert found < 0.8 * aim
    assert record.curve[-1].val < 0.8 * aim


@pytest.mark.parametrize(
    ("model", "settings", "variables"),
    [
        ("linear", [], ("t2m", "wind_speed", "precipitation")),
        ("lapse-rate", [], ("t2m",)),
        ("bcsd", [], ("t2m", "wind_speed")),
        ("analogue", ["model.neighbours=1"], ("t2m", "wind_speed", "precipitation")),
    ],
)
def test_statistical_models_learn_one_region(
    model: str,
    settings: list[str],
    variables: tuple[str, ...],
    store: PairStore,
    elsewhere: Command,
    data: Path,
    tmp_path: Path,
) -> None:
    """Fitted on the command line, below bilinear on their own training days. Quantile mapping and
    climatology are about distributions and means, and need not be."""
    words = [part for word in settings for part in ("--set", word)]
    out = ["--sources", "europe-west", "--out", tmp_path / "run", "--data", data]
    done = elsewhere("train", "era5-sample", model, *words, *out)
    assert done.returncode == 0, done.stderr
    region = store.region("europe-west")
    steps = region.steps(store.task.periods.train)
    found = open_statistical(tmp_path / "run", store).predict(region, steps)
    for name in variables:
        fine = region.read("fine", name, steps)
        bilinear = Bilinear.on(region.grid)(region.read("coarse", name, steps))
        assert ((found[name][:, 0] - fine) ** 2).mean() < 0.95 * ((bilinear - fine) ** 2).mean()


def grids(factor: float) -> RegionGrid:
    """A box from 60 N with 10 x 8 coarse cells of `factor` degrees (6 x 4 of the wide ones)."""
    rows, columns = (6, 4) if factor > 5 else (10, 8)
    south, east = 60 - rows * factor / 2, columns * factor / 2
    fine = Grid(y=Axis(60, south, round(rows * factor)), x=Axis(0, east, round(columns * factor)))
    return RegionGrid(fine, Grid(y=Axis(60, south, rows), x=Axis(0, east, columns)), margin=0)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("model", MODELS)
def test_every_hard_constraint_holds_at_every_factor(model: str, factor: float, task: Task) -> None:
    """max |A y - x| <= 4 eps32 max |x| of the float32 fields, by scipy's operator in float64.

    Untrained networks with random weights; rain with dry cells, so that nothing is easy.
    """
    torch.manual_seed(0)
    settings = [f"network.{word}" for word in SMALL.get(model, ())]
    try:
        network = build_network(
            model, load_config(model, settings=settings), channels=3, factor=factor
        )
    except InputError:
        assert factor == 2.5 or (model, factor) == ("srcnn", 5)
        return
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    grid = grids(factor)
    fine, coarse_shape = grid.fine.shape, grid.coarse.shape
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([280.0, 8.0, 1.0])[:, None, None]
    noise = torch.rand(2, 3, *coarse_shape, generator=generator)
    coarse = (scale * (0.9 + 0.1 * noise)).float()
    coarse[:, 2] = (noise[:, 2] - 0.4).relu()
    context = Context(
        torch.rand(2, 2, *fine, generator=generator),
        torch.rand(2, 2, *fine, generator=generator),
        torch.rand(2, 4, 1, 1, generator=generator),
    )
    scaling = Scaling(*(np.array(v) for v in ((280.0, 8, 0.2), (10.0, 4, 0.5), (1.0, 1, 0.2))))
    whole = grid.overlap.is_partition
    weights = (
        torch.from_numpy(grid.overlap.block_weights)[None, None]
        if whole
        else Projection(grid.overlap)
    )
    allowed = HARD_CONSTRAINTS if whole else ("projection", "post_hoc")
    for constraint in ("none", *allowed):
        downscaler = Downscaler(
            network, scaling, grid, skip=constraint != "mult", constraint=constraint,
            bounds=physical_bounds(task),
        ).eval()  # fmt: skip
        with torch.no_grad():
            z = downscaler.raw(coarse, context)
            field = downscaler.finish(z, coarse.double(), weights)
            if constraint == "post_hoc":
                exact = coarse.double()
                field = add(field, exact, weights) if whole else weights(field, exact)
        error = abs(grid.overlap(field.float().numpy()) - coarse.double().numpy())
        ulps = error.max(axis=(0, 2, 3)) / (EPS * coarse.abs().amax(dim=(0, 2, 3)).numpy())
        assert (ulps.min() > 1000) if constraint == "none" else (ulps.max() <= 4), constraint
