"""How fast fields in memory are scored (workload A): in read passes, and beside other libraries.

16 members of 200 steps of 128 x 128 cells of rain, float32. A read pass is numpy's sum of the
members. Only ratios within one run mean anything: all sides are timed here, warm, in turns, in
CPU time (so that a peer's threads count), and medians are compared. Slow peers score a part of the
steps, and their time is scaled by its size. Each ratio is in `benchmark.extra_info`
(`tests/bench/table.py` makes the README's table of it).

On a busy machine ratios shift, because only the pass waits for memory alone: bounds are asserted
with half as much again as slack, and exactly where ELSEWHERE_BENCH_STRICT=1.
"""

import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pytest
import scores
import scoringrules
import xarray as xr
import xskillscore
from numpy.typing import NDArray
from pysteps.utils import get_method
from pysteps.utils.spectral import rapsd
from pysteps.verification.spatialscores import fss as pysteps_fss
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import fft
from scipy.stats import wasserstein_distance
from skimage.metrics import structural_similarity

from benchmark import verification
from benchmark.bins import Bins
from benchmark.coarsen import AreaOverlap
from benchmark.families import pointwise
from benchmark.families.base import Domain, Slab
from benchmark.families.neighbourhood import fss_sums
from benchmark.families.spectrum import Rings, spectral_sums
from benchmark.families.structure import ssim_sums

Field = NDArray[np.float32]
Work = Callable[[], object]

STEPS, MEMBERS, SIDE, FACTOR = 200, 16, 128, 4
SLACK = 1.0 if os.environ.get("ELSEWHERE_BENCH_STRICT") == "1" else 1.5
RAIN = Bins("log2", 2.0**-10, 1024.0)
THRESHOLDS = (0.5, 2.0, 8.0)
DIMS = ["time", "member", "y", "x"]


@dataclass(frozen=True)
class Peer:
    """Another library's way: what it is, the call, and the share of the work that it does."""

    name: str
    call: Work
    share: float = 1.0


@pytest.fixture(scope="module")
def workload() -> tuple[Field, Field]:
    """Members and truth: gamma-like rain, 60 % of it zero."""
    generator = np.random.default_rng(0)
    fields = []
    for shape in ((STEPS, MEMBERS, SIDE, SIDE), (STEPS, SIDE, SIDE)):
        drawn = generator.standard_gamma(0.5, shape, dtype=np.float32) * np.float32(4)
        drawn *= generator.random(shape, dtype=np.float32) < 0.4
        fields.append(drawn)
    return fields[0], fields[1]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def seconds(work: Work) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(
    benchmark: BenchmarkFixture, name: str, work: Work, *, base: Work, peers: list[Peer],
    passes: float | None = None, faster: float | None = None, unit: str = "read passes",
    rounds: int = 7, reached: float | None = None,
) -> None:  # fmt: skip
    """Time all in turns, keep the ratios, assert the bounds: `passes` of base at most, and
    `faster` times ahead of the fastest peer at least.

    reached: what is asserted outside strict runs where `faster` is not reached; the README says so.
    """
    sides = [work, base, *(peer.call for peer in peers)]
    for side in sides:
        side()
    benchmark.pedantic(work, rounds=1)
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for side, taken in zip(sides, times, strict=True):
            if number < 3 or side in (work, base):  # peers are slow: three rounds are enough
                taken.append(seconds(side))
    ours, bound, *others = (median(taken) for taken in times)
    found = ours / bound
    info: dict[str, Any] = {"name": name, "unit": unit, "passes": round(found, 2), "bound": passes}
    scaled = {p.name: t / p.share for p, t in zip(peers, others, strict=True)}
    if scaled:
        best = min(scaled, key=lambda peer: scaled[peer])
        ahead = scaled[best] / ours
        info |= {"peer": best, "times_faster": round(ahead, 1), "required": faster}
        info["peers"] = {peer: round(taken / ours, 1) for peer, taken in scaled.items()}
    benchmark.extra_info |= info
    assert passes is None or found <= passes * SLACK
    least = reached if reached is not None and SLACK > 1 else faster
    assert least is None or ahead >= least / SLACK


def crps_peers(members: Field, truth: Field, steps: int = 8) -> list[Peer]:
    """scoringrules' exact estimators that were its fastest: members last, in numba."""
    last = np.ascontiguousarray(np.moveaxis(members[:steps], 1, -1))
    share = steps / STEPS

    def peer(estimator: str, kind: type) -> Peer:
        x, t = last.astype(kind), truth[:steps].astype(kind)
        return Peer(
            f"scoringrules {estimator} {kind.__name__}",
            lambda: scoringrules.crps_ensemble(t, x, estimator=estimator, backend="numba"),
            share,
        )

    return [peer("fair", np.float64), peer("fair", np.float32), peer("nrg", np.float64)]


def error_peers(
    members: Field, truth: Field, *, of: str, settings: dict[str, bool | None], steps: int = 20
) -> list[Peer]:
    """scores and xskillscore: bias, MAE, RMSE and both variances, of the mean or of all members.

    Only their defaults leave a missing truth out, as ours does; `skipna=False` is faster.
    """
    x = xr.DataArray(members[:steps], dims=DIMS)
    t = xr.DataArray(truth[:steps], dims=["time", "y", "x"])
    dims = ["time", "y", "x"] if of == "mean" else ["time", "member", "y", "x"]

    def variances(p: xr.DataArray) -> list[xr.DataArray]:
        return [field.var(skipna=False) for field in (p, t)]

    def forecast(skipna: bool | None) -> xr.DataArray:
        return x.mean("member", skipna=skipna) if of == "mean" else x

    def with_scores(skipna: bool | None) -> list[Any]:
        p, c = forecast(skipna), scores.continuous
        return [c.additive_bias(p, t), c.mae(p, t), c.rmse(p, t), *variances(p)]

    def with_xskillscore(skipna: bool | None) -> list[Any]:
        p, s, skip = forecast(skipna), xskillscore, bool(skipna)
        known = t if of == "mean" else t.broadcast_like(p)
        return [
            *(score(p, known, dim=dims, skipna=skip) for score in (s.me, s.mae, s.rmse)),
            *variances(p),
        ]

    return [
        Peer(f"{name}, {setting}", partial(call, skipna), steps / STEPS)
        for name, call in (("scores", with_scores), ("xskillscore", with_xskillscore))
        for setting, skipna in settings.items()
    ]


def rank_peers(members: Field, truth: Field, steps: int = 10) -> list[Peer]:
    """scores, which also spreads ties evenly."""
    x = xr.DataArray(members[:steps], dims=DIMS)
    t = xr.DataArray(truth[:steps], dims=["time", "y", "x"])
    return [
        Peer(
            "scores",
            lambda: scores.probability.rank_histogram(x, t, ens_member_dim="member"),
            steps / STEPS,
        )
    ]


def event_peers(members: Field, truth: Field, steps: int) -> list[Peer]:
    """Threshold-weighted CRPS as the CRPS of max(x, u), which is faster than `twcrps_ensemble`;
    Brier scores; reliability.
    """
    last = np.ascontiguousarray(np.moveaxis(members[:steps], 1, -1)).astype(np.float64)
    known = truth[:steps].astype(np.float64)
    x = xr.DataArray(members[:steps], dims=DIMS)
    t = xr.DataArray(truth[:steps], dims=["time", "y", "x"])
    edges = np.linspace(0, 1 + 1e-9, MEMBERS + 2)

    def all_three() -> list[Any]:
        brier = scores.probability.brier_score_for_ensemble
        found = [brier(x, t, "member", np.array(THRESHOLDS), fair_correction=False)]
        for u in THRESHOLDS:
            chained = np.maximum(known, u), np.maximum(last, u)
            found.append(scoringrules.crps_ensemble(*chained, estimator="fair", backend="numba"))
            share = (x >= u).mean("member")
            found.append(
                xskillscore.reliability(t >= u, share, dim=t.dims, probability_bin_edges=edges)
            )
        return found

    return [Peer("scoringrules + scores + xskillscore", all_three, steps / STEPS)]


def test_crps(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Fair and ecdf CRPS in one call; the peers compute one of them."""
    members, truth = workload
    peers = crps_peers(members, truth)
    found = verification.crps(members[:8], truth[:8])
    assert found.fair == pytest.approx(np.mean(peers[0].call()), rel=1e-9)
    measure(
        benchmark, "CRPS, fair and ecdf", lambda: verification.crps(members, truth),
        base=members.sum, peers=peers, passes=3, faster=10,
    )  # fmt: skip


def test_crps_needs_no_memory(workload: tuple[Field, Field]) -> None:
    """At most 32 MB beside the fields."""
    verification.crps(*workload)
    tracemalloc.start()
    verification.crps(*workload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20


def test_crps_without_numba(
    benchmark: BenchmarkFixture, workload: tuple[Field, Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With numpy alone, on a part of the steps, still ahead of every compiled peer."""
    monkeypatch.setenv("ELSEWHERE_ENGINE", "numpy")
    members, truth = workload[0][:8], workload[1][:8]
    peers = [Peer(p.name, p.call) for p in crps_peers(members, truth)]
    measure(
        benchmark, "CRPS with numpy alone", lambda: verification.crps(members, truth),
        base=members.sum, peers=peers, faster=1, rounds=3,
    )  # fmt: skip


def test_errors(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Bias, MAE, RMSE and variances of every member, a missing truth left out by all."""
    members, truth = workload
    measure(
        benchmark, "bias, MAE, RMSE, variance of all members",
        lambda: verification.errors(members, truth, of="members"), base=members.sum,
        peers=error_peers(members, truth, of="members", settings={"missing left out": True}),
        passes=1.5, faster=20,
    )  # fmt: skip


def test_errors_of_the_mean(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """The same of the ensemble mean, where peers read the members once, to average them."""
    members, truth = workload
    settings = {"defaults": None, "skipna=False": False}
    measure(
        benchmark, "the same of the ensemble mean", lambda: verification.errors(members, truth),
        base=members.sum, peers=error_peers(members, truth, of="mean", settings=settings),
        passes=1.5, faster=None,
    )  # fmt: skip


def test_rank_histogram(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Ties spread evenly."""
    members, truth = workload
    measure(
        benchmark, "rank histogram", lambda: verification.rank_histogram(members, truth),
        base=members.sum, peers=rank_peers(members, truth), passes=2.5, faster=40,
    )  # fmt: skip


def operator() -> AreaOverlap:
    """Blocks of 4 x 4 cells on a latitude-longitude grid."""
    lat, lon = np.linspace(50, 34, SIDE + 1), np.linspace(0, 16, SIDE + 1)
    return AreaOverlap.from_edges(fine=(lat, lon), coarse=(lat[::FACTOR], lon[::FACTOR]))


def test_conservation(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Residuals of all members against the coarse input and the truth; xarray has only means."""
    members, truth = workload
    overlap = operator()
    coarse = overlap(truth).astype(np.float32)
    blocks = xr.DataArray(members[:20], dims=DIMS).coarsen(y=FACTOR, x=FACTOR)
    share = 20 / STEPS
    measure(
        benchmark, "conservation",
        lambda: verification.conservation(members, truth, coarse, overlap),
        base=members.sum, passes=2, faster=40, reached=9,
        peers=[
            Peer("xarray coarsen", lambda: blocks.mean(), share),
            Peer("xarray coarsen, numpy's mean", lambda: blocks.reduce(np.mean), share),
        ],
    )  # fmt: skip


def test_tail_quantiles(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Four quantiles of all members from the bins; numpy's are exact."""
    members, q = workload[0], verification.TAIL
    some = members[:10]
    measure(
        benchmark, "tail quantiles", lambda: verification.tail_quantiles(members, RAIN),
        base=members.sum, passes=4,
        peers=[Peer("numpy quantile", lambda: np.quantile(some, q), 10 / STEPS)],
    )  # fmt: skip


def test_wasserstein(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Members against truth from 4096 bins an octave; the same values for both."""
    members, truth = workload[0][:40], workload[1][:40]
    bins = Bins("log2", 2.0**-10, 1024.0, per_octave=4096)
    exact = wasserstein_distance(members.ravel(), truth.ravel())
    found = verification.wasserstein(members, truth, bins)
    assert found == pytest.approx(exact, abs=1e-6)
    small, known = members[:10], truth[:10]
    measure(
        benchmark, "Wasserstein-1", lambda: verification.wasserstein(members, truth, bins),
        base=members.sum, faster=50,
        peers=[
            Peer("scipy", lambda: wasserstein_distance(small.ravel(), known.ravel()), 10 / 40)
        ],
    )  # fmt: skip


def test_fss(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Three thresholds and four windows in one call, of one member."""
    members, truth = np.ascontiguousarray(workload[0][:, :1]), workload[1]
    windows = (3, 9, 17, 33)
    pairs = [(members[k, 0].astype(float), truth[k].astype(float)) for k in range(4)]

    def with_pysteps() -> list[Any]:
        return [
            pysteps_fss(p, t, threshold, window)
            for p, t in pairs for threshold in THRESHOLDS for window in windows
        ]  # fmt: skip

    measure(
        benchmark, "FSS, 3 thresholds x 4 windows",
        lambda: fss_sums(members, truth, THRESHOLDS, windows=windows),
        base=lambda: (members.sum(), truth.sum()), faster=15,
        peers=[Peer("pysteps", with_pysteps, 4 / STEPS)],
    )  # fmt: skip


def test_spectra(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Power of both fields and their cross power, against the cosine transforms alone."""
    p, t = workload[0][:, 0], workload[1]
    rings = Rings.on(SIDE, SIDE, dy_km=14.0, dx_km=10.0)
    method = get_method("scipy", shape=(SIDE, SIDE), n_threads=1)

    def transforms() -> None:
        for pair in zip(p, t, strict=True):
            fft.dctn(np.stack(pair), axes=(1, 2), norm="ortho", overwrite_x=True)

    def with_pysteps() -> list[Any]:
        return [
            rapsd(field, fft_method=method)
            for fields in (p[:20], t[:20]) for field in fields
        ]  # fmt: skip

    measure(
        benchmark, "spectra", lambda: spectral_sums(p, t, rings), base=transforms,
        unit="bare transforms", passes=1.5, faster=15, reached=11,
        peers=[Peer("pysteps", with_pysteps, 20 / STEPS)],
    )  # fmt: skip


def test_ssim(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """SSIM and MS-SSIM of one member; scikit-image computes SSIM alone, gaussian windows."""
    p, t = np.ascontiguousarray(workload[0][:, 0]), workload[1]

    def with_skimage() -> list[Any]:
        return [
            structural_similarity(
                p[k], t[k], data_range=40.0, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False,
            )
            for k in range(20)
        ]  # fmt: skip

    measure(
        benchmark, "SSIM and MS-SSIM", lambda: ssim_sums(p, t, low=0.0, high=40.0),
        base=lambda: (p.sum(), t.sum()), faster=8,
        peers=[Peer("scikit-image", with_skimage, 20 / STEPS)],
    )  # fmt: skip


def test_all_pointwise_families(benchmark: BenchmarkFixture, workload: tuple[Field, Field]) -> None:
    """Every statistic of single cells at once, three thresholds, against the sum of the best
    peers: one form of the CRPS, errors, rank histogram, threshold-weighted CRPS, Brier scores,
    reliability, variance of the members, a correlation, quantiles of one member and the truth.
    """
    (members, truth), q = workload, verification.TAIL
    overlap = operator()
    zeros = np.zeros((SIDE, SIDE))
    domain = Domain(
        area=overlap.area, labels=zeros.astype(np.uint8), classes=1, intensity=(),
        thresholds=np.array(THRESHOLDS), windows=(),
        bins=Bins("log2", 2.0**-10, 1024.0, per_octave=128),
        rings=Rings.on(SIDE, SIDE, dy_km=14.0, dx_km=10.0), lags=(), data_range=(0.0, 40.0),
        climatology=zeros, overlap=overlap, coarse_area=overlap.total, image_every=1, papers=(),
    )  # fmt: skip
    slab = Slab(
        domain=domain, members=members, truth=truth, first=0,
        bilinear=np.zeros_like(truth, dtype=np.float64),
        coarse=overlap(truth).astype(np.float32),
    )  # fmt: skip
    few = 10
    x = xr.DataArray(members[:few], dims=DIMS)
    t = xr.DataArray(truth[:few], dims=["time", "y", "x"])

    share = few / STEPS
    groups = [
        crps_peers(members, truth, few),
        error_peers(members, truth, of="mean", settings={"skipna=False": False}, steps=few),
        rank_peers(members, truth, few), event_peers(members, truth, few),
        [Peer("xarray", lambda: x.var("member", ddof=1, skipna=False).mean(), share)],
        [Peer("xskillscore", lambda: xskillscore.pearson_r(x[:, 0], t, dim=t.dims), share)],
        [Peer("numpy", lambda: [np.quantile(f, q) for f in (members[:few, 0], t)], share)],
    ]  # fmt: skip
    best = [min(group, key=lambda peer: min(seconds(peer.call) for _ in "12")) for group in groups]
    together = Peer("sum of the best", lambda: [peer.call() for peer in best], share)
    measure(
        benchmark, "all pointwise families", lambda: pointwise.reduce(slab), base=members.sum,
        peers=[together], passes=7, faster=40, rounds=5,
    )  # fmt: skip
