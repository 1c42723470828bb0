"""Coefficients of determination: pooled, of anomalies, and in space."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def r2(squared_error: Array, t: Array, tt: Array) -> Array:
    """R2 = 1 - <(p - t)^2> / (<t^2> - <t>^2); 1 is perfect, 0 is the constant <t>.

    Arguments are the means <(p - t)^2>, <t> and <t^2>, of one shape. NaN where the truth does not
    vary.

    The same function gives R2 of anomalies from any reference c known before the prediction, for
    instance a training-period mean of each pixel: p - c and t - c have the same difference as p
    and t, so only <t - c> and <(t - c)^2> take the place of <t> and <t^2>. For temperature,
    pooled R2 is near 1 for bilinear already; that of anomalies is not.
    Source: Wilks, Statistical Methods in the Atmospheric Sciences, ch. 7.
    """
    variance = np.asarray(tt, np.float64) - np.asarray(t, np.float64) ** 2
    # A variance of rounding errors alone is none.
    varies = variance > 1e-12 * np.asarray(tt)
    return np.asarray(1 - squared_error / np.where(varies, variance, np.nan))


def r2_in_space(
    squared_error: Array, step_error_squared: Array, tt: Array, step_t_squared: Array
) -> Array:
    """R2 of anomalies from each step's spatial mean [f]: what is right within the maps.

    1 - <(p - t - [p - t])^2> / <(t - [t])^2>, pooled over steps. Arguments are the means
    <(p - t)^2>, <[p - t]^2>, <t^2> and <[t]^2>: the second and the fourth are sums over steps of
    (sum w f)^2 / sum w, over the sum of all w. NaN where no step's truth varies in space.
    """
    variance = np.asarray(tt, np.float64) - np.asarray(step_t_squared, np.float64)
    varies = variance > 1e-12 * np.asarray(tt)
    error = np.asarray(squared_error, np.float64) - step_error_squared
    return np.asarray(1 - error / np.where(varies, variance, np.nan))
