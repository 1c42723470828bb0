"""The user's own files, in every format and layout that simply works: the values that they hold."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from own_world import (
    COARSE,
    EXPECTED,
    FINE,
    START,
    TASK,
    TIMES,
    coarse_product,
    edited,
    product,
    temperature,
    truth,
    write,
)
from played.gribs import write_grib

from benchmark.errors import InputError
from benchmark.pair_store import PairStore
from data_recipes.build import build
from data_recipes.shipped import check_own, own_recipe
from data_recipes.source import Window
from data_recipes.sources import own_file
from data_recipes.sources.files import FilesOptions, FilesSource

Layout = Callable[[xr.Dataset], xr.Dataset]
HOUR = np.timedelta64(3600, "s")


def built(recipe: Path, data: Path) -> PairStore:
    """The store of a recipe that `check` has nothing to say against."""
    assert check_own(recipe, data) == []
    task, made = own_recipe(recipe, data)
    return build(task, data, recipe=made)


def assert_holds_the_truth(store: PairStore) -> None:
    """The fine fields are the weather at the cells' centres, bit for bit, at the task's times."""
    for name in ("home", "middle", "away"):
        region = store.region(name)
        np.testing.assert_array_equal(region.times, EXPECTED)
        found = region.read("fine", "t2m", slice(None))
        np.testing.assert_array_equal(found, truth(name))


def test_common_recipes_are_short() -> None:
    """At most 25 lines, alone and as a pair."""
    assert len((TASK + FINE + COARSE).splitlines()) <= 25


LAYOUTS: dict[str, Layout] = {
    "as it is": lambda data: data,
    "south first": lambda data: data.isel(lat=slice(None, None, -1)),
    "0 to 360": lambda data: data.assign_coords(lon=data.lon % 360).sortby("lon"),
    "0 to 360 unsorted": lambda data: data.assign_coords(lon=data.lon % 360),
    "other names": lambda data: data.rename(lat="latitude", lon="longitude", time="valid_time"),
    "space first": lambda data: data.transpose("lon", "lat", "time"),
    "a level of one": lambda data: data.expand_dims(height=[2.0]),
    "float32 coordinates": lambda data: data.assign_coords(
        lat=data.lat.astype(np.float32), lon=data.lon.astype(np.float32)
    ),
    "other fields beside": lambda data: data.assign(
        text=("lat", ["a"] * data.sizes["lat"]), bounds=(("lat", "edge"), np.zeros((56, 2)))
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_simply_work(layout: str, tmp_path: Path) -> None:
    """However rows, columns and dims run, and whatever they are called."""
    recipe = write(tmp_path, TASK + FINE, fine=LAYOUTS[layout](product()))
    assert_holds_the_truth(built(recipe, tmp_path / "data"))


@pytest.mark.parametrize("engine", ["h5netcdf", "zarr 2", "zarr 3", "netcdf 3"])
def test_formats(engine: str, tmp_path: Path) -> None:
    """Each gives the very same values."""
    made, name, path = product(), engine.split()[0], "fine.nc"
    if name == "zarr":
        made.to_zarr(tmp_path / "fine.zarr", zarr_format=int(engine[-1]), consolidated=False)
        path = "fine.zarr"
    elif name == "netcdf":
        name = "netcdf4"
        made.to_netcdf(tmp_path / path, engine="netcdf4", format="NETCDF3_CLASSIC")
    else:
        made.to_netcdf(tmp_path / path, engine="h5netcdf")
    text = edited(TASK + FINE, a=f'"netcdf4" -> "{name}"', b=f"fine.nc -> {path}")
    assert_holds_the_truth(built(write(tmp_path, text), tmp_path / "data"))


def test_packed_values(tmp_path: Path) -> None:
    """Scale and offset are undone; what marks missing values is no value."""
    packed = {
        "t": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}
    }
    product().to_netcdf(tmp_path / "fine.nc", engine="netcdf4", encoding=packed)
    store = built(write(tmp_path, TASK + FINE), tmp_path / "data")
    found = store.region("away").read("fine", "t2m", slice(None))
    np.testing.assert_allclose(found, truth("away"), atol=0.00501)


def test_grib(tmp_path: Path) -> None:
    """Decoded once; another file of the same name is decoded anew."""
    lat, lon = np.arange(63.75, 36, -0.5), np.arange(-23.75, 36, 0.5)
    grid = {
        "gridType": "regular_ll", "Ni": lon.size, "Nj": lat.size,
        "latitudeOfFirstGridPointInDegrees": lat[0], "latitudeOfLastGridPointInDegrees": lat[-1],
        "longitudeOfFirstGridPointInDegrees": lon[0] % 360,
        "longitudeOfLastGridPointInDegrees": lon[-1], "iDirectionIncrementInDegrees": 0.5,
        "jDirectionIncrementInDegrees": 0.5,
    }  # fmt: skip

    def put(warmer: float) -> None:
        messages = [
            {
                "keys": {
                    "dataDate": int(str(time)[:10].replace("-", "")),
                    "dataTime": 100 * int(str(time)[11:13]), "typeOfLevel": "heightAboveGround",
                    "level": 2, "shortName": "2t", "step": 0,
                },
                "values": field.ravel().tolist(),
            }
            for time, field in zip(EXPECTED, temperature(*places, EXPECTED) + warmer, strict=True)
        ]  # fmt: skip
        write_grib(tmp_path / "fine.grib", grid, messages)

    places = np.meshgrid(lat, lon, indexing="ij")
    text = edited(TASK + FINE, a='"netcdf4" -> "grib"', b="fine.nc -> *.grib", c='"t" -> "t2m"')
    recipe = write(tmp_path, text)
    for warmer in (0.0, 1.0):
        put(warmer)
        store = built(recipe, tmp_path / "data")
        found = store.region("middle").read("fine", "t2m", slice(None))
        np.testing.assert_allclose(found, truth("middle") + warmer, atol=2e-3)


def test_many_files(tmp_path: Path) -> None:
    """A pattern of days, of which the first in time is not the first by name, and `~`."""
    whole = product()
    for name, hours in (("c", slice(0, 24)), ("a", slice(24, 48)), ("b", slice(48, 60))):
        whole.isel(time=hours).to_netcdf(tmp_path / f"fine-{name}.nc", engine="netcdf4")
    recipe = write(tmp_path, TASK + edited(FINE, a="fine.nc -> fine-*.nc"))
    assert_holds_the_truth(built(recipe, tmp_path / "data"))


def test_a_time_in_each_file(tmp_path: Path) -> None:
    """Also where the time is a scalar beside the field."""
    for k in range(5):
        product().isel(time=k).to_netcdf(tmp_path / f"fine-{9 - k}.nc", engine="netcdf4")
    options = FilesOptions(provider="files", engine="netcdf4", paths=("fine-*.nc",))
    source = FilesSource(options, tmp_path / "cache", tmp_path)
    window = Window(40.0, 48.0, -4.0, 4.0, ("t",), TIMES)
    np.testing.assert_array_equal(source.times(window), TIMES[:5])
    found = source.read(window, TIMES[1:4])
    places = np.meshgrid(found.y.values, found.x.values, indexing="ij")
    expected = temperature(*places, TIMES[1:4]).astype(np.float32)
    np.testing.assert_array_equal(found.t, expected)


def test_paths_from_home_absolute_and_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~`, an absolute path, a folder named like a pattern, and another base."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "my [old] files"
    write(folder, "", fine=product())
    for number, given in enumerate(
        ("~/my [[]old] files/f*.nc", "~/my [old] files/fine.nc", str(folder / "fine.nc"))
    ):
        text = TASK + edited(FINE, a=f"fine.nc -> {given}")
        recipe = write(tmp_path / str(number), text)
        assert check_own(recipe, tmp_path / "data") == []
    recipe = write(tmp_path / "bare", TASK + FINE)
    assert check_own(recipe, tmp_path / "data", files=folder) == []
    assert check_own(recipe, tmp_path / "data") != []


def test_a_file_for_each_variable(tmp_path: Path) -> None:
    """Wind speed of two components from two files, taken at each cell and time."""
    u = product().rename(t="u")
    u["u"] = ((u.u - 285) * 0.7).assign_attrs(units="m s-1")
    v = product(times=TIMES[2:]).rename(t="v")
    v["v"] = ((v.v - 280) * 0.4).assign_attrs(units="m/s")
    text = edited(
        TASK + FINE, a='["t2m"] -> ["wind_speed"]', b='paths = "fine.nc" -> paths = "?.nc"',
        c='t2m = "t" -> wind_speed = { from = ["u", "v"], rule = "speed" }',
        d="first = 2021-06-01T00 -> first = 2021-06-01T02",
    )  # fmt: skip
    store = built(write(tmp_path, text, u=u, v=v), tmp_path / "data")
    t = truth("away", EXPECTED[2:]).astype(np.float64)
    expected = np.hypot((t - 285) * 0.7, (t - 280) * 0.4)
    found = store.region("away").read("fine", "wind_speed", slice(None))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_a_member_and_a_group(tmp_path: Path) -> None:
    """A position along a dim, in a group of the file."""
    both = xr.concat([product(), product() + 3], "member")
    both["t"].attrs["units"] = "K"
    both.to_netcdf(tmp_path / "fine.nc", engine="netcdf4", group="Grid")
    fine = edited(FINE, a='"fine.nc" -> "fine.nc", group = "Grid", select = { member = 0 }')
    assert_holds_the_truth(built(write(tmp_path, TASK + fine), tmp_path / "data"))


@pytest.mark.parametrize("engine", ["netcdf4", "zarr"])
def test_a_level_by_its_value(engine: str, tmp_path: Path) -> None:
    """Of a dim's own coordinate, of another one along it, and of one without a dim."""
    both = xr.concat([product() + 3, product()], "plev").assign_coords(plev=[500.0, 850.0])
    both = both.assign_coords(height=("plev", [5500, 1500]), number=4)
    both["t"].attrs["units"] = "K"
    if engine == "zarr":
        both.to_zarr(tmp_path / "fine.nc", zarr_format=3, consolidated=False)
    else:
        both.to_netcdf(tmp_path / "fine.nc", engine="netcdf4")

    def recipe(select: str) -> Path:
        changed = (
            f'"netcdf4", paths = "fine.nc" -> "{engine}", paths = "fine.nc", select = {select}'
        )
        return write(tmp_path, TASK + edited(FINE, a=changed))

    for number, select in enumerate(("{ plev = 850 }", "{ height = 1500, number = 4 }")):
        assert_holds_the_truth(built(recipe(select), tmp_path / f"data {number}"))
    for select, said in {
        "{ plev = 1 }": "select.plev: expected one of 500, 850; got 1",
        "{ plev = 850, number = 5 }": "select.number: expected 4; got 5",
        "{ number = 4 }": "expected dims of time, y and x; got also plev (2): 500, 850",
    }.items():
        problems = check_own(recipe(select), tmp_path / "data")
        assert any(said in str(problem) for problem in problems), problems


def test_a_nominal_clock_and_places_of_its_own(tmp_path: Path) -> None:
    """Frames without a time, and coordinates that count hundredths of a degree from a corner."""
    made = product().drop_vars("time")
    made = made.assign_coords(lat=(made.lat - 36) * 100, lon=(made.lon + 24) * 100)
    made = made.rename(lat="row", lon="column")
    fine = edited(
        FINE,
        a='"fine.nc" -> "fine.nc", y = "row", x = "column", scale = 0.01, origin = [36, -24], '
        f"frames = {{ first = {START} }}",
    )
    for number, timed in enumerate((made, made.assign_coords(time=np.arange(60)))):
        recipe = write(tmp_path / str(number), TASK + fine, fine=timed)
        assert_holds_the_truth(built(recipe, tmp_path / str(number) / "data"))


def test_a_pair(tmp_path: Path) -> None:
    """Two products: the coarse one as it is at its cells, which are the task's own."""
    recipe = write(tmp_path, TASK + FINE + COARSE, fine=product(), coarse=coarse_product())
    store = built(recipe, tmp_path / "data")
    assert_holds_the_truth(store)
    expected = coarse_product().sel(lat=slice(60, 52), lon=slice(20, 28)).t.sel(time=EXPECTED)
    np.testing.assert_array_equal(store.region("away").read("coarse", "t2m", slice(None)), expected)


def test_only_the_window_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a global file, the cells of a box across the date line and half a cell around it."""
    product(1.0, lat=(-90, 90), lon=(0, 360)).to_netcdf(tmp_path / "g.nc", engine="netcdf4")
    shapes = []
    plain = own_file.read_values

    def watched(*arguments: object, **options: object) -> object:
        values = plain(*arguments, **options)  # type: ignore[arg-type]
        shapes.append(values.shape)
        return values

    monkeypatch.setattr("data_recipes.sources.files.read_values", watched)
    options = FilesOptions(provider="files", engine="netcdf4", paths=("g.nc",))
    source = FilesSource(options, tmp_path / "cache", tmp_path)
    for west, east in ((175.0, 187.0), (-5.0, 7.0), (100.0, 112.0)):
        window = Window(10.0, 20.0, west, east, ("t",), TIMES[5:9])
        found = source.read(window, TIMES[6:8])
        assert found.t.shape == (2, 12, 14)
        places = np.meshgrid(found.y.values, found.x.values, indexing="ij")
        np.testing.assert_allclose(found.t, temperature(*places, TIMES[6:8]), rtol=1e-6)
        turned = (found.x.values - west + 5) % 360 + west - 5
        assert (turned.min(), turned.max()) == (west - 0.5, east + 0.5)
    assert set(shapes) == {(2, 12, 14)}


def test_a_lambert_file_of_a_grid_mapping(tmp_path: Path) -> None:
    """A fine file on a map that states it as CF asks, in km; the coarse one on degrees.

    Oracle: where the map's own inverse puts the cells.
    """
    import pyproj

    crs = "+proj=lcc +lat_0=50 +lat_1=50 +lat_2=50 +lon_0=8 +R=6371229 +units=m"
    y = x = np.arange(-797.5, 800, 5.0)
    lon, lat = pyproj.Proj(crs)(*np.meshgrid(1000 * x, 1000 * y), inverse=True)
    values = temperature(lat, lon).astype(np.float32)
    fine = xr.Dataset(
        {
            "t": (("time", "y", "x"), values, {"units": "K", "grid_mapping": "map"}),
            "map": ((), 0, pyproj.CRS(crs).to_cf()),
            "latitude": (("y", "x"), lat),
            "longitude": (("y", "x"), lon),
        },
        coords={
            "time": TIMES.astype("datetime64[ns]"),
            "y": ("y", y, {"units": "km"}),
            "x": ("x", x, {"units": "km"}),
        },
    )
    boxes = {"home": (-600, -600), "middle": (0, -200), "away": (200, 300)}
    roles = dict(zip(boxes, ("train", "val_ood", "test_ood"), strict=True))
    box = '{{ name = "{}", role = "{}", grid = "lcc", y = [{}, {}], x = [{}, {}] }}'
    regions = ", ".join(
        box.format(name, roles[name], *(1000 * np.array([south, south + 200, west, west + 200])))
        for name, (south, west) in boxes.items()
    )
    head, _, rest = TASK.partition("regions = [")
    periods = "[task.periods]" + rest.partition("[task.periods]")[2]
    grids = f'grids = [{{ name = "lcc", crs = "{crs}", spacing = 5000 }}]'
    head = head.replace("spacing = 0.5", grids)
    text = f"{head}regions = [{regions}]\n{periods}"
    text = text.replace("factor = 2", "factor = 5")
    coarse = edited(COARSE, a='[coarse] -> [coarse]\nonto = "area"')
    recipe = write(tmp_path, text + FINE + coarse, fine=fine, coarse=coarse_product(0.5))
    store = built(recipe, tmp_path / "data")
    rows, columns = np.flatnonzero((y > 200) & (y < 400)), np.flatnonzero((x > 300) & (x < 500))
    steps = np.flatnonzero(np.isin(TIMES, EXPECTED))
    expected = values[np.ix_(steps, rows[::-1], columns)]
    away = store.region("away")
    np.testing.assert_array_equal(away.read("fine", "t2m", slice(None)), expected)
    # The two differ by the product's bias, and by what half a degree and 25 km do to a slope.
    means = expected.reshape(len(steps), 8, 5, 8, 5).mean(axis=(2, 4))
    found = away.read("coarse", "t2m", slice(None))
    off = found - means
    assert off.mean() == pytest.approx(0.5, abs=0.03)
    assert off.std() < 0.4
    assert (found[:, ::-1] - means).std() > 1


def test_times_are_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every block, also after a way to another process."""
    write(tmp_path, "", fine=product())
    options = FilesOptions(provider="files", engine="netcdf4", paths=("fine.nc",))
    source = FilesSource(options, tmp_path / "cache", tmp_path)
    window = Window(40.0, 48.0, -4.0, 4.0, ("t",), TIMES)
    np.testing.assert_array_equal(source.times(window), TIMES)

    def never(*_: object) -> None:
        raise AssertionError("looked up again")

    monkeypatch.setattr("data_recipes.sources.files.read_clock", never)
    for known in (source, pickle.loads(pickle.dumps(source))):
        assert known.read(window, TIMES[3:5]).sizes["time"] == 2


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    """Its times were looked up: they may be others now."""
    write(tmp_path, "", fine=product())
    options = FilesOptions(provider="files", engine="netcdf4", paths=("fine.nc",))
    source = FilesSource(options, tmp_path / "cache", tmp_path)
    window = Window(40.0, 48.0, -4.0, 4.0, ("t",), TIMES)
    source.times(window)
    write(tmp_path, "", fine=product(times=TIMES[5:]))
    with pytest.raises(InputError, match="has changed"):
        source.read(window, TIMES[6:8])


def test_ids_are_of_bytes_not_of_places(tmp_path: Path) -> None:
    """Moved files are the same, in folders of the same names too; a changed byte is not."""
    for year in ("2020", "2021"):
        write(tmp_path / "one" / year, "", fine=product(times=TIMES[: int(year) - 2000]))
    options = FilesOptions(provider="files", engine="netcdf4", paths=("*/fine.nc",))
    first = FilesSource(options, tmp_path / "cache", tmp_path / "one").ids("home")
    assert set(first) == {"2020/fine.nc", "2021/fine.nc"}
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    second = FilesSource(options, tmp_path / "cache", tmp_path / "two")
    assert second.ids("home") == first
    with (tmp_path / "two" / "2020" / "fine.nc").open("ab") as file:
        file.write(b"x")
    changed = second.ids("home")
    assert {name for name in first if first[name] != changed[name]} == {"2020/fine.nc"}


def test_a_zarr_store_with_a_changed_chunk_is_another(tmp_path: Path) -> None:
    """Though no file of it has another name or size."""
    raw = {"t": {"compressors": None}}
    ids = []
    for warmer in (0, 1):
        made = product() + warmer
        made.to_zarr(tmp_path / "f.zarr", mode="w", zarr_format=3, consolidated=False, encoding=raw)
        options = FilesOptions(provider="files", engine="zarr", paths=("f.zarr",))
        ids.append(FilesSource(options, tmp_path / "cache", tmp_path).ids(""))
    assert ids[0] != ids[1]
