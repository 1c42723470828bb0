"""Metrics of summed spectra: pure functions over the last axis (the rings), NaN where undefined.

Spectra are summed over steps first: the logarithm of a mean spectrum, never the mean of
logarithms, which a few dry steps would own. power_p, power_t, cross: (..., nb) sums of
`families.spectrum.spectral_sums`; any common factor (the number of steps) cancels, except in the
error split, which takes that number.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESOLVED = 0.75
"""Share of the truth's power below which a scale counts as not resolved."""


def log_spectral_distance(power_p: Array, power_t: Array) -> Array:
    """sqrt(mean_k (10 log10(Pp / Pt))^2), (...) in dB; lower is better.

    The mean is over the rings where both have power; NaN where none has (all-dry fields, empty
    totals). The spatial mean (k = 0) has no ring. Harris et al. 2022, doi 10.1029/2022MS003120.
    """
    ratio = _ratio(power_p, power_t)
    decibel = 10 * np.log10(np.where(ratio > 0, ratio, np.nan))
    return np.sqrt(_nan_mean(decibel**2))


def ganvsdiffusion_ralsd(ralsd_p: Array, ralsd_t: Array) -> Array:
    """RALSD as published: `log_spectral_distance` of the 25 rings of standardised fields, in dB.

    Takes the sums of `families.spectrum.ganvsdiffusion_ralsd_sums`, where what is verified of it
    stands. Ward-Leikis et al. 2025, arXiv 2512.13987.
    """
    return log_spectral_distance(ralsd_p, ralsd_t)


def effective_resolution(power_p: Array, power_t: Array, *, k: Array, finest_km: float) -> Array:
    """Wavelength in km below which p lacks power, (...); smaller is better.

    From large scales on, the first ring with Pp / Pt < 0.75 (amplitude ratio < sqrt(0.75)); the
    crossing is interpolated linearly in k from the ring before. `finest_km` (two cells) where no
    ring falls below; 1 / k of the first ring where that one already does: no scale is resolved.
    Rings without truth power are passed over; NaN where all are. k: (nb,) `Rings.k`, cycles per
    km; finest_km: `Rings.finest_km`. Too much power is not seen here, but in the log spectral
    distance. Subich et al. 2025, arXiv 2501.19374.
    """
    ratio = _ratio(power_p, power_t)
    known = ~np.isnan(ratio)
    low = known & (ratio < RESOLVED)
    first = low.argmax(axis=-1)[..., None]
    # The last ring with truth power before each ring; -1 where there is none.
    latest = np.maximum.accumulate(np.where(known, np.arange(len(k)), -1), axis=-1)
    before = np.take_along_axis(latest, np.maximum(first - 1, 0), axis=-1)
    none_before = (before < 0) | (first == 0)
    before = np.where(none_before, first, before)
    upper = np.take_along_axis(ratio, before, axis=-1)[..., 0]
    lower = np.take_along_axis(ratio, first, axis=-1)[..., 0]
    first, before, none_before = first[..., 0], before[..., 0], none_before[..., 0]
    step = np.where(none_before, 1.0, upper - lower)
    share = np.where(none_before, 0.0, (upper - RESOLVED) / step)
    wavelength = 1 / (k[before] + share * (k[first] - k[before]))
    wavelength = np.where(low.any(axis=-1), np.maximum(wavelength, finest_km), finest_km)
    return np.where(known.any(axis=-1), wavelength, np.nan)


def ring_coherence(power_p: Array, power_t: Array, cross: Array) -> Array:
    """C / sqrt(Pp Pt) of each ring, (..., nb) in [-1, 1]; NaN where either has no power.

    1: every wave of that scale is where it should be; 0: placed at random.
    """
    scale = np.sqrt(power_p * power_t)
    return cross / np.where(scale > 0, scale, np.nan)


def coherence(power_p: Array, power_t: Array, cross: Array) -> Array:
    """sum_k C / sum_k sqrt(Pp Pt), (...): the ring coherences' mean, weighted by power.

    1 is best; NaN where p or t has no power in any ring.
    """
    scale = np.sqrt(power_p * power_t).sum(axis=-1)
    return np.asarray(cross.sum(axis=-1) / np.where(scale > 0, scale, np.nan))


def amplitude_error(power_p: Array, power_t: Array, *, steps: Array) -> Array:
    """sum_k (sqrt Pp - sqrt Pt)^2 / steps, (...) in the variable's unit squared; lower is better.

    With `decorrelation_error` it adds up to the mean squared error of the anomaly (the field less
    its spatial mean) at the rings' scales, exactly. The split is of the pooled spectra: that of
    each step apart would have the same sum and other parts. steps: (...) sums of `whole`; NaN
    where 0. Subich et al. 2025, arXiv 2501.19374.
    """
    return _per_step(((np.sqrt(power_p) - np.sqrt(power_t)) ** 2).sum(axis=-1), steps)


def decorrelation_error(power_p: Array, power_t: Array, cross: Array, *, steps: Array) -> Array:
    """sum_k 2 sqrt(Pp Pt) (1 - Coh) / steps, (...) in the variable's unit squared.

    See `amplitude_error`. A smooth forecast hides here: its small sqrt(Pp) makes its missing
    small scales cheap, which `amse` undoes.
    """
    return _per_step((2 * (np.sqrt(power_p * power_t) - cross)).sum(axis=-1), steps)


def amse(power_p: Array, power_t: Array, cross: Array, *, steps: Array) -> Array:
    """Adjusted MSE: sum_k [(sqrt Pp - sqrt Pt)^2 + 2 max(Pp, Pt) (1 - Coh)] / steps, (...).

    Least where the spectrum is right, so that smoothing does not pay; in the variable's unit
    squared. Coh = 0 where either has no power. steps: as for `amplitude_error`. Subich et al.
    2025, arXiv 2501.19374.
    """
    ring = np.nan_to_num(ring_coherence(power_p, power_t, cross), nan=0.0)
    spread = (2 * np.maximum(power_p, power_t) * (1 - ring)).sum(axis=-1)
    return amplitude_error(power_p, power_t, steps=steps) + _per_step(spread, steps)


def nyquist_excess(nyquist_p: Array, nyquist_t: Array) -> Array:
    """10 log10(sum p / sum t) of the power near two-cell waves, (...) in dB; 0 is best.

    Above 0: checkerboards, such as transposed convolutions leave (Odena et al. 2016,
    doi 10.23915/distill.00003); below 0: smoothing. The band is any coefficient with i >= 0.9 ny
    or j >= 0.9 nx: artefacts of period 2 along one axis and along both. NaN where either has no
    power. No ring does this: rings mix directions, and those of the corner are dropped.
    """
    ratio = _ratio(nyquist_p, nyquist_t)
    return np.asarray(10 * np.log10(np.where(ratio > 0, ratio, np.nan)))


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def _per_step(total: Array, steps: Array) -> Array:
    return np.asarray(total / np.where(steps > 0, steps, np.nan))


def _nan_mean(values: Array) -> Array:
    """Over the last axis, of what is defined; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    return np.asarray(np.where(known, values, 0).sum(axis=-1) / np.where(count > 0, count, np.nan))
