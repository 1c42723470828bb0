"""Metrics of whole fields: neighbourhood, spectra, structure, and those of single papers."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import xarray as xr

from benchmark import spectral_metrics as of
from benchmark import structure_functions
from benchmark.families.neighbourhood import fss
from benchmark.metrics.base import Metric, mean, over_last, plain

_SUBICH = "Subich 2025, arXiv 2501.19374"
_POWERS = ("power_p", "power_t")
Compute = Callable[[xr.Dataset], xr.DataArray]


def _spectral(function: Callable[..., Any], *names: str) -> Compute:
    return lambda totals: over_last("ring", function, *(totals[name] for name in names))


def _per_step(function: Callable[..., Any], *names: str) -> Compute:
    """A function of spectra that divides by the number of steps."""

    def compute(totals: xr.Dataset) -> xr.DataArray:
        steps = totals["images"]
        return over_last(
            "ring", function, *(totals[name] for name in names), steps=steps.values
        ).transpose(*steps.dims)

    return compute


def _effective_resolution(totals: xr.Dataset) -> xr.DataArray:
    """Region by region: rings and the finest wavelength are the region's own."""
    if "region" not in totals.dims:
        return _effective_resolution(totals.expand_dims("region")).isel(region=0, drop=True)
    p, t = (totals[name].transpose("region", ..., "ring").values for name in _POWERS)
    k, finest = np.atleast_2d(totals["wavenumber"].values), np.atleast_1d(totals["finest_km"])
    found = [
        of.effective_resolution(
            p[r][..., known], t[r][..., known], k=k[r][known], finest_km=float(finest[r])
        )
        for r, known in enumerate(np.isfinite(k))
    ]
    like = totals["power_p"].isel(ring=0, drop=True)
    return like.transpose("region", ...).copy(data=np.stack(found)).transpose(*like.dims)


def _fss(totals: xr.Dataset) -> xr.DataArray:
    sums = (totals[name] for name in ("fss_numerator", "fss_p", "fss_t"))
    return cast(xr.DataArray, xr.apply_ufunc(fss, *sums))


def _nyquist(totals: xr.Dataset) -> xr.DataArray:
    sums = (totals[name] for name in ("nyquist_p", "nyquist_t"))
    return cast(xr.DataArray, xr.apply_ufunc(of.nyquist_excess, *sums))


def _structure(totals: xr.Dataset) -> xr.DataArray:
    sums = (totals[name] for name in ("structure_p", "structure_t"))
    return cast(xr.DataArray, xr.apply_ufunc(structure_functions.structure_ratio, *sums))


def _ralsd(totals: xr.Dataset) -> xr.DataArray:
    sums = (totals[name] for name in ("ralsd_p", "ralsd_t"))
    return over_last("published_ring", of.ganvsdiffusion_ralsd, *sums)


METRICS = (
    Metric("fss", "FSS", "1", "higher",
           "1 - sum (P_f - P_o)^2 / sum (P_f^2 + P_o^2) over full windows, pooled",
           "Roberts and Lean 2008, doi 10.1175/2007MWR2123.1; Schwartz et al. 2010, "
           "doi 10.1175/2009WAF2222267.1",
           ("fss_numerator", "fss_p", "fss_t"), _fss, over=("threshold", "window")),
    Metric("log_spectral_distance", "log spectral distance", "dB", "lower",
           "sqrt(mean_k (10 log10 P_x / P_t)^2) of mean spectra, k > 0",
           "Harris et al. 2022, doi 10.1029/2022MS003120", _POWERS,
           _spectral(of.log_spectral_distance, *_POWERS)),
    Metric("effective_resolution", "effective resolution", "km", "lower",
           "wavelength where P_x / P_t falls below 0.75", _SUBICH, _POWERS,
           _effective_resolution),
    Metric("coherence", "spectral coherence", "1", "higher",
           "sum_k C / sum_k sqrt(P_x P_t), C the cross power", _SUBICH, (*_POWERS, "cross"),
           _spectral(of.coherence, *_POWERS, "cross")),
    Metric("amplitude_error", "amplitude error", "variable squared", "lower",
           "sum_k (sqrt P_x - sqrt P_t)^2", _SUBICH, _POWERS,
           _per_step(of.amplitude_error, *_POWERS)),
    Metric("decorrelation_error", "decorrelation error", "variable squared", "lower",
           "sum_k 2 sqrt(P_x P_t) (1 - coherence_k)", _SUBICH, (*_POWERS, "cross"),
           _per_step(of.decorrelation_error, *_POWERS, "cross")),
    Metric("amse", "AMSE", "variable squared", "lower",
           "sum_k (sqrt P_x - sqrt P_t)^2 + 2 max(P_x, P_t) (1 - coherence_k)", _SUBICH,
           (*_POWERS, "cross"), _per_step(of.amse, *_POWERS, "cross")),
    Metric("nyquist_excess", "excess power at Nyquist", "dB", "zero",
           "10 log10 of x's over t's power where i >= 0.9 ny or j >= 0.9 nx",
           "after Odena et al. 2016, doi 10.23915/distill.00003", ("nyquist_p", "nyquist_t"),
           _nyquist),
    Metric("structure_ratio", "structure function ratio", "1", "one",
           "sqrt(S2_x(r) / S2_t(r)), S2(r) = <(f(s + r) - f(s))^2>",
           "Monin and Yaglom 1975, Statistical Fluid Mechanics 2, ch. 8",
           ("structure_p", "structure_t"), _structure, over=("axis", "lag")),
    Metric("ssim", "SSIM", "1", "higher",
           "gaussian window 11, sigma 1.5, full windows, the task's data range; mean over steps",
           "Wang et al. 2004, doi 10.1109/TIP.2003.819861", ("ssim",), plain("ssim")),
    Metric("ms_ssim", "MS-SSIM", "1", "higher",
           "three scales, exponents 0.2856, 0.3001, 0.2363; sides of 44 cells at least",
           "Wang et al. 2003, doi 10.1109/ACSSC.2003.1292216; exponents of Harder et al. 2023, "
           "JMLR 24(365)", ("ms_ssim",), plain("ms_ssim")),
    *(
        Metric(f"orbit2_quantile_rmse_{name}", f"RMSE above Q{level} (ORBIT-2)", "variable",
               "lower", f"mean over steps of the RMSE of cells with t >= Q_{level} of the step",
               "arXiv 2505.04802", (f"orbit2_quantile_rmse_{name}",),
               plain(f"orbit2_quantile_rmse_{name}"))
        for name, level in (("68", "68"), ("95", "95"), ("99_7", "99.7"))
    ),
    Metric("wassdiff_hrre", "HRRE (WassDiff)", "cells", "lower",
           "|#(x >= 56 mm/d) - #(t >= 56 mm/d)|, mean over steps", "arXiv 2410.00381",
           ("wassdiff_hrre",), lambda totals: mean(totals, "wassdiff_hrre")),
    Metric("wassdiff_mppe", "MPPE (WassDiff)", "variable", "lower",
           "|P99.9(x) - P99.9(t)|, mean over steps", "arXiv 2410.00381", ("wassdiff_mppe",),
           lambda totals: mean(totals, "wassdiff_mppe")),
    Metric("ganvsdiffusion_ralsd", "RALSD (GAN vs diffusion)", "dB", "lower",
           "sqrt(mean_k (10 log10 P_t / P_x)^2), radially averaged, standardised fields",
           "arXiv 2512.13987", ("ralsd_p", "ralsd_t"), _ralsd),
)  # fmt: skip
