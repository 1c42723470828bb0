"""Scores straight from their formulas, on whole arrays in float64: the kit's second opinion.

Nothing here is shared with the harness: no families, kernels, metrics, grid or bins. Slow and
short on purpose. A value is NaN where it is missing.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.conformance.pseudo_models import bilinear, surface_classes
from benchmark.conformance.world import BORDER, FACTOR, RADIUS_M, RAIN, Place
from benchmark.task import Variable

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Values = dict[str, dict[str, float]]
"""{metric's entry: {stratum: value}}."""


@dataclass(frozen=True)
class Scene:
    """One region and variable over the test period, without its border.

    members: (T, M, ny, nx) as predicted, with the border; the properties have none.
    """

    place: Place
    variable: Variable
    members: NDArray[np.float32]

    @cached_property
    def x(self) -> Array:
        """(T, M, ny, nx) members."""
        return inner(self.members).astype(np.float64)

    @cached_property
    def t(self) -> Array:
        """(T, ny, nx) truth, NaN where it is lost."""
        truth = self.place.truth[self.variable.name][self.place.steps("test")]
        return inner(truth).astype(np.float64)

    @cached_property
    def p(self) -> Array:
        """(T, ny, nx) ensemble mean."""
        return np.asarray(self.x.mean(axis=1))

    @cached_property
    def one(self) -> Array:
        """(T, ny, nx) one member a step, in turn."""
        steps = np.arange(len(self.x))
        return np.asarray(self.x[steps, steps % self.x.shape[1]])

    @cached_property
    def b(self) -> Array:
        """(T, ny, nx) bilinear."""
        return np.asarray(inner(bilinear(self.place, self.variable.name)), np.float64)

    @cached_property
    def climatology(self) -> Array:
        """(ny, nx) mean of the training period's truth."""
        truth = self.place.truth[self.variable.name][self.place.steps("train")]
        return np.asarray(inner(truth).astype(np.float64).mean(axis=0))

    @cached_property
    def area(self) -> Array:
        """(ny, nx) m2."""
        return inner(self.place.area)

    @cached_property
    def weight(self) -> Array:
        """(T, ny, nx) area where there is a truth, else 0."""
        return np.where(np.isfinite(self.t), self.area, 0.0)

    @cached_property
    def pictures(self) -> NDArray[np.int64]:
        """The steps whose truth has no gap."""
        return np.flatnonzero(np.isfinite(self.t).all(axis=(1, 2)))

    @cached_property
    def cell_km(self) -> tuple[float, float]:
        """(dy, dx): one size of cell for the region: its height, and its mean area over that."""
        edges = self.place.y_edges
        height = np.radians(abs(edges[0] - edges[-1]) / (len(edges) - 1)) * RADIUS_M / 1000
        return float(height), float(self.area.mean() / 1e6 / height)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """{name: threshold}, as a float32 field can be compared with it."""
        found = {f">= {u:g} {self.variable.units}": u for u in self.variable.thresholds}
        truth = self.place.truth[self.variable.name][self.place.steps("train")]
        for percentile in self.variable.percentiles:
            u = binned_quantile(inner(truth).ravel(), bin_edges(self.variable), percentile / 100)
            found[f">= P{percentile:g}"] = max(u, 0.1) if self.variable.name == RAIN else u
        return {name: float(np.float32(u)) for name, u in found.items()}

    @cached_property
    def strata(self) -> dict[str, Mask]:
        """{stratum: (T, ny, nx)}."""
        classes = inner(surface_classes(self.place)) * np.ones(self.t.shape, np.int64)
        found = {"all": classes >= 0, "land": classes > 0}
        for number, name in enumerate(("sea", "lowland", "upland", "mountain")):
            found[name] = classes == number
        bounds = [-np.inf, *(float(np.float32(v)) for v in self.variable.intensity), np.inf]
        for number in range(4):
            inside = (self.t >= bounds[number]) & (self.t < bounds[number + 1])
            found[f"intensity-{number + 1}"] = inside
        return found

    @cached_property
    def seasons(self) -> dict[str, Mask]:
        """{season: (T, 1, 1)} of the test period, by the latitude of the region's centre."""
        times = self.place.times[self.place.steps("test")]
        months = times.astype("datetime64[M]").astype(int) % 12 + 1
        south = self.place.y_edges[0] + self.place.y_edges[-1] < 0
        names = ("summer", "autumn") if south else ("winter", "spring")
        others = ("winter", "spring") if south else ("summer", "autumn")
        early = np.isin(months, (12, 1, 2))[:, None, None]
        none = np.zeros_like(early)
        return {names[0]: early, names[1]: ~early, others[0]: none, others[1]: none}


def inner(field: NDArray[Any]) -> NDArray[Any]:
    """A (..., ny, nx) field without the border that is not scored."""
    return field[..., BORDER:-BORDER, BORDER:-BORDER]


def mean(field: Array, weight: Array) -> float:
    """sum(w f) / sum(w); NaN without any weight."""
    total = weight.sum()
    known = np.where(weight > 0, field, 0.0)
    return float((weight * known).sum() / total) if total > 0 else np.nan


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN where the whole is 0."""
    return part / whole if whole > 0 else np.nan


def crps_of_cells(x: Array, t: Array, *, fair: bool) -> Array:
    """(T, ...) mean_m |x_m - t| less sum over m < n of |x_m - x_n| over the pairs; x: (T, M, ...).

    pairs: M (M - 1) in the fair form, M^2 in the ecdf form; none of one member.
    """
    count = x.shape[1]
    distance = abs(x - t[:, None]).mean(axis=1)
    spread = np.zeros_like(t)
    for m in range(count):
        for n in range(m):
            spread += abs(x[:, m] - x[:, n])
    return np.asarray(distance - spread / max(count * (count - 1 if fair else count), 1))


def variance(field: Array, weight: Array) -> float:
    """<(f - <f>)^2>."""
    return mean((field - mean(field, weight)) ** 2, weight)


def rmse(scene: Scene) -> float:
    """The RMSE of the ensemble mean, pooled over the region's cells and steps."""
    return sqrt(mean((scene.p - scene.t) ** 2, scene.weight))


def crps_fair(scene: Scene) -> float:
    """The fair CRPS, pooled over the region's cells and steps."""
    return mean(crps_of_cells(scene.x, scene.t, fair=True), scene.weight)


def in_strata(scene: Scene) -> Values:
    """The metrics that are given for every stratum and season."""
    p, t = scene.p, scene.t
    fair, ecdf = (crps_of_cells(scene.x, t, fair=form) for form in (True, False))
    found: Values = {}
    for name, mask in {**scene.strata, **scene.seasons}.items():
        weight = np.where(mask, scene.weight, 0.0)
        values = {
            "bias": mean(p - t, weight),
            "mae": mean(abs(p - t), weight),
            "rmse": mean((p - t) ** 2, weight) ** 0.5,
            "variance_ratio": ratio(variance(p, weight), variance(t, weight)),
            "crps_fair": mean(fair, weight),
            "crps_ecdf": mean(ecdf, weight),
        }
        for entry, value in values.items():
            found.setdefault(entry, {})[name] = value
    return found


def of_cells(scene: Scene) -> dict[str, float]:
    """Moments and ensemble scores of all cells."""
    p, t, w, count = scene.p, scene.t, scene.weight, scene.x.shape[1]
    squared = mean((p - t) ** 2, w)
    dp, dt = p - scene.b, t - scene.b
    both = variance(dp, w) * variance(dt, w)
    covariance = mean((dp - mean(dp, w)) * (dt - mean(dt, w)), w)
    anomaly = t - scene.climatology
    extent = scene.variable.data_range[1] - scene.variable.data_range[0]
    spread = mean(scene.x.var(axis=1, ddof=1), w) if count > 1 else np.nan
    found = {
        "increment_correlation": ratio(covariance, both**0.5),
        "r2": 1 - ratio(squared, variance(t, w)),
        "r2_anomaly": 1 - ratio(squared, variance(anomaly, w)),
        "psnr": 10 * np.log10(extent**2 / squared) if squared > 0 else np.nan,
        "spread_skill": ratio((count + 1) / count * spread, squared) ** 0.5,
        "negatives": 1e6 * mean((scene.x < 0).mean(axis=1), w),
    }
    ranks = rank_shares(scene)
    outer = (ranks[0] + ranks[-1]) * (count + 1) / 2
    found["outer_ranks"] = float(outer) if count > 1 else np.nan
    if count > 1:
        found |= {f"rank_histogram[rank {r}]": (count + 1) * v for r, v in enumerate(ranks)}
    return found


def rank_shares(scene: Scene) -> list[float]:
    """The share of truths at each rank 0..M; one that equals k members is k + 1 ranks at once."""
    t = scene.t[:, None]
    below, ties = (scene.x < t).sum(axis=1), (scene.x == t).sum(axis=1)
    return [
        mean(((below <= r) & (r <= below + ties)) / (ties + 1), scene.weight)
        for r in range(scene.x.shape[1] + 1)
    ]


def of_blocks(scene: Scene) -> dict[str, float]:
    """The fair CRPS of block means, from half a coarse cell inwards."""
    offset = FACTOR // 2
    found = {}
    for side in (2, 4, 8, 16):
        ny, nx = ((n - offset) // side * side for n in scene.area.shape)
        value = np.nan
        if ny and nx:
            cut = (..., slice(offset, offset + ny), slice(offset, offset + nx))
            area = _add_blocks(scene.area[cut], side)
            x, t = (_add_blocks((f * scene.area)[cut], side) / area for f in (scene.x, scene.t))
            weight = np.where(np.isfinite(t), area, 0.0)
            value = mean(crps_of_cells(x, t, fair=True), weight)
        found[f"block_crps[{side} cells]"] = value
    return found


def _add_blocks(field: Array, side: int) -> Array:
    ny, nx = (n // side for n in field.shape[-2:])
    return np.asarray(field.reshape(*field.shape[:-2], ny, side, nx, side).sum(axis=(-3, -1)))


def of_coarse(scene: Scene) -> dict[str, float]:
    """Residuals of 4 x 4 area means against the coarse input, and against the truth's."""
    area = _add_blocks(scene.area, FACTOR)
    x, t = (_add_blocks(f * scene.area, FACTOR) / area for f in (scene.x, scene.t))
    coarse = scene.place.coarse[scene.variable.name][scene.place.steps("test"), 1:-1, 1:-1]
    given = coarse.astype(np.float64)
    residual = x - given[:, None]
    every, whole = np.broadcast_to(area, t.shape), np.where(np.isfinite(t), area, 0.0)
    largest = np.finfo(np.float32).eps * abs(given).max()
    return {
        "residual": mean(abs(residual).mean(axis=1), every),
        "residual_rms": mean((residual**2).mean(axis=1), every) ** 0.5,
        "residual_ulps": float(abs(residual).max() / largest),
        "truth_residual": mean(abs(x - t[:, None]).mean(axis=1), whole),
        "mismatch": mean(abs(t - given), whole),
    }


def bin_edges(variable: Variable) -> Array:
    """The finite edges of a variable's bins; `log2` ones begin with 0, where the dry mass lies."""
    bins = variable.bins
    if bins.kind == "linear":
        return np.arange(bins.low, bins.high + (bins.width or 0) / 2, bins.width)
    octaves = np.arange(np.log2(bins.low), np.log2(bins.high))
    parts = 1 + np.arange(bins.per_octave) / bins.per_octave
    return np.concatenate([[0.0], (2.0 ** octaves[:, None] * parts).ravel(), [bins.high]])


def binned_quantile(values: NDArray[Any], edges: Array, q: float) -> float:
    """The q-quantile of counts in bins, evenly spread inside each; 0 in the dry mass."""
    numbers = values.astype(np.float64)
    upto = np.searchsorted(np.sort(numbers), edges, side="left").astype(np.float64)
    if edges[0] == 0:
        upto[0] = (numbers <= 0).sum()
        if q * len(numbers) <= upto[0]:
            return 0.0
    return float(np.interp(q * len(numbers), upto, edges))
