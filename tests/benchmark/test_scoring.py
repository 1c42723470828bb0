"""Scores do not depend on blocks, workers, the order of regions, or on storing predictions."""

import multiprocessing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster
from numpy.typing import NDArray

from benchmark.case_table import table_hash
from benchmark.families import conservation, ensemble, moments
from benchmark.families.base import Step
from benchmark.hashing import combine_named
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import write_predictions
from benchmark.predictor import Fields
from benchmark.reference import Bilinear
from benchmark.references import BilinearReference, DressedReference
from benchmark.scoring import Scored, score_cases
from benchmark.sources import StoredPredictions, StreamedPredictions


@pytest.fixture(scope="module")
def folder(small: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dressed reference's eight members, stored for the small task."""
    target = tmp_path_factory.mktemp("scoring") / "dressed"
    for _ in write_predictions(DressedReference(small), small, target):
        pass
    return target


@pytest.fixture(scope="module")
def stored(small: PairStore, folder: Path) -> StoredPredictions:
    """That store as a source."""
    return StoredPredictions(small.task, folder)


def cut(field: NDArray[np.floating], border: int) -> NDArray[np.float64]:
    """The inner cells of the last two axes, in float64."""
    return field[..., border:-border, border:-border].astype(np.float64)


def assert_same(found: Scored, expected: Scored) -> None:
    """The same bits in every array, coordinates included, and the same predictions."""
    xr.testing.assert_identical(found.table, expected.table)
    assert table_hash(found.table) == table_hash(expected.table)
    assert found.prediction_hash == expected.prediction_hash


@pytest.mark.parametrize("steps_per_block", [1, 2, 3, 100])
def test_blocks_do_not_matter(
    small: PairStore, stored: StoredPredictions, dressed: Scored, steps_per_block: int
) -> None:
    """Blocks of 1, 2, 3 (uneven), all and more than all steps give the same bits."""
    assert_same(score_cases(small, stored, steps_per_block=steps_per_block), dressed)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_do_not_matter(
    small: PairStore, stored: StoredPredictions, dressed: Scored, workers: int
) -> None:
    """Threads finish in any order; the table has the same bits."""
    assert_same(score_cases(small, stored, workers=workers, steps_per_block=1), dressed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_regions_does_not_matter(
    small: PairStore, folder: Path, dressed: Scored, seed: int
) -> None:
    """A task whose file lists its regions in another order is the same task, draws included."""
    regions = list(small.task.regions)
    np.random.default_rng(seed).shuffle(regions)
    assert regions != list(small.task.regions)
    task = small.task.model_copy(update={"regions": tuple(regions)})
    shuffled = PairStore(task, small.folder)
    assert shuffled.data_hash == small.data_hash
    assert_same(score_cases(shuffled, StoredPredictions(task, folder)), dressed)
    streamed = StreamedPredictions(DressedReference(shuffled), identity="dressed")
    assert_same(score_cases(shuffled, streamed), dressed)


def test_streamed_equals_stored(
    small: PairStore, stored: StoredPredictions, dressed: Scored
) -> None:
    """Predicted and scored in one pass: the table of the stored path, in blocks of any size.

    `dressed` itself is streamed; the tests above score the store.
    """
    assert_same(score_cases(small, stored), dressed)
    fresh = StreamedPredictions(DressedReference(small), identity="dressed")
    assert_same(score_cases(small, fresh, steps_per_block=3, workers=2), dressed)


def test_a_cluster_does_not_matter(
    small: PairStore, stored: StoredPredictions, dressed: Scored
) -> None:
    """Blocks shipped to a worker process of a dask.distributed cluster give the same bits."""
    if "spawn" not in multiprocessing.get_all_start_methods():
        pytest.skip("no spawned processes here")
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
    ) as cluster:
        found = score_cases(small, stored, scheduler=cluster.scheduler_address, steps_per_block=3)
    assert_same(found, dressed)


def test_the_prediction_hash_is_of_the_values(
    small: PairStore, stored: StoredPredictions, dressed: Scored
) -> None:
    """One changed bit in one prediction is another hash and another table; a copy is not."""

    class Nudged:
        """The stored predictions, one value moved by one ulp."""

        card, member_count = stored.card, stored.member_count

        def read(self, region: RegionStore, steps: slice) -> Fields:
            fields = {name: values.copy() for name, values in stored.read(region, steps).items()}
            if region.name == "andes-south":
                value = fields["t2m"][0, 3, 16, 16]
                fields["t2m"][0, 3, 16, 16] = np.nextafter(value, np.float32(1e9))
            return fields

        def fingerprint(self) -> str:
            return "nudged"

    found = score_cases(small, Nudged())
    assert found.prediction_hash != dressed.prediction_hash
    assert table_hash(found.table) != table_hash(dressed.table)
    same = found.table.drop_sel(region="andes-south")
    xr.testing.assert_identical(same, dressed.table.drop_sel(region="andes-south"))
    assert combine_named({"a": "1"}) != combine_named({"a": "2"})


def test_one_cell_of_the_table_from_scratch(
    small: PairStore, folder: Path, dressed: Scored
) -> None:
    """One region, variable and case, read with xarray and reduced here: margins, strata, areas.

    Proves the wiring between stores and families: which cells are cut, which weights are used,
    which step is which case. (The families have their own brute-force tests.)
    """
    name, variable = "andes-south", "t2m"
    region = small.region(name)
    first = region.steps(small.task.periods.test).start
    opened = {
        side: xr.open_zarr(region.path, group=side, consolidated=False)
        for side in ("fine", "coarse", "static")
    }
    members = xr.open_zarr(folder / f"{name}.zarr", consolidated=False)[variable].values
    lat, lon = opened["fine"]["y"].values, opened["fine"]["x"].values
    south, north = np.radians(lat - 0.5), np.radians(lat + 0.5)
    area = 6371229.0**2 * np.radians(1.0) * (np.sin(north) - np.sin(south))
    area = cut(np.repeat(area[:, None], lon.size, axis=1), 4)
    land = cut(opened["static"]["land_fraction"].values, 4) >= 0.5
    weights = np.stack([area, np.where(land, area, 0), np.where(land, 0, area)])
    inner = region.grid.scored
    for k in (0, 5):
        coarse = opened["coarse"][variable].values[first + k]
        step = Step(
            members=cut(members[k], 4),
            truth=cut(opened["fine"][variable].values[first + k], 4),
            bilinear=cut(Bilinear.on(region.grid)(coarse), 4),
            coarse=cut(coarse, 1),
            weights=weights, overlap=inner.overlap, whole=np.ones((6, 6), bool),
            block_area=inner.coarse.area,
        )  # fmt: skip
        assert step.truth.shape == (24, 24)
        reduced = moments.reduce(step) | ensemble.reduce(step) | conservation.reduce(step)
        reduced["weight"] = weights.sum(axis=(1, 2))
        row = dressed.table.sel(variable=variable, region=name).isel(case=k)
        stamp = opened["fine"]["time"].values[first + k].astype("datetime64[s]")
        assert row["case"].values == stamp
        for key, value in reduced.items():
            np.testing.assert_allclose(row[key].values, value, rtol=1e-9, err_msg=key)


def test_bilinear_against_itself(small: PairStore) -> None:
    """The reference scored as a model has no increment, one member and whole weights."""
    table = score_cases(small, StreamedPredictions(BilinearReference(small), "b")).table
    assert table.sizes == {"variable": 3, "region": 4, "case": 8, "stratum": 3, "rank": 2}
    assert list(table["region"].values) == sorted(table["region"].values)
    # Predictions are float32, the reference is float64: rounding of 300 K and no more.
    worst = (table["increment_pp"] / table["weight"]).sel(variable="t2m").max()
    assert float(worst) < (300 * 2.0**-24) ** 2
    xr.testing.assert_allclose(table["rank_weight"].sum("rank"), table["weight"], rtol=1e-12)
    xr.testing.assert_identical(
        table["weight"].sel(stratum="all", variable="t2m", drop=True),
        table["weight"].sel(stratum="all", variable="precipitation", drop=True),
    )


def test_blocks_are_put_in_time_order(small: PairStore) -> None:
    """Steps 5 to 23: blocks whose names sort otherwise than their numbers are one series."""
    periods = small.task.periods
    early = periods.test.model_copy(update={"first": datetime(2026, 3, 26, 12)})
    task = small.task.model_copy(
        update={"periods": periods.model_copy(update={"test": early}), "case": "day"}
    )
    longer = PairStore(task, small.folder)
    source = StreamedPredictions(BilinearReference(longer), "b")
    whole = score_cases(longer, source, steps_per_block=100)
    assert whole.table.sizes["case"] == 6, "days"
    assert_same(score_cases(longer, source, steps_per_block=1), whole)


def test_cells_without_truth_are_left_out(
    small: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product's own gaps take weight away and nothing else: no sum, no rank, no filling.

    The truth of t2m loses a whole block, one cell of another, and cells of the margin.
    """
    original = RegionStore.read

    def with_gaps(self: RegionStore, side: str, variable: str, steps: slice) -> Any:
        values = original(self, side, variable, steps).copy()
        if (side, variable) == ("fine", "t2m"):
            values[:, 8:12, 12:16] = np.nan
            values[:, 20, 21] = np.nan
            values[:, :2] = np.nan
        return values

    source = StreamedPredictions(BilinearReference(small), "b")
    expected = score_cases(small, source).table
    monkeypatch.setattr(RegionStore, "read", with_gaps)
    found = score_cases(small, source).table
    others = ["wind_speed", "precipitation"]
    xr.testing.assert_identical(found.sel(variable=others), expected.sel(variable=others))
    for name in found["region"].values:
        scored = small.region(name).grid.scored
        area, blocks = scored.fine.area, scored.coarse.area
        lost = area[4:8, 8:12].sum() + area[16, 17]
        row, before = (t.sel(variable="t2m", region=name, stratum="all") for t in (found, expected))
        np.testing.assert_allclose(before["weight"] - row["weight"], lost, rtol=1e-9)
        np.testing.assert_allclose(row["rank_weight"].sum("rank"), row["weight"], rtol=1e-12)
        np.testing.assert_array_equal(row["block_weight"], before["block_weight"])
        part = before["whole_block_weight"] - row["whole_block_weight"]
        np.testing.assert_allclose(part, blocks[1, 2] + blocks[4, 4], rtol=1e-9)
        assert bool((row["squared_error"] < before["squared_error"]).all())
        mean = (row["t"] / row["weight"]).values
        assert 230 < mean.min() < mean.max() < 320, "missing is not zero kelvin"
