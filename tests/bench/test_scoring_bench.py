"""How fast an ensemble is reduced, beside two libraries that compute less of it.

Only ratios within one run mean anything: both sides are timed here, on this machine, now.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import properscoring
import pytest
import scoringrules
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.coarsen import AreaOverlap
from benchmark.families import ensemble
from benchmark.families.base import Step
from benchmark.geometry import cell_area

MEMBERS, SIDE = 16, 64

LIBRARIES: dict[str, tuple[Callable[..., Any], float]] = {
    # The library's call, and how many times its time ours may take: see the test's docstring.
    "properscoring": (properscoring.crps_ensemble, 12.0),
    "scoringrules": (
        lambda truth, x: scoringrules.crps_ensemble(truth, x, estimator="qd"),
        5.0,
    ),
}


@pytest.fixture(scope="module")
def step() -> Step:
    """16 members of 64 x 64 cells of rain, many of them dry."""
    generator = np.random.default_rng(0)
    lat, lon = np.linspace(55.0, 39.0, SIDE + 1), np.linspace(0.0, 16.0, SIDE + 1)
    area = cell_area(lat, lon)
    rain = np.maximum(generator.gamma(0.5, size=(MEMBERS + 1, SIDE, SIDE)) - 0.3, 0.0)
    land = generator.random((SIDE, SIDE)) < 0.4
    return Step(
        members=rain[1:],
        truth=rain[0],
        bilinear=rain.mean(axis=0),
        coarse=np.zeros((16, 16)),
        weights=np.stack([area, np.where(land, area, 0), np.where(land, 0, area)]),
        overlap=AreaOverlap.from_edges(fine=(lat, lon), coarse=(lat[::4], lon[::4])),
        whole=np.ones((16, 16), bool),
        block_area=cell_area(lat[::4], lon[::4]),
    )


def best_of(function: Callable[[], object], rounds: int = 15) -> float:
    """The shortest CPU time of some runs: the least disturbed by others on the machine."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.parametrize("library", LIBRARIES)
def test_ensemble_reduction(benchmark: BenchmarkFixture, step: Step, library: str) -> None:
    """All four ensemble statistics in three strata against the library's CRPS field alone.

    Ours also gives spread, variance and the rank histogram, so it may take some times as long;
    the bound is generous and catches a per-point sort or a loop over cells. The ratio is
    recorded in `extra_info`.
    """
    call, bound = LIBRARIES[library]
    x = np.ascontiguousarray(np.moveaxis(step.members, 0, -1))
    call(step.truth, x)  # compiled or imported before it is timed
    sums = benchmark(ensemble.reduce, step)
    theirs = best_of(lambda: call(step.truth, x))
    ours = best_of(lambda: ensemble.reduce(step))
    ratio = ours / theirs
    benchmark.extra_info |= {"library": library, "seconds": theirs, "ratio": round(ratio, 3)}
    weight = step.weights.sum(axis=(1, 2))
    crps = (sums["member_abs_error"] - sums["pair_spread"] / MEMBERS**2) / weight
    expected = [np.average(call(step.truth, x), weights=w) for w in step.weights]
    np.testing.assert_allclose(crps, expected, rtol=1e-10)
    assert ratio < bound
