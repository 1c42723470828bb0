"""Strata: parts of the cells that scores are given for, and seasons, parts of the cases.

Cells belong to a static class (sea, or land by its elevation) and, at each time, to a class of
the truth's intensity. Strata are unions of classes.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UPLAND_M, MOUNTAIN_M = 500.0, 1500.0
"""Land is lowland below the first elevation, mountain from the second on, upland between."""

STATIC_CLASSES = ("sea", "lowland", "upland", "mountain")
INTENSITY_CLASSES = ("intensity-1", "intensity-2", "intensity-3", "intensity-4")
"""Of the truth, between the three bounds that the task states for each variable."""

STRATA = ("all", "land", *STATIC_CLASSES, *INTENSITY_CLASSES)
SEASONS = ("winter", "spring", "summer", "autumn")
"""Local seasons: December to February is winter in the north and summer in the south."""


def static_labels(
    land_fraction: NDArray[np.floating], orography: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """The number of each cell's static class; land is where its fraction is at least 0.5."""
    height = np.searchsorted([UPLAND_M, MOUNTAIN_M], orography, side="right") + 1
    return np.where(land_fraction >= 0.5, height, 0).astype(np.uint8)


def over_strata(sums: Array, classes: int, levels: int) -> Array:
    """Sums of STRATA (T, strata, ...) from sums of classes (T, classes levels, ...).

    Classes count static classes times levels of intensity. Where there are fewer of either than
    the strata name, the strata that are lacking are 0, and their metrics are missing.
    """
    parts = [sums[:, list(members)].sum(axis=1) for members in _members(classes, levels)]
    return np.stack(parts, axis=1)


@lru_cache(maxsize=16)
def _members(classes: int, levels: int) -> tuple[tuple[int, ...], ...]:
    """The classes that make each of STRATA."""
    whole = np.arange(classes * levels).reshape(classes, levels)
    # One class of cells is no class of surface.
    surface = whole if classes > 1 else whole[:0]
    found = {"all": whole, "land": surface[1:]}
    found |= {name: surface[k : k + 1] for k, name in enumerate(STATIC_CLASSES)}
    intensity = whole if levels > 1 else whole[:, :0]
    found |= {name: intensity[:, k : k + 1] for k, name in enumerate(INTENSITY_CLASSES)}
    return tuple(tuple(found[name].ravel().tolist()) for name in STRATA)


def seasons(cases: NDArray[np.datetime64], *, latitude: float) -> NDArray[np.str_]:
    """The local season of each case in a region at this latitude (its centre, degrees)."""
    month = cases.astype("datetime64[M]").astype(int) % 12
    quarter = (month + 1) // 3 % 4 + (0 if latitude >= 0 else 2)
    return np.asarray(np.array(SEASONS)[quarter % 4])
