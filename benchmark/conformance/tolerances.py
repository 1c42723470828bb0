"""How near an answer is near enough, metric by metric, and what the plain formula is.

Tolerances follow from precision that a harness may rightly choose (float32 transforms, bins of a
stated width, weights in whole numbers), never from what ours happens to give.
"""

from dataclasses import dataclass

import numpy as np

from benchmark.conformance.world import RAIN, TEMPERATURE

SINGLE = float(np.finfo(np.float32).eps)
LARGEST = {TEMPERATURE: 320.0, RAIN: 64.0}
"""About the largest value of each variable: float32 fields are right to `SINGLE` of it."""


@dataclass(frozen=True)
class Kind:
    """One metric: near enough is within absolute + relative |expected|.

    absolute: one number, or one for each of (temperature, rain).
    """

    family: str
    why: str
    relative: float = 1e-9
    absolute: float | tuple[float, float] = 1e-9


def tolerance_of(metric: str, variable: str, expected: float | None) -> float:
    """The absolute tolerance of an answer; 0 where it must be missing."""
    if expected is None:
        return 0.0
    kind = KINDS[metric.partition("[")[0]]
    absolute = kind.absolute
    if isinstance(absolute, tuple):
        absolute = absolute[0] if variable == TEMPERATURE else absolute[1]
    return absolute + kind.relative * abs(expected)


_FIELDS = (SINGLE * LARGEST[TEMPERATURE], SINGLE * LARGEST[RAIN])
"""Where means over blocks, or the coarse field, are float32."""
_BINS = (0.125, 0.15)
"""A bin of 0.125 K; a few bins of 1/128 near 5 mm/h."""
_SQUARED = (1e-4, 1e-5)
"""Powers of float32 transforms."""


def _kinds(family: str, **kinds: tuple[str, float, float | tuple[float, float]] | str) -> dict[
    str, Kind
]:  # fmt: skip
    return {
        name: Kind(family, said) if isinstance(said, str) else Kind(family, *said)
        for name, said in kinds.items()
    }


KINDS = {
    **_kinds(
        "moments",
        bias="sum w (p - t) / sum w over all cells and steps",
        mae="sum w |p - t| / sum w over all cells and steps",
        rmse="root of sum w (p - t)^2 / sum w: the root is taken last, of pooled sums",
        variance_ratio=("variances of the pooled values, by area", 1e-8, 1e-9),
        increment_correlation=("correlation of p - b and t - b, b bilinear", 1e-6, 1e-6),
        r2="1 - pooled squared error over the pooled variance of t",
        r2_anomaly="the same, t less the training period's mean of each cell",
        psnr="10 log10 of the task's range squared over the pooled squared error",
    ),
    **_kinds(
        "ensemble",
        crps_fair="mean |x_m - t| less the sum over m < n of |x_m - x_n| over M (M - 1)",
        crps_ecdf="mean |x_m - t| less the sum over m < n of |x_m - x_n| over M^2",
        spread_skill="root of (M + 1) / M times the mean variance (over M - 1) over squared error",
        outer_ranks="share of the two outer ranks over 2 / (M + 1), ties split evenly",
        rank_histogram="share of each rank times M + 1, ties split evenly",
        block_crps=("fair CRPS of area means of n x n cells, from half a coarse cell inwards",
                    1e-6, _FIELDS),
    ),
    **_kinds(
        "conservation",
        residual=("mean |A x_m - coarse|, A the area mean of a coarse cell", 1e-9, _FIELDS),
        residual_rms=("root of the mean of (A x_m - coarse)^2", 1e-9, _FIELDS),
        residual_ulps=("largest |A x_m - coarse| in float32 ulps of the largest coarse value",
                       1e-6, 4.0),
        truth_residual=("mean |A x_m - A t| where the truth of a coarse cell is whole", 1e-9,
                        _FIELDS),
        negatives="share of negative members, per million",
        mismatch=("mean |A t - coarse|: float32 rounding of the coarse field, no more", 0.0,
                  _FIELDS),
    ),
    **_kinds(
        "events",
        csi="hits / (hits + misses + false alarms); x >= u is an event; members pooled",
        ets="CSI less the hits of chance",
        hss="Heidke skill score of the pooled table",
        frequency_bias="predicted over observed events",
        brier="mean (f - o)^2",
        brier_fair="Brier less the mean of i (M - i) / (M^2 (M - 1))",
        brier_skill="1 - Brier / (o (1 - o))",
        reliability="Murphy's first term, a bin for each share",
        resolution="Murphy's second term, a bin for each share",
        tw_crps=("fair CRPS of max(x, u) against max(t, u)", 1e-6, 1e-6),
    ),
    **_kinds(
        "distribution",
        p95_error=("difference of the pooled 95 % quantiles, to two bins", 0.0, _BINS),
        p99_error=("difference of the pooled 99 % quantiles, to two bins", 0.0, _BINS),
        p99_9_error=("missing: fewer than 100 cells or 10 cases exceed it", 0.0, _BINS),
        p99_99_error=("missing: fewer than 100 cells or 10 cases exceed it", 0.0, _BINS),
        wet_fraction_error=("share of x >= 0.1 less that of t, to a bin", 0.0, 0.003),
        wasserstein_1=("integral |F_x - F_t| of the values, to a bin", 0.01, (0.125, 0.01)),
        perkins=("sum over bins of the smaller share; areas may be whole numbers", 0.0, 2e-5),
        ganvsdiffusion_lhd="missing: of mm d-1 only",
    ),
    **_kinds(
        "neighbourhood",
        fss="1 - sum (P_f - P_o)^2 / sum (P_f^2 + P_o^2), sums over windows and steps",
    ),
    **_kinds(
        "spectrum",
        log_spectral_distance=("root mean square over rings of 10 log10 of mean powers", 1e-5,
                               1e-4),
        effective_resolution=("where x's share of t's power falls below 3/4", 1e-5, 1e-3),
        coherence=("sum of cross power over sum of root of the product", 1e-6, 1e-6),
        amplitude_error=("sum over rings of (sqrt P_x - sqrt P_t)^2", 1e-5, _SQUARED),
        decorrelation_error=("sum over rings of 2 (sqrt P_x P_t - cross power)", 1e-5, _SQUARED),
        amse=("amplitude error plus 2 max(P_x, P_t) (1 - coherence)", 1e-5, _SQUARED),
        nyquist_excess=("10 log10 of powers where i >= 0.9 ny or j >= 0.9 nx", 1e-5, 1e-4),
        structure_ratio=("root of the ratio of squared differences over a lag", 1e-7, 1e-7),
        ganvsdiffusion_ralsd="missing: the task does not ask for it",
    ),
    **_kinds(
        "structure",
        ssim=("mean over full 11 x 11 gaussian windows and steps, the task's range", 0.0, 1e-6),
        ms_ssim=("three scales; missing where a side is below 44 cells", 0.0, 1e-6),
    ),
    **_kinds(
        "extremes",
        orbit2_quantile_rmse_68=("mean over steps of the RMSE above the step's quantile", 1e-6,
                                 1e-6),
        orbit2_quantile_rmse_95=("mean over steps of the RMSE above the step's quantile", 1e-6,
                                 1e-6),
        orbit2_quantile_rmse_99_7=("mean over steps of the RMSE above the step's quantile", 1e-6,
                                   1e-6),
        wassdiff_hrre="missing: of mm d-1 only",
        wassdiff_mppe="missing: of mm d-1 only",
    ),
    **_kinds(
        "headline",
        skill=("1 - exp of the mean over regions of ln(S / S_ref)", 1e-5, 1e-5),
        gap=("exp of the mean over regions of ln(S / S_other), less 1", 1e-5, 1e-5),
    ),
}  # fmt: skip
"""{metric without its brackets: kind}."""

FAMILIES = tuple(dict.fromkeys(kind.family for kind in KINDS.values()))
