"""What a region and a map's grid may be, and what is said of those that may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.errors import InputError
from benchmark.leaks import check_task
from benchmark.projection import LatLon, Map
from benchmark.region import MapGrid, Region
from benchmark.task import Task
from benchmark.task_files import load_task
from benchmark.toml_model import validate

LAMBERT = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229"
GRID = MapGrid(name="cerra", crs=LAMBERT, spacing=5500)
DEGREES = {"lat": (50, 52), "lon": (0, 2)}
METRES = {"y": (0, 2e5), "x": (0, 2e5)}


def region(**bounds: Any) -> Region:
    """A region with these keys."""
    return Region.model_validate({"name": "box", "role": "train", **bounds})


def test_a_box_of_degrees_and_a_box_of_a_map() -> None:
    """Bounds along the axes, the middle in degrees."""
    degrees = region(**DEGREES)
    assert (degrees.bounds, degrees.centre) == (((50, 52), (0, 2)), (51, 1))
    assert degrees.projection == LatLon()
    on_map = region(y=(-1e5, 1e5), x=(-2e5, 2e5), grid=GRID)
    assert on_map.bounds == ((-1e5, 1e5), (-2e5, 2e5))
    assert on_map.projection == Map(LAMBERT)
    assert on_map.centre == pytest.approx((50, 8), abs=1e-9)


@pytest.mark.parametrize(
    "bounds",
    [
        {}, {"lat": (50, 52)}, METRES, {"grid": GRID}, {**DEGREES, "grid": GRID},
        {**DEGREES, **METRES, "grid": GRID}, {"lat": (50, 52), "x": (0, 2e5), "grid": GRID},
    ],
)  # fmt: skip
def test_a_box_is_of_one_kind(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="lat and lon, or y, x and grid"):
        region(**bounds)


@pytest.mark.parametrize("y", [(1e5, 0), (0, 0)])
def test_bounds_ascend(y: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="ascending"):
        region(y=y, x=(0, 1e5), grid=GRID)


def test_a_box_off_the_map_is_refused() -> None:
    """An orthographic map shows half of the earth: further out there is nothing."""
    ortho = MapGrid(name="half", crs="+proj=ortho +lat_0=0 +lon_0=0 +R=6371229", spacing=1000)
    assert region(y=(0, 1e6), x=(0, 1e6), grid=ortho).centre[0] > 0
    with pytest.raises(ValidationError, match="places on earth"):
        region(y=(0, 1e6), x=(0, 7e6), grid=ortho)
    with pytest.raises(ValidationError):
        region(y=(0, float("inf")), x=(0, 1e5), grid=GRID)


@pytest.mark.parametrize(
    ("crs", "said"),
    [
        ("nonsense", "a PROJ string"), ("", "a PROJ string"), ("+proj=wonderful", "a PROJ string"),
        (LAMBERT + " +units=km", "in metres"), ("+proj=longlat +R=6371229", "in metres"),
        ("+proj=utm +zone=33 +units=us-ft", "in metres"),
    ],
)  # fmt: skip
def test_maps_that_are_none(crs: str, said: str) -> None:
    """Named by the file's key, with what is wrong."""
    table = load_task("cerra-wind").model_dump()
    table["grids"][0]["crs"] = crs
    table["regions"] = [r | {"grid": "cerra"} for r in table["regions"]]
    with pytest.raises(InputError) as caught:
        validate(table, Task, where="own.toml")
    text = "\n".join(str(problem) for problem in caught.value.problems)
    assert said in text
    assert "own.toml" in text
    assert "crs" in text


@pytest.fixture
def table() -> dict[str, Any]:
    """cerra-wind as its file has it: a region's grid is a name."""
    found = load_task("cerra-wind").model_dump()
    found["regions"] = [r | {"grid": r["grid"]["name"]} for r in found["regions"]]
    return found


def problems(table: dict[str, Any]) -> str:
    """Everything that is said of a task's table."""
    with pytest.raises(InputError) as caught:
        validate(table, Task, where="own.toml")
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_a_grids_name_stands_for_it(table: dict[str, Any]) -> None:
    """The table of the file, and the JSON of the task, are the same task."""
    task = validate(table, Task, where="own.toml")
    assert task == load_task("cerra-wind")
    assert Task.model_validate_json(task.model_dump_json()) == task


def test_unknown_and_doubled_grids(table: dict[str, Any]) -> None:
    table["regions"][0]["grid"] = "cera"
    assert "one of the grids (cerra), not 'cera'" in problems(table)
    table["regions"][0]["grid"] = "cerra"
    table["grids"] = [*table["grids"], table["grids"][0] | {"spacing": 11_000}]
    assert "grids: each with a name of its own" in problems(table)


@pytest.mark.parametrize("grids", [["cerra"], "cerra", [{"name": ["cerra"]}], 3])
def test_grids_that_are_no_tables(table: dict[str, Any], grids: Any) -> None:
    """A user's slip is a problem, not a traceback."""
    assert "grid" in problems(table | {"grids": grids})


def test_degrees_need_a_spacing(table: dict[str, Any]) -> None:
    """The grids have theirs; boxes of latitude and longitude have the task's."""
    table["regions"] = [*table["regions"], {"name": "far", "role": "test_ood"} | DEGREES]
    assert "spacing" in problems(table)
    task = validate(table | {"spacing": 0.05}, Task, where="own.toml")
    assert task.spacing_of(task.region("far")) == 0.05
    assert task.spacing_of(task.region("italy")) == 5500


def test_no_vectors_on_maps(table: dict[str, Any]) -> None:
    """Their divergence and vorticity are those of latitude and longitude."""
    speed = table["variables"][0]
    parts = [speed | {"name": name, "percentiles": ()} for name in ("u", "v", "wind_speed")]
    vector = {"name": "wind", "eastward": "u", "northward": "v",
              "speed": speed | {"name": "wind_speed", "percentiles": ()}}  # fmt: skip
    vectors = {"vectors": [vector], "variables": parts}
    assert "vectors: on latitudes and longitudes only" in problems(table | vectors)


@pytest.mark.parametrize(
    ("shift", "margin", "said"),
    [
        ((0.5, -0.5), 1, []), ((0.5, 0.0), 0, ["at most the margin"]),
        ((0.0, -1.0), 1, ["less than one coarse cell"]),
        ((-1.5, 0.0), 1, ["less than one coarse cell", "at most the margin"]),
    ],
)  # fmt: skip
def test_how_far_a_coarse_box_may_be_shifted(
    shift: tuple[float, float], margin: int, said: list[str]
) -> None:
    """Less than a cell, and no further than what is not scored."""
    task = load_task("cerra-wind").model_copy(update={"coarse_shift": shift, "margin": margin})
    found = [str(problem) for problem in check_task(task) if "coarse_shift" in problem.where]
    assert len(found) == len(said)
    assert all(text in problem for text, problem in zip(said, found, strict=True))
