"""Building era5-sample: what is in the store, how it is written, and that it can be interrupted."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from blake3 import blake3
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.pair_writer import Steps
from benchmark.region import Region
from benchmark.task import Task
from data_recipes.build import build
from data_recipes.era5_sample.recipe import EmbeddedERA5
from data_recipes.era5_sample.sample import SAMPLE_SHA256, open_sample
from data_recipes.recipe import RegionPlan

SIDES = ("coarse", "fine")
ONE = "andes-south"


def group(store: PairStore, region: str, name: str) -> xr.Dataset:
    """A group as any user of xarray sees it."""
    path = store.folder / f"{region}.zarr"
    return xr.open_zarr(path, group=name, consolidated=False, chunks=None)


@pytest.fixture
def copied(store: PairStore, tmp_path: Path) -> PairStore:
    """A store of which a test may break the region andes-south; the others are links."""
    folder = tmp_path / "data" / store.folder.name
    folder.mkdir(parents=True)
    for path in store.folder.iterdir():
        if path.stem == ONE and path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif path.suffix == ".json":
            shutil.copy(path, folder / path.name)
        else:
            (folder / path.name).symlink_to(path)
    return PairStore(store.task, folder)


def edit(path: Path, **changes: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def failing_recipe(at: str, error: type[BaseException]) -> Callable[[Task], EmbeddedERA5]:
    """The recipe of era5-sample, but `error` comes where the steps of the region `at` are made."""

    def fail(_: slice) -> Steps:
        raise error

    class Failing(EmbeddedERA5):
        def region(self, region: Region, **options: Any) -> RegionPlan:
            plan = super().region(region, **options)
            return replace(plan, steps=fail) if region.name == at else plan

    return Failing


def test_coarse_is_the_area_mean_of_fine_in_every_region(store: PairStore, task: Task) -> None:
    """Block by block with sin(latitude) weights from the bounds, to the rounding of float32."""
    for region in task.regions:
        coarse, fine = (group(store, region.name, side) for side in SIDES)
        north = region.lat[1]
        for j in range(8):
            bands = -np.diff(np.sin(np.radians(north - np.arange(4 * j, 4 * j + 5))))
            weights = np.broadcast_to(bands[:, None] / bands.sum() / 4, (4, 4))
            for variable in task.variable_names:
                rows = fine[variable].values[:, 4 * j : 4 * j + 4].astype(np.float64)
                blocks = rows.reshape(24, 4, 8, 4)
                mean = np.einsum("tyix,yx->ti", blocks, weights)
                stored = coarse[variable].values[:, j]
                bound = 2.0**-24 * abs(mean).max()
                np.testing.assert_allclose(stored, mean, rtol=0, atol=bound)


def test_fine_and_static_are_the_sample_on_the_task_s_boxes(store: PairStore, task: Task) -> None:
    """Values, times and coordinates of each region, bit for bit, rows from north to south."""
    sample = open_sample()
    for region in task.regions:
        lat = np.arange(region.lat[1] - 0.5, region.lat[0], -1)
        lon = np.arange(region.lon[0] + 0.5, region.lon[1], 1)
        box = sample.sel(lat=lat, lon=lon)
        fine, static = group(store, region.name, "fine"), group(store, region.name, "static")
        np.testing.assert_array_equal(fine["y"], lat)
        np.testing.assert_array_equal(fine["x"], lon)
        np.testing.assert_array_equal(fine["time"], box["time"])
        for variable in task.variable_names:
            np.testing.assert_array_equal(fine[variable], box[variable])
        for name in ("orography", "land_fraction"):
            np.testing.assert_array_equal(static[name], box[name])
            np.testing.assert_array_equal(store.region(region.name).static(name), box[name].values)


def test_coarse_centres_are_the_middles_of_their_blocks(store: PairStore) -> None:
    """The coarse box covers the fine box exactly."""
    coarse, fine = (group(store, ONE, side) for side in SIDES)
    for axis in ("y", "x"):
        middles = fine[axis].values.reshape(8, 4).mean(axis=1)
        np.testing.assert_allclose(coarse[axis], middles, rtol=1e-14)
    np.testing.assert_array_equal(coarse["time"], fine["time"])


def test_cell_areas_are_those_of_the_sphere(store: PairStore, task: Task) -> None:
    """m2 on both sides, adding up to the box's area; static carries the fine ones."""
    (south, north), (west, east) = task.region(ONE).lat, task.region(ONE).lon
    bands = np.sin(np.radians(north)) - np.sin(np.radians(south))
    box = 6_371_229.0**2 * bands * np.radians(east - west)
    for side in SIDES:
        area = group(store, ONE, side)["cell_area"]
        assert area.attrs["units"] == "m2"
        assert float(area.sum()) == pytest.approx(box, rel=1e-12)
    fine, static = group(store, ONE, "fine"), group(store, ONE, "static")
    np.testing.assert_array_equal(static["cell_area"], fine["cell_area"])


@pytest.mark.parametrize("name", ["coarse", "fine", "static"])
def test_every_group_opens_in_xarray_with_cf_attributes(
    store: PairStore, task: Task, name: str
) -> None:
    """Units, standard names, coordinates, and who is to be thanked, in each group by itself."""
    dataset = group(store, ONE, name)
    fields = task.variable_names if name in SIDES else ("orography", "land_fraction")
    for field in fields:
        array = dataset[field]
        assert array.dtype == np.float32
        assert array.dims == (("time", "y", "x") if name in SIDES else ("y", "x"))
        assert array.attrs["standard_name"]
        assert np.isfinite(array).all()
    if name in SIDES:
        for variable in task.variables:
            attributes = dataset[variable.name].attrs
            assert attributes["units"] == variable.units
            assert attributes["standard_name"] == variable.standard_name
            assert attributes["long_name"] == variable.long_name
            assert attributes["cell_methods"] == variable.cell_methods
    else:
        assert dataset["orography"].attrs["units"] == "m"
        assert dataset["land_fraction"].attrs["units"] == "1"
    for axis, units in (("y", "degrees_north"), ("x", "degrees_east")):
        assert dataset[axis].attrs["units"] == units
        assert dataset[axis].attrs["standard_name"] in ("latitude", "longitude")
    assert dataset.attrs["Conventions"].startswith("CF-")
    for source in task.sources:
        assert source.attribution in dataset.attrs["attribution"]


@pytest.mark.parametrize("side", SIDES)
def test_fields_are_written_as_the_design_says(store: PairStore, task: Task, side: str) -> None:
    """Read from zarr.json itself: v3, float32, NaN fill, shards of whole steps, zstd, checksum."""
    cells = [8, 8] if side == "coarse" else [32, 32]
    for variable in task.variable_names:
        path = store.folder / f"{ONE}.zarr" / side / variable / "zarr.json"
        metadata = json.loads(path.read_text())
        assert metadata["zarr_format"] == 3
        assert metadata["data_type"] == "float32"
        assert metadata["fill_value"] == "NaN"
        assert metadata["shape"] == [24, *cells]
        assert metadata["dimension_names"] == ["time", "y", "x"]
        (sharding,) = metadata["codecs"]
        assert sharding["name"] == "sharding_indexed"
        inner = sharding["configuration"]
        assert inner["chunk_shape"] == [24, *cells], "whole steps; all fit in 256 KiB"
        zstd = next(codec for codec in inner["codecs"] if codec["name"] == "zstd")
        assert zstd["configuration"]["checksum"] is True
        assert "scale_factor" not in metadata["attributes"]
        assert "add_offset" not in metadata["attributes"]


def test_the_manifest_says_where_the_values_came_from(store: PairStore, task: Task) -> None:
    """Source hashes, licences, recipe, versions, times, units; as JSON that anyone can read."""
    for region in task.regions:
        manifest = json.loads((store.folder / f"{region.name}.json").read_text())
        assert manifest["schema_version"] == 1
        assert (manifest["task"], manifest["region"]) == (task.id, region.name)
        assert manifest["steps"] == 24
        assert manifest["first_time"] == "2026-03-25T00:00:00"
        assert manifest["last_time"] == "2026-03-31T23:00:00"
        assert manifest["source_ids"] == {"era5_sample.zarr.zip": f"sha256:{SAMPLE_SHA256}"}
        licences = [source["licence"] for source in manifest["sources"]]
        assert licences == [source.licence for source in task.sources]
        assert "10.24381/cds.adbb2d47" in manifest["sources"][0]["attribution"]
        assert manifest["units"]["precipitation"] == "mm h-1"
        assert manifest["recipe"]["recipe"] == "era5_sample"
        assert {"elsewhere", "numpy", "xarray", "zarr"} <= set(manifest["packages"])
        assert manifest["missing_intervals"] == []


def test_digests_are_blake3_of_the_decoded_values(store: PairStore, task: Task) -> None:
    """Per step, then per variable, then over sorted names, computed again from xarray's values."""

    def digest(values: NDArray[Any]) -> str:
        steps = [blake3(np.ascontiguousarray(step).tobytes()).digest() for step in values]
        return blake3(b"".join(steps)).hexdigest()

    def combined(digests: dict[str, str]) -> str:
        return blake3("".join(f"{k}={digests[k]}\n" for k in sorted(digests)).encode()).hexdigest()

    regions = {}
    for region in task.regions:
        found = {
            f"{side}/{variable}": digest(group(store, region.name, side)[variable].values)
            for side in SIDES
            for variable in task.variable_names
        }
        static = group(store, region.name, "static")
        for name in ("orography", "land_fraction", "cell_area"):
            found[f"static/{name}"] = digest(static[name].values[None])
        assert store.manifests[region.name].digests == found
        regions[region.name] = combined(found)
    assert store.data_hash == combined(regions)


def test_a_second_build_keeps_every_region(
    store: PairStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written and no region is cut again."""

    def never(*_: object, **__: object) -> RegionPlan:
        raise AssertionError("built again")

    monkeypatch.setattr(EmbeddedERA5, "region", never)
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    reported: list[tuple[str, int, int]] = []
    again = build(task, store.folder.parent, report=lambda *entry: reported.append(entry))
    assert reported == [(name, 0, 0) for name in sorted(r.name for r in task.regions)]
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before
    assert again.data_hash == store.data_hash


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_build_leaves_no_half_region_and_goes_on(
    task: Task, tmp_path: Path, error: type[BaseException]
) -> None:
    """Stopped within the third region: two are whole and kept, the third begins again."""
    names = sorted(region.name for region in task.regions)[:4]
    with pytest.raises(error):
        build(task, tmp_path, recipe=failing_recipe(names[2], error)(task))
    folder = tmp_path / task.id
    whole = {f"{name}{kind}" for name in names[:2] for kind in (".zarr", ".json")}
    assert {path.name for path in folder.iterdir()} == whole | {f".{names[2]}.part"}
    with pytest.raises(InputError, match=names[2]):
        open_pair_store(task, tmp_path)
    ended: list[tuple[str, int]] = []
    build(
        task, tmp_path, regions=names,
        report=lambda name, steps, total: ended.append((name, total)) if steps == total else None,
    )  # fmt: skip
    assert ended == [(name, 24 if k >= 2 else 0) for k, name in enumerate(names)]
    assert len(list(folder.iterdir())) == 2 * len(names)


def test_two_builds_have_one_data_hash(store: PairStore, task: Task, tmp_path: Path) -> None:
    """In another folder, interrupted half-way and finished: every digest is the same."""
    with pytest.raises(KeyboardInterrupt):
        build(task, tmp_path, recipe=failing_recipe("europe-west", KeyboardInterrupt)(task))
    build(task, tmp_path)
    again = open_pair_store(task, tmp_path)
    assert again.data_hash == store.data_hash
    assert again.manifests == store.manifests


def test_only_some_regions(task: Task, tmp_path: Path) -> None:
    """By name; an unknown one is refused with the nearest before anything is written."""
    build(task, tmp_path / "one", regions=[ONE])
    assert {path.name for path in (tmp_path / "one" / task.id).iterdir()} == {
        f"{ONE}.zarr", f"{ONE}.json",
    }  # fmt: skip
    with pytest.raises(InputError, match=f"Did you mean '{ONE}'"):
        build(task, tmp_path / "two", regions=[ONE, "andes-suoth"])
    assert not (tmp_path / "two").exists()


def test_a_task_without_a_recipe_or_with_a_leak_is_refused(task: Task, tmp_path: Path) -> None:
    """Before anything is written."""
    unknown = task.model_copy(update={"name": "another"})
    with pytest.raises(InputError, match="recipe"):
        build(unknown, tmp_path / "data")
    periods = task.periods.model_copy(update={"val": task.periods.train})
    with pytest.raises(InputError, match="embargo"):
        build(task.model_copy(update={"periods": periods}), tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "era5-sample@2"},
        {"source_ids": {"era5_sample.zarr.zip": "sha256:0"}},
        {"recipe": {"recipe": "era5_sample", "coarse": "every fourth point"}},
        {"region": "andes-north"},
    ],
)
def test_a_region_of_other_origin_is_built_again(
    copied: PairStore, store: PairStore, changes: dict[str, object]
) -> None:
    """Another task, source, recipe or region in its manifest: that region only."""
    edit(copied.folder / f"{ONE}.json", **changes)
    rebuilt: list[str] = []
    again = build(
        copied.task, copied.folder.parent,
        report=lambda name, steps, total: rebuilt.append(name) if steps == total > 0 else None,
    )  # fmt: skip
    assert rebuilt == [ONE]
    assert again.data_hash == store.data_hash


def test_a_manifest_of_another_task_is_refused(copied: PairStore) -> None:
    """A store is not opened with a region of another revision in it; the region is named."""
    edit(copied.folder / f"{ONE}.json", task="era5-sample@2")
    with pytest.raises(InputError, match=ONE):
        open_pair_store(copied.task, copied.folder.parent)


def test_a_manifest_of_another_region_is_refused(copied: PairStore) -> None:
    """A manifest that was copied under another region's name says nothing about that region."""
    shutil.copy(copied.folder / "europe-west.json", copied.folder / f"{ONE}.json")
    with pytest.raises(InputError, match=ONE):
        open_pair_store(copied.task, copied.folder.parent)


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 2}'])
def test_a_damaged_manifest_is_refused_and_built_again(
    copied: PairStore, store: PairStore, content: str
) -> None:
    """`Build the task again` is what the error says, so building again must heal it."""
    (copied.folder / f"{ONE}.json").write_text(content)
    with pytest.raises(InputError, match="Build the task again"):
        open_pair_store(copied.task, copied.folder.parent)
    assert build(copied.task, copied.folder.parent).data_hash == store.data_hash


def test_a_region_without_its_values_is_built_again(copied: PairStore, store: PairStore) -> None:
    """What the digest error asks for: delete the folder, build again."""
    shutil.rmtree(copied.folder / f"{ONE}.zarr")
    build(copied.task, copied.folder.parent)
    fine = copied.region(ONE).read("fine", "t2m", slice(0, 24))
    np.testing.assert_array_equal(fine, store.region(ONE).read("fine", "t2m", slice(0, 24)))


@pytest.mark.parametrize("side", SIDES)
def test_a_lost_chunk_is_missing_and_never_zero(copied: PairStore, side: str) -> None:
    """xarray sees NaN where the file is gone, and reading through the store is an error."""
    chunks = [
        path
        for path in (copied.folder / f"{ONE}.zarr" / side / "precipitation").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    ]
    assert len(chunks) == 1
    chunks[0].unlink()
    assert np.isnan(group(copied, ONE, side)["precipitation"]).all()
    with pytest.raises(InputError, match=rf"{side}/precipitation.*digest") as caught:
        copied.region(ONE).read(side, "precipitation", slice(3, 4))
    assert "elsewhere build era5-sample" in caught.value.problems[0].fix
    copied.region(ONE).read(side, "t2m", slice(3, 4))


def test_one_changed_value_is_found_where_it_is_read(copied: PairStore) -> None:
    """In its own step, and in no other."""
    array: Any = zarr.open_group(copied.folder / f"{ONE}.zarr", mode="r+")["fine/t2m"]
    array[5, 20, 20] = np.nextafter(array[5, 20, 20], np.float32(400))
    region = copied.region(ONE)
    for step in (slice(5, 6), slice(0, 24)):
        with pytest.raises(InputError, match="digest"):
            region.read("fine", "t2m", step)
    region.read("fine", "t2m", slice(0, 5))
    region.read("fine", "t2m", slice(6, 24))


def test_a_flipped_bit_on_disk_is_an_input_error(copied: PairStore) -> None:
    """The chunk's checksum notices it; the user hears what to do, as for any other damage."""
    (path,) = (copied.folder / f"{ONE}.zarr" / "fine" / "t2m" / "c").rglob("0/0/0")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="fine/t2m"):
        copied.region(ONE).read("fine", "t2m", slice(0, 24))
