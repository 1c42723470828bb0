"""The plain scores of events and of distributions."""

import numpy as np

from benchmark.conformance.plain import Array, Scene, bin_edges, crps_of_cells, mean, ratio
from benchmark.conformance.world import RAIN

QUANTILES = {"p95": 0.95, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}


def of_events(scene: Scene) -> dict[str, float]:
    """Contingency, Brier and reliability scores at every threshold; members pooled."""
    found: dict[str, float] = {}
    for name, u in scene.thresholds.items():
        values = _at(scene, u)
        x, t = np.maximum(scene.x, u), np.maximum(scene.t, u)
        values["tw_crps"] = mean(crps_of_cells(x, t, fair=True), scene.weight)
        found |= {f"{entry}[{name}]": value for entry, value in values.items()}
    return found


def _at(scene: Scene, u: float) -> dict[str, float]:
    w, count = scene.weight, scene.x.shape[1]
    i = (scene.x >= u).sum(axis=1)
    f, o = i / count, (scene.t >= u).astype(float)
    hits, false = mean(f * o, w), mean(f * (1 - o), w)
    misses, correct = mean((1 - f) * o, w), mean((1 - f) * (1 - o), w)
    chance = (hits + false) * (hits + misses)
    events, share = hits + false + misses, hits + misses
    heidke = (hits + misses) * (misses + correct) + (hits + false) * (false + correct)
    brier = mean((f - o) ** 2, w)
    within = mean(i * (count - i) / (count**2 * max(count - 1, 1)), w)
    reliability = resolution = 0.0
    for j in range(count + 1):
        weight = np.where(i == j, w, 0.0)
        if weight.sum() > 0:
            observed = mean(o, weight)
            part = float(weight.sum() / w.sum())
            reliability += part * (j / count - observed) ** 2
            resolution += part * (observed - share) ** 2
    return {
        "csi": ratio(hits, events),
        "ets": ratio(hits - chance, events - chance),
        "hss": ratio(2 * (hits * correct - false * misses), heidke),
        "frequency_bias": ratio(hits + false, share),
        "brier": brier,
        "brier_fair": brier - within,
        "brier_skill": 1 - ratio(brier, share * (1 - share)),
        "reliability": reliability,
        "resolution": resolution,
    }


def of_distribution(scene: Scene) -> dict[str, float]:
    """Scores of the pooled values of one member a step; from the values, not from bins.

    Those that are defined by bins (Perkins) take them; the others are right to their width.
    """
    known = scene.weight > 0
    p, t, w = scene.one[known], scene.t[known], scene.weight[known]
    rain = scene.variable.name == RAIN
    if rain:
        p = np.maximum(p, 0.0)  # the first bin holds all that is dry
    days = np.where(known, scene.t, -np.inf).reshape(-1, 2 * scene.t[0].size).max(axis=1)
    found = {}
    predicted, observed = (_quantiles(values, w) for values in (p, t))
    for name, true in observed.items():
        shown = (t >= true).sum() >= 100 and (days >= true).sum() >= 10
        found[f"{name}_error"] = predicted[name] - true if shown else np.nan
    wet = np.float32(0.1)
    difference = mean((p >= wet).astype(float), w) - mean((t >= wet).astype(float), w)
    edges = np.concatenate([[-np.inf], _groups(scene), [np.inf]])
    shares = [np.histogram(_dry_below(v), edges, weights=w)[0] / w.sum() for v in (p, t)]
    return found | {
        "wet_fraction_error": difference if rain else np.nan,
        "wasserstein_1": _wasserstein(p, t, w),
        "perkins": float(np.minimum(*shares).sum()),
        "ganvsdiffusion_lhd": np.nan,  # of mm d-1 only
    }


def _quantiles(values: Array, weights: Array) -> dict[str, float]:
    """inf {x: F(x) >= q} for each q."""
    order = np.argsort(values)
    ranked, upto = values[order], np.cumsum(weights[order])
    return {
        name: float(ranked[np.searchsorted(upto, q * upto[-1])]) for name, q in QUANTILES.items()
    }


def _wasserstein(p: Array, t: Array, w: Array) -> float:
    """integral |F_p - F_t|, both of weights w."""
    values = np.concatenate([p, t])
    order = np.argsort(values)
    gap = np.cumsum(np.concatenate([w, -w])[order])[:-1] / w.sum()
    return float((abs(gap) * np.diff(values[order])).sum())


def _groups(scene: Scene) -> Array:
    """Edges a unit apart, or four to an octave."""
    edges, bins = bin_edges(scene.variable), scene.variable.bins
    if bins.kind == "linear":
        return edges[:: round(1 / (bins.width or 1))]
    return np.concatenate([edges[:1], edges[1 :: bins.per_octave // 4]])


def _dry_below(values: Array) -> Array:
    """Bins are half-open; of rain, what is exactly 0 belongs to the dry ones."""
    return np.where(values <= 0, -1.0, values)
