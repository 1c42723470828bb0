"""The case table: folding, adding, hashing, and its file."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from zarr.storage import ZipStore

from benchmark.case_table import (
    assemble,
    case_labels,
    fold_cases,
    load_table,
    save_table,
    table_hash,
    total,
)
from benchmark.errors import InputError
from benchmark.scoring import Scored
from benchmark.task import Task


@pytest.fixture(scope="module")
def table(dressed: Scored) -> xr.Dataset:
    """A real table with ranks: the dressed reference on the small task."""
    return dressed.table


def days(*stamps: str) -> NDArray[np.datetime64]:
    """Times in seconds."""
    return np.array(stamps, dtype="datetime64[s]")


def test_round_trip_is_exact(table: xr.Dataset, tmp_path: Path) -> None:
    """What is kept comes back bit for bit, with its names, types and attributes."""
    save_table(table, tmp_path / "cases.zarr.zip")
    cases, totals = load_table(tmp_path / "cases.zarr.zip")
    for found, expected in ((cases, table.sel(stratum=["all"])), (totals, total(table))):
        assert set(found.data_vars) == set(expected.data_vars)
        for name in expected.data_vars:
            assert found[name].dims == expected[name].dims
            assert found[name].dtype == expected[name].dtype == np.float64
            np.testing.assert_array_equal(found[name].values, expected[name].values)
        for dim in ("variable", "region", "stratum"):
            assert list(found[dim].values) == list(expected[dim].values)
        assert found.attrs == expected.attrs
    np.testing.assert_array_equal(cases["case"].values, table["case"].values)
    assert table_hash(cases) == table_hash(table.sel(stratum=["all"]))


def test_the_file_is_the_same_bytes_every_time(table: xr.Dataset, tmp_path: Path) -> None:
    """Saved twice, and saved from what was loaded into memory again: the same zip, byte by byte."""
    first, second = tmp_path / "a" / "cases.zarr.zip", tmp_path / "b" / "cases.zarr.zip"
    save_table(table, first)
    save_table(table.copy(deep=True), second)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["cases.zarr.zip"], "no remains"
    assert first.stat().st_size < 3e6


def test_names_are_not_string_arrays(table: xr.Dataset, tmp_path: Path) -> None:
    """Zarr v3 has no specified strings: names live in attributes, no array holds text."""
    path = tmp_path / "cases.zarr.zip"
    save_table(table, path)
    with ZipStore(path, mode="r") as store:
        raw = xr.open_zarr(store, group="cases", consolidated=False, decode_times=False).load()
    assert all(array.dtype.kind in "fiu" for array in raw.variables.values())
    assert raw.attrs["region_names"] == list(table["region"].values)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(table: xr.Dataset, tmp_path: Path, schema: object) -> None:
    """A table of a newer, older or unknown schema is refused with what to do."""
    path = tmp_path / "cases.zarr.zip"
    attributes = {**table.attrs, "schema_version": schema}
    if schema is None:
        del attributes["schema_version"]
    save_table(table.drop_attrs(deep=False).assign_attrs(attributes), path)
    with pytest.raises(InputError) as caught:
        load_table(path)
    (problem,) = caught.value.problems
    assert "schema 1" in problem.expected
    assert f"schema {schema}" in problem.got
    assert "version" in problem.fix


@pytest.mark.parametrize("damage", ["absent", "empty", "not a zip", "cut", "no groups"])
def test_what_is_no_case_table_is_refused(table: xr.Dataset, tmp_path: Path, damage: str) -> None:
    """A missing, cut or foreign file is one clear InputError."""
    path = tmp_path / "cases.zarr.zip"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "not a zip":
        path.write_text("cases")
    elif damage == "cut":
        save_table(table, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "no groups":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a.txt", "a")
    with pytest.raises(InputError, match="a case table"):
        load_table(path)


def test_a_failed_save_leaves_the_old_table(
    table: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while writing, the old file is whole and no remains lie about."""
    path = tmp_path / "cases.zarr.zip"
    save_table(table, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.case_table.pack_folder", fail)
    with pytest.raises(KeyboardInterrupt):
        save_table(table.isel(case=[0]), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["cases.zarr.zip"]


def test_any_bit_changes_the_hash(table: xr.Dataset) -> None:
    """One ulp in one sum is another hash; coordinates' order of creation is not looked at."""
    changed = table.copy(deep=True)
    changed["squared_error"][0, 0, 0, 0] = np.nextafter(
        float(changed["squared_error"][0, 0, 0, 0]), np.inf
    )
    assert table_hash(changed) != table_hash(table)
    reordered = table[sorted(map(str, table.data_vars), reverse=True)]
    assert table_hash(reordered) == table_hash(table)


def test_days_and_snapshots(task: Task) -> None:
    """A case is the UTC day, or, where the task says so, the step itself."""
    times = days("2001-01-01T00", "2001-01-01T23", "2001-01-02T00", "2001-01-03T12")
    np.testing.assert_array_equal(case_labels(task, times), times)
    daily = task.model_copy(update={"case": "day"})
    expected = days("2001-01-01", "2001-01-01", "2001-01-02", "2001-01-03")
    np.testing.assert_array_equal(case_labels(daily, times), expected)


def test_folding_adds_sums_and_takes_maxima_in_time_order() -> None:
    """Sums equal a running sum in time order bit for bit; maxima are maxima."""
    generator = np.random.default_rng(0)
    steps = {
        "squared_error": generator.normal(size=(40, 2, 3)) * 10.0 ** generator.integers(-8, 8, 40)
        [:, None, None],
        "residual_max": generator.random((40, 2)),
    }  # fmt: skip
    labels = np.repeat(days("2001-01-01", "2001-01-02", "2001-01-05"), (7, 30, 3))
    cases, folded = fold_cases(steps, labels)
    assert len(cases) == 3
    for k, (start, stop) in enumerate(((0, 7), (7, 37), (37, 40))):
        running = np.zeros((2, 3))
        for step in range(start, stop):
            running = running + steps["squared_error"][step]
        np.testing.assert_array_equal(folded["squared_error"][k], running)
        largest = steps["residual_max"][start:stop].max(axis=0)
        np.testing.assert_array_equal(folded["residual_max"][k], largest)


def test_totals_of_parts_are_totals_of_the_whole(table: xr.Dataset) -> None:
    """Folded over cases in two parts or at once; regions chosen and pooled add up too."""
    early, late = table.isel(case=slice(0, 3)), table.isel(case=slice(3, None))
    joined = total(xr.concat([total(early), total(late)], dim="case"))
    whole = total(table)
    for name in whole.data_vars:
        np.testing.assert_allclose(joined[name], whole[name], rtol=1e-14, atol=1e-3)
    names = list(table["region"].values[:2])
    pooled = total(table, regions=names, over_regions=True)
    chosen = whole.sel(region=names)
    np.testing.assert_allclose(pooled["weight"], chosen["weight"].sum("region"), rtol=1e-14)
    np.testing.assert_array_equal(pooled["coarse_max"], chosen["coarse_max"].max("region"))
    assert pooled.attrs["members"] == table.attrs["members"]


def test_regions_with_other_cases_are_refused(task: Task) -> None:
    """Regions that do not share their times cannot be paired, so they are no table."""
    one = {"block_weight": np.ones((2, 3))}
    regions = {
        "a": (days("2001-01-01", "2001-01-02"), one),
        "b": (days("2001-01-01", "2001-01-03"), one),
    }
    with pytest.raises(InputError, match="region b"):
        assemble(task, regions, members=1)


def test_regions_are_sorted_whatever_the_order(task: Task) -> None:
    """Two orders of the same regions are one table."""
    content = {name: (days("2001-01-01"), {"block_weight": np.full((1, 3), value)})
               for name, value in (("b", 2.0), ("a", 1.0))}  # fmt: skip
    found = assemble(task, content, members=1)
    again = assemble(task, dict(reversed(content.items())), members=1)
    xr.testing.assert_identical(found, again)
    np.testing.assert_array_equal(found["block_weight"].sel(variable="t2m").values, [[1.0], [2.0]])


def test_a_copied_file_is_read_alike(table: xr.Dataset, tmp_path: Path) -> None:
    """The file holds everything: moved elsewhere it reads the same."""
    save_table(table, tmp_path / "cases.zarr.zip")
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(tmp_path / "cases.zarr.zip", tmp_path / "elsewhere"))
    cases, _ = load_table(moved)
    xr.testing.assert_identical(cases, table.sel(stratum=["all"]))
