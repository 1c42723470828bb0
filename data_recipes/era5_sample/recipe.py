"""The recipe of `era5-sample`: boxes cut from the embedded sample, coarse by area mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from benchmark.coarsen import AreaOverlap
from benchmark.grid import Grid, region_grid
from benchmark.pair_writer import Steps
from benchmark.region import Region
from benchmark.task import Task
from data_recipes.era5_sample.sample import SAMPLE_FILE, SAMPLE_SHA256, open_sample
from data_recipes.recipe import RegionPlan
from data_recipes.source import Advance, Load, no_report


class EmbeddedERA5:
    """Cuts regions from the sample; opening it once serves all of them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sample = open_sample()
        self.steps = self.sample.sizes["time"]

    def source_ids(self, region: Region) -> dict[str, str]:  # noqa: ARG002
        """The sample, for all regions."""
        return {SAMPLE_FILE: f"sha256:{SAMPLE_SHA256}"}

    def configuration(self, region: Region) -> dict[str, Any]:  # noqa: ARG002
        """Of all regions."""
        mean = f"area-weighted {self.task.factor:g} x {self.task.factor:g} block mean of fine"
        return {"recipe": "era5_sample", "coarse": mean}

    def to_fetch(self, regions: Sequence[Region]) -> Load:  # noqa: ARG002
        """Nothing: the sample ships."""
        return Load(0, 0)

    def check_keys(self, regions: Sequence[Region]) -> None:
        """Nothing: the sample ships."""

    def fetch(self, regions: Sequence[Region], *, advance: Advance = no_report) -> None:
        """Nothing: the sample ships."""

    def region(self, region: Region, **_: object) -> RegionPlan:
        """Cut the region from the sample."""
        grid = region_grid(self.task, region)
        box = self._cut(grid.fine)
        return RegionPlan(
            times=box["time"].values.astype("datetime64[s]"),
            static={name: box[name].values for name in self.task.static},
            steps=_Cut(box[list(self.task.variable_names)], grid.overlap),
        )

    def _cut(self, grid: Grid) -> xr.Dataset:
        """Exact selection by cell centres; KeyError if the grids do not match."""
        return self.sample.sel(lat=grid.y.centres, lon=grid.x.centres)


@dataclass(frozen=True, eq=False)
class _Cut:
    """The steps of one region, coarse by area mean."""

    box: xr.Dataset
    overlap: AreaOverlap

    def __call__(self, block: slice) -> Steps:
        fine = {str(name): field.values[block] for name, field in self.box.items()}
        coarse = {name: self.overlap(field).astype(np.float32) for name, field in fine.items()}
        return Steps(coarse=coarse, fine=fine)
