"""A task with a vector: its speed is scored as any variable, of its derivatives only spectra.

The embedded task has no vector, so two of its variables stand for the components.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import fft

from benchmark.case_table import by_case, total
from benchmark.invariants import check_invariants
from benchmark.metric_table import metric_table
from benchmark.metrics import METRICS
from benchmark.pair_store import PairStore
from benchmark.references import DressedReference
from benchmark.scoring import score_cases
from benchmark.sources import StreamedPredictions
from benchmark.task import Vector

REGION = "andes-south"
R = 6371229.0


@pytest.fixture(scope="module")
def windy(small: PairStore) -> PairStore:
    """The small store under a task in which t2m and wind_speed are a vector's components."""
    task = small.task
    speed = task.variable("wind_speed").model_copy(
        update={"name": "flow_speed", "percentiles": (), "thresholds": (280.0,)}
    )
    vector = Vector(name="flow", eastward="t2m", northward="wind_speed", speed=speed)
    return PairStore(task.model_copy(update={"vectors": (vector,)}), small.folder)


@pytest.fixture(scope="module")
def fields(windy: PairStore) -> dict[str, Any]:
    """(members, truth) of both components in one region, with the margin."""
    region = windy.region(REGION)
    steps = region.steps(windy.task.periods.test)
    predicted = DressedReference(windy).predict(region, steps)
    return {
        name: (predicted[name], region.read("fine", name, steps)) for name in ("t2m", "wind_speed")
    }


def scored(store: PairStore, work: Path, **options: Any) -> xr.Dataset:
    """The dressed reference's table."""
    source = StreamedPredictions(DressedReference(store), "dressed")
    return score_cases(store, source, work=work, **options).table


@pytest.fixture(scope="module")
def table(windy: PairStore, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The dressed reference scored under that task."""
    return scored(windy, tmp_path_factory.mktemp("windy"))


def test_the_variables_of_the_table(table: xr.Dataset) -> None:
    """What models predict, then what follows from the vector."""
    derived = ["flow_speed", "flow_divergence", "flow_vorticity"]
    assert list(table["variable"].values) == ["t2m", "wind_speed", "precipitation", *derived]


def test_speed_is_of_each_member(table: xr.Dataset, fields: dict[str, Any]) -> None:
    """Errors of sqrt(u^2 + v^2) of every member; conservation does not apply."""
    (u, true_u), (v, true_v) = fields["t2m"], fields["wind_speed"]
    inner = (..., slice(4, -4), slice(4, -4))
    x, t = np.hypot(u, v)[inner].astype(float), np.hypot(true_u, true_v)[inner].astype(float)
    row = table.sel(variable="flow_speed", region=REGION, stratum="all")
    lat = np.radians(np.arange(-19.5 - 4, -51.5 + 4, -1.0))
    weights = np.repeat((np.sin(lat) - np.sin(lat - np.radians(1)))[:, None], 24, 1)
    for name, values in (
        ("squared_error", (x.mean(axis=1) - t) ** 2),
        ("member_abs_error", abs(x - t[:, None]).mean(axis=1)),
    ):
        expected = (weights * values).sum(axis=(1, 2)) / weights.sum()
        np.testing.assert_allclose(row[name] / row["weight"], expected, rtol=1e-5, err_msg=name)
    for name in ("block_weight", "residual_abs", "coarse_max"):
        assert not row[name].values.any(), name


@pytest.mark.parametrize("name", ["divergence", "vorticity"])
def test_spectra_of_the_derivatives(table: xr.Dataset, fields: dict[str, Any], name: str) -> None:
    """Power of one member a step in turn: centred differences, margin cut after."""
    (u, true_u), (v, true_v) = fields["t2m"], fields["wind_speed"]
    lat = np.radians(np.arange(-20.0, -52.0, -1.0))[:, None]
    inner = (..., slice(4, -4), slice(4, -4))
    size, count = u.shape[:2]
    turn = np.arange(size) % count

    def derived(east: Any, north: Any) -> Any:
        east, north = east.astype(float), north.astype(float)
        along, other = (east, north) if name == "divergence" else (north, east)
        sign = 1 if name == "divergence" else -1
        lon_part = (along[..., 2:] - along[..., :-2]) / (2 * np.radians(1))
        scaled = other * np.cos(lat)
        lat_part = (scaled[:, 2:] - scaled[:, :-2]) / (-2 * np.radians(1))
        found = np.zeros_like(east)
        found[:, 1:-1, 1:-1] = (lon_part[:, 1:-1] + sign * lat_part[..., 1:-1]) / (
            R * np.cos(lat[1:-1])
        )
        return found[inner]

    pairs = {"power_p": (u[np.arange(size), turn], v[np.arange(size), turn]),
             "power_t": (true_u, true_v)}  # fmt: skip
    row = table.sel(variable=f"flow_{name}", region=REGION)
    for key, pair in pairs.items():
        field = derived(*pair)
        spectrum = fft.dctn(
            field - field.mean(axis=(1, 2), keepdims=True), axes=(1, 2), norm="ortho"
        )
        total_power = (spectrum**2).sum() / field[0].size
        dropped = row[key.replace("power", "dropped")]
        assert float(row[key].sum() + dropped) == pytest.approx(total_power, rel=1e-4), key
    np.testing.assert_array_equal(row["images"], 1)
    for key in ("weight", "rank_weight", "event_p", "bin_t", "fss_t", "ssim", "residual_max"):
        assert not row[key].values.any(), key
    assert (row["t_max"] == -np.inf).all()


def test_only_spectra_of_derivatives_are_shown(table: xr.Dataset) -> None:
    """No RMSE of a divergence, not even a missing one; every metric of the speed that applies."""
    found = metric_table(by_case(table), total(table))
    spectral = {name for name, one in METRICS.items() if one.needs[0].startswith("power")}
    assert {"log_spectral_distance", "effective_resolution", "coherence"} <= spectral
    assert set(found["flow_divergence"]) == spectral
    assert found["flow_vorticity"]["coherence"][REGION]["all"] is not None
    speed = found["flow_speed"]
    assert {"rmse", "crps_fair", "csi[>= 280 m s-1]"} <= set(speed)
    assert speed["residual"][REGION]["all"] is None
    assert speed["rmse"][REGION]["all"] is not None


def test_a_healthy_table_with_vectors(table: xr.Dataset, windy: PairStore, tmp_path: Path) -> None:
    """No invariant is broken by what is left out; blocks of any size, the same bits."""
    card = DressedReference(windy).card
    assert check_invariants(windy.task, card, by_case(table), total(table)) == []
    again = scored(windy, tmp_path, steps_per_block=3)
    xr.testing.assert_identical(again, table)
