"""Metrics at thresholds: contingency scores, Brier, reliability, threshold-weighted CRPS."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import xarray as xr

from benchmark import event_metrics
from benchmark.metrics.base import Metric, Unit, mean, members
from benchmark.metrics.ensemble import crps

_WILKS = "Wilks, Statistical Methods in the Atmospheric Sciences, ch. 9"
_ALLEN = "Allen et al. 2023, doi 10.1137/22M1532184"
_OVER = ("threshold",)
_SUMS = ("event_p", "event_t", "event_pt", "event_pp")


def _from_means(function: Callable[..., Any], *names: str) -> Callable[[xr.Dataset], xr.DataArray]:
    def compute(totals: xr.Dataset) -> xr.DataArray:
        means = (mean(totals, name) for name in names)
        return cast(xr.DataArray, xr.apply_ufunc(function, *means))

    return compute


def _brier_fair(totals: xr.Dataset) -> xr.DataArray:
    return _from_means(
        lambda *means: event_metrics.brier_fair(*means, members=members(totals)), *_SUMS
    )(totals)


def _brier_skill(totals: xr.Dataset) -> xr.DataArray:
    score = _from_means(event_metrics.brier, *_SUMS)(totals)
    return cast(
        xr.DataArray,
        xr.apply_ufunc(event_metrics.brier_skill, score, mean(totals, "event_t")),
    )


def _murphy(part: str) -> Callable[[xr.Dataset], xr.DataArray]:
    def compute(totals: xr.Dataset) -> xr.DataArray:
        return cast(
            xr.DataArray,
            xr.apply_ufunc(
                lambda n, o: np.asarray(getattr(event_metrics.murphy(n, o), part)),
                totals["reliability"],
                totals["reliability_event"],
                input_core_dims=[["rank"], ["rank"]],
            ),
        )

    return compute


def _metric(
    name: str,
    title: str,
    direction: Any,
    formula: str,
    needs: tuple[str, ...],
    compute: Callable[[xr.Dataset], xr.DataArray],
    *,
    reference: str = _WILKS,
    unit: Unit = "1",
) -> Metric:
    return Metric(name, title, unit, direction, formula, reference, needs, compute, _OVER)


_TABLE = _SUMS[:3]

METRICS = (
    _metric("csi", "CSI", "higher", "hits / (hits + misses + false alarms), members pooled",
            _TABLE, _from_means(event_metrics.csi, *_TABLE)),
    _metric("ets", "ETS", "higher", "CSI with the hits of chance taken off", _TABLE,
            _from_means(event_metrics.ets, *_TABLE)),
    _metric("frequency_bias", "frequency bias", "one", "<f> / <o>", _TABLE[:2],
            _from_means(event_metrics.frequency_bias, *_TABLE[:2])),
    _metric("hss", "HSS", "higher", "Heidke skill score, members pooled", _TABLE,
            _from_means(event_metrics.hss, *_TABLE)),
    _metric("brier", "Brier score", "lower", "<(f - o)^2>", _SUMS,
            _from_means(event_metrics.brier, *_SUMS)),
    _metric("brier_fair", "Brier score (fair)", "lower", "<(f - o)^2> - <f (1 - f)> / (M - 1)",
            _SUMS, _brier_fair, reference="Ferro 2014, doi 10.1002/qj.2270"),
    _metric("brier_skill", "Brier skill", "higher", "1 - Brier / (<o> (1 - <o>))", _SUMS,
            _brier_skill),
    _metric("reliability", "reliability", "lower", "<(f - o(f))^2>, o(f) = <o> where f",
            ("reliability", "reliability_event"), _murphy("reliability"),
            reference="Murphy 1973, doi 10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2"),
    _metric("resolution", "resolution", "higher", "<(o(f) - <o>)^2>",
            ("reliability", "reliability_event"), _murphy("resolution"),
            reference="Murphy 1973, doi 10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2"),
    _metric("tw_crps", "CRPS above the threshold", "lower",
            "CRPS (fair) of max(x, u) against max(t, u)", ("tw_abs_error", "tw_pair_spread"),
            crps("tw_abs_error", "tw_pair_spread", fair=True), reference=_ALLEN,
            unit="variable"),
)  # fmt: skip
