"""A made-up world of the user's own files: smooth moving weather, its files, and short recipes.

`temperature` is the truth at any place and time, so that tests know what a store must hold.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]

START = np.datetime64("2021-06-01T00:00:00", "s")
HOURS = 60
TIMES = START + np.arange(HOURS) * np.timedelta64(3600, "s")
BOXES = {
    "away": ((52, 60), (20, 28)),
    "home": ((40, 48), (-20, -12)),
    "middle": ((40, 48), (-4, 4)),
}

TASK = """\
[task]
name = "mine"
title = "My temperatures"
licence = "CC0"
attribution = "me"
factor = 2
spacing = 0.5
variables = ["t2m"]
regions = [
  { name = "home", role = "train", lat = [40, 48], lon = [-20, -12] },
  { name = "middle", role = "val_ood", lat = [40, 48], lon = [-4, 4] },
  { name = "away", role = "test_ood", lat = [52, 60], lon = [20, 28] },
]
[task.periods]
embargo_hours = 2
train = { first = 2021-06-01T00:00:00, last = 2021-06-01T23:00:00 }
val = { first = 2021-06-02T02:00:00, last = 2021-06-02T13:00:00 }
test = { first = 2021-06-02T16:00:00, last = 2021-06-03T03:00:00 }
"""
FINE = """\
[fine]
source = { provider = "files", engine = "netcdf4", paths = "fine.nc" }
variables = { t2m = "t" }
"""
COARSE = """\
[coarse]
source = { provider = "files", engine = "netcdf4", paths = "coarse.nc" }
variables = { t2m = "t" }
"""
EXPECTED = np.concatenate([TIMES[:24], TIMES[26:38], TIMES[40:52]])
"""The task's times."""

_GENERATOR = np.random.default_rng(11)
_WAVES = [
    (3.0 * _GENERATOR.random(), *(2 * np.pi / _GENERATOR.uniform(6, 25, 2)),
     _GENERATOR.uniform(0.1, 0.6), _GENERATOR.uniform(0, 2 * np.pi))
    for _ in range(12)
]  # fmt: skip


def temperature(lat: Array, lon: Array, times: NDArray[np.datetime64] = TIMES) -> Array:
    """(time, *lat.shape) K: waves that move; lat and lon of one shape, in degrees."""
    hours = ((times - START) / np.timedelta64(1, "h")).reshape(-1, *([1] * lat.ndim))
    found = 285 - 0.3 * (lat - 45) + np.zeros(hours.shape)
    for height, ky, kx, speed, phase in _WAVES:
        found = found + height * np.sin(ky * lat + kx * lon + speed * hours + phase)
    return found


def product(
    spacing: float = 0.5,
    *,
    lat: tuple[float, float] = (36, 64),
    lon: tuple[float, float] = (-24, 36),
    times: NDArray[np.datetime64] = TIMES,
) -> xr.Dataset:
    """`t` (time, lat, lon) at cell centres, from north to south; float32, K."""
    y = np.arange(lat[1] - spacing / 2, lat[0], -spacing)
    x = np.arange(lon[0] + spacing / 2, lon[1], spacing)
    values = temperature(*np.meshgrid(y, x, indexing="ij"), times).astype(np.float32)
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {"t": (dims, values, {"units": "K"})},
        coords={"time": times.astype("datetime64[ns]"), "lat": y, "lon": x},
    )


def coarse_product(spacing: float = 1.0) -> xr.Dataset:
    """Another product of the same weather: means over its cells, with an error of its own."""
    made = product(spacing, lat=(35, 65), lon=(-25, 37))
    quarter = spacing / 4
    cells = np.meshgrid(made.lat.values, made.lon.values, indexing="ij")
    corners = [(dy, dx) for dy in (-quarter, quarter) for dx in (-quarter, quarter)]
    values = np.mean([temperature(cells[0] + dy, cells[1] + dx) for dy, dx in corners], axis=0)
    noise = np.random.default_rng(5).normal(0.5, 0.1, values.shape)
    made["t"] = (made.t.dims, (values + noise).astype(np.float32), {"units": "K"})
    return made


def truth(region: str, times: NDArray[np.datetime64] = EXPECTED) -> NDArray[np.float32]:
    """(time, 16, 16) what the store's fine `t2m` must be."""
    (south, north), (west, east) = BOXES[region]
    y, x = np.arange(north - 0.25, south, -0.5), np.arange(west + 0.25, east, 0.5)
    return temperature(*np.meshgrid(y, x, indexing="ij"), times).astype(np.float32)


def write(folder: Path, text: str, **files: xr.Dataset) -> Path:
    """A folder with `NAME.nc` for each data set and the recipe `mine.toml`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in files.items():
        made.to_netcdf(folder / f"{name}.nc", engine="netcdf4")
    recipe = folder / "mine.toml"
    recipe.write_text(text)
    return recipe


def edited(text: str, **changes: str) -> str:
    """A recipe with lines replaced: `key="old -> new"`, for several with any keys."""
    for change in changes.values():
        old, new = change.split(" -> ")
        assert old in text, old
        text = text.replace(old, new)
    return text
