"""Training data: the constants, the pairs, and which regions and days are ever read."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from baselines import data
from baselines.constraints import block_mean
from baselines.data import fit_scaling, load_pairs
from baselines.runs import Request
from baselines.sources import source_regions
from baselines.training import train
from benchmark.errors import InputError
from benchmark.pair_store import PairStore, RegionStore
from benchmark.task import Period, Task

Array = NDArray[np.float64]
HOLES = np.s_[:, 3:9, 5]


class Holey(RegionStore):
    """A region whose fine fields lack some cells."""

    def read(self, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        values = super().read(side, variable, steps).copy()
        if side == "fine":
            values[HOLES] = np.nan
        return values


class Constant(RegionStore):
    """A region where it is equally warm everywhere, always."""

    def read(self, side: str, variable: str, steps: slice) -> NDArray[np.float32]:
        values = super().read(side, variable, steps)
        return np.full_like(values, 285.3) if variable == "t2m" else values


def opened(data: Path, task: Task, region: str, side: str) -> xr.Dataset:
    """One group of a region's store by xarray, which shares no code with RegionStore."""
    path = data / task.id / f"{region}.zarr"
    return xr.open_zarr(path, group=side, consolidated=False, chunks=None)


def training_fields(
    data: Path, task: Task, roles: tuple[str, ...], variable: str
) -> tuple[Array, Array]:
    """(fine, bilinear by torch) of the training period of every region with one of the roles."""
    fine, coarse = [], []
    for region in task.regions:
        if region.role in roles:
            period = slice(task.periods.train.first, task.periods.train.last)
            fine.append(opened(data, task, region.name, "fine")[variable].sel(time=period).values)
            lower = opened(data, task, region.name, "coarse")[variable].sel(time=period).values
            coarse.append(lower)
    field = torch.from_numpy(np.concatenate(coarse)).double()[:, None]
    bilinear = torch.nn.functional.interpolate(field, scale_factor=4, mode="bilinear")
    return np.concatenate(fine).astype(np.float64), bilinear[:, 0].numpy()


@pytest.mark.parametrize(
    ("regime", "roles"), [("zero_shot", ("train",)), ("oracle", ("train", "test_ood"))]
)
def test_scaling_is_that_of_the_training_regions_and_days(
    regime: str, roles: tuple[str, ...], store: PairStore, data: Path, task: Task
) -> None:
    """Mean, deviation and rms increment equal numpy's over the regime's labelled training days."""
    scaling = fit_scaling(task, source_regions(store, regime))
    for k, variable in enumerate(task.variable_names):
        fine, bilinear = training_fields(data, task, roles, variable)
        assert len(fine) == 11 * sum(region.role in roles for region in task.regions)
        assert scaling.mean[k] == pytest.approx(fine.mean(), rel=1e-10)
        assert scaling.sd[k] == pytest.approx(fine.std(), rel=1e-9)
        rms = np.sqrt(((fine - bilinear) ** 2).mean())
        assert scaling.increment[k] == pytest.approx(rms, rel=1e-9)


def test_training_records_the_constants_of_its_regime(
    store: PairStore, data: Path, task: Task, tiny: Callable[..., Request], tmp_path: Path
) -> None:
    """What a run normalises with is written down, and is the training regions' alone."""
    record = train(store, tiny("training.steps=1"), tmp_path / "run")
    for k, variable in enumerate(task.variable_names):
        fine, _ = training_fields(data, task, ("train",), variable)
        assert record.mean[k] == pytest.approx(fine.mean(), rel=1e-10)
        assert record.sd[k] == pytest.approx(fine.std(), rel=1e-9)


def test_missing_cells_are_left_out_of_the_constants(store: PairStore, task: Task) -> None:
    """A NaN in fine is no zero and spoils nothing: the constants are those of the other cells."""
    whole = store.region("europe-west")
    scaling = fit_scaling(task, [Holey(task, whole.name, whole.path)])
    for k, variable in enumerate(task.variable_names):
        fine = whole.read("fine", variable, slice(0, 11)).astype(np.float64)
        fine[HOLES] = np.nan
        assert scaling.mean[k] == pytest.approx(np.nanmean(fine), rel=1e-10)
        assert scaling.sd[k] == pytest.approx(np.nanstd(fine), rel=1e-9)
    assert np.isfinite(scaling.increment).all()


def test_a_constant_variable_is_refused(store: PairStore, task: Task) -> None:
    """Rounding in the moments does not make a constant field one that varies."""
    whole = store.region("europe-west")
    with pytest.raises(InputError, match="t2m"):
        fit_scaling(task, [Constant(task, whole.name, whole.path)])


def test_pairs_hold_every_step_of_every_region_in_order(
    store: PairStore, data: Path, task: Task
) -> None:
    """Region by region, step by step, variables in the task's order, values as stored."""
    regions = source_regions(store, "zero_shot")
    pairs = load_pairs(regions, task.periods.val)
    assert len(pairs) == 3 * len(regions) == 27
    assert [region.name for region in regions] == sorted(region.name for region in regions)
    for r, region in enumerate(regions):
        for k, variable in enumerate(task.variable_names):
            for side, stored in (("coarse", pairs.coarse), ("fine", pairs.fine)):
                values = opened(data, task, region.name, side)[variable].values[12:15]
                np.testing.assert_array_equal(stored[3 * r : 3 * r + 3, k].numpy(), values)
    assert pairs.valid.all()


def test_pairs_carry_the_weights_of_their_region(
    store: PairStore, task: Task, latitude_weights: Callable[[str], Array]
) -> None:
    """Weights from sin(latitude) for each sample; the share of the box has mean 1."""
    regions = [store.region("europe-west"), store.region("andes-south")]
    pairs = load_pairs(regions, task.periods.val)
    for sample, region in ((0, "europe-west"), (5, "andes-south")):
        weights = latitude_weights(region)
        np.testing.assert_allclose(pairs.block_weights[sample, 0].numpy(), weights, rtol=1e-6)
        (south, north), rows = task.region(region).lat, 32
        bands = -np.diff(np.sin(np.radians(np.linspace(north, south, rows + 1))))
        expected = np.broadcast_to((bands / bands.mean())[:, None], (32, 32))
        np.testing.assert_allclose(pairs.area[sample, 0].numpy(), expected, rtol=1e-6)


def test_missing_cells_are_marked_and_zero(store: PairStore, task: Task) -> None:
    """A NaN in fine becomes an invalid 0 that no loss counts."""
    whole = store.region("europe-west")
    pairs = load_pairs([Holey(task, whole.name, whole.path)], task.periods.val)
    invalid = ~pairs.valid
    assert invalid.sum() == 3 * 3 * 6
    assert not pairs.valid[:, :, 3:9, 5].any()
    assert (pairs.fine[invalid] == 0).all()
    assert torch.isfinite(pairs.coarse).all()


def test_no_training_days_is_an_error(store: PairStore) -> None:
    """A period without a step, and no region at all."""
    never = Period(first=datetime(1999, 1, 1), last=datetime(1999, 2, 1))
    for regions in ([store.region("europe-west")], []):
        with pytest.raises(InputError, match="at least one step"):
            load_pairs(regions, never)


@pytest.mark.parametrize("axes", [[-2], [-1], [-2, -1], []])
def test_mirroring_keeps_the_pairs_consistent(
    store: PairStore, task: Task, axes: list[int]
) -> None:
    """Block means of mirrored fields are mirrored block means, with the mirrored weights."""
    regions = [store.region("europe-west"), store.region("andes-south")]
    pairs = load_pairs(regions, task.periods.val)
    flipped = pairs.mirrored(axes)
    means = block_mean(flipped.fine, flipped.block_weights, 4)
    torch.testing.assert_close(means, flipped.coarse, rtol=1e-5, atol=1e-6)
    expected = block_mean(pairs.fine, pairs.block_weights, 4).flip(axes)
    torch.testing.assert_close(means, expected, rtol=1e-6, atol=1e-6)
    for name in ("coarse", "fine", "valid", "block_weights", "area"):
        np.testing.assert_array_equal(
            getattr(flipped, name).numpy(), np.flip(getattr(pairs, name).numpy(), tuple(axes))
        )
    assert torch.equal(flipped.coarse, pairs.coarse) == (axes == [])


@pytest.mark.parametrize(
    ("regime", "roles"), [("zero_shot", {"train"}), ("oracle", {"train", "test_ood"})]
)
def test_training_reads_only_what_its_regime_allows(
    regime: str,
    roles: set[str],
    store: PairStore,
    task: Task,
    tiny: Callable[..., Request],
    reads: list[Any],
    tmp_path: Path,
) -> None:
    """Every read lies in an allowed region and in the training or validation period."""
    train(store, tiny("training.steps=3", regime=regime), tmp_path / "run")
    allowed = {region.name for region in task.regions if region.role in roles}
    assert {read.region for read in reads} == allowed
    times = store.region("europe-west").times
    for read in reads:
        chosen = times[list(read.steps)]
        assert any(
            (np.datetime64(period.first) <= chosen).all()
            and (chosen <= np.datetime64(period.last)).all()
            for period in (task.periods.train, task.periods.val)
        ), f"{read.region} {read.side} {read.variable} at {chosen[0]} to {chosen[-1]}"


def test_zero_shot_trains_where_the_other_regions_do_not_exist(
    store: PairStore, task: Task, tiny: Callable[..., Request], tmp_path: Path
) -> None:
    """With only the training regions on disk it gives the same weights: it needs nothing else."""
    folder = tmp_path / "data"
    folder.mkdir()
    for region in task.regions_of("train"):
        path = store.region(region.name).path
        for entry in (path, path.with_suffix(".json")):
            (folder / entry.name).symlink_to(entry)
    bare = train(PairStore(task, folder), tiny(), tmp_path / "bare")
    whole = train(store, tiny(), tmp_path / "whole")
    assert bare.curve == whole.curve
    weights = "weights.safetensors"
    assert (tmp_path / "bare" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_the_constants_do_not_need_a_period_at_once(
    store: PairStore, task: Task, reads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read part by part, they are the same to rounding, and no step is left out or read twice."""
    regions = store.regions("train")[:2]
    whole = fit_scaling(task, regions)
    reads.clear()
    monkeypatch.setattr(data, "PART", 4)
    parts = fit_scaling(task, regions)
    for name in ("mean", "sd", "increment"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    for region in regions:
        parts_read = [
            read.steps
            for read in reads
            if (read.region, read.side, read.variable) == (region.name, "fine", "t2m")
        ]
        assert max(map(len, parts_read)) <= 4
        period = region.steps(task.periods.train)
        assert [k for part in parts_read for k in part] == list(range(period.start, period.stop))
