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
from benchmark.task import STATICS

UNITS = {"land_fraction": 1.0, "orography": 1000.0}
"""Orography is given in km, so that it is of the size of a normalised field."""
HALF_YEAR_DAYS = 365.2425 / 2


@dataclass(frozen=True)
class Context:
    """The context of n samples, float32.

    static: (n, k, ny, nx) those of land fraction (0 to 1) and orography (km) that the task has,
    none where it has none; place: (n, 2, ny, nx) latitude and longitude of the fine cells' centres
    in radians, true ones on maps too; clock: (n, 4, 1, 1) sine and cosine of the day of the year in
    local season, then of the local solar hour, at the middle of the box.
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
    static = np.zeros((0, *region.grid.fine.shape), np.float32)
    for name in STATICS:
        if name in region.task.static:
            field = source.static(name) / np.float32(UNITS[name])
            static = np.concatenate([static, field[None]])
    place = np.radians(np.stack(region.grid.fine.lat_lon)).astype(np.float32)
    # Not the mean of the cells' longitudes: on a map a box may lie across the date line.
    latitude, longitude = region.task.region(region.name).centre
    angles = clock_angles(region.times[steps], latitude=latitude, longitude=longitude)
    waves = np.stack([f(angles[:, k]) for k in (0, 1) for f in (np.sin, np.cos)], axis=1)
    return Context(
        static=torch.from_numpy(static).expand(count, -1, -1, -1),
        place=torch.from_numpy(place).expand(count, -1, -1, -1),
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
