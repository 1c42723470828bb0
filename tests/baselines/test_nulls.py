"""The nulls: what they predict, and that they see nothing that they may not see."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from baselines.nulls import NULLS, null
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import expected_regions
from benchmark.task import Task

EVERY = pytest.mark.parametrize("name", NULLS)
REGIONS = ("europe-west", "andes-south")


def torch_bilinear(coarse: NDArray[np.float32]) -> NDArray[np.float64]:
    """Bilinear between cell centres of (time, Ny, Nx) fields at factor 4, by torch."""
    field = torch.from_numpy(coarse).double()[:, None]
    out = torch.nn.functional.interpolate(
        field, scale_factor=4, mode="bilinear", align_corners=False
    )
    return np.asarray(out[:, 0].numpy())


def everything(region: RegionStore) -> slice:
    return slice(0, len(region.times))


@EVERY
@pytest.mark.parametrize("where", REGIONS)
def test_shape_and_type(name: str, where: str, store: PairStore, task: Task) -> None:
    """(time, member, ny, nx) float32 without gaps, each of the task's variables, as it declares."""
    predictor, region = null(name, store), store.region(where)
    got = predictor.predict(region, slice(4, 9))
    members = task.members if name == "bilinear-dressed" else 1
    assert predictor.member_count == members
    assert tuple(got) == task.variable_names
    for field in got.values():
        assert field.shape == (5, members, 32, 32)
        assert field.dtype == np.float32
        assert np.isfinite(field).all()
    assert predictor.card.null
    assert predictor.card.model == name
    assert predictor.card.parameters == 0
    assert (predictor.card.members == "exchangeable") == (members > 1)


@EVERY
def test_an_answer_does_not_depend_on_the_steps_asked_for(name: str, store: PairStore) -> None:
    """One step alone, a few, or all: the same bits."""
    predictor, region = null(name, store), store.region("andes-south")
    whole = predictor.predict(region, everything(region))
    for steps in (slice(0, 1), slice(13, 14), slice(17, 22)):
        part = predictor.predict(region, steps)
        for variable, field in part.items():
            np.testing.assert_array_equal(field, whole[variable][steps], strict=True)


@EVERY
def test_reads_no_truth_but_the_training_regions_training_days(
    name: str, store: PairStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predicting every test region while any other read of a fine field is an error."""
    original = RegionStore.read
    training = {region.name for region in task.regions_of("train")}

    def read(self: RegionStore, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        if side != "coarse":
            first, last = self.times[steps][[0, -1]]
            assert self.name in training, f"fine {variable} of {self.name}"
            assert first >= np.datetime64(task.periods.train.first), f"fine at {first}"
            assert last <= np.datetime64(task.periods.train.last), f"fine at {last}"
        return original(self, side, variable, steps)

    monkeypatch.setattr(RegionStore, "read", read)
    predictor = null(name, store)
    regions = expected_regions(store)
    assert len(regions) == 21
    for region in regions:
        predictor.predict(region, region.steps(task.periods.test))


@pytest.mark.parametrize("where", REGIONS)
def test_bilinear_is_torchs(where: str, store: PairStore) -> None:
    """Every variable to the rounding of float32."""
    region = store.region(where)
    for variable, field in null("bilinear", store).predict(region, everything(region)).items():
        expected = torch_bilinear(region.read("coarse", variable, everything(region)))
        np.testing.assert_allclose(field[:, 0], expected, rtol=1e-6, atol=1e-7)


def test_nearest_enlarges(store: PairStore, task: Task) -> None:
    """Every coarse cell copied over its block, bit for bit."""
    region = store.region("andes-south")
    got = null("nearest", store).predict(region, slice(2, 5))
    for variable in task.variable_names:
        coarse = region.read("coarse", variable, slice(2, 5))
        np.testing.assert_array_equal(got[variable][:, 0], coarse.repeat(4, 1).repeat(4, 2))


def test_bicubic_is_torchs(store: PairStore, task: Task) -> None:
    """The cubic convolution of torch (a = -0.75), every variable."""
    region = store.region("europe-west")
    got = null("bicubic", store).predict(region, slice(0, 3))
    for variable in task.variable_names:
        field = torch.from_numpy(region.read("coarse", variable, slice(0, 3))).double()[:, None]
        expected = torch.nn.functional.interpolate(field, scale_factor=4, mode="bicubic")
        np.testing.assert_allclose(got[variable], expected.numpy(), rtol=1e-6, atol=1e-6)


def test_the_other_bicubic_is_pils(store: PairStore) -> None:
    """Pillow's resizing of every field, named apart from torch's."""
    region = store.region("europe-west")
    got = null("bicubic-pil", store).predict(region, slice(0, 3))
    for variable, field in got.items():
        for step, coarse in enumerate(region.read("coarse", variable, slice(0, 3))):
            expected = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
            np.testing.assert_allclose(field[step, 0], expected, rtol=2e-6, atol=2e-6)


def test_conservative_conserves_in_every_block_and_region(
    store: PairStore, task: Task, residual_ulps: Callable[..., float]
) -> None:
    """max |A y - x| <= 4 eps32 max |x| without any projection, and it is not `nearest`."""
    predictor, nearest = null("conservative", store), null("nearest", store)
    for entry in task.regions:
        region = store.region(entry.name)
        fields = predictor.predict(region, slice(0, 4))
        for variable in task.variable_names:
            coarse = region.read("coarse", variable, slice(0, 4))
            assert residual_ulps(region, fields[variable][:, 0], coarse) <= 4
        copies = nearest.predict(region, slice(0, 4))["t2m"]
        assert abs(fields["t2m"] - copies).max() > 1


def test_shifted_is_bilinear_one_cell_to_the_south_and_east(store: PairStore) -> None:
    """What bilinear has in a cell, the control has in the next row and column."""
    region = store.region("andes-south")
    moved = null("bilinear-shifted", store).predict(region, slice(0, 3))
    bilinear = null("bilinear", store).predict(region, slice(0, 3))
    assert (np.diff(region.grid.fine.y.centres) < 0).all()
    assert (np.diff(region.grid.fine.x.centres) > 0).all()
    for variable, field in moved.items():
        np.testing.assert_array_equal(field[..., 1:, 1:], bilinear[variable][..., :-1, :-1])
        np.testing.assert_array_equal(field[..., 0, 1:], bilinear[variable][..., 0, :-1])
        np.testing.assert_array_equal(field[..., 1:, 0], bilinear[variable][..., :-1, 0])


def test_zero_rain_is_dry_and_bilinear_otherwise(store: PairStore) -> None:
    """Precipitation is exactly 0; the other variables are the bilinear null's bits."""
    region = store.region("andes-south")
    got = null("zero-rain", store).predict(region, everything(region))
    bilinear = null("bilinear", store).predict(region, everything(region))
    assert not got["precipitation"].any()
    assert bilinear["precipitation"].any()
    for variable in ("t2m", "wind_speed"):
        np.testing.assert_array_equal(got[variable], bilinear[variable])


def test_projected_conserves_in_every_block_and_region(
    store: PairStore, task: Task, residual_ulps: Callable[..., float]
) -> None:
    """max |A y - x| <= 4 eps32 max |x| for each variable; plain bilinear is nowhere near it."""
    projected, bilinear = null("bilinear-projected", store), null("bilinear", store)
    for entry in task.regions:
        region = store.region(entry.name)
        fields = projected.predict(region, everything(region))
        plain = bilinear.predict(region, everything(region))
        for variable in task.variable_names:
            coarse = region.read("coarse", variable, everything(region))
            assert residual_ulps(region, fields[variable][:, 0], coarse) <= 4
            assert residual_ulps(region, plain[variable][:, 0], coarse) > 100


def test_projected_adds_one_number_to_each_block(store: PairStore) -> None:
    """It is bilinear plus the block's residual: within a block the change is constant."""
    region = store.region("europe-west")
    fields = null("bilinear-projected", store).predict(region, slice(0, 2))
    bilinear = null("bilinear", store).predict(region, slice(0, 2))
    for variable, size in (("t2m", 280), ("wind_speed", 10), ("precipitation", 1)):
        change = (fields[variable] - bilinear[variable]).reshape(2, 8, 4, 8, 4)
        assert np.ptp(change, axis=(2, 4)).max() < 1e-6 * size
        assert abs(change).max() > 1e-3


def test_dressed_members_differ_and_stay_physical(store: PairStore, task: Task) -> None:
    """Eight different draws; no negative rain or wind."""
    region = store.region("andes-south")
    got = null("bilinear-dressed", store).predict(region, region.steps(task.periods.test))
    spread = got["t2m"].std(axis=1).mean()
    assert spread > 0.5
    for variable in task.variables:
        assert not variable.nonnegative or got[variable.name].min() >= 0
