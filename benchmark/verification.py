"""Scores of plain arrays, without stores: the functions for a notebook.

Fields are float32: members (time, member, y, x), finite everywhere; truth (time, y, x), NaN where
it is missing. A missing truth counts nowhere, in no score. weights (y, x), not negative, are cell
areas in any unit, or all equal by default. Scores pool all times and cells: sums over the whole
sample first, then one ratio. Sums are float64, each step's alone, so that they do not depend on
how a user cuts the times.

Everywhere: InputError when shapes, types or values are not as stated; nothing is repaired.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.bins import Bins
from benchmark.coarsen import AreaOverlap
from benchmark.distribution_metrics import quantile, wasserstein_1
from benchmark.engine import compiled
from benchmark.errors import InputError, Problem
from benchmark.families import conservation as residual_sums
from benchmark.families.base import Array, Field
from benchmark.families.ensemble import crps_sums, mean, ties_and_below
from benchmark.families.lanes import ArrayOps
from benchmark.families.pointwise import rank_shares

TAIL = (0.95, 0.99, 0.999, 0.9999)
"""The quantiles that verification of extremes asks for."""

_VALUES = 2**16  # binned at once by numpy


class CRPS(NamedTuple):
    """Two estimates of one score, in the variable's unit; lower is better."""

    fair: float
    ecdf: float


class Errors(NamedTuple):
    """Of the ensemble mean: bias, MAE and RMSE in the variable's unit; var p / var t, no unit."""

    bias: float
    mae: float
    rmse: float
    variance_ratio: float


class Conservation(NamedTuple):
    """Residuals of block means, in the variable's unit.

    residual: <mean_m |A x_m - coarse|>; root_residual: the root of the mean square of the same;
    largest: max |A x_m - coarse| over times, members and blocks; truth_residual: <mean_m |A x_m -
    A t|>; mismatch: <|A t - coarse|>. The last two over blocks whose truth is complete.
    """

    residual: float
    root_residual: float
    largest: float
    truth_residual: float
    mismatch: float


def crps(members: Field, truth: Field, weights: Array | None = None) -> CRPS:
    """CRPS of an ensemble of M members x against t, with the weighted mean <.>.

    fair = <mean_m |x_m - t|> - <sum_{i<j} |x_i - x_j|> / (M (M - 1)), for exchangeable members;
    ecdf has M^2 instead of M (M - 1): the CRPS of the members' empirical distribution. Ties need
    no care. Both are the mean absolute error where M = 1, and NaN where no truth is known.
    Refs: Gneiting and Raftery 2007, doi 10.1198/016214506000001437; Ferro 2014, doi
    10.1002/qj.2270.
    """
    sums = _pooled(crps_sums(*_flat(members, truth, weights))[:, 0])
    distance, spread = sums[[0, 2]] / _positive(sums[1])
    size = members.shape[1]
    return CRPS(
        fair=float(distance - spread / max(1, size * (size - 1))),
        ecdf=float(distance - spread / size**2),
    )


def errors(
    members: Field,
    truth: Field,
    weights: Array | None = None,
    *,
    of: Literal["mean", "members"] = "mean",
) -> Errors:
    """Errors of the ensemble mean p: <p - t>, <|p - t|>, <(p - t)^2>^(1/2), var p / var t.

    of="members": of every member as a forecast of its own, pooled over them.
    var f = <f^2> - <f>^2 over times and cells. NaN where no truth is known; the ratio is NaN where
    the truth does not vary.
    Ref: Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9.
    """
    sums = _pooled(error_sums(*_flat(members, truth, weights), each=of == "members"))
    e, magnitude, square, p, t, pp, tt = sums[1:] / _positive(sums[0])
    return Errors(
        bias=float(e),
        mae=float(magnitude),
        rmse=float(np.sqrt(square)),
        variance_ratio=float((pp - p * p) / _positive(tt - t * t)),
    )


def rank_histogram(members: Field, truth: Field, weights: Array | None = None) -> Array:
    """(M + 1,) share of the weight in which the truth exceeds 0, 1, ..., M members; sums to 1.

    A truth equal to n members is spread evenly over the n + 1 ranks that it could have: no random
    numbers. NaN where no truth is known.
    Ref: Hamill 2001, doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2.
    """
    size = members.shape[1] if members.ndim == 4 else 0
    table = _pooled(rank_sums(*_flat(members, truth, weights)))
    ranks = table @ rank_shares(size)
    return np.asarray(ranks / _positive(ranks.sum()))


def tail_quantiles(values: Field, bins: Bins, q: Sequence[float] = TAIL) -> Array:
    """(len(q),) quantiles inf {x: F(x) >= q} of all values, whose F is linear inside bins.

    values: any shape, float32, NaN where missing (counts nowhere); every value counts alike. The
    result is off by at most one bin: 0.2 % with 512 bins an octave. NaN where a quantile lies in
    an open bin, or there is no value; 0 where it lies in the dry mass of log2 bins.
    """
    counts = count(values, bins).astype(np.float64)
    return np.array([float(quantile(counts, bins, one)) for one in q])


def wasserstein(first: Field, second: Field, bins: Bins) -> float:
    """W1 = integral |F_1(x) - F_2(x)| dx between two samples of values, in the variable's unit.

    Values as in `tail_quantiles`, the two of any sizes. NaN where values lie in an open bin.
    Off by some 1e-6 of the mean with 512 bins an octave, by less than 1e-6 with 4096.
    Ref: Villani 2003, Topics in Optimal Transportation, sect. 2.2.
    """
    counts = [count(values, bins).astype(np.float64) for values in (first, second)]
    return float(wasserstein_1(counts[0], counts[1], bins))


def conservation(members: Field, truth: Field, coarse: Field, overlap: AreaOverlap) -> Conservation:
    """How far area means A x of members are from the coarse field, and from those of the truth.

    coarse: (time, Ny, Nx) float32, finite; A: `overlap`, of any ratio of spacings. Means are over
    times, members and blocks, weighted with the blocks' areas; a missing truth takes its blocks
    out of what compares with the truth, which is NaN where no block is complete.
    Ref: Harder et al. 2023, JMLR 24(365).
    """
    _check(members, truth, None)
    steps, _, *shape = members.shape
    expected = f"{(steps, *overlap.coarse_shape)} float32 over {overlap.fine_shape} cells"
    if (*coarse.shape, *shape) != (steps, *overlap.coarse_shape, *overlap.fine_shape) or (
        coarse.dtype != np.float32
    ):
        got = f"{coarse.shape} {coarse.dtype} over {tuple(shape)} cells"
        fix = "Give the coarse field of the same times and the operator between both grids."
        raise InputError(Problem("coarse", expected, got, fix))
    fields = (np.ascontiguousarray(field) for field in (members, truth, coarse))
    steps_sums, largest = residual_sums.residuals(*fields, overlap=overlap, area=overlap.total)
    area, whole, distance, square, against, _, mismatch = _pooled(steps_sums)
    return Conservation(
        residual=float(distance / _positive(area)),
        root_residual=float(np.sqrt(square / _positive(area))),
        largest=float(largest[:, 0].max(initial=0.0)),
        truth_residual=float(against / _positive(whole)),
        mismatch=float(mismatch / _positive(whole)),
    )


def error_sums(members: Field, truth: Field, weights: Array, *, each: bool = False) -> Array:
    """(T, 8) weighted sums of each step: 1, e, |e|, e^2, p, t, p^2, t^2, with e = p - t.

    each: means over the members of x - t, |x - t|, ... in place of the terms of their mean p.

    members: (T, M, N); truth: (T, N), NaN where it is missing; float32, C-contiguous; weights:
    (N,) float64.
    """
    if compiled():
        from benchmark.kernels import errors as kernels

        return kernels.error_sums(members, truth, weights, each=each)
    sums = np.zeros((len(truth), 8))
    for k, (fields, field) in enumerate(zip(members, truth, strict=True)):
        t, weight = _known(field, weights)
        wide, t = [member.astype(np.float64) for member in fields], t.astype(np.float64)
        x = wide if each else [mean(wide)]
        e = [member - t for member in x]
        terms = (
            mean(e), mean([abs(error) for error in e]), mean([error**2 for error in e]),
            mean(x), t, mean([member**2 for member in x]), t * t,
        )  # fmt: skip
        sums[k] = weight.sum(), *((weight * term).sum() for term in terms)
    return sums


def rank_sums(members: Field, truth: Field, weights: Array) -> Array:
    """(T, (M + 1)^2) weight of each step by (members below the truth, members equal to it).

    Arguments as of `error_sums`; NaN where a member is not finite.
    """
    if compiled():
        from benchmark.kernels import errors as kernels

        return kernels.rank_sums(members, truth, weights)
    size = members.shape[1] + 1
    sums = np.zeros((len(truth), size**2))
    for k, (fields, field) in enumerate(zip(members, truth, strict=True)):
        t, weight = _known(field, weights)
        below, ties = ties_and_below(list(fields), t, ArrayOps())
        sums[k] = np.bincount(below * size + ties, weight, size**2)
        if not np.isfinite(fields).all():
            sums[k] = np.nan
    return sums


def count(values: Field, bins: Bins) -> NDArray[np.int64]:
    """(len(bins),) how many values lie in each bin; NaN lies in none. values: any shape, float32.

    Errors: InputError when values are not float32.
    """
    if values.dtype != np.float32:
        raise InputError(_wrong_type("values", values))
    if compiled():
        from benchmark.kernels import histogram

        return histogram.count(values, bins)
    counts, flat = np.zeros(len(bins), np.int64), values.ravel()
    for start in range(0, flat.size, _VALUES):
        some = flat[start : start + _VALUES]
        counts += np.bincount(bins.index(some[~np.isnan(some)]), minlength=len(bins))
    return counts


def _known(truth: Field, weights: Array) -> tuple[Field, Array]:
    """The truth with 0 where it is missing, and the weights with 0 there."""
    valid = ~np.isnan(truth)
    return np.where(valid, truth, np.float32(0)), np.where(valid, weights, 0.0)


def _flat(members: Field, truth: Field, weights: Array | None) -> tuple[Field, Field, Array]:
    """Checked arrays with one axis of cells, C-contiguous."""
    _check(members, truth, weights)
    steps, size, ny, nx = members.shape
    if weights is None:
        weights = np.ones((ny, nx))
    return (
        np.ascontiguousarray(members).reshape(steps, size, ny * nx),
        np.ascontiguousarray(truth).reshape(steps, ny * nx),
        np.ascontiguousarray(weights, np.float64).ravel(),
    )


def _check(members: Field, truth: Field, weights: Array | None) -> None:
    problems = []
    for where, field in (("members", members), ("truth", truth)):
        if field.dtype != np.float32:
            problems.append(_wrong_type(where, field))
    if members.ndim != 4 or 0 in members.shape:
        expected, got = "(time, member, y, x), none empty", f"{members.shape}"
        fix = "Give one forecast a member axis of length 1: members[:, None]."
        problems.append(Problem("members", expected, got, fix))
    elif truth.shape != (members.shape[0], *members.shape[2:]):
        expected = f"(time, y, x) = {(members.shape[0], *members.shape[2:])}, as the members'"
        fix = "Give both on the same grid and times."
        problems.append(Problem("truth", expected, f"{truth.shape}", fix))
    if weights is not None:
        good = weights.shape == members.shape[2:] and bool((weights >= 0).all())
        if not (good and np.isfinite(weights).all()):
            expected, got = f"(y, x) = {members.shape[2:]}, finite, >= 0", f"{weights.shape}"
            fix = "Give each cell's area, or leave the weights out."
            problems.append(Problem("weights", expected, got, fix))
    if problems:
        raise InputError(problems)


def _wrong_type(where: str, field: NDArray[Any]) -> Problem:
    fix = "Convert it yourself with .astype(np.float32), knowing what that rounds."
    return Problem(where, "float32", f"{field.dtype}", fix)


def _pooled(sums: Array) -> Array:
    """The steps' sums, added in time order. A member that is not finite makes them so."""
    total = np.add.reduce(sums, axis=0)
    if not np.isfinite(total).all():
        step = int(np.flatnonzero(~np.isfinite(sums).all(axis=1))[0])
        fix = "Give finite fields; only the truth may be NaN, where it is missing."
        got = f"NaN or infinity at time {step}"
        raise InputError(Problem("members, truth or coarse", "finite numbers", got, fix))
    return np.asarray(total)


def _positive(total: float) -> float:
    return total if total > 0 else np.nan
