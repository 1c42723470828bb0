"""The recipe of radar composites from files in the layout of the real ones, which do not ship."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from benchmark.task_files import load_task
from recipes import builds
from recipes.builds import Job, area_means, blocks_of, made, stored

SIZE, BOX, FRAMES, STEP = 384, 320, 12, 4
HOURS = np.array([0, 1, 2, 3, 4, 6, 7, 9, 10, 11])
"""Of the nominal day that the task's periods take."""
SOUTH, WEST = 43.5, -87.84
"""Corner of the composite over Lake Michigan; the box begins 30 rows and 40 columns inside."""
TWO = ("fmi", "us1")


def rain(region: str) -> NDArray[np.float64]:
    """(frame, y, x) [mm h-1] as a radar counts it: dry in places, rows from the south."""
    t, y, x = np.meshgrid(np.arange(FRAMES), np.arange(SIZE), np.arange(SIZE), indexing="ij")
    wave = np.sin(y / 19 + t / 3 + len(region)) + np.sin(x / 31 - y / 47 + t / 5)
    return np.round(np.maximum(0, 6 * wave - 3), 2)


def composite(region: str) -> xr.Dataset:
    """Frames some minutes apart; km from a corner, and of MRMS latitudes and longitudes too."""
    km = np.arange(SIZE, dtype=np.float32)
    minutes = 6 * np.arange(FRAMES).astype("timedelta64[m]")
    made = xr.Dataset(
        {"precip_rate": (("time", "y", "x"), rain(region), {"units": "mm h-1"})},
        {
            "time": np.datetime64("2016-09-28T15:00", "ns") + minutes,
            "y": ("y", km, {"units": "km"}),
            "x": ("x", km, {"units": "km"}),
        },
    )
    if region == "us1":
        for name, dim, start in (("latitude", "y", SOUTH), ("longitude", "x", WEST)):
            made[name] = (dim, (start + 0.005 + 0.01 * np.arange(SIZE)).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = tmp_path_factory.mktemp("files")
    for region, name in {"us1": "mrms_us1", "fmi": "fmi_finland_20160928"}.items():
        composite(region).to_netcdf(files / f"{name}.nc", engine="netcdf4")
    task, table = load_task("radar-perfect"), builds.shipped_table("radar-perfect")
    data = tmp_path_factory.mktemp("whole")
    job = Job(task, table, data, steps=STEP, regions=TWO, files=files)
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(STEP, patch.setattr)
        made(job)
        yield job


def test_frames_stand_in_their_boxes_at_their_hours(whole: Job) -> None:
    """By latitude and longitude over Lake Michigan, in the middle of the Finnish composite."""
    day = np.datetime64("2000-01-01T00", "s")
    for region, top, left in (("us1", 30, 40), ("fmi", 32, 32)):
        fine, coarse = (stored(whole, region, side) for side in ("fine", "coarse"))
        times = day + HOURS * np.timedelta64(3600, "s")
        np.testing.assert_array_equal(fine["time"].values.astype("datetime64[s]"), times)
        truth = rain(region)[HOURS, top : top + BOX, left : left + BOX][:, ::-1]
        assert truth.max() > 5
        np.testing.assert_array_equal(fine["precipitation"], truth.astype(np.float32))
        if region == "us1":
            means = area_means(truth, 47.0 - 0.01 * np.arange(BOX + 1), 8)
            np.testing.assert_allclose(coarse["precipitation"], means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["radar-perfect"])
def test_killed_twice_and_resumed_it_is_the_same_store(
    name: str, whole: Job, tmp_path: Path
) -> None:
    """Nothing is fetched: twice between two arrays of a block."""
    assert whole.task.name == name
    again = builds.at(whole, tmp_path, regions=TWO[:1])
    for blocks in (1, 2):
        builds.killed_while_writing(again)
        assert again.blocks("fmi") == blocks
    builds.resume(again, workers=2)
    assert builds.same_store(again, whole)


@pytest.mark.parametrize("name", ["radar-perfect"])
def test_a_cluster_builds_the_same_store(
    name: str, scheduler: str, whole: Job, tmp_path: Path
) -> None:
    assert whole.task.name == name
    assert builds.same_store(builds.by_a_cluster(whole, tmp_path, scheduler), whole)
