"""`elsewhere recipe check`: whatever is wrong with one's own recipe or files is said, at once."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1] / "data_recipes"))
from own_world import COARSE, FINE, TASK, coarse_product, edited, product, write

Command = Callable[..., CompletedProcess[str]]
Change = Callable[[xr.Dataset], xr.Dataset]


def said(elsewhere: Command, recipe: Path, *, nothing_built: bool = True) -> str:
    """What `recipe check` says: exit 2, no traceback; `build` refuses, too, and leaves nothing."""
    data = recipe.parent / "data"
    done = elsewhere("recipe", "check", recipe, "--data", data)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    built = elsewhere("build", recipe, "--data", data)
    assert built.returncode == 2
    assert "Traceback" not in built.stderr
    assert not (nothing_built and list(data.glob("mine@1/*.zarr")))
    return done.stderr


def test_nothing_to_say(elsewhere: Command, tmp_path: Path) -> None:
    """One line, exit 0; with --json an empty list."""
    recipe = write(tmp_path, TASK + FINE, fine=product())
    done = elsewhere("recipe", "check", recipe, "--data", tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ready for `elsewhere build {recipe}`" in done.stdout
    done = elsewhere("recipe", "check", recipe, "--data", tmp_path / "data", "--json")
    assert json.loads(done.stdout) == []


RECIPES = {
    "unknown key": (
        'engine = "netcdf4" -> engien = "netcdf4"', ["engien", "Did you mean 'engine'"],
    ),
    "unknown key of a field": (
        't2m = "t" -> t2m = { from = "t", unit = "K" }', ["variables.t2m", "'units'"],
    ),
    "unknown provider": ('"files" -> "file"', ["source", "'files'"]),
    "unknown engine": ('"netcdf4" -> "netcdf"', ["'netcdf4'"]),
    "wrong name": ('"t" }\n -> "tt" }\n', ["fine.nc: tt", "Did you mean 't'?"]),
    "missing file": ("fine.nc -> fien.nc", ["fien.nc", "nothing there"]),
    "missing pattern": ("fine.nc -> f*.grib", ["f*.grib", "nothing there"]),
    "wrong engine": ('"netcdf4" -> "zarr"', ["fine.nc", 'engine = "netcdf4"']),
    "grib engine": ('"netcdf4" -> "grib"', ["fine.nc", "a GRIB file"]),
    "folder": ("fine.nc -> .", ["/*.nc"]),
    "no such member": ('"fine.nc" -> "fine.nc", select = { number = 0 }', ["number", "dim"]),
    "unknown map": ('"fine.nc" -> "fine.nc", crs = "+proj=nonsense"', ["crs", "PROJ"]),
    "map in degrees": ('"fine.nc" -> "fine.nc", crs = "+proj=lcc +lat_1=50"', ["metres"]),
    "no files": (', paths = "fine.nc" -> ', ["paths", "a file"]),
    "no variable": ('variables = { t2m -> variables = { t3m', ["t2m of mine@1", "t3m"]),
    "rain by mistake": ('t2m = "t" -> t2m = { from = "t", units = "mm" }', ["mm"]),
    "region outside": (
        "lat = [52, 60], lon = [20, 28] -> lat = [58, 66], lon = [20, 28]",
        ["away", "36 to 64", "58"],
    ),
    "half a cell off": ("lon = [20, 28] -> lon = [20.25, 28.25]", ["away", "Half a cell"]),
    "another spacing": ("spacing = 0.5 -> spacing = 0.25", ["0.5 for 0.25"]),
    "periods beyond the file": (
        "2021-06-03T03 -> 2021-07-03T03", ["768 times", "none from 2021-06-03 12:00:00"],
    ),
    "periods without times": (
        "train = { first = 2021-06-01T00:00:00, last = 2021-06-01T23:00:00 } -> "
        "train = { first = 2021-06-01T00:10:00, last = 2021-06-01T00:50:00 }",
        ["a time every 1 h in the period train"],
    ),
    "leak": ("lon = [-4, 4] -> lon = [-15, -7]", ["no shared cell"]),
    "wrong factor": ("factor = 2 -> factor = 3", ["a whole number of coarse cells"]),
    "unknown variable": ('["t2m"] -> ["t2n"]', ["'t2n'", "Did you mean 't2m'?"]),
    "no licence": ('licence = "CC0"\n -> ', ["task.licence"]),
    "misspelt task key": ("licence = -> license =", ["'licence'", "task.licence"]),
    "not TOML": ("[fine] -> [fine", ["valid TOML"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RECIPES)
def test_a_wrong_recipe(case: str, elsewhere: Command, tmp_path: Path) -> None:
    """Where, what was expected, and what to do."""
    change, words = RECIPES[case]
    recipe = write(tmp_path, edited(TASK + FINE, change=change), fine=product())
    found = said(elsewhere, recipe)
    assert [word for word in words if word not in found] == [], found


def celsius(data: xr.Dataset) -> xr.Dataset:
    """As many provide it, with the units of the original."""
    return (data - 273.15).assign(t=(data.t - 273.15).assign_attrs(units="K"))


def with_member(data: xr.Dataset) -> xr.Dataset:
    """Two members."""
    return xr.concat([data, data], "member")


def bent(data: xr.Dataset) -> xr.Dataset:
    """Latitudes and longitudes of each cell."""
    lat, lon = np.meshgrid(data.lat.values, data.lon.values, indexing="ij")
    data = data.drop_vars(("lat", "lon")).rename(lat="row", lon="column")
    return data.assign_coords(lat=(("row", "column"), lat), lon=(("row", "column"), lon))


def uneven(data: xr.Dataset) -> xr.Dataset:
    """As a Gaussian grid has them."""
    return data.assign_coords(lat=data.lat + 0.05 * np.sin(data.lat))


FILES: dict[str, tuple[Change, list[str]]] = {
    "no units": (
        lambda d: d.assign(t=d.t.drop_attrs()), ["fine: t\n", "expected  units", "`units`"],
    ),
    "unknown units": (lambda d: d.assign(t=d.t.assign_attrs(units="furlong")), ["'furlong'"]),
    "degC": (celsius, ["temperatures in K", "degC"]),
    "duplicated hour": (lambda d: d.isel(time=[*range(9), *range(8, 60)]), ["T08:00:00 twice"]),
    "missing hour": (
        lambda d: d.isel(time=[*range(9), *range(10, 60)]),
        ["none from 2021-06-01 09:00:00", "gaps = true"],
    ),
    "hours out of order": (lambda d: d.isel(time=[1, 0, *range(2, 60)]), ["ascending times"]),
    "half hours": (
        lambda d: d.assign_coords(time=d.time + np.timedelta64(1800, "s")), ["none from"],
    ),
    "members": (with_member, ["also member (2)", "select = { member = 0 }"]),
    "2-D coordinates": (bent, ["of one dim", "(row, column)", "regrid the file"]),
    "uneven": (uneven, ["an even spacing"]),
    "numbers for times": (lambda d: d.assign_coords(time=np.arange(60)), ["standard calendar"]),
    "a calendar of 360 days": (
        lambda d: d.assign_coords(
            time=("time", np.arange(60.0), {"units": "hours since 2021-06-01",
                                            "calendar": "360_day"})
        ),
        ["360_day"],
    ),
    "nonsense for times": (
        lambda d: d.assign_coords(time=("time", np.arange(60), {"units": "hours since when"})),
        ["fine.nc: time"],
    ),
    "no times": (lambda d: d.isel(time=0, drop=True), ["none"]),
    "missing cells": (
        lambda d: d.where((d.lat < 55) | (d.time != d.time[3])).assign_attrs(),
        ["away", "gaps = true"],
    ),
    "infinite": (lambda d: d.assign(t=d.t.where(d.t < 290, np.inf)), ["finite"]),
    "the same at all times": (lambda d: d.assign(t=d.t * 0 + d.t[0]), ["vary in time"]),
    "no coordinates": (lambda d: d.drop_vars(("lat", "lon")), ["lat", "Name it"]),
    "km without a map": (
        lambda d: d.rename(lat="y", lon="x").assign_coords(
            y=("y", np.arange(56.0), {"units": "km"}), x=("x", np.arange(120.0), {"units": "km"})
        ),
        ["metres of a map", "`crs`"],
    ),
    "rotated": (lambda d: d.rename(lat="rlat", lon="rlon"), ["coordinate"]),
    "one column": (lambda d: d.isel(lon=[3]), ["two cells"]),
    "text": (lambda d: d.assign(t=d.t.astype(str)), ["numbers"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file(case: str, elsewhere: Command, tmp_path: Path) -> None:
    """What is in it, in words of the recipe."""
    change, words = FILES[case]
    made = change(product())
    if case not in ("no units", "unknown units", "text"):
        made["t"].attrs["units"] = "K"
    found = said(elsewhere, write(tmp_path, TASK + FINE, fine=made))
    assert [word for word in words if word not in found] == [], found


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\nrest", b"GRIB and no more", b"hello"])
@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "zarr", "grib"])
def test_a_file_of_nothing(content: bytes, engine: str, elsewhere: Command, tmp_path: Path) -> None:
    """Empty, cut short, of another kind: the file is named."""
    text = edited(TASK + FINE, a=f'"netcdf4" -> "{engine}"')
    recipe = write(tmp_path, text)
    (tmp_path / "fine.nc").write_bytes(content)
    assert "fine.nc" in said(elsewhere, recipe)


def test_a_truncated_file(elsewhere: Command, tmp_path: Path) -> None:
    """It opens, and cannot be read."""
    encoding = {"t": {"zlib": True, "chunksizes": (1, 56, 120)}}
    recipe = write(tmp_path, TASK + FINE)
    path = tmp_path / "fine.nc"
    product().to_netcdf(path, engine="netcdf4", encoding=encoding)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = bytes(len(content) // 3)
    path.write_bytes(content)
    assert "fine.nc" in said(elsewhere, recipe)


def test_an_unreadable_file(
    elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system says it; root may read everything, so that it is played here."""
    recipe = write(tmp_path, TASK + FINE, fine=product())

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("data_recipes.sources.own_file.xr.open_dataset", refuse)
    found = said(elsewhere, recipe)
    assert "fine.nc" in found
    assert "Permission denied" in found


def test_rain_in_metres_taken_for_millimetres(elsewhere: Command, tmp_path: Path) -> None:
    """An ERA5 tp whose units were lost."""
    rain = product().rename(t="tp")
    rain["tp"] = (1e-3 * np.maximum(rain.tp - 285, 0)).assign_attrs(units="mm")
    text = edited(
        TASK + FINE, a='["t2m"] -> ["precipitation"]',
        b='t2m = "t" -> precipitation = { from = "tp", hours = 1, over_hours = 1 }',
    )  # fmt: skip
    assert 'units = "m"' in said(elsewhere, write(tmp_path, text, fine=rain))
    rain["tp"].attrs["units"] = "m"
    recipe = write(tmp_path, text, fine=rain)
    done = elsewhere("recipe", "check", recipe, "--data", tmp_path / "data")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["flipped", "shifted"])
def test_a_pair_that_does_not_fit(how: str, elsewhere: Command, tmp_path: Path) -> None:
    """A coarse product upside down, or a cell off, with coordinates that deny it.

    No box alone need tell: those that do not are built.
    """
    coarse = coarse_product()
    values = coarse.t.values[:, ::-1] if how == "flipped" else np.roll(coarse.t.values, 1, axis=2)
    coarse["t"] = (coarse.t.dims, values, coarse.t.attrs)
    recipe = write(tmp_path, TASK + FINE + COARSE, fine=product(), coarse=coarse)
    assert how in said(elsewhere, recipe, nothing_built=False)


def test_all_problems_at_once(elsewhere: Command, tmp_path: Path) -> None:
    """Of the task, of the recipe, of both products' files."""
    text = edited(
        TASK + FINE + COARSE, a="factor = 2\n -> ", b="title -> titel", c="coarse.nc -> c.nc"
    )
    found = said(elsewhere, write(tmp_path, text, fine=product().rename(t="u")))
    for word in ("task: factor", "titel", "c.nc", "fine.nc: t"):
        assert word in found, found


def test_problems_of_both_products(elsewhere: Command, tmp_path: Path) -> None:
    """Values of one, units of the other, for every region."""
    fine = product()
    fine["t"].attrs.clear()
    recipe = write(tmp_path, TASK + FINE + COARSE, fine=fine, coarse=celsius(coarse_product()))
    found = said(elsewhere, recipe)
    for word in ("fine: t\n", "home: coarse t2m", "middle: coarse t2m", "away: coarse t2m"):
        assert word in found, found


def test_a_recipe_that_is_not_there(elsewhere: Command, tmp_path: Path) -> None:
    """A path of nothing; a folder, with the recipes in it."""
    (tmp_path / "mine.toml").touch()
    for path, words in ((tmp_path / "none.toml", "no such file"), (tmp_path, "mine.toml")):
        for verb in (["recipe", "check"], ["build"]):
            done = elsewhere(*verb, path)
            assert done.returncode == 2
            assert done.stderr.startswith(f"1 problem\n{path}\n")
            assert words in done.stderr


def test_a_recipe_without_a_task(elsewhere: Command, tmp_path: Path) -> None:
    """What belongs to a shipped task is no recipe of one's own: that alone is said."""
    recipe = write(tmp_path, FINE.replace("engine", "engien"), fine=product())
    found = said(elsewhere, recipe)
    assert found.startswith("1 problem\n")
    assert "a [task] table\n  got       only fine\n" in found
    assert f"`elsewhere build TASK --recipe {recipe}`" in found


def test_an_empty_recipe(elsewhere: Command, tmp_path: Path) -> None:
    """It is said to be empty, and where a whole one is found."""
    recipe = tmp_path / "mine.toml"
    recipe.touch()
    found = said(elsewhere, recipe)
    assert found.startswith("1 problem\n")
    assert "nothing in the file" in found
    assert "README" in found
