"""Counts of one member a step and of the truth, and what else follows from the truth alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from benchmark.bins import Bins
from benchmark.families import pointwise
from benchmark.families.base import Slab
from benchmark.metrics import METRICS

Array = NDArray[np.float64]
MakeSlab = Callable[..., Slab]
MakeTotals = Callable[..., xr.Dataset]
RAIN = Bins("log2", 2.0**-10, 256.0, per_octave=128)
COARSE = Bins("linear", -1.0, 6.0, 0.5)
"""Bins that some values lie below and above of."""

pytestmark = pytest.mark.usefixtures("engine")


def loop(slab: Slab) -> tuple[Array, Array]:
    """Counts by visiting every cell: the bin is found by comparing with every edge."""
    bins = slab.domain.bins
    p, t = np.zeros(len(bins)), np.zeros(len(bins))
    largest = slab.domain.area.max()
    for k, i, j in np.ndindex(slab.truth.shape):
        if np.isnan(slab.truth[k, i, j]):
            continue
        weight = round(slab.domain.area[i, j] / largest * 65536)
        member = (slab.first + k) % slab.members.shape[1]
        for counts, value in ((p, slab.members[k, member, i, j]), (t, slab.truth[k, i, j])):
            place = int(sum(bins.edges[1:-1] <= float(value)))
            if bins.kind == "log2" and value <= 0:
                place = 0
            counts[place] += weight
    return p, t


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("bins", [RAIN, COARSE])
def test_counts_equal_a_loop_exactly(make_slab: MakeSlab, members: int, bins: Bins) -> None:
    """Members in turn from the slab's first step on; values on edges; a missing truth, none."""
    slab = make_slab(1, steps=4, members=members, bins=bins, first=5, shape=(10, 14), factor=2.0)
    x, t = (np.round(field * 2 - 3) / 2 for field in (slab.members, slab.truth))
    slab = replace(slab, members=x, truth=t)
    _, found = pointwise.reduce(slab)
    p, true = loop(slab)
    np.testing.assert_array_equal(found["bin_p"], p)
    np.testing.assert_array_equal(found["bin_t"], true)
    assert found["bin_p"].sum() == found["bin_t"].sum()
    assert p[0] > 0


def test_cells_and_the_largest_truth(make_slab: MakeSlab) -> None:
    """Cells with a truth are counted, each as one; no truth at all has no largest one."""
    slab = make_slab(2, steps=3, missing=0.4)
    slab.truth[1] = np.nan
    found, _ = pointwise.reduce(slab)
    known = ~np.isnan(slab.truth)
    np.testing.assert_array_equal(found["cells"], known.sum(axis=(1, 2)))
    assert found["t_max"][1] == -np.inf
    for k in (0, 2):
        assert found["t_max"][k] == slab.truth[k][known[k]].max()


def test_all_members_have_their_turn(make_slab: MakeSlab) -> None:
    """Members that are constants 0, 1, 2: over six steps from any first, each twice."""
    slab = make_slab(3, steps=6, members=3, bins=COARSE, missing=0.0)
    x = np.broadcast_to(np.arange(3, dtype=np.float32)[:, None, None], slab.members.shape).copy()
    for first in (0, 1, 50):
        _, found = pointwise.reduce(replace(slab, members=x, first=first))
        counted = found["bin_p"][[int(COARSE.index(np.float32(value))) for value in range(3)]]
        np.testing.assert_array_equal(counted, counted[0])
        assert counted.sum() == found["bin_p"].sum()


def test_counts_of_slabs_add_up_exactly(make_slab: MakeSlab) -> None:
    """Whole-number weights: however the steps are cut, the sum has the same bits."""
    slab = make_slab(4, steps=6, members=3)
    _, whole = pointwise.reduce(slab)
    parts = []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        cut = {name: getattr(slab, name)[start:stop] for name in
               ("members", "truth", "bilinear", "coarse")}  # fmt: skip
        parts.append(pointwise.reduce(replace(slab, first=start, **cut))[1])
    for name in ("bin_p", "bin_t"):
        np.testing.assert_array_equal(sum(part[name] for part in parts), whole[name])


def test_metrics_of_the_counts_equal_numpy_and_scipy(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """Wasserstein distance, quantile errors and wet fraction from the values themselves."""
    slab = make_slab(5, steps=24, members=1, missing=0.1, shape=(20, 28))
    slab = replace(
        slab, domain=replace(slab.domain, area=np.ones((20, 28))),
        members=np.maximum(slab.members * 2 - 3, 0), truth=np.maximum(slab.truth - 1, 0),
    )  # fmt: skip
    totals = make_totals(slab)
    known = ~np.isnan(slab.truth)
    p, t = slab.members[:, 0][known].astype(float), slab.truth[known].astype(float)
    found = float(METRICS["wasserstein_1"](totals))
    assert found == pytest.approx(stats.wasserstein_distance(p, t), rel=1e-3)
    for name, q in (("p95_error", 0.95), ("p99_error", 0.99)):
        exact = np.quantile(p, q) - np.quantile(t, q)
        assert float(METRICS[name](totals)) == pytest.approx(exact, abs=0.1), name
    assert np.isnan(float(METRICS["p99_99_error"](totals))), "fewer than 100 cells exceed it"
    wet = (p >= 0.1).mean() - (t >= 0.1).mean()
    assert float(METRICS["wet_fraction_error"](totals)) == pytest.approx(wet, abs=2e-3)


def test_cases_are_counted_by_their_largest_truth(
    make_slab: MakeSlab, make_totals: MakeTotals
) -> None:
    """One count a case, in the bin of its largest truth; a case without a truth has none."""
    slab = make_slab(6, steps=4)
    slab.truth[2] = np.nan
    counts = make_totals(slab)["bin_cases"].values
    assert counts.sum() == 3
    largest = np.nanmax(slab.truth[[0, 1, 3]], axis=(1, 2))
    expected = np.bincount(slab.domain.bins.index(largest), minlength=len(counts))
    np.testing.assert_array_equal(counts, expected)
