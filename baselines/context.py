"""What a network may know of a place and a time besides the coarse fields.

Statics and the clock are known everywhere, so a row that reads them is still zero-shot. `place`
is for the control that must fail elsewhere; an honest model leaves it alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.pair_store import RegionStore

STATICS = ("land_fraction", "orography")
METRES = 1000.0
"""Orography is given in km, so that it is of the size of a normalised field."""
HALF_YEAR_DAYS = 365.2425 / 2


@dataclass(frozen=True)
class Context:
    """The context of n samples, float32.

    static: (n, 2, ny, nx) land fraction (0 to 1) and orography (km); place: (n, 2, ny, nx)
    latitude and longitude of the fine cells' centres in radians; clock: (n, 4, 1, 1) sine and
    cosine of the day of the year in local season, then of the local solar hour.
    """

    static: Tensor
    place: Tensor
    clock: Tensor


def region_context(
    region: RegionStore, steps: slice, *, statics: RegionStore | None = None
) -> Context:
    """The context of a region's steps; statics, where given, is the region to take them from."""
    count = len(range(*steps.indices(len(region.times))))
    source = statics or region
    fields = [source.static(name).astype(np.float32) for name in STATICS]
    static = torch.from_numpy(np.stack([fields[0], fields[1] / np.float32(METRES)]))
    grid = region.grid.fine
    lat, lon = np.meshgrid(grid.y.centres, grid.x.centres, indexing="ij")
    place = torch.from_numpy(np.radians(np.stack([lat, lon])).astype(np.float32))
    angles = clock_angles(region.times[steps], latitude=lat.mean(), longitude=lon.mean())
    waves = np.stack([f(angles[:, k]) for k in (0, 1) for f in (np.sin, np.cos)], axis=1)
    return Context(
        static=static.expand(count, -1, -1, -1),
        place=place.expand(count, -1, -1, -1),
        clock=torch.from_numpy(waves.astype(np.float32))[:, :, None, None],
    )


def clock_angles(
    times: NDArray[np.datetime64], *, latitude: float, longitude: float
) -> NDArray[np.float64]:
    """(time, 2) angles of the year and of the day, in radians, at a box's centre (degrees).

    The year runs from 1 January north of the equator and from half a year later south of it, so
    that midwinter has one angle; the day from local solar midnight, UTC + longitude / 15 h.
    """
    seconds = times.astype("datetime64[s]")
    year = seconds.astype("datetime64[Y]")
    days = (seconds - year.astype("datetime64[s]")) / np.timedelta64(86400, "s")
    if latitude < 0:
        days = days + HALF_YEAR_DAYS
    hours = (seconds - seconds.astype("datetime64[D]")) / np.timedelta64(3600, "s") + longitude / 15
    return np.asarray(
        np.stack([2 * np.pi * days / (2 * HALF_YEAR_DAYS), 2 * np.pi * hours / 24], axis=1)
    )
