"""Spectra: DCT-II power of p and t and their cross power, by physical wavenumber.

The cosine transform needs no window on a limited region: its even extension has no jump at the
border (Denis et al. 2002, doi 10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from benchmark.engine import compiled
from benchmark.errors import InputError, Problem

Array = NDArray[np.float64]
Fields = NDArray[np.float32]

# Wavenumbers that are equal on paper must share a ring on every machine.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings of isotropic wavenumber for the DCT-II coefficients (i, j) of an (ny, nx) grid.

    k(i, j) = sqrt((i / (2 ny dy))^2 + (j / (2 nx dx))^2) in cycles per km. Ring r = 1..nb holds
    the coefficients with round(k / width) = r (halves upwards), so that its centre is k = r width
    and a wave sits in the middle of its ring; width = 1 / (2 max(ny dy, nx dx)), the fundamental
    of the longer side. Left out: the mean (0, 0), and every coefficient beyond the smaller
    Nyquist wavenumber min(1 / (2 dy), 1 / (2 dx)), where one direction sees no waves at all; the
    last ring is cut there. dy, dx: one representative cell size for the whole region.
    """

    ny: int
    nx: int
    k: Array
    """(nb,) centres of the rings, cycles per km."""
    finest_km: float
    """The wavelength of the smaller Nyquist wavenumber: twice the larger cell size."""
    dropped: float
    """Share of the ny nx - 1 coefficients that lie beyond it."""
    group: NDArray[np.int64]
    """(ny nx,) ring - 1 of each coefficient, nb where dropped; plus nb + 1 in the Nyquist band.
    The mean has the last group, 2 (nb + 1), of its own."""
    order: NDArray[np.uint32]
    """Coefficients sorted by group, without the mean."""
    starts: NDArray[np.int64]
    """(2 nb + 3,) where each group starts in `order`, and its length."""

    @classmethod
    def on(cls, ny: int, nx: int, *, dy_km: float, dx_km: float) -> Self:
        """The rings of one grid.

        Errors: InputError when a side has fewer than 2 cells or a cell size is not positive.
        """
        if min(ny, nx) < 2 or not (0 < dy_km < np.inf and 0 < dx_km < np.inf):
            got = f"{ny} x {nx} cells of {dy_km} x {dx_km} km"
            fix = "Score spectra on larger regions only, and give cell sizes in km."
            raise InputError(Problem("spectrum", "2 x 2 cells or more, sizes > 0", got, fix))
        i, j = np.arange(ny)[:, None], np.arange(nx)[None, :]
        k = np.sqrt((i / (2 * ny * dy_km)) ** 2 + (j / (2 * nx * dx_km)) ** 2)
        width = 0.5 / max(ny * dy_km, nx * dx_km)
        nyquist = min(1 / (2 * dy_km), 1 / (2 * dx_km))
        ring = np.floor(k / width + 0.5 + _ROUNDING).astype(np.int64)
        beyond = k > nyquist * (1 + _ROUNDING)
        nb = int(ring[~beyond].max())
        # At least the highest mode, also where a tenth of the side is less than one coefficient.
        band = (i >= min(0.9 * ny, ny - 1)) | (j >= min(0.9 * nx, nx - 1))
        group = np.where(beyond, nb, ring - 1) + (nb + 1) * band
        group[0, 0] = 2 * (nb + 1)
        order = np.argsort(group.ravel(), kind="stable")[:-1]
        return cls(
            ny=ny,
            nx=nx,
            k=np.arange(1.0, nb + 1) * width,
            finest_km=2 * max(dy_km, dx_km),
            dropped=float(beyond.sum() / (ny * nx - 1)),
            group=group.ravel(),
            order=order.astype(np.uint32),
            starts=np.searchsorted(group.ravel()[order], np.arange(2 * nb + 3)),
        )


def spectral_sums(p: Fields, t: Fields, rings: Rings) -> dict[str, Array]:
    """Power of p and t and cross power of each step, summed over each ring's coefficients.

    With F the orthonormal DCT-II of a field less its mean, power = sum F^2 / (ny nx) and
    cross = sum F_p F_t / (ny nx), so that the rings and `dropped` add up to the field's spatial
    variance (Parseval). p, t: (T, ny, nx) float32; p is one field a step (one member, never an
    ensemble mean, which has too little power).

    Gives `power_p`, `power_t`, `cross`: (T, nb); `dropped_p`, `dropped_t`: (T,) power beyond the
    last ring; `nyquist_p`, `nyquist_t`: (T,) power at i >= 0.9 ny or j >= 0.9 nx, dropped or not,
    where waves of two cells lie; all in the variable's unit squared. `whole`: (T,) 1 where the
    truth is complete; a step with any missing truth has no spectrum: all its values are 0.
    Errors: InputError when the fields are not of the rings' shape, or not float32.
    """
    _check(p, t, (rings.ny, rings.nx))
    p, t = np.ascontiguousarray(p), np.ascontiguousarray(t)
    nb, cells = len(rings.k), rings.ny * rings.nx
    groups = np.zeros((len(t), 3, 2 * (nb + 1)))
    whole = np.zeros(len(t))
    if compiled():
        from benchmark.kernels.spectrum import centre, group_sums
    else:
        centre, group_sums = _centre, _group_sums
    anomalies = np.empty((2, rings.ny, rings.nx), np.float32)
    for step in range(len(t)):
        if not centre(p[step], t[step], anomalies):
            continue
        whole[step] = 1
        # One step a call: what a step gives must not depend on its neighbours in a chunk.
        spectra = fft.dctn(anomalies, axes=(1, 2), norm="ortho", overwrite_x=True, workers=1)
        group_sums(spectra.reshape(2, cells), rings.group, rings.order, rings.starts, groups[step])
    parts = groups.reshape(len(t), 3, 2, nb + 1) / cells
    bins = parts.sum(axis=2)
    return {
        "power_p": bins[:, 0, :nb],
        "power_t": bins[:, 1, :nb],
        "cross": bins[:, 2, :nb],
        "dropped_p": bins[:, 0, nb],
        "dropped_t": bins[:, 1, nb],
        "nyquist_p": parts[:, 0, 1].sum(axis=1),
        "nyquist_t": parts[:, 1, 1].sum(axis=1),
        "whole": whole,
    }


def ganvsdiffusion_ralsd_sums(p: Fields, t: Fields) -> dict[str, Array]:
    """Radially averaged power spectral density of each step's standardised fields.

    Each field is standardised by its own mean and standard deviation; |FFT|^2 / (ny nx) is
    averaged over rings of 0.02 cycles per cell, from 0 to 0.5 (in index space: the cells' size in
    km plays no part). Gives `ralsd_p`, `ralsd_t`: (T, 25), and `ralsd_steps`: (T,) 1 where both
    are defined. Where the truth misses a cell, or either field is constant (a dry day), the step
    has only zeros. Only to compare with Ward-Leikis et al. 2025, arXiv 2512.13987 (RALSD after
    Harris et al. 2022, doi 10.1029/2022MS003120). Bins and averaging follow code that the authors'
    group has published, whose 26 bin edges make 25 bins. Unverified: that the paper's "26" counts
    edges, and what it does on dry days.

    Errors: InputError when the two shapes differ, or the fields are not float32.
    """
    _check(p, t, t.shape[1:])
    label, weight, count = _published_rings(*t.shape[1:])
    sums = np.zeros((2, len(t), len(count)))
    steps = np.zeros(len(t))
    for step in range(len(t)):
        fields = np.stack([p[step], t[step]]).astype(np.float64)
        fields -= fields.mean(axis=(1, 2), keepdims=True)
        spread = fields.std(axis=(1, 2), keepdims=True)
        # Rounding of the mean leaves a constant field a spread of a few units in the last place.
        constant = np.ptp(p[step]) == 0 or np.ptp(t[step]) == 0
        if constant or np.isnan(t[step]).any():
            continue
        steps[step] = 1
        spectra = fft.rfft2(fields / spread, norm="ortho", workers=1)
        power = weight * (spectra.real**2 + spectra.imag**2)
        for which in (0, 1):
            total = np.bincount(label, power[which].ravel(), minlength=len(count) + 1)[:-1]
            sums[which, step] = total / np.maximum(count, 1)
    return {"ralsd_p": sums[0], "ralsd_t": sums[1], "ralsd_steps": steps}


def _published_rings(ny: int, nx: int) -> tuple[NDArray[np.int64], Array, Array]:
    """Bin of each rfft2 coefficient (one bin more for those beyond 0.5), how often each stands in
    the full transform, and how many of the full transform are in each bin."""
    edges = np.arange(0, 0.52, 0.02)
    k = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :])
    label = np.digitize(k, edges) - 1
    label[k == edges[-1]] = len(edges) - 2  # the last bin is closed
    twice = np.where((np.arange(nx // 2 + 1) == 0) | (2 * np.arange(nx // 2 + 1) == nx), 1.0, 2.0)
    weight = np.broadcast_to(twice, k.shape)
    label = label.ravel()
    count = np.bincount(label, weight.ravel(), minlength=len(edges))[:-1]
    return label, weight, count.astype(np.float64)


def _centre(p: Fields, t: Fields, out: Fields) -> bool:
    """Whether the truth is complete; if so, both fields less their means go to `out`.

    The mean is summed in float64; that it is rounded to float32 moves only the coefficient (0, 0),
    which no sum holds.
    """
    if np.isnan(t).any():
        return False
    for field, anomaly in zip((p, t), out, strict=True):
        np.subtract(field, np.float32(field.mean(dtype=np.float64)), out=anomaly)
    return True


def _group_sums(
    spectra: Fields,
    group: NDArray[np.int64],
    order: NDArray[np.uint32],  # noqa: ARG001 - the kernel's signature
    starts: NDArray[np.int64],
    out: Array,
) -> None:
    """Power of both spectra, (2, ny nx), and their product, summed by group into (3, groups)."""
    a, b = spectra.astype(np.float64)
    for row, product in zip(out, (a * a, b * b, a * b), strict=True):
        row[:] = np.bincount(group, product, minlength=len(starts))[:-1]


def _check(p: Fields, t: Fields, shape: tuple[int, ...]) -> None:
    expected = f"two float32 fields (time, {', '.join(map(str, shape))})"
    if p.shape != t.shape or t.ndim != 3 or t.shape[1:] != shape:
        got = f"shapes {p.shape} and {t.shape}"
    elif p.dtype != np.float32 or t.dtype != np.float32:
        got = f"{p.dtype} and {t.dtype}"
    else:
        return
    raise InputError(Problem("spectrum", expected, got, "Pass one member and its truth."))
