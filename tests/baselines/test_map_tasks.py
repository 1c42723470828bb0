"""Models on maps, on shifted coarse boxes and on tasks without static fields."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import torch
from torch import Tensor, nn

from baselines.context import clock_angles, region_context
from baselines.data import fit_scaling, region_pairs
from baselines.downscaler import Downscaler
from baselines.models import MODELS, family, load_config
from baselines.network import open_network
from baselines.runs import Request
from baselines.sources import source_regions
from baselines.statistical import STATISTICAL, load_statistical_config, statistical_family
from baselines.statistical.runs import StatisticalRequest, fit_run, open_statistical
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.reference import Bilinear

Make = Callable[..., PairStore]
SMALL = {
    "srcnn": ("width=4", "blocks=1"), "espcn": ("width=4", "kernel=5"),
    "edsr": ("width=4", "blocks=1", "kernel=3"), "unet": ("width=4", "blocks=1", "levels=2"),
    "resnet": ("width=4", "blocks=1"),
    "dfno": ("width=4", "blocks=1", "layers=2", "modes=4", "projection=8"),
    "reslim": ("width=16", "depth=1", "decoder_depth=1", "heads=2", "tiles=1", "halo=0"),
    "srdrn": ("width=4", "blocks=1", "wide=4"), "vit": ("width=16", "depth=1", "heads=2"),
    "loan": ("width=4", "blocks=1", "conditions=4"),
    "memoriser": ("width=4", "blocks=1", "experts=2", "waves=4", "hidden=8"),
}  # fmt: skip
TRAINING = ("steps=2", "batch=4", "validate_every=2", "threads=1", "precision=float32")
READ_STATICS = {"loan": "land_fraction and orography", "linear": "land_fraction and orography",
                "bcsd": "land_fraction and orography", "lapse-rate": "orography"}  # fmt: skip
SHIFTED = {"factor": 2.5, "coarse_shift": (0.5, -0.5), "margin": 2, "static": ()}
MIXED = [
    {"name": "lake", "role": "train", "lat": [44, 46], "lon": [-88, -86]},
    {"name": "plain", "role": "train", "grid": "lambert", "y": [0, 2.2e5], "x": [0, 2.2e5]},
    {"name": "pole", "role": "test_ood", "grid": "polar", "y": [-28e5, -25.8e5],
     "x": [-1.1e5, 1.1e5]},
    {"name": "judge", "role": "val_ood", "grid": "polar", "y": [-20e5, -17.8e5],
     "x": [-1.1e5, 1.1e5]},
]  # fmt: skip


@pytest.fixture(scope="module")
def bare(make_map_store: Make) -> PairStore:
    """Factor 4, no statics."""
    return make_map_store("own-bare", factor=4, static=())


@pytest.fixture(scope="module")
def shifted(make_map_store: Make) -> PairStore:
    """Factor 2.5, the coarse box half a cell to the north and west, no statics."""
    return make_map_store("own-shifted", **SHIFTED)


def request_of(store: PairStore, model: str, *settings: str, **fields: Any) -> Request:
    """Two steps of a small network."""
    small = [f"network.{word}" for word in SMALL[model]]
    config = load_config(model, settings=[*small, *(f"training.{w}" for w in TRAINING), *settings])
    known = {
        "task": store.task.id, "data_hash": store.data_hash, "model": model, "seed": 0,
        "regime": "zero_shot", "constraint": "none", "skip": True, "config": config,
    }  # fmt: skip
    return Request.model_validate(known | fields)


def fit_statistical(store: PairStore, model: str, folder: Path) -> None:
    config = load_statistical_config(model)
    request = StatisticalRequest(
        task=store.task.id, data_hash=store.data_hash, model=model, regime="zero_shot",
        config=config,
    )  # fmt: skip
    fit_run(store, request, folder)


def test_those_that_read_statics_say_so() -> None:
    """This file's list is the families' own."""
    found = {name: family(name).statics for name in MODELS}
    found |= {name: statistical_family(name).statics for name in STATISTICAL}
    declared = {name: " and ".join(fields) for name, fields in found.items() if fields}
    assert declared == READ_STATICS


@pytest.mark.parametrize("model", sorted(READ_STATICS))
def test_a_task_without_statics_is_refused_before_anything_is_read(
    bare: PairStore, model: str, tmp_path: Path, reads: list[Any]
) -> None:
    folder = tmp_path / "run"

    def fit() -> None:
        if model in MODELS:
            train(bare, request_of(bare, model), folder)
        else:
            fit_statistical(bare, model, folder)

    with pytest.raises(InputError) as caught:
        fit()
    (problem,) = caught.value.problems
    assert problem.where == f"model {model} on own-bare@1"
    assert READ_STATICS[model] in problem.expected
    assert READ_STATICS[model] in problem.got
    assert "unet or quantile-mapping" in problem.fix
    assert not folder.exists()
    assert reads == []


def test_one_static_is_enough_for_who_reads_one(make_map_store: Make, tmp_path: Path) -> None:
    """The lapse rate needs heights and no coasts."""
    store = make_map_store("own-heights", static=("orography",))
    fit_statistical(store, "lapse-rate", tmp_path / "run")
    fields = open_statistical(tmp_path / "run", store).predict(store.region("north"), slice(0, 2))
    assert np.isfinite(fields["t2m"]).all()
    assert region_context(store.region("north"), slice(0, 2)).static.shape == (2, 1, 40, 40)
    with pytest.raises(InputError, match="land_fraction and orography"):
        train(store, request_of(store, "loan"), tmp_path / "loan")


@pytest.mark.parametrize("model", [name for name in MODELS if name not in READ_STATICS])
def test_every_other_network_trains_without_statics(
    bare: PairStore, model: str, tmp_path: Path
) -> None:
    """Trains, and predicts whole fields in the map's boxes."""
    train(bare, request_of(bare, model), tmp_path)
    network = open_network(tmp_path, bare)
    for region in bare.regions("test_ood"):
        fields = network.predict(region, slice(20, 23))["t2m"]
        assert fields.shape == (3, 1, 40, 40)
        assert np.isfinite(fields).all()


@pytest.mark.parametrize("model", [name for name in STATISTICAL if name not in READ_STATICS])
@pytest.mark.parametrize("kind", ["bare", "shifted"])
def test_every_other_statistical_model_fits(
    model: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = request.getfixturevalue(kind)
    fit_statistical(store, model, tmp_path / "run")
    for post_hoc in (False, True):
        found = open_statistical(tmp_path / "run", store, post_hoc=post_hoc)
        fields = found.predict(store.region("north"), slice(20, 22))["t2m"]
        assert np.isfinite(fields).all()


@pytest.mark.parametrize("model", ["unet", "resnet", "dfno", "vit", "memoriser"])
def test_networks_of_any_factor_train_on_a_shifted_box(
    shifted: PairStore, model: str, tmp_path: Path
) -> None:
    """2.5, half a cell off: whole fields, also where no coarse cell lies."""
    train(shifted, request_of(shifted, model), tmp_path)
    fields = open_network(tmp_path, shifted).predict(shifted.region("south"), slice(20, 22))
    assert np.isfinite(fields["t2m"]).all()


class Zero(nn.Module):
    """A network that adds nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), x.shape[1], 40, 40)


@pytest.mark.parametrize("kind", ["bare", "shifted"])
def test_the_skip_lies_on_true_coordinates(kind: str, request: pytest.FixtureRequest) -> None:
    """A network of zeros with a skip is the bilinear field of the grids, not of tiles."""
    store = request.getfixturevalue(kind)
    region = store.region("north")
    scaling = fit_scaling(store.task, source_regions(store, "zero_shot"))
    model = Downscaler(Zero(), scaling, region.grid, skip=True, constraint="none")
    coarse = region.read("coarse", "t2m", slice(0, 3))
    given = torch.from_numpy(coarse[:, None])
    with torch.no_grad():
        found = model.finish(model.raw(given), given.double(), torch.empty(0))
    expected = Bilinear.on(region.grid)(coarse)
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=0, atol=1e-4)
    tiles = nn.functional.interpolate(given.double(), size=(40, 40), mode="bilinear")[:, 0].numpy()
    off = np.abs(found[:, 0].numpy() - tiles)[:, 6:-6, 6:-6].max()
    # The plane falls 0.1 K a cell to the south and 0.075 K to the east. Tiles would take each
    # value from 1.25 cells further north and west.
    shift = 1.25 * (0.1 + 0.075) if kind == "shifted" else 0.0
    assert off == pytest.approx(shift, abs=2e-3)


def test_projection_is_the_layer_of_a_shifted_box(shifted: PairStore, tmp_path: Path) -> None:
    """Its field has the coarse means, border cells those of the part that they lie on."""
    train(shifted, request_of(shifted, "resnet", constraint="projection"), tmp_path)
    region, steps = shifted.region("south"), slice(20, 22)
    fields = open_network(tmp_path, shifted).predict(region, steps)["t2m"][:, 0]
    coarse = region.read("coarse", "t2m", steps)
    np.testing.assert_allclose(region.grid.overlap(fields), coarse, rtol=0, atol=2e-4)


@pytest.mark.parametrize("constraint", ["add", "mult", "softmax", "scaled_add"])
def test_block_layers_are_refused(shifted: PairStore, constraint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(shifted, request_of(shifted, "resnet", constraint=constraint), tmp_path)
    (problem,) = caught.value.problems
    assert "a factor of 2.5 and a shifted coarse box" in problem.got
    assert "projection" in problem.fix


def test_whole_blocks_that_are_shifted_are_none(make_map_store: Make, tmp_path: Path) -> None:
    """Factor 4, a quarter of a coarse cell: every fine cell has one coarse cell or none."""
    store = make_map_store("own-quarter", factor=4, coarse_shift=(0.25, 0.0), static=())
    with pytest.raises(InputError, match="whole blocks"):
        train(store, request_of(store, "resnet", constraint="add"), tmp_path / "add")
    train(store, request_of(store, "resnet", constraint="projection"), tmp_path / "projection")
    region, steps = store.region("north"), slice(20, 22)
    fields = open_network(tmp_path / "projection", store).predict(region, steps)["t2m"][:, 0]
    coarse = region.read("coarse", "t2m", steps)
    np.testing.assert_allclose(region.grid.overlap(fields), coarse, rtol=0, atol=2e-4)


def test_no_mirrors_beside_a_shift(shifted: PairStore, bare: PairStore, tmp_path: Path) -> None:
    """The coarse box of a mirrored pair lies to the other side; without a shift all is well."""
    with pytest.raises(InputError) as caught:
        train(shifted, request_of(shifted, "resnet", "training.mirror=true"), tmp_path / "a")
    assert caught.value.problems[0].where == "training.mirror"
    assert not (tmp_path / "a").exists()
    train(bare, request_of(bare, "resnet", "training.mirror=true"), tmp_path / "b")


def test_training_on_degrees_and_a_map_at_once(make_map_store: Make, tmp_path: Path) -> None:
    """Boxes of one size of several grids: whole blocks, each with its own weights and places."""
    store = make_map_store("own-mixed", factor=4, static=(), spacing=0.05, regions=MIXED)
    request = request_of(store, "memoriser", constraint="add", selection="val_ood")
    train(store, request, tmp_path / "add")
    network = open_network(tmp_path / "add", store)
    for name in ("lake", "pole"):
        region, steps = store.region(name), slice(20, 22)
        fields = network.predict(region, steps)["t2m"][:, 0]
        coarse = region.read("coarse", "t2m", steps)
        np.testing.assert_allclose(region.grid.overlap(fields), coarse, rtol=0, atol=2e-4)
    weights = [region_pairs(store.region(name), slice(0, 1)).block_weights for name in
               ("lake", "plain")]  # fmt: skip
    assert not torch.equal(*weights)


def test_streams_have_no_statics_either(bare: PairStore, tmp_path: Path) -> None:
    """Pairs that are read as they are needed."""
    request = request_of(bare, "memoriser", "training.data=stream")
    train(bare, request, tmp_path)
    assert np.isfinite(open_network(tmp_path, bare).predict(bare.region("north"), slice(0, 1))
                       ["t2m"]).all()  # fmt: skip


def test_place_and_clock_are_true_on_a_map(bare: PairStore) -> None:
    """pyproj's latitudes and longitudes; the sun's time of the middle of the box."""
    region = bare.region("south")
    found = region_context(region, slice(0, 4))
    assert found.static.shape == (4, 0, 40, 40)
    box = bare.task.region("south")
    assert box.grid is not None
    x, y = np.meshgrid(region.grid.fine.x.centres, region.grid.fine.y.centres)
    lon, lat = pyproj.Proj(box.grid.crs)(x, y, inverse=True)
    np.testing.assert_allclose(found.place[0], np.radians([lat, lon]), rtol=0, atol=1e-6)
    middle = pyproj.Proj(box.grid.crs)(np.mean(box.x), np.mean(box.y), inverse=True)
    hours = region.times[:4].astype("datetime64[h]").astype(int) % 24 + middle[0] / 15
    np.testing.assert_allclose(
        found.clock[:, 2, 0, 0], np.sin(2 * np.pi * hours / 24), rtol=0, atol=1e-6
    )


def test_the_clock_of_a_box_across_the_date_line(bare: PairStore) -> None:
    """Half of its cells are at 179 and half at -179 degrees: noon there is not noon at 0."""
    x, y = pyproj.Proj(bare.task.grids[1].crs)(180.0, 70.0)
    grid = bare.task.grids[1]
    box = bare.task.region("north").model_copy(
        update={"grid": grid, "y": (y - 1.1e5, y + 1.1e5), "x": (x - 1.1e5, x + 1.1e5)}
    )
    task = bare.task.model_copy(update={"regions": (box,)})
    region = replace(bare.region("north"), task=task)
    assert isinstance(region, RegionStore)
    found = region_context(region, slice(0, 4)).clock[:, 2:, 0, 0].numpy()
    there = clock_angles(region.times[:4], latitude=70.0, longitude=180.0)[:, 1]
    np.testing.assert_allclose(found, np.stack([np.sin(there), np.cos(there)], 1), atol=1e-6)


def test_shuffled_statics_need_statics(bare: PairStore, tmp_path: Path) -> None:
    """The memoriser reads a place, but no land: there is nothing to shuffle."""
    train(bare, request_of(bare, "memoriser"), tmp_path)
    with pytest.raises(InputError, match="a network with statics"):
        open_network(tmp_path, bare, probe="shuffled-statics")
