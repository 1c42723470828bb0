"""The case table: folding, adding, hashing, and its file."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from zarr.storage import ZipStore

from benchmark.bins import Bins
from benchmark.case_table import (
    SCHEMA_VERSION,
    assemble,
    by_case,
    case_labels,
    load_table,
    save_table,
    table_hash,
    total,
)
from benchmark.errors import InputError
from benchmark.scoring import Scored
from benchmark.step_sums import RegionSums
from benchmark.strata import STRATA
from benchmark.task import Task


@pytest.fixture(scope="module")
def table(dressed: Scored) -> xr.Dataset:
    """A real table with ranks: the dressed reference on the small task."""
    return dressed.table


def days(*stamps: str) -> NDArray[np.datetime64]:
    """Times in seconds."""
    return np.array(stamps, dtype="datetime64[s]")


def region_sums(cases: NDArray[np.datetime64], size: float = 1.0, rings: int = 24) -> RegionSums:
    """Invented sums of a region of a task of three variables."""
    count = len(cases)
    return RegionSums(
        cases=cases,
        by_case={
            "block_weight": np.full((count, 3), size),
            "weight": np.full((count, 3, len(STRATA)), size),
            "t_max": np.full((count, 3), -np.inf),
        },
        period={"bin_t": np.zeros((3, 1)), "power_t": np.full((3, rings), size)},
        digests={},
    )


def test_round_trip_is_exact(table: xr.Dataset, tmp_path: Path) -> None:
    """What is kept comes back bit for bit, with its names, types and attributes."""
    save_table(table, tmp_path / "cases.zarr.zip")
    cases, totals = load_table(tmp_path / "cases.zarr.zip")
    for found, expected in ((cases, by_case(table)), (totals, total(table))):
        assert set(found.data_vars) == set(expected.data_vars)
        assert set(found.coords) == set(expected.coords)
        for name in (*expected.data_vars, *expected.coords):
            assert found[name].dims == expected[name].dims, name
            np.testing.assert_array_equal(found[name].values, expected[name].values)
        for name in expected.data_vars:
            assert found[name].dtype == expected[name].dtype == np.float64
        for dim in ("variable", "region", "stratum", "axis"):
            if dim in expected.coords:
                assert list(found[dim].values) == list(expected[dim].values)
        assert found.attrs == expected.attrs
    np.testing.assert_array_equal(cases["case"].values, table["case"].values)
    assert table_hash(cases, totals) == table_hash(by_case(table), total(table))


def test_what_is_kept_by_case_has_cases(table: xr.Dataset) -> None:
    """Of all cells, with a case each; what is kept for the period is in the totals only."""
    cases, totals = by_case(table), total(table)
    assert all("case" in values.dims for values in cases.data_vars.values())
    assert list(cases["stratum"].values) == ["all"]
    assert set(totals.data_vars) == set(table.data_vars)
    assert not any("case" in values.dims for values in totals.data_vars.values())
    assert {"power_t", "bin_p", "reliability"}.isdisjoint(cases.data_vars)


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


@pytest.mark.parametrize("schema", [0, 1, "2", None])
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
    assert f"schema {SCHEMA_VERSION}" in problem.expected
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

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.case_table.pack_groups", fail)
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


def test_totals_of_parts_are_totals_of_the_whole(table: xr.Dataset) -> None:
    """Folded over cases in two parts or at once; regions chosen and pooled add up too."""
    early, late = table.isel(case=slice(0, 3)), table.isel(case=slice(3, None))
    joined, whole = [total(early), total(late)], total(table)
    for name, values in table.data_vars.items():
        if "case" not in values.dims:
            np.testing.assert_array_equal(whole[name], values)
        elif name in ("residual_max", "coarse_max", "t_max"):
            np.testing.assert_array_equal(np.maximum(*(j[name] for j in joined)), whole[name])
        else:
            added = sum(part[name] for part in joined)
            np.testing.assert_allclose(added, whole[name], rtol=1e-13, atol=1e-3)
    names = list(table["region"].values[:2])
    pooled = total(table, regions=names, over_regions=True)
    chosen = whole.sel(region=names)
    np.testing.assert_allclose(pooled["weight"], chosen["weight"].sum("region"), rtol=1e-14)
    np.testing.assert_array_equal(pooled["coarse_max"], chosen["coarse_max"].max("region"))
    assert pooled.attrs["members"] == table.attrs["members"]


def test_regions_with_other_cases_are_refused(small_task: Task) -> None:
    """Regions that do not share their times cannot be paired, so they are no table."""
    regions = {
        "andes-south": region_sums(days("2001-01-01", "2001-01-02")),
        "europe-west": region_sums(days("2001-01-01", "2001-01-03")),
    }
    with pytest.raises(InputError, match="region europe-west"):
        assemble(small_task, regions, members=1)


def test_regions_are_sorted_whatever_the_order(small_task: Task) -> None:
    """Two orders of the same regions are one table."""
    content = {name: region_sums(days("2001-01-01"), size)
               for name, size in (("europe-west", 2.0), ("andes-south", 1.0))}  # fmt: skip
    found = assemble(small_task, content, members=1)
    again = assemble(small_task, dict(reversed(content.items())), members=1)
    xr.testing.assert_identical(found, again)
    weight = found["block_weight"].sel(variable="t2m")
    np.testing.assert_array_equal(weight.values, [[1.0], [2.0]])


def test_rings_that_a_region_does_not_have_are_zero(small_task: Task) -> None:
    """Spectra of regions of other sizes share one dim: filled with 0 behind, nothing moves."""
    content = {"andes-south": region_sums(days("2001-01-01"), rings=22),
               "europe-west": region_sums(days("2001-01-01"), 3.0, rings=24)}  # fmt: skip
    found = assemble(small_task, content, members=1)["power_t"]
    np.testing.assert_array_equal(found[0], [[1] * 22 + [0, 0], [3] * 24])


def test_coordinates_tell_of_regions(table: xr.Dataset, task: Task) -> None:
    """Latitude of the centre, cell sizes in km, and the wavenumber of each ring."""
    for region in table["region"].values:
        known = table.sel(region=region)
        lat = task.region(str(region)).lat
        assert float(known["latitude"]) == sum(lat) / 2
        height = 6371.229 * np.pi / 180
        edges = np.sin(np.radians([lat[0] + 4, lat[1] - 4]))  # without the margin
        width = 6371.229 * np.radians(1) * (edges[1] - edges[0]) / np.radians(24)
        assert float(known["cell_km"]) == pytest.approx(np.sqrt(height * width), rel=1e-9)
        assert float(known["finest_km"]) == pytest.approx(2 * max(height, width), rel=1e-9)
        k = known["wavenumber"].values
        np.testing.assert_allclose(k, k[0] * np.arange(1, len(k) + 1), rtol=1e-12)
        assert k[0] == pytest.approx(0.5 / (24 * max(height, width)), rel=1e-9)


def test_the_contract_tells_of_variables(table: xr.Dataset) -> None:
    """Units, thresholds by name, data range and bins: all that metrics ask of a task."""
    known = json.loads(table.attrs["contract"])
    assert set(known) == {"t2m", "wind_speed", "precipitation"}
    rain = known["precipitation"]
    assert rain["units"] == "mm h-1"
    assert rain["thresholds"] == [">= 0.1 mm h-1", ">= 1 mm h-1", ">= P95", ">= P99"]
    assert rain["data_range"] == 20
    assert Bins(**rain["bins"]).kind == "log2"


def test_a_copied_file_is_read_alike(table: xr.Dataset, tmp_path: Path) -> None:
    """The file holds everything: moved elsewhere it reads the same."""
    save_table(table, tmp_path / "cases.zarr.zip")
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(tmp_path / "cases.zarr.zip", tmp_path / "elsewhere"))
    cases, _ = load_table(moved)
    xr.testing.assert_identical(cases, by_case(table))
