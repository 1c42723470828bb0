"""The recipe of `era5-sample`: boxes cut from the embedded sample, coarse by area mean."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmark.grid import Grid, RegionGrid, region_grid
from benchmark.pair_writer import Steps
from benchmark.task import Region, Task
from data_recipes.era5_sample.sample import SAMPLE_FILE, SAMPLE_SHA256, open_sample
from data_recipes.recipe import RegionData


class EmbeddedERA5:
    """Cuts regions from the sample; opening it once serves all of them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sample = open_sample()
        self.source_ids = {SAMPLE_FILE: f"sha256:{SAMPLE_SHA256}"}
        self.configuration: dict[str, Any] = {
            "recipe": "era5_sample",
            "coarse": f"area-weighted {task.factor:g} x {task.factor:g} block mean of fine",
        }

    def region(self, region: Region) -> RegionData:
        """The whole region in one block: the sample is small."""
        grid = region_grid(self.task, region)
        box = self._cut(grid.fine)
        return RegionData(
            times=box["time"].values.astype("datetime64[s]"),
            static={name: box[name].values for name in ("land_fraction", "orography")},
            blocks=self._blocks(box, grid),
        )

    def _cut(self, grid: Grid) -> xr.Dataset:
        """Exact selection by cell centres; KeyError if the grids do not match."""
        return self.sample.sel(lat=grid.y.centres, lon=grid.x.centres)

    def _blocks(self, box: xr.Dataset, grid: RegionGrid) -> Iterator[tuple[int, Steps]]:
        fine: dict[str, NDArray[np.float32]] = {
            name: box[name].values for name in self.task.variable_names
        }
        coarse = {name: grid.overlap(field).astype(np.float32) for name, field in fine.items()}
        yield 0, Steps(coarse=coarse, fine=fine)
