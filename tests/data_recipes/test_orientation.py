"""Pairs that show other places are refused; honest pairs, however unlike, are not."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmark.pair_store import PairStore
from data_recipes.orientation import check_orientation

Array = NDArray[np.float64]

SHARED = Path("/work/shared/data")
FILES = [
    ("era5_t2m_uk_201903_hourly_0p25.nc", "t2m", 1),
    ("era5_nweurope_20200101_hourly_0p25.nc", "tp", 1),
    ("era5_nweurope_20200101_hourly_0p25.nc", "u10", 2),
    ("era5_nweurope_20200101_hourly_0p25.nc", "d2m", 1),
    ("chirps_nicaragua_daily_0p25.nc", "precip", 1),
    ("fmi_finland_20160928.nc", "precip_rate", 8),
    ("knmi_nl.nc", "precip_rate", 32),
    ("mrms_us1.nc", "precip_rate", 8),
    ("mrms_us2.nc", "precip_rate", 16),
]


def shared(name: str, variable: str, block: int) -> Array:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with xr.open_dataset(path, engine="netcdf4") as data:
        fine = np.asarray(data[variable].values, np.float64)
    ny, nx = (side // block for side in fine.shape[1:])
    whole = fine[:, : ny * block, : nx * block]
    return whole.reshape(len(fine), ny, block, nx, block).mean(axis=(2, 4))


def weather(times: int = 120, ny: int = 24, nx: int = 30, seed: int = 1) -> Array:
    """Smooth anomalies over a gradient to the south, twice as fine as the coarse grid."""
    draws = np.random.default_rng(seed)
    shocks = gaussian_filter(draws.normal(size=(times, 2 * ny, 2 * nx)), (1, 3, 3))
    gradient = np.linspace(0, 3, 2 * ny)[:, None]
    return np.asarray(shocks / shocks.std() + gradient)


def blocks(fine: Array) -> Array:
    """Means of 2 x 2 cells."""
    t, ny, nx = fine.shape
    return fine.reshape(t, ny // 2, 2, nx // 2, 2).mean(axis=(2, 4))


def unlike(field: Array, *, share: float = 1.0, seed: int = 7) -> Array:
    """Another product of the same weather: smoother, biased, with errors as large as the signal."""
    draws = np.random.default_rng(seed)
    errors = gaussian_filter(draws.normal(size=field.shape), (1, 1, 1))
    smooth = np.stack([gaussian_filter(step, 0.7) for step in field])
    pattern = gaussian_filter(draws.normal(size=field.shape[1:]), 2)
    size = share * np.nanstd(field)
    return np.asarray(
        1.3 * smooth + size * errors / errors.std() + size / 2 * pattern / pattern.std() + 2
    )


def got(coarse: Array, fine: Array) -> str:
    problems = check_orientation("x", coarse, fine)
    assert len(problems) <= 1
    return problems[0].got if problems else ""


@pytest.mark.parametrize(("name", "variable", "block"), FILES)
def test_real_fields_pass_whatever_the_other_product(name: str, variable: str, block: int) -> None:
    field = shared(name, variable, block)
    assert got(field, field) == ""
    for seed in range(4):
        assert got(unlike(field, seed=seed), field) == ""
        assert got(unlike(field, share=0.3, seed=seed), field) == ""


@pytest.mark.parametrize(("name", "variable", "block"), FILES)
def test_real_fields_that_are_turned_or_moved(name: str, variable: str, block: int) -> None:
    field = shared(name, variable, block)
    other = np.nan_to_num(unlike(np.nan_to_num(field), share=0.3))
    assert got(other[:, ::-1], field).startswith("flipped latitude:")
    assert got(other[:, :, ::-1], field).startswith("flipped longitude:")
    assert "a cell or more north" in got(other[:, 1:], field[:, :-1])
    assert "a cell or more east" in got(other[:, :, :-1], field[:, :, 1:])
    assert got(other, field) == ""


def test_the_sample_passes(store: PairStore) -> None:
    for region in store.regions("train", "val_ood", "test_ood"):
        for variable in store.task.variable_names:
            coarse = region.read("coarse", variable, slice(None))
            fine = region.grid.overlap(region.read("fine", variable, slice(None)))
            assert got(coarse, fine) == ""


def test_both_axes_flipped() -> None:
    field = blocks(weather())
    said = got(unlike(field, share=0.5)[:, ::-1, ::-1], field)
    assert said.startswith("flipped latitude and longitude:")


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (1, 0, ("0.5 cells north",)),
        (-1, 0, ("0.5 cells south",)),
        (0, 1, ("0.5 cells west",)),
        (0, -1, ("0.5 cells east",)),
        (1, 1, ("north", "west")),
    ],
)
def test_half_a_coarse_cell_is_told(rows: int, columns: int, words: tuple[str, ...]) -> None:
    """One fine cell, in products with errors half as large as the signal."""
    fine = weather()
    inner = slice(4, -4)
    here = blocks(fine[:, inner, inner])
    ny, nx = fine.shape[1:]
    moved = blocks(fine[:, 4 + rows : ny - 4 + rows, 4 + columns : nx - 4 + columns])
    said = got(unlike(moved, share=0.3), here)
    assert said.startswith("shifted")
    for word in words:
        first, _, direction = word.rpartition(" ")
        assert direction in said
        if first:
            size = float(said.split("lies ")[1].split(" ")[0])
            assert size == pytest.approx(0.5, abs=0.12)


def test_a_quarter_of_a_cell_is_honest() -> None:
    field = blocks(weather())
    a_bit = 0.72 * field[:, :-1] + 0.28 * field[:, 1:]
    assert got(a_bit, field[:, :-1]) == ""


def test_weather_that_is_alike_both_ways_is_honest() -> None:
    """That the other way fits a little better is no proof."""
    field, more = blocks(weather()), 0.3 * blocks(weather(seed=2))
    alike = field + field[:, ::-1]
    assert got(alike + more[:, ::-1], alike + more) == ""


def test_a_few_loud_days_prove_nothing() -> None:
    """Thirty of 120 times the other way round, and ten times as loud."""
    field = blocks(weather())
    loud = np.where(np.arange(120)[:, None, None] < 30, 10.0, 1.0)
    odd = np.concatenate([field[:30, ::-1], field[30:]])
    assert got(loud * odd, loud * field) == ""


def test_missing_cells_count_nowhere() -> None:
    fine = blocks(weather())
    fine[:, 3:9, 3:9] = np.nan
    fine[5] = np.nan
    other = unlike(blocks(weather()), share=0.5)
    assert got(other, fine) == ""
    assert got(other[:, ::-1], fine).startswith("flipped latitude")
    assert "north" in got(other[:, 1:], fine[:, :-1])


def test_no_verdict_without_enough_to_tell() -> None:
    field = blocks(weather())
    turned = field[:, ::-1]
    assert got(turned[:9], field[:9]) == ""
    assert got(turned[:, :5], field[:, :5]) == ""
    assert got(np.zeros_like(field), field) == ""
    dry = np.where(np.arange(len(field))[:, None, None] < 100, 0.0, field)
    assert got(dry[:, ::-1], dry) == ""  # rain in two of ten stretches only
    other = blocks(weather(seed=2) - np.linspace(0, 3, 48)[:, None])
    assert got(other, blocks(weather(seed=3))) == ""  # two products with nothing in common
