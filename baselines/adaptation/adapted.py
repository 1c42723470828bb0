"""How one region is predicted where a regime lets a network know something of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from baselines.adaptation.quantile_mapping import Array, QuantileMap
from baselines.downscaler import Downscaler
from benchmark.pair_store import RegionStore


@dataclass(frozen=True)
class Adapted:
    """A network for one region, and maps of its input by number of the variable.

    back_transform: whether predictions are brought back to the region's range of values.
    """

    model: Downscaler
    maps: Mapping[int, QuantileMap] = field(default_factory=dict)
    back_transform: bool = True

    def seen(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        """(time, V, Ny, Nx) coarse fields as the network sees them."""
        if not self.maps:
            return coarse
        out = coarse.copy()
        for k, change in self.maps.items():
            out[:, k] = change.to_source(coarse[:, k])
        return out

    def restored(self, fine: Array) -> Array:
        """(time, V, ny, nx) predictions for what was seen as predictions for what is there."""
        if not (self.maps and self.back_transform):
            return fine
        out = fine.copy()
        for k, change in self.maps.items():
            out[:, k] = change.to_target(fine[:, k])
        return out


Adapt = Callable[[RegionStore], Adapted]
"""What a region is predicted with; called once a region, and reads what the regime allows."""
