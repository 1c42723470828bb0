"""The table of plain numbers: entries, strata, local seasons, missing values."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from benchmark.case_table import by_case, total
from benchmark.families.base import Slab
from benchmark.metric_table import IN_STRATA, metric_table, season_totals, value
from benchmark.metrics import METRICS
from benchmark.scoring import Scored
from benchmark.strata import STRATA

MakeSlab = Callable[..., Slab]
MakeTable = Callable[..., xr.Dataset]


@pytest.fixture(scope="module")
def table(make_slab: MakeSlab, make_table: MakeTable) -> xr.Dataset:
    """A year of invented days of one region at 44 degrees north."""
    return make_table(make_slab(0, steps=400, missing=0.3, members=5))


def numbers(table: xr.Dataset) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """The table's metrics."""
    return metric_table(by_case(table), total(table))


def test_every_metric_has_its_entries(table: xr.Dataset) -> None:
    """Plain names, thresholds by label, other dims by value; the rank histogram is a figure."""
    found = numbers(table)["v"]
    bare = {name.partition("[")[0] for name in found}
    assert bare == set(METRICS) - {"rank_histogram"}
    assert {"rmse", "csi[>= 1 mm d-1]", "csi[>= 4 mm d-1]", "fss[>= 4 mm d-1, 3 cells]",
            "block_crps[16 cells]", "structure_ratio[y, 2 cells]"} <= set(found)  # fmt: skip
    for entry, regions in found.items():
        assert list(regions) == ["r"], entry
    assert json.dumps(found, allow_nan=False), "no NaN, no infinity"


def test_numbers_are_the_metrics(table: xr.Dataset) -> None:
    """Each number is the metric at that place; what is not finite is None."""
    found, totals = numbers(table)["v"], total(table).isel(variable=0, region=0)
    csi = METRICS["csi"](totals)
    for k, entry in enumerate(("csi[>= 1 mm d-1]", "csi[>= 4 mm d-1]")):
        assert found[entry]["r"] == {"all": float(csi[k])}
    for name in IN_STRATA:
        expected = METRICS[name](totals)
        for stratum in STRATA:
            assert found[name]["r"][stratum] == value(float(expected.sel(stratum=stratum)))
    assert found["r2"]["r"] == {"all": float(METRICS["r2"](totals).sel(stratum="all"))}
    assert found["block_crps[16 cells]"]["r"]["all"] is None, "no block of 16 in 12 x 16 cells"


def test_seasons_are_of_the_cases_in_them(table: xr.Dataset) -> None:
    """Each season's RMSE from that season's days alone, for cells of all strata."""
    found = numbers(table)["v"]["rmse"]["r"]
    months = table["case"].values.astype("datetime64[M]").astype(int) % 12 + 1
    seasons = {
        "winter": (12, 1, 2),
        "spring": (3, 4, 5),
        "summer": (6, 7, 8),
        "autumn": (9, 10, 11),
    }
    assert set(found) == {*STRATA, *seasons}
    sums = table.isel(variable=0, region=0).sel(stratum="all")
    for name, some in seasons.items():
        inside = np.isin(months, some)
        squared, weight = (sums[key].values[inside].sum() for key in ("squared_error", "weight"))
        assert found[name] == pytest.approx(np.sqrt(squared / weight), rel=1e-12)


def test_seasons_are_local(table: xr.Dataset) -> None:
    """The same cases in the south have their winter in the north's summer."""
    south = table.assign_coords(latitude=-table["latitude"])
    north, turned = (numbers(one)["v"]["mae"]["r"] for one in (table, south))
    for name, other in (("winter", "summer"), ("spring", "autumn"), ("summer", "winter")):
        assert north[name] == turned[other]


def test_seasons_that_no_case_lies_in_are_left_out(table: xr.Dataset) -> None:
    """A week of one month has one season; two hemispheres have two, missing where not theirs."""
    week = table.isel(case=slice(10, 17))
    found = numbers(week)["v"]["rmse"]["r"]
    assert set(found) == {*STRATA, "winter"}
    assert found["winter"] == pytest.approx(found["all"], rel=1e-12)
    south = week.assign_coords(latitude=-week["latitude"], region=["s"])
    both = numbers(xr.concat([week, south], dim="region"))["v"]["rmse"]
    assert both["r"]["summer"] is None
    assert both["s"]["winter"] is None
    assert both["r"]["winter"] == both["s"]["summer"]


def test_season_totals_add_up(table: xr.Dataset) -> None:
    """The four seasons' sums are those of all cases."""
    cases = by_case(table)
    parts = [season_totals(cases, name) for name in ("winter", "spring", "summer", "autumn")]
    for name in parts[0].data_vars:
        whole = cases[name].sum("case")
        np.testing.assert_allclose(sum(part[name] for part in parts), whole, rtol=1e-12)


def test_a_real_table(dressed: Scored) -> None:
    """Every variable and region of a task; thresholds of each variable under its own names."""
    found = numbers(dressed.table)
    assert list(found) == list(dressed.table["variable"].values)
    rain, warm = found["precipitation"], found["t2m"]
    assert {"csi[>= 0.1 mm h-1]", "csi[>= P99]"} <= set(rain)
    assert {"csi[>= 273.15 K]", "csi[>= P99]"} <= set(warm)
    for entries in found.values():
        for name, regions in entries.items():
            assert list(regions) == list(dressed.table["region"].values), name
    equinox = {name for name in rain["rmse"]["andes-south"] if name in ("autumn", "spring")}
    assert equinox == {"autumn", "spring"}, "both hemispheres in March"
    assert rain["rmse"]["andes-south"]["spring"] is None
    assert warm["wet_fraction_error"]["andes-south"]["all"] is None, "of precipitation only"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_none(number: float) -> None:
    """JSON has no NaN; a missing value is never 0."""
    assert value(number) is None
    assert value(0.0) == 0.0
