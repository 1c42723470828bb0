"""Without a package of the extra, each source says which, and what to install, and asks nobody."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from data_recipes import extra
from data_recipes.extra import require
from data_recipes.netcdf import open_netcdf
from data_recipes.source import Window
from data_recipes.sources import arco, earthdata, icechunk_store, own_file, products, rainshift

HOURS = np.arange("2021-01-31T20", "2021-02-01T04", dtype="datetime64[h]").astype("datetime64[s]")
CHIRPS = products.ProductOptions(product="chirps-v2-daily")
MRMS = products.ProductOptions(product="mrms-multisensor-pass2")
EARTHDATA = earthdata.EarthdataOptions(provider="earthdata")
ICECHUNK = icechunk_store.IcechunkOptions(provider="icechunk")
RAINSHIFT = rainshift.RainShiftOptions(side="in")


def fetch(module: Any, options: Any, name: str, box: tuple[float, ...]) -> Callable[[Path], Any]:
    """Fetching a window by a source of these options."""
    window = Window(*box, names=(name,), times=HOURS)
    return lambda folder: module.open_source(options, cache=folder).fetch(window)


def read(use: Callable[..., Any], *options: Any) -> Callable[[Path], Any]:
    """Opening a file that is there, though not what it says."""

    def opened(folder: Path) -> Any:
        path = folder / "file.nc"
        path.write_bytes(b"CDF")
        with use(path, *options) as data:
            return data

    return opened


AFRICA, OKLAHOMA, ANYWHERE = (-10, 10, 15, 30), (34, 35, -99, -98), (-40, -20, 18, 38)
USES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "arco": ("gcsfs.core", fetch(arco, arco.ArcoOptions(provider="arco"), "t", AFRICA)),
    "icechunk": ("icechunk", fetch(icechunk_store, ICECHUNK, "t", AFRICA)),
    "earthdata": ("earthaccess", fetch(earthdata, EARTHDATA, "t", AFRICA)),
    "rainshift": ("huggingface_hub", fetch(rainshift, RAINSHIFT, "tp", ANYWHERE)),
    "chirps": (
        "netCDF4", fetch(products, CHIRPS, "precip", AFRICA),
    ),
    "mrms": (
        "eccodes", fetch(products, MRMS, "MultiSensor_QPE_01H_Pass2", OKLAHOMA),
    ),
    "netcdf": ("netCDF4", read(open_netcdf)),
    "own netcdf4": ("netCDF4", read(own_file.opened, "netcdf4")),
    "own h5netcdf": ("h5netcdf", read(own_file.opened, "h5netcdf")),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    use: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacking, call = USES[use]
    monkeypatch.setattr(extra, "_is_there", lambda module: module != lacking)
    said = re.escape(f"expected {lacking}; got not installed. pip install 'elsewhere[recipes]'")
    with pytest.raises(InputError, match=said):
        call(tmp_path)


def test_all_that_lack_are_named_and_what_is_there_is_not() -> None:
    require("a source", "numpy", "numpy.linalg")
    with pytest.raises(InputError) as refused:
        require("a source", "numpy", "no_such", "no_such.inner", "numpy.no_such")
    (problem,) = refused.value.problems
    assert problem.where == "a source"
    assert problem.expected == "no_such, no_such.inner, numpy.no_such"
