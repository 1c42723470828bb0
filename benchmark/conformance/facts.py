"""Answers that need no computer: what follows from how a pseudo-model was made."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import log10, pi, sqrt
from typing import Any

import numpy as np

from benchmark.conformance.pseudo_models import BY_SURFACE, OFFSETS, RUNGS, STRIPE
from benchmark.conformance.world import BORDER, BOXES, MEMBERS, RAIN, TEMPERATURE, Place, World

WHOLE = ("equator", "home")
"""Regions whose truth has no gap: every day weighs the same."""
Where = dict[str, Any]
"""Options of `_say`."""
VARIABLES = (TEMPERATURE, RAIN)
UNREACHED = {TEMPERATURE: ">= 400 K", RAIN: ">= 500 mm h-1"}
REACHED = {TEMPERATURE: ">= P90", RAIN: ">= 1 mm h-1"}
RANGE = {TEMPERATURE: 100.0, RAIN: 50.0}
ERRORS = 5
"""Standard errors that a statistical answer may be off."""


@dataclass(frozen=True)
class Fact:
    """One known number; tolerance: None for what the metric's rounding allows."""

    variable: str
    metric: str
    region: str
    stratum: str
    expected: float | None
    why: str
    tolerance: float | None = None


def facts(world: World, model: str) -> Iterator[Fact]:
    """The facts about a pseudo-model."""
    for variable in VARIABLES:
        yield from _everywhere(variable)
        if model in _FACTS:
            yield from _FACTS[model](world, variable)


def _say(
    variable: str, metrics: Iterable[str], expected: float | None, why: str, *,
    regions: Iterable[str] = tuple(BOXES), strata: Iterable[str] = ("all",),
    tolerance: float | None = None,
) -> list[Fact]:  # fmt: skip
    return [
        Fact(variable, metric, region, stratum, expected, why, tolerance)
        for metric in metrics
        for region in regions
        for stratum in strata
    ]


def _at(metrics: Iterable[str], place: str) -> list[str]:
    return [f"{metric}[{place}]" for metric in metrics]


def _everywhere(variable: str) -> Iterator[Fact]:
    """What is missing whatever is predicted, because no cell or case has it."""
    errors = ("bias", "mae", "rmse", "variance_ratio", "crps_fair", "crps_ecdf")
    for region, strata, why in (
        ("polar", ("sea",), "no cell of the region is sea"),
        ("equator", ("upland", "mountain"), "no cell of the region is higher than 500 m"),
        ("home", ("summer", "autumn"), "February and March are winter and spring in the north"),
        ("equator", ("winter", "spring"), "the centre is in the south: summer and autumn"),
    ):
        missing = f"{why}: missing, not 0"
        yield from _say(variable, errors, None, missing, regions=[region], strata=strata)
    small = "the region is too small for it: missing, not 0"
    yield from _say(variable, ["ms_ssim"], None, small, regions=["equator", "polar"])
    yield from _say(variable, ["block_crps[16 cells]"], None, small, regions=["polar"])
    pairs = ["structure_ratio[x, 16 cells]"]
    yield from _say(variable, pairs, None, small, regions=["polar"])
    at = [f"{REACHED[variable]}, 17 cells", f"{UNREACHED[variable]}, 1 cells"]
    yield from _say(variable, _at(["fss"], at[0]), None, small, regions=["polar"])
    never = "neither truth nor prediction reaches it: missing, not 0"
    scores = ["csi", "ets", "hss", "frequency_bias", "brier_skill"]
    yield from _say(variable, _at(scores, UNREACHED[variable]), None, never)
    yield from _say(variable, _at(["fss"], at[1]), None, never)
    right = "that nothing is reached was said of every cell"
    yield from _say(variable, _at(["brier", "tw_crps"], UNREACHED[variable]), 0.0, right)


def _perfect(_: World, variable: str) -> Iterator[Fact]:
    same, u = "prediction and truth are the same", REACHED[variable]
    zero = ["bias", "mae", "rmse", "crps_fair", "crps_ecdf"]
    yield from _say(variable, zero, 0.0, same, strata=("all", "land"))
    yield from _say(variable, ["variance_ratio"], 1.0, same, strata=("all", "land"))
    more = ["truth_residual", "wasserstein_1", "log_spectral_distance", "amplitude_error",
            "decorrelation_error", "amse", "nyquist_excess", "block_crps[2 cells]",
            "block_crps[8 cells]", "orbit2_quantile_rmse_95",
            *_at(["brier", "brier_fair", "reliability", "tw_crps"], u)]  # fmt: skip
    yield from _say(variable, more, 0.0, same, regions=WHOLE)
    ones = ["r2", "r2_anomaly", "increment_correlation", "perkins", "coherence", "ssim",
            *_at(["csi", "ets", "hss", "frequency_bias", "brier_skill"], u),
            *_at(["fss"], f"{u}, 1 cells"), *_at(["fss"], f"{u}, 9 cells"),
            "structure_ratio[y, 1 cells]", "structure_ratio[x, 4 cells]"]  # fmt: skip
    yield from _say(variable, ones, 1.0, same)
    yield from _say(variable, ["ms_ssim"], 1.0, same, regions=["home"])
    yield from _say(variable, ["negatives"], 0.0, "no truth is negative")
    yield from _say(variable, ["psnr"], None, "it would be infinite, which JSON cannot say")
    point = "one member has no spread and no ranks"
    yield from _say(variable, ["spread_skill", "outer_ranks"], None, point)
    boards = ["skill[rmse over bilinear]", "skill[crps_fair over drawn]"]
    best = "1 less 0 over anything"
    yield from _say(variable, boards, 1.0, best)
    splits: Where = {"regions": ("test_id", "test_ood"), "strata": ("mean", "median", "worst")}
    yield from _say(variable, boards, 1.0, best, **splits)


def _coarse_repeat(_: World, variable: str) -> Iterator[Fact]:
    why = "the mean of equal values is that value"
    yield from _say(variable, ["residual", "residual_rms"], 0.0, why)
    yield from _say(variable, ["residual_ulps"], 0.0, f"{why}, to 4 ulps")


def _constant(_: World, variable: str) -> Iterator[Fact]:
    flat = "a constant does not vary"
    zero = ["variance_ratio", "structure_ratio[y, 1 cells]", "structure_ratio[x, 8 cells]"]
    yield from _say(variable, zero, 0.0, flat)
    silent = "a constant has no power to compare: missing, not 0"
    yield from _say(
        variable, ["log_spectral_distance", "coherence", "nyquist_excess"], None, silent
    )
    if variable == RAIN:
        why = "1 mm/h is on the threshold and so reaches it, everywhere: no better than chance"
        yield from _say(variable, _at(["ets", "hss"], ">= 1 mm h-1"), 0.0, why)


def _permuted(_: World, variable: str) -> Iterator[Fact]:
    why = "the same values at the same cells, at other times: only paired scores change"
    zero = ["bias", "wasserstein_1", "log_spectral_distance", "nyquist_excess",
            "amplitude_error"]  # fmt: skip
    yield from _say(variable, zero, 0.0, why, regions=WHOLE)
    ones = ["variance_ratio", "perkins", "structure_ratio[y, 2 cells]",
            *_at(["frequency_bias"], REACHED[variable])]  # fmt: skip
    yield from _say(variable, ones, 1.0, why, regions=WHOLE)


def _drawn(world: World, variable: str) -> Iterator[Fact]:
    for region in WHOLE:
        place = world.places[region]
        test = place.steps("test")
        cells = place.area[BORDER:-BORDER, BORDER:-BORDER].size * len(place.times[test])
        fair, spread = _expected_crps(place, variable)
        near = ERRORS * spread / sqrt(cells)
        why = "half the mean distance of two draws from the law"
        yield Fact(variable, "crps_fair", region, "all", fair, why, near)
        unfair = fair * (1 + 1 / MEMBERS)
        why = "the same times 1 + 1 / M"
        yield Fact(variable, "crps_ecdf", region, "all", unfair, why, near)
        why = "the truth is one of M + 1 draws alike"
        for metric, share in (("outer_ranks", 2), *(
            (f"rank_histogram[rank {r}]", 1) for r in range(MEMBERS + 1)
        )):  # fmt: skip
            p = share / (MEMBERS + 1)
            near = ERRORS * sqrt((1 - p) / p / cells)
            yield Fact(variable, metric, region, "all", 1.0, why, near)
        if variable == TEMPERATURE:
            sigma = place.law.sigma[test]
            kurtosis = 3 * (sigma**4).mean() / (sigma**2).mean() ** 2
            near = ERRORS * sqrt((kurtosis - 1) / cells)
            yield Fact(variable, "spread_skill", region, "all", 1.0, why, near)


def _expected_crps(place: Place, variable: str) -> tuple[float, float]:
    """(expectation, about the standard deviation at a cell) of the fair CRPS.

    E|X - X'| / 2: sigma / sqrt(pi) of a normal; w (1 - w / 2) mu where X is exponential of mean
    mu with probability w and else 0.
    """
    test = place.steps("test")
    if variable == TEMPERATURE:
        sigma = place.law.sigma[test]
        return float(sigma.mean() / sqrt(pi)), float(sqrt((sigma**2).mean()))
    cut = (test, slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    wet, mu = place.law.wet[cut], place.law.mean_rain[test][:, None, None]
    area = np.broadcast_to(place.area[cut[1:]], wet.shape)
    expected = np.average(wet * (1 - wet / 2) * mu, weights=area)
    return float(expected), float(sqrt(np.average(2 * wet * mu**2, weights=area)))


def _offset(_: World, variable: str) -> Iterator[Fact]:
    low, high = OFFSETS
    half, pooled = (low + high) / 2, sqrt((low**2 + high**2) / 2)
    days = {"home": ("all", "winter", "spring"), "equator": ("all", "summer", "autumn")}
    for region, strata in days.items():
        only: Where = {"regions": [region]}
        why = "errors of 1 and 7 on equally many days: their mean"
        errors = ["bias", "mae", "crps_fair", "crps_ecdf"]
        yield from _say(variable, errors, half, why, strata=strata, **only)
        why = "the root of the mean of 1 and 49, and not the mean of 1 and 7"
        yield from _say(variable, ["rmse"], pooled, why, strata=strata, **only)
        why = "a whole day's offset is that of every mean"
        near = 1e-5
        found = ["residual", "truth_residual", "block_crps[2 cells]", "block_crps[16 cells]"]
        yield from _say(variable, found, half, why, tolerance=1e-4, **only)
        yield from _say(variable, ["residual_rms"], pooled, why, tolerance=1e-4, **only)
        decibel = 20 * log10(RANGE[variable] / pooled)
        yield from _say(variable, ["psnr"], decibel, "of the pooled squared error", **only)
        why = "by its authors a mean over images of their RMSE"
        yield from _say(variable, ["orbit2_quantile_rmse_95"], half, why, **only)
        why = "a constant that is added has no wavelength"
        yield from _say(variable, ["log_spectral_distance", "nyquist_excess"], 0.0, why, **only)
        yield from _say(variable, ["coherence"], 1.0, why, tolerance=near, **only)
        yield from _say(variable, ["structure_ratio[x, 1 cells]"], 1.0, why, **only)
        if variable == TEMPERATURE:
            why = "every value moves up, by 4 in the mean"
            yield from _say(variable, ["wasserstein_1"], half, why, tolerance=near, **only)


def _ladder(_: World, variable: str) -> Iterator[Fact]:
    rungs = np.array(RUNGS)
    distance, pairs = abs(rungs).mean(), abs(rungs[:, None] - rungs).sum() / 2
    strata = ("all", "land")
    for metric, expected, why in (
        ("crps_fair", distance - pairs / (MEMBERS * (MEMBERS - 1)), "7/5 - 20/20"),
        ("crps_ecdf", distance - pairs / MEMBERS**2, "7/5 - 20/25"),
        ("bias", rungs.mean(), "the mean of the rungs"),
        ("rmse", abs(rungs.mean()), "the ensemble mean is off by 1 everywhere"),
        ("variance_ratio", 1.0, "the ensemble mean is the truth plus 1"),
    ):
        yield from _say(variable, [metric], float(expected), why, strata=strata)
    why = "root of 6/5 times the variance 5/2 over 1"
    yield from _say(variable, ["spread_skill"], sqrt(3), why)
    why = "one member below the truth and one equal to it: ranks 1 and 2, half each"
    for rank in range(MEMBERS + 1):
        share = (MEMBERS + 1) / 2 if rank in (1, 2) else 0.0
        yield from _say(variable, [f"rank_histogram[rank {rank}]"], share, why)
    yield from _say(variable, ["outer_ranks"], 0.0, why)
    why = "the rungs of every mean are those of its cells"
    blocks = ["block_crps[2 cells]", "block_crps[8 cells]"]
    yield from _say(variable, blocks, float(distance - pairs / 20), why, tolerance=1e-4)
    yield from _say(variable, ["residual"], float(distance), why, tolerance=1e-4)
    root = float(sqrt((rungs**2).mean()))
    yield from _say(variable, ["residual_rms"], root, why, tolerance=1e-4)


def _damped(_: World, variable: str) -> Iterator[Fact]:
    why = "half the amplitude at every wavelength"
    yield from _say(variable, ["variance_ratio"], 0.25, why, strata=("all", "land"))
    yield from _say(variable, ["log_spectral_distance"], 20 * log10(2), why)
    yield from _say(variable, ["nyquist_excess"], -20 * log10(2), why)
    yield from _say(variable, ["coherence"], 1.0, why)
    ratios = ["structure_ratio[y, 1 cells]", "structure_ratio[x, 8 cells]"]
    yield from _say(variable, ratios, 0.5, why)


def _stripes(_: World, variable: str) -> Iterator[Fact]:
    yield from _say(
        variable, ["mae", "rmse"], STRIPE, "off by 2 everywhere", strata=("all", "land")
    )
    why = "columns by turns: nothing is left in a mean over an even number of them"
    yield from _say(variable, ["bias"], 0.0, why)
    found = ["residual", "truth_residual", "block_crps[2 cells]", "block_crps[8 cells]"]
    yield from _say(variable, found, 0.0, why, tolerance=1e-4)


def _by_surface(_: World, variable: str) -> Iterator[Fact]:
    names = ("sea", "lowland", "upland", "mountain")
    here = {"home": names, "equator": names[:2], "polar": names[2:]}
    errors = dict(zip(names, BY_SURFACE, strict=True))
    for region, strata in here.items():
        for stratum in strata:
            found = ["bias", "mae", "rmse", "crps_fair"]
            where: Where = {"regions": [region], "strata": [stratum]}
            why = f"the error over {stratum} is {errors[stratum]:g}"
            yield from _say(variable, found, errors[stratum], why, **where)


def _bilinear(_: World, variable: str) -> Iterator[Fact]:
    why = "it is the reference"
    yield from _say(variable, ["skill[rmse over bilinear]"], 0.0, why)
    splits: Where = {"regions": ("test_id", "test_ood"), "strata": ("mean", "median", "worst")}
    yield from _say(variable, ["skill[rmse over bilinear]"], 0.0, why, **splits)
    rounding = "it adds nothing but the rounding of float32 to bilinear"
    yield from _say(variable, ["increment_correlation"], None, rounding)


def _scaled_bilinear(_: World, variable: str) -> Iterator[Fact]:
    skill = ["skill[rmse over bilinear]"]
    yield from _say(variable, skill, -1.0, "twice the error", regions=["home", "polar"])
    yield from _say(variable, skill, 0.5, "half the error", regions=["equator"])
    why = "twice and half the error are even: the mean of logarithms, not of skills"
    ood: Where = {"regions": ["test_ood"], "strata": ["mean"]}
    yield from _say(variable, skill, 0.0, why, **ood)
    worst: Where = {"regions": ["test_ood", "test_id"], "strata": ["worst"]}
    yield from _say(variable, skill, -1.0, "the region with twice the error", **worst)
    yield from _say(variable, ["gap[rmse over bilinear]"], 0.0, why, **ood)
    home: Where = {"regions": ["test_id"], "strata": ["mean"]}
    yield from _say(variable, ["gap[rmse over bilinear]"], 1.0, "twice the error: +100 %", **home)
    for region, sign in (("home", -1.0), ("polar", -1.0), ("equator", 1.0)):
        why = "the increment is that of the truth, times a number of this sign"
        yield from _say(variable, ["increment_correlation"], sign, why, regions=[region])


_FACTS: dict[str, Callable[[World, str], Iterator[Fact]]] = {
    "perfect": _perfect, "coarse-repeat": _coarse_repeat, "constant": _constant,
    "permuted": _permuted, "drawn": _drawn, "offset": _offset, "ladder": _ladder,
    "damped": _damped, "stripes": _stripes, "by-surface": _by_surface, "bilinear": _bilinear,
    "scaled-bilinear": _scaled_bilinear,
}  # fmt: skip
