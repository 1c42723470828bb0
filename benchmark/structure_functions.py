"""Second-order structure functions: how much fields differ over a distance, with masks.

What the spectrum says of complete fields, these say wherever two cells of the truth are known.
S2(r) = <(f(s + r) - f(s))^2>, twice the variogram (Monin and Yaglom 1975, Statistical Fluid
Mechanics, vol. 2, ch. 8); r = lag times cell size along one axis.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.engine import compiled
from benchmark.errors import InputError, Problem
from benchmark.spectral_metrics import log_spectral_distance

Array = NDArray[np.float64]
Fields = NDArray[np.float32]


def structure_sums(p: Fields, t: Fields, lags: Sequence[int]) -> dict[str, Array]:
    """Squared differences of p and of t over each lag, summed over pairs of cells, for each step.

    p, t: (T, ny, nx) float32, p one field a step; lags: in cells, the same along y and x. Gives
    `structure_p`, `structure_t` (unit squared) and `structure_pairs`: (T, 2, nlag), axis y then x.
    A pair counts where both cells have a truth, whatever p says elsewhere. A lag as long as the
    side has no pairs: 0. Plain pairs, not areas: cells of one region differ little in size.

    Errors: InputError when the shapes differ, the fields are not float32, or a lag is below 1.
    """
    _check(p, t, lags)
    p, t = np.ascontiguousarray(p), np.ascontiguousarray(t)
    cells = np.asarray(lags, dtype=np.int64)
    sums = np.zeros((len(t), 3, 2, len(cells)))
    if compiled():
        from benchmark.kernels.structure_functions import structure
    else:
        structure = _structure
    for step in range(len(t)):
        structure(p[step], t[step], cells, sums[step])
    return {
        "structure_p": sums[:, 0],
        "structure_t": sums[:, 1],
        "structure_pairs": sums[:, 2],
    }


def structure_function(structure: Array, pairs: Array) -> Array:
    """S2 in the variable's unit squared, of summed differences; NaN where there are no pairs."""
    return np.asarray(structure / np.where(pairs > 0, pairs, np.nan))


def structure_ratio(structure_p: Array, structure_t: Array) -> Array:
    """sqrt(S2_p / S2_t) of each axis and lag; 1 is best, below 1 p is too smooth at that scale.

    The pairs are the same and cancel. NaN where the truth does not vary (all dry, no pairs).
    """
    return np.asarray(np.sqrt(structure_p / np.where(structure_t > 0, structure_t, np.nan)))


def structure_distance(structure_p: Array, structure_t: Array) -> Array:
    """sqrt(mean (10 log10(S2_p / S2_t))^2) over both axes and all lags, (...) in dB.

    structure_p, structure_t: (..., 2, nlag) sums. Lower is better; entries where either is 0 are
    left out, NaN where all are. The counterpart of the log spectral distance under masks.
    """
    flat = (*structure_t.shape[:-2], -1)
    return log_spectral_distance(structure_p.reshape(flat), structure_t.reshape(flat))


def _structure(p: Fields, t: Fields, lags: NDArray[np.int64], out: Array) -> None:
    """One step: sums of p, of t and pairs, into (3, axis, nlag)."""
    for axis in (0, 1):
        # Views with the lagged axis first; sums do not mind.
        rows_p, rows_t = np.moveaxis(p, axis, 0), np.moveaxis(t, axis, 0)
        for number, lag in enumerate(lags):
            # Squared in float64: a float32 difference is exact to its own last place.
            dp = (rows_p[lag:] - rows_p[:-lag]).astype(np.float64)
            dt = (rows_t[lag:] - rows_t[:-lag]).astype(np.float64)
            known = ~np.isnan(dt)
            out[:, axis, number] = (dp[known] ** 2).sum(), (dt[known] ** 2).sum(), known.sum()


def _check(p: Fields, t: Fields, lags: Sequence[int]) -> None:
    fix = "Pass one member and its truth, and lags in cells."
    if p.shape != t.shape or t.ndim != 3 or p.dtype != np.float32 or t.dtype != np.float32:
        got = f"{p.shape} {p.dtype} and {t.shape} {t.dtype}"
        raise InputError(Problem("structure", "two float32 fields (time, y, x)", got, fix))
    if any(lag < 1 for lag in lags):
        raise InputError(Problem("structure lags", "1 cell or more", str(tuple(lags)), fix))
