"""One slab of fields to its sums: every family, in the order that keeps the fields in cache."""

import numpy as np

from benchmark.families import block_means, conservation, pointwise, whole_field
from benchmark.families.base import Slab, Sums
from benchmark.families.spectrum import spectral_sums


def reduce_slab(slab: Slab) -> tuple[Sums, Sums]:
    """({statistic or weight: (T, ...)} of each step, {statistic: ...} of the slab as a whole).

    The second are counts with whole-number weights, exact in any order.
    """
    sums, counts = pointwise.reduce(slab)
    sums |= conservation.reduce(slab) | block_means.reduce(slab) | whole_field.reduce(slab)
    return sums, counts


def reduce_spectra(slab: Slab, like: Sums) -> Sums:
    """The sums of a variable of which only spectra are scored; all others are 0.

    like: the sums of another variable of the same steps, for their names and shapes.
    """
    sums = {name: np.zeros_like(values) for name, values in like.items()}
    sums["t_max"] = np.full_like(sums["t_max"], -np.inf)
    p, t = (slab.domain.crop(field) for field in (slab.one_member, slab.truth))
    spectra = spectral_sums(p, t, slab.domain.rings)
    sums["images"] = spectra.pop("whole")
    return sums | spectra
