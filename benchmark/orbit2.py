"""The quantile RMSE of ORBIT-2, as its authors compute it: per sample, never area-weighted.

Kept only to compare with Wang et al. 2025 (arXiv 2505.04802).
"""

import math

import numpy as np
from numpy.typing import NDArray

QUANTILES = {
    "orbit2_quantile_rmse_68": 0.6827,
    "orbit2_quantile_rmse_95": 0.9545,
    "orbit2_quantile_rmse_99_7": 0.9973,
}
"""One, two and three standard deviations, on a normal distribution's two-sided coverage."""

Field = NDArray[np.float32]
Array = NDArray[np.float64]


def orbit2_sums(predicted: Field, truth: Field) -> dict[str, Array]:
    """RMSE over the pixels of each step where t >= Q_q(t), to be averaged over steps.

    sqrt(mean (p - t)^2) over the pixels at or above the step's own true q-quantile, q = 0.6827,
    0.9545, 0.9973 (linear between order statistics, numpy's default). Where a step's quantile is
    the dry value 0, that is every pixel.

    predicted, truth: (time, ny, nx), one member or the ensemble mean. Returns (time,) for each
    of `QUANTILES` and `whole`; divide summed scores by summed `whole`. A step whose truth has a
    missing pixel does not count: it has 0 everywhere; `whole` is 1 in the others.
    Source: Wang et al. 2025, arXiv 2505.04802; the definition (a mean of per-sample values) is
    that of the authors' evaluation script for DAYMET in `XiaoWang-Github/ORBIT-2`. That the
    paper's table uses it unchanged is not verified.
    """
    p, t = (field.reshape(len(field), -1) for field in (predicted, truth))
    whole = np.isfinite(t).all(axis=1)
    scores = {name: np.zeros(len(t)) for name in QUANTILES}
    # A pixel at or above the interpolated quantile is one at or above the next order statistic.
    first = {name: math.ceil(q * (t.shape[1] - 1)) for name, q in QUANTILES.items()}
    for k in np.flatnonzero(whole):
        ranked = np.sort(t[k])
        # Only a third of the pixels counts for any of the three.
        kept = np.flatnonzero(t[k] >= ranked[min(first.values())])
        true = t[k][kept]
        squares = (p[k][kept].astype(np.float64) - true) ** 2
        for name, rank in first.items():
            scores[name][k] = np.sqrt(squares[true >= ranked[rank]].mean())
    return scores | {"whole": np.asarray(whole, np.float64)}
