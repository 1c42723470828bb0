"""Metrics of the ensemble mean: bias, MAE, RMSE, variance, correlation, R2, PSNR."""

from typing import cast

import numpy as np
import xarray as xr

from benchmark import determination
from benchmark.families.structure import psnr
from benchmark.metrics.base import Metric, by_variable, covariance, mean, plain, root

WILKS = "Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9"


def _variance_ratio(totals: xr.Dataset) -> xr.DataArray:
    predicted = covariance(totals, "p", "p", "pp")
    true = covariance(totals, "t", "t", "tt")
    return predicted / true.where(true > 0)


def _increment_correlation(totals: xr.Dataset) -> xr.DataArray:
    names = ("increment_p", "increment_t")
    predicted = covariance(totals, names[0], names[0], "increment_pp")
    true = covariance(totals, names[1], names[1], "increment_tt")
    # A model that adds nothing to bilinear, up to float32 rounding, has no increment to correlate.
    smallest = np.finfo(np.float32).eps ** 2 * mean(totals, "pp")
    scale = (predicted.where(predicted > smallest) * true.where(true > 0)) ** 0.5
    return covariance(totals, *names, "increment_pt") / scale


def _r2(totals: xr.Dataset) -> xr.DataArray:
    means = (mean(totals, name) for name in ("squared_error", "t", "tt"))
    return cast(xr.DataArray, xr.apply_ufunc(determination.r2, *means))


def _r2_anomaly(totals: xr.Dataset) -> xr.DataArray:
    means = (mean(totals, name) for name in ("squared_error", "anomaly_t", "anomaly_tt"))
    return cast(xr.DataArray, xr.apply_ufunc(determination.r2, *means))


def _psnr(totals: xr.Dataset) -> xr.DataArray:
    def compute(chosen: xr.Dataset, known: dict[str, float]) -> xr.DataArray:
        squared = mean(chosen, "squared_error")
        found = xr.apply_ufunc(psnr, squared, kwargs={"data_range": known["data_range"]})
        # A perfect prediction has no finite PSNR: missing, as JSON has no infinity.
        return cast(xr.DataArray, found.where(np.isfinite(found)))

    return by_variable(totals, compute)


METRICS = (
    Metric(
        name="bias",
        title="bias",
        unit="variable",
        direction="zero",
        formula="<p - t>",
        reference=WILKS,
        needs=("error",),
        compute=plain("error"),
    ),
    Metric(
        name="mae",
        title="MAE",
        unit="variable",
        direction="lower",
        formula="<|p - t|>",
        reference=WILKS,
        needs=("abs_error",),
        compute=plain("abs_error"),
    ),
    Metric(
        name="rmse",
        title="RMSE",
        unit="variable",
        direction="lower",
        formula="sqrt <(p - t)^2>",
        reference=WILKS,
        needs=("squared_error",),
        compute=root("squared_error"),
    ),
    Metric(
        name="variance_ratio",
        title="variance ratio",
        unit="1",
        direction="one",
        formula="var(p) / var(t), var(f) = <f^2> - <f>^2",
        reference=WILKS,
        needs=("p", "t", "pp", "tt"),
        compute=_variance_ratio,
    ),
    Metric(
        name="increment_correlation",
        title="correlation of the increment",
        unit="1",
        direction="higher",
        formula="corr(p - b, t - b), b bilinear",
        reference=WILKS,
        needs=("increment_p", "increment_t", "increment_pp", "increment_tt", "increment_pt", "pp"),
        compute=_increment_correlation,
    ),
    Metric(
        name="r2",
        title="R2",
        unit="1",
        direction="higher",
        formula="1 - <(p - t)^2> / var(t), pooled over cells and steps",
        reference=WILKS,
        needs=("squared_error", "t", "tt"),
        compute=_r2,
    ),
    Metric(
        name="r2_anomaly",
        title="R2 of anomalies",
        unit="1",
        direction="higher",
        formula="1 - <(p - t)^2> / var(t - c), c the cell's training-period mean",
        reference=WILKS,
        needs=("squared_error", "anomaly_t", "anomaly_tt"),
        compute=_r2_anomaly,
    ),
    Metric(
        name="psnr",
        title="PSNR",
        unit="dB",
        direction="higher",
        formula="10 log10(range^2 / <(p - t)^2>), range fixed by the task; of the pooled MSE",
        reference="Huynh-Thu and Ghanbari 2008, doi 10.1049/el:20080522",
        needs=("squared_error",),
        compute=_psnr,
    ),
)
