"""Scores do not depend on blocks, workers, the order of regions, or on storing predictions."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.case_table import table_hash
from benchmark.hashing import combine_named
from benchmark.pair_store import PairStore, RegionStore
from benchmark.prediction_store import write_predictions
from benchmark.predictor import Fields
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


@pytest.fixture
def scores(tmp_path: Path) -> Callable[..., Scored]:
    """`score_cases` with an empty folder for its blocks at every call."""
    folders = (tmp_path / f"work-{k}" for k in itertools.count())

    def run(store: PairStore, source: Any, **options: Any) -> Scored:
        return score_cases(store, source, work=next(folders), **options)

    return run


def cut(field: NDArray[np.floating], border: int) -> NDArray[np.float64]:
    """The inner cells of the last two axes, in float64."""
    return np.asarray(field[..., border:-border, border:-border], np.float64)


def assert_same(found: Scored, expected: Scored) -> None:
    """The same bits in every array, coordinates included, and the same predictions."""
    xr.testing.assert_identical(found.table, expected.table)
    assert table_hash(found.table) == table_hash(expected.table)
    assert found.prediction_hash == expected.prediction_hash


@pytest.mark.parametrize("steps_per_block", [1, 2, 3, 100])
def test_blocks_do_not_matter(
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    steps_per_block: int,
    scores: Callable[..., Scored],
) -> None:
    """Blocks of 1, 2, 3 (uneven), all and more than all steps give the same bits."""
    assert_same(scores(small, stored, steps_per_block=steps_per_block), dressed)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_do_not_matter(
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    workers: int,
    scores: Callable[..., Scored],
) -> None:
    """Threads finish in any order; the table has the same bits."""
    assert_same(scores(small, stored, workers=workers, steps_per_block=1), dressed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_regions_does_not_matter(
    small: PairStore,
    folder: Path,
    dressed: Scored,
    seed: int,
    scores: Callable[..., Scored],
) -> None:
    """A task whose file lists its regions in another order is the same task, draws included."""
    regions = list(small.task.regions)
    np.random.default_rng(seed).shuffle(regions)
    assert regions != list(small.task.regions)
    task = small.task.model_copy(update={"regions": tuple(regions)})
    shuffled = PairStore(task, small.folder)
    assert shuffled.data_hash == small.data_hash
    assert_same(scores(shuffled, StoredPredictions(task, folder)), dressed)
    streamed = StreamedPredictions(DressedReference(shuffled), identity="dressed")
    assert_same(scores(shuffled, streamed), dressed)


def test_streamed_equals_stored(
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    scores: Callable[..., Scored],
) -> None:
    """Predicted and scored in one pass: the table of the stored path, in blocks of any size.

    `dressed` itself is streamed; the tests above score the store.
    """
    assert_same(scores(small, stored), dressed)
    fresh = StreamedPredictions(DressedReference(small), identity="dressed")
    assert_same(scores(small, fresh, steps_per_block=3, workers=2), dressed)


def test_the_prediction_hash_is_of_the_values(
    small: PairStore,
    stored: StoredPredictions,
    dressed: Scored,
    scores: Callable[..., Scored],
) -> None:
    """One changed bit in one prediction is another hash and another table; a copy is not."""

    class Nudged:
        """The stored predictions, one value moved by one ulp."""

        card, member_count = stored.card, stored.member_count

        def slabs(
            self, region: RegionStore, steps: slice, *, size: int
        ) -> Iterator[tuple[slice, Fields]]:
            for slab, fields in stored.slabs(region, steps, size=size):
                if region.name == "andes-south" and slab.start == steps.start:
                    value = fields["t2m"][0, 3, 16, 16]
                    fields["t2m"][0, 3, 16, 16] = np.nextafter(value, np.float32(1e9))
                yield slab, fields

        def fingerprint(self) -> str:
            return "nudged"

    found = scores(small, Nudged())
    assert found.prediction_hash != dressed.prediction_hash
    assert table_hash(found.table) != table_hash(dressed.table)
    same = found.table.drop_sel(region="andes-south")
    xr.testing.assert_identical(same, dressed.table.drop_sel(region="andes-south"))
    assert combine_named({"a": "1"}) != combine_named({"a": "2"})


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("variable", ["t2m", "precipitation"])
def test_a_region_of_the_table_from_scratch(
    small: PairStore, folder: Path, scores: Callable[..., Scored], variable: str
) -> None:
    """One region and variable, read with xarray and reduced by numpy: margins, strata, areas.

    Proves the wiring between stores and families: which cells are cut, which weights are used,
    which step is which case, which class is which. (The families have their own tests.)
    """
    name, known = "andes-south", small.task.variable(variable)
    region = small.region(name)
    table = scores(small, StoredPredictions(small.task, folder)).table
    row = table.sel(variable=variable, region=name)
    opened = {
        side: xr.open_zarr(region.path, group=side, consolidated=False)
        for side in ("fine", "coarse", "static")
    }
    first = region.steps(small.task.periods.test).start
    times = opened["fine"]["time"].values[first:].astype("datetime64[s]")
    np.testing.assert_array_equal(row["case"].values, times[: len(row["case"])])
    members = cut(xr.open_zarr(folder / f"{name}.zarr", consolidated=False)[variable].values, 4)
    truth, every = (cut(opened["fine"][variable].values[part], 4)
                    for part in (slice(first, first + len(members)), slice(0, first)))  # fmt: skip
    train = every[: region.steps(small.task.periods.train).stop]
    coarse = cut(opened["coarse"][variable].values[first : first + len(members)], 1)
    lat = opened["fine"]["y"].values
    bands = np.sin(np.radians(lat + 0.5)) - np.sin(np.radians(lat - 0.5))
    area = cut(np.repeat(6371229.0**2 * np.radians(1.0) * bands[:, None], 32, axis=1), 4)
    land = cut(opened["static"]["land_fraction"].values, 4) >= 0.5
    height = cut(opened["static"]["orography"].values, 4)
    inside = {
        "all": land | True, "land": land, "sea": ~land, "lowland": land & (height < 500),
        "upland": land & (height >= 500) & (height < 1500), "mountain": land & (height >= 1500),
    }  # fmt: skip
    bounds = [-np.inf, *(float(np.float32(b)) for b in known.intensity), np.inf]
    p = members.mean(axis=1)
    for stratum in table["stratum"].values:
        weights = np.broadcast_to(area, truth.shape)
        if stratum in inside:
            weights = weights * inside[stratum]
        else:
            k = int(stratum[-1])
            weights = weights * ((truth >= bounds[k - 1]) & (truth < bounds[k]))
        expected = {
            "weight": weights, "squared_error": weights * (p - truth) ** 2,
            "anomaly_t": weights * (truth - train.mean(axis=0)),
            "member_abs_error": weights * abs(members - truth[:, None]).mean(axis=1),
            "member_variance": weights * members.var(axis=1, ddof=1),
        }  # fmt: skip
        for key, values in expected.items():
            found = row[key].sel(stratum=stratum).values
            scale = 1e-9 * abs(values).sum()
            np.testing.assert_allclose(
                found, values.sum(axis=(1, 2)), rtol=1e-9, atol=scale, err_msg=f"{key} {stratum}"
            )
    blocks = (area * members).reshape(*members.shape[:2], 6, 4, 6, 4).sum(axis=(3, 5))
    sizes = area.reshape(6, 4, 6, 4).sum(axis=(1, 3))
    residual = abs(blocks / sizes - coarse[:, None]).mean(axis=1)
    np.testing.assert_allclose(row["residual_abs"], (sizes * residual).sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(row["coarse_max"], abs(coarse).max(axis=(1, 2)))
    levels = [*known.thresholds, *np.percentile(train, known.percentiles, method="inverted_cdf")]
    for k, u in enumerate(levels[:2]):
        event = (area * (truth >= np.float32(u))).sum(axis=(1, 2))
        np.testing.assert_allclose(row["event_t"].isel(threshold=k), event, rtol=1e-9)
    counts = row["bin_t"].values
    whole = np.round(area * (65536 / area.max()))
    assert counts.sum() == whole.sum() * len(truth)
    np.testing.assert_array_equal(row["images"], 1)
    variance = (truth - truth.mean(axis=(1, 2), keepdims=True)) ** 2
    power = float(row["power_t"].sum() + row["dropped_t"].sum())
    assert power == pytest.approx(variance.mean(axis=(1, 2)).sum(), rel=1e-4), "Parseval"


def test_bilinear_against_itself(small: PairStore, scores: Callable[..., Scored]) -> None:
    """The reference scored as a model has no increment, one member and whole weights."""
    table = scores(small, StreamedPredictions(BilinearReference(small), "b")).table
    known = {"variable": 3, "region": 4, "case": 8, "stratum": 10, "rank": 2}
    assert {dim: table.sizes[dim] for dim in known} == known
    assert list(table["region"].values) == sorted(table["region"].values)
    # Predictions are float32, the reference is float64: rounding of 300 K and no more.
    worst = (table["increment_pp"] / table["weight"]).sel(variable="t2m").max()
    assert float(worst) < (300 * 2.0**-24) ** 2
    np.testing.assert_allclose(table["rank_weight"].sum("rank"), table["weight"], rtol=1e-12)
    weight = table["weight"].sel(stratum="all")
    np.testing.assert_allclose(
        weight.sel(variable="t2m"), weight.sel(variable="precipitation"), rtol=1e-13
    )


@pytest.mark.parametrize("steps_per_block", [1, 5])
def test_engines_agree(
    small: PairStore, folder: Path, monkeypatch: pytest.MonkeyPatch, steps_per_block: int,
    scores: Callable[..., Scored],
) -> None:  # fmt: skip
    """Tables of the two engines: every statistic to 1e-6 of its largest, counts exactly."""
    tables = []
    for name in ("numba", "numpy"):
        monkeypatch.setenv("ELSEWHERE_ENGINE", name)
        source = StoredPredictions(small.task, folder)
        tables.append(scores(small, source, steps_per_block=steps_per_block))
    assert tables[0].prediction_hash == tables[1].prediction_hash
    for name, values in tables[1].table.data_vars.items():
        scale = 1e-6 * float(abs(values.where(np.isfinite(values))).max())
        np.testing.assert_allclose(
            tables[0].table[name], values, rtol=1e-6, atol=scale, err_msg=str(name)
        )
    for name in ("bin_p", "bin_t", "cells", "images"):
        np.testing.assert_array_equal(tables[0].table[name], tables[1].table[name])


def test_blocks_are_put_in_time_order(small: PairStore, scores: Callable[..., Scored]) -> None:
    """Steps 5 to 23: blocks whose names sort otherwise than their numbers are one series."""
    periods = small.task.periods
    early = periods.test.model_copy(update={"first": datetime(2026, 3, 26, 12)})
    task = small.task.model_copy(
        update={"periods": periods.model_copy(update={"test": early}), "case": "day"}
    )
    longer = PairStore(task, small.folder)
    source = StreamedPredictions(BilinearReference(longer), "b")
    whole = scores(longer, source, steps_per_block=100)
    assert whole.table.sizes["case"] == 6, "days"
    assert_same(scores(longer, source, steps_per_block=1), whole)


def test_cells_without_truth_are_left_out(
    small: PairStore, monkeypatch: pytest.MonkeyPatch, scores: Callable[..., Scored]
) -> None:
    """A product's own gaps take weight away and nothing else: no sum, no rank, no filling.

    The truth of t2m loses a whole block, one cell of another, and cells of the margin.
    """
    original = RegionStore.read

    def with_gaps(self: RegionStore, side: str, variable: str, steps: slice, **options: Any) -> Any:
        values = original(self, side, variable, steps, **options).copy()
        if (side, variable) == ("fine", "t2m"):
            values[:, 8:12, 12:16] = np.nan
            values[:, 20, 21] = np.nan
            values[:, :2] = np.nan
        return values

    source = StreamedPredictions(BilinearReference(small), "b")
    expected = scores(small, source).table
    monkeypatch.setattr(RegionStore, "read", with_gaps)
    found = scores(small, source).table
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
