"""Metrics of the residual against the coarse input, and of negative values."""

import numpy as np
import xarray as xr

from benchmark.metrics.base import Metric, mean, plain, root

_HARDER = "Harder et al. 2023, JMLR 24(365)"


def _residual_ulps(totals: xr.Dataset) -> xr.DataArray:
    scale = np.finfo(np.float32).eps * totals["coarse_max"]
    return totals["residual_max"] / scale.where(scale > 0)


METRICS = (
    Metric(
        name="residual",
        title="constraint residual",
        unit="variable",
        direction="lower",
        formula="<|A x_m - x|> over blocks",
        reference=_HARDER,
        needs=("residual_abs",),
        compute=plain("residual_abs"),
    ),
    Metric(
        name="residual_rms",
        title="constraint residual, RMS",
        unit="variable",
        direction="lower",
        formula="sqrt <(A x_m - x)^2> over blocks",
        reference=_HARDER,
        needs=("residual_squared",),
        compute=root("residual_squared"),
    ),
    Metric(
        name="truth_residual",
        title="residual against A t",
        unit="variable",
        direction="lower",
        formula="<|A x_m - A t|> over blocks with a whole truth",
        reference=_HARDER,
        needs=("truth_residual_abs",),
        compute=plain("truth_residual_abs"),
    ),
    Metric(
        name="residual_ulps",
        title="largest residual",
        unit="1",
        direction="lower",
        formula="max |A x_m - x| / (eps32 max |x|)",
        reference=_HARDER,
        needs=("residual_max", "coarse_max"),
        compute=_residual_ulps,
    ),
    Metric(
        name="negatives",
        title="negative values",
        unit="per million",
        direction="lower",
        formula="1e6 <x_m < 0>",
        reference=_HARDER,
        needs=("negative",),
        compute=lambda totals: mean(totals, "negative") * 1e6,
    ),
    Metric(
        name="mismatch",
        title="the task's own mismatch",
        unit="variable",
        direction="none",
        formula="<|A t - x|> over blocks with a whole truth: 0 where coarse is the mean of fine",
        reference=_HARDER,
        needs=("mismatch_abs",),
        compute=plain("mismatch_abs"),
    ),
)
