"""The families that need whole fields: neighbourhood, spectrum, structure, paper scores.

Spectra, SSIM, structure functions and the paper scores take one member a step, in turn.
"""

from functools import lru_cache

import numpy as np

from benchmark.families.base import Domain, Field, Slab, Statistic, Sums, one_member
from benchmark.families.neighbourhood import fss_sums
from benchmark.families.spectrum import ganvsdiffusion_ralsd_sums, spectral_sums
from benchmark.families.structure import SMALLEST_MS, ssim_sums
from benchmark.grid import crop
from benchmark.orbit2 import QUANTILES, orbit2_sums
from benchmark.structure_functions import structure_sums
from benchmark.wassdiff import wassdiff_sums

PUBLISHED_RINGS = 25
"""Of the RALSD, as its authors' group published them."""

_EVENT, _PAIR = ("threshold", "window"), ("axis", "lag")


def _period(name: str, family: str, formula: str, weight: str, *dims: str) -> Statistic:
    return Statistic(name, family, formula, weight, dims=dims, keep="period")  # type: ignore[arg-type]


STATISTICS = (
    _period("fss_numerator", "neighbourhood", "(P_f - P_o)^2 over windows", "none", *_EVENT),
    _period("fss_p", "neighbourhood", "P_f^2 over windows", "none", *_EVENT),
    _period("fss_t", "neighbourhood", "P_o^2 over windows", "none", *_EVENT),
    _period("power_p", "spectrum", "DCT-II power of x by ring", "image", "ring"),
    _period("power_t", "spectrum", "DCT-II power of t by ring", "image", "ring"),
    _period("cross", "spectrum", "DCT-II cross power by ring", "image", "ring"),
    _period("dropped_p", "spectrum", "power of x beyond the last ring", "image"),
    _period("dropped_t", "spectrum", "power of t beyond the last ring", "image"),
    _period("nyquist_p", "spectrum", "power of x near Nyquist", "image"),
    _period("nyquist_t", "spectrum", "power of t near Nyquist", "image"),
    _period("structure_p", "spectrum", "(x(s + r) - x(s))^2", "pair", *_PAIR),
    _period("structure_t", "spectrum", "(t(s + r) - t(s))^2", "pair", *_PAIR),
    Statistic("ssim", "structure", "SSIM of an image", "image"),
    Statistic("ms_ssim", "structure", "MS-SSIM of an image", "large_image"),
    Statistic("orbit2_quantile_rmse_68", "extremes", "RMSE of cells with t >= Q_68 of the image",
              "orbit2"),
    Statistic("orbit2_quantile_rmse_95", "extremes", "RMSE of cells with t >= Q_95 of the image",
              "orbit2"),
    Statistic("orbit2_quantile_rmse_99_7", "extremes",
              "RMSE of cells with t >= Q_99.7 of the image", "orbit2"),
    Statistic("wassdiff_hrre", "extremes", "|#(x >= 56 mm/d) - #(t >= 56 mm/d)|", "wassdiff"),
    Statistic("wassdiff_mppe", "extremes", "|P99.9(x) - P99.9(t)|", "wassdiff"),
    _period("ralsd_p", "spectrum", "radially averaged power of x, standardised", "ralsd",
            "published_ring"),
    _period("ralsd_t", "spectrum", "radially averaged power of t, standardised", "ralsd",
            "published_ring"),
)  # fmt: skip


def reduce(slab: Slab) -> Sums:
    """(T, ...) sums of each step; a truth that is not complete leaves spectra and images out.

    Steps between those that the task takes pictures of have sums and weights of 0.
    """
    domain, steps = slab.domain, len(slab.truth)
    taken = np.flatnonzero((slab.first + np.arange(steps)) % domain.image_every == 0)
    if len(taken) == steps:
        pictures = (slab.members, slab.one_member, slab.truth)
        return _reduce(domain, *(domain.crop(picture) for picture in pictures))
    sums = {name: np.zeros((steps, *shape)) for name, shape in _shapes(domain).items()}
    if len(taken):
        inner = crop(slab.members, domain.margin)
        members = np.ascontiguousarray(inner[taken])
        found = _reduce(
            domain, members, one_member(members, slab.first + taken),
            domain.crop(slab.truth[taken]),
        )  # fmt: skip
        for name, values in found.items():
            sums[name][taken] = values
    return sums


@lru_cache(maxsize=64)
def _shapes(domain: Domain) -> dict[str, tuple[int, ...]]:
    """The shapes of a step's sums, found with an empty picture."""
    blank = domain.crop(np.zeros((1, *domain.area.shape), np.float32))
    found = _reduce(domain, blank[:, None], blank, blank)
    return {name: values.shape[1:] for name, values in found.items()}


def _reduce(domain: Domain, members: Field, p: Field, t: Field) -> Sums:
    steps, low, high = len(t), *domain.data_range
    sums = fss_sums(members, t, domain.thresholds, windows=domain.windows)
    del sums["fss_windows"]
    sums |= spectral_sums(p, t, domain.rings)
    sums |= structure_sums(p, t, domain.lags)
    sums |= ssim_sums(p, t, low=low, high=high)
    sums["images"] = sums.pop("whole")
    fits = min(t.shape[1:]) >= SMALLEST_MS
    sums["large_images"] = sums["images"] * fits
    sums["ms_ssim"] = sums["ms_ssim"] if fits else np.zeros(steps)
    return sums | _of_papers(domain.papers, p, t)


def _of_papers(papers: tuple[str, ...], p: Field, t: Field) -> Sums:
    """The scores of single papers; zeros, with no weight, for those that the task leaves out."""
    steps = len(t)
    names = (*QUANTILES, "orbit2_images", "wassdiff_hrre", "wassdiff_mppe", "wassdiff_images",
             "ralsd_images")  # fmt: skip
    sums = {name: np.zeros(steps) for name in names}
    sums |= {name: np.zeros((steps, PUBLISHED_RINGS)) for name in ("ralsd_p", "ralsd_t")}
    if "orbit2" in papers:
        sums |= orbit2_sums(p, t)
        sums["orbit2_images"] = sums.pop("whole")
    if "wassdiff" in papers:
        sums |= wassdiff_sums(p, t)
        sums["wassdiff_images"] = sums.pop("whole")
    if "ganvsdiffusion" in papers:
        sums |= ganvsdiffusion_ralsd_sums(p, t)
        sums["ralsd_images"] = sums.pop("ralsd_steps")
    return sums
