"""The recipe that a file describes: two products, or one and its area mean, made into pairs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.coarsen import AreaOverlap
from benchmark.errors import Problem
from benchmark.grid import Grid, region_grid
from benchmark.hashing import text_digest
from benchmark.pair_parts import blocks_of
from benchmark.pair_writer import STATIC_UNITS, Steps
from benchmark.region import Region
from benchmark.task import Task, Variable
from data_recipes.checks import (
    check_mask,
    check_static,
    check_summary,
    is_finite,
    is_in_kelvin,
    is_in_range,
    summarise,
)
from data_recipes.orientation import check_orientation
from data_recipes.problems import gathered, raise_all
from data_recipes.recipe import RegionPlan, Report, no_times
from data_recipes.recipe_file import RecipeFile, Side, open_side
from data_recipes.side import SideReader, box_window, stamps
from data_recipes.source import (
    Advance,
    KeyedSource,
    Load,
    SharedSource,
    Source,
    Times,
    Window,
    no_report,
    weigh,
)
from data_recipes.survey import complete_times, survey_times
from data_recipes.time_axis import expected_times

VERSION = 1
"""Of how recipes make values; a change of it builds all stores anew."""

CHECKED_STEPS = 48
"""How many steps are looked at before any is written."""

_NEVER = np.empty(0, "datetime64[s]")


class PairRecipe:
    """See `recipe.Recipe`.

    cache: where what is fetched stays, for all tasks; base: the folder of relative paths.
    """

    def __init__(self, task: Task, file: RecipeFile, *, cache: Path, base: Path) -> None:
        self.task, self.file = task, file
        given = {"coarse": file.coarse, "fine": file.fine, "static": file.static}
        self.sides: dict[str, Side] = {name: side for name, side in given.items() if side}
        self.sources: dict[str, Source] = {
            name: open_side(side, cache=cache, base=base) for name, side in self.sides.items()
        }
        self.scans = cache / "scans"

    def source_ids(self, region: Region) -> dict[str, str]:
        """{side: product: version or hash}."""
        return {
            f"{side}: {name}": identity
            for side, source in self.sources.items()
            for name, identity in source.ids(region.name).items()
        }

    def configuration(self, region: Region) -> dict[str, Any]:
        """The file's settings, without those of other regions' files."""
        words = self.file.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for side in self.sides:
            of_regions = words[side]["source"].get("regions")
            if isinstance(of_regions, dict):
                mine = {name: of for name, of in of_regions.items() if name == region.name}
                words[side]["source"]["regions"] = mine
        return words | {"version": VERSION}

    @cached_property
    def expected(self) -> Times:
        """All times of the task's periods."""
        return expected_times(
            self.task.periods,
            every_hours=self.file.every_hours,
            offset_hours=self.file.offset_hours,
        )

    @property
    def steps(self) -> int:
        """How many times are expected."""
        return len(self.expected)

    def to_fetch(self, regions: Sequence[Region]) -> Load:
        """Bytes that are yet to be fetched, of all sides; see `recipe.Recipe`."""
        found: dict[str, Load] = {}
        for name, source in self.sources.items():
            for region in regions:
                found |= source.to_fetch(self._window(name, region))
        return weigh(found)

    def check_keys(self, regions: Sequence[Region]) -> None:
        """Of all sides; see `recipe.Recipe`."""
        problems: list[Problem] = []
        for name, source in self.sources.items():
            windows = (self._window(name, region) for region in regions)
            if isinstance(source, KeyedSource) and any(map(source.to_fetch, windows)):
                with gathered(problems):
                    source.check_key()
        raise_all(problems)

    def fetch(self, regions: Sequence[Region], *, advance: Advance = no_report) -> None:
        """Bring all sides of these regions; see `recipe.Recipe`."""
        problems: list[Problem] = []
        # Statics are small, and tell a missing key or licence before what takes hours.
        for name, source in sorted(self.sources.items(), key=lambda item: item[0] != "static"):
            windows = [self._window(name, region) for region in regions]
            with gathered(problems):
                if problems and any(weigh(source.to_fetch(window)).fetched for window in windows):
                    continue  # nothing long is begun where something is wrong
                if isinstance(source, SharedSource):
                    source.fetch_many(windows, advance=advance)
                    continue
                for window in windows:
                    source.fetch(window, advance=advance)
        raise_all(problems)

    def region(
        self,
        region: Region,
        *,
        workers: int = 1,
        scheduler: str | None = None,
        report: Report = no_report,
    ) -> RegionPlan:
        """See which times all sides have, and plan the blocks; see `recipe.Recipe`."""
        pair = {name: side for name, side in self.sides.items() if name != "static"}
        times, missing = survey_times(
            region.name,
            {
                name: (side, self.sources[name], self._window(name, region))
                for name, side in pair.items()
            },
            self.expected,
        )
        raise_all(no_times(self.task, region, times))
        problems: list[Problem] = []
        readers: dict[str, SideReader] = {}
        for name in pair:
            with gathered(problems, of=f"{region.name}: {name}"):
                readers[name] = self._reader(name, region, times)
        static: Mapping[str, NDArray[np.float32]] = {}
        with gathered(problems):
            static = self._static(region)
        maker = BlockMaker(self.task, region, times, readers)
        never: list[Problem] = []
        with gathered(problems):
            never = maker.check_samples()
        gaps = self.sides[maker.input_side].gaps
        raise_all(problems if gaps else [*problems, *never])
        if gaps:
            times, missing = complete_times(
                self.expected, times, maker.inputs_are_whole,
                blocks=maker.blocks, kept=self._scan(region, maker),
                workers=workers, scheduler=scheduler,
                report=partial(report, f"missing cells of {region.name}"),
            )  # fmt: skip
            raise_all(never if not len(times) else no_times(self.task, region, times))
            maker = BlockMaker(self.task, region, times, readers)
        return RegionPlan(times=times, static=static, steps=maker, missing=missing)

    def _scan(self, region: Region, maker: "BlockMaker") -> Path:
        """Where it is kept which of the times have whole inputs: named after what decides it."""
        grids, side = region_grid(self.task, region), maker.input_side
        axes = [axis.edges.tolist() for grid in (grids.coarse, grids.fine)
                for axis in (grid.y, grid.x)]  # fmt: skip
        words = {
            "recipe": self.configuration(region)[side] | {"version": VERSION},
            "sources": dict(self.sources[side].ids(region.name)),
            "grid": [grids.fine.projection.crs, axes],
            "variables": [[variable.name, variable.units] for variable in self.task.variables],
            "times": maker.times.astype(int).tolist(),
        }
        return self.scans / text_digest(json.dumps(words, sort_keys=True))

    def _static(self, region: Region) -> Mapping[str, NDArray[np.float32]]:
        if "static" not in self.sides:
            return {}
        reader = self._reader("static", region, _NEVER)
        problems: list[Problem] = []
        found: dict[str, NDArray[np.float32]] = {}
        for name in self.task.static:
            with gathered(problems):
                found[name] = reader.static(name, units=STATIC_UNITS[name]).astype(np.float32)
        raise_all([*problems, *check_static(region.name, found)])
        return found

    def _reader(self, name: str, region: Region, times: Times) -> SideReader:
        target, window = self._target(name, region), self._window(name, region)
        return SideReader.on(self.sides[name], self.sources[name], window, target, times)

    def _target(self, name: str, region: Region) -> Grid:
        """The grid that a side is brought to."""
        grids = region_grid(self.task, region)
        return grids.coarse if name == "coarse" else grids.fine

    def _window(self, name: str, region: Region) -> Window:
        """All that a side may need of its product for a region."""
        target = self._target(name, region)
        return box_window(region.name, target, self.sides[name], self._stamps[name])

    @cached_property
    def _stamps(self) -> Mapping[str, Times]:
        """The product's stamps of each side that make all expected times."""
        return {
            name: stamps(side, _NEVER if name == "static" else self.expected)
            for name, side in self.sides.items()
        }


@dataclass(frozen=True, eq=False)
class BlockMaker:
    """Makes the steps of a region's blocks; see `recipe.RegionPlan`."""

    task: Task
    region: Region
    times: Times
    readers: Mapping[str, SideReader]

    def __call__(self, block: slice) -> Steps:
        """Read, derive, regrid and check the fields of a block.

        Errors: InputError where an input has a missing cell: models need whole ones.
        """
        times = self.times[block]
        fine = self._side("fine", times)
        coarse = self._inputs(times, fine)
        self._check_whole(coarse, times)
        return Steps(coarse=coarse, fine=fine)

    @property
    def input_side(self) -> str:
        """The side of which models need every cell."""
        return "coarse" if "coarse" in self.readers else "fine"

    @property
    def blocks(self) -> list[slice]:
        """Of all times, each of as many as are built at once."""
        return blocks_of(region_grid(self.task, self.region).fine, len(self.times))

    def inputs_are_whole(self, block: slice) -> NDArray[np.bool_]:
        """(time,) whether no coarse cell is missing, in any variable."""
        inputs = self._inputs(self.times[block], None)
        whole = [np.isfinite(values).all(axis=(1, 2)) for values in inputs.values()]
        return np.asarray(np.logical_and.reduce(whole))

    def check_samples(self) -> list[Problem]:
        """Refuse implausible products before anything is written, by a few of their times.

        Values by the first consecutive times, and with them by times spread over the periods where
        it takes many to tell; by the latter whether one product of a pair lies upside down or half
        a cell off. Returns which inputs have cells that are missing at all of these times: no gap
        of some times, and no task can be made of them.
        """
        first = self.times[:CHECKED_STEPS]
        spread = self.times[:: max(1, len(self.times) // CHECKED_STEPS)][:CHECKED_STEPS]
        problems: list[Problem] = []
        never: list[Problem] = []
        seen: dict[str, dict[str, NDArray[np.float32]]] = {}
        for side in self.readers:
            with gathered(problems):
                begun = self._side(side, first, checked=False)
                seen[side] = self._side(side, spread, checked=False)
                for name, values in begun.items():
                    # Times that are apart say nothing of what changes from one to the next.
                    far = replace(summarise(seen[side][name]), compared=0, active=0, rising=0)
                    variable, found = self.task.variable(name), summarise(values) + far
                    problems += check_summary(self.region.name, variable, found, side=side)
                    if side == self.input_side:
                        where = f"{self.region.name}: {side} {name}"
                        both = np.concatenate([values, seen[side][name]])
                        never += check_mask(where, both, derived="coarse" not in self.readers)
        if {"coarse", "fine"} <= set(seen) and not problems:
            means = self._coarsened(seen["fine"])
            on_purpose = any(self.readers["coarse"].side.moved)
            for name in self.task.variable_names:
                where, coarse = f"{self.region.name}: {name}", seen["coarse"][name]
                problems += check_orientation(
                    where, coarse.astype(np.float64), means[name], shifts=not on_purpose
                )
        raise_all(problems)
        return never

    def _inputs(
        self, times: Times, fine: Mapping[str, NDArray[np.float32]] | None
    ) -> dict[str, NDArray[np.float32]]:
        """The coarse fields; fine: the fine ones, where they are known already."""
        if "coarse" in self.readers:
            return self._side("coarse", times)
        means = self._coarsened(self._side("fine", times) if fine is None else fine)
        return {name: values.astype(np.float32) for name, values in means.items()}

    def _side(
        self, side: str, times: Times, *, checked: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        reader = self.readers[side]
        dataset = reader.read(times)
        fields: dict[str, NDArray[np.float32]] = {}
        problems: list[Problem] = []
        for variable in self.task.variables:
            # Units and names are of the product, whatever the region.
            with gathered(problems, of=side):
                values = reader.make(dataset, variable.name, times, units=variable.units)
                fields[variable.name] = values.astype(np.float32)
            if checked and variable.name in fields:
                problems += self._check(side, variable, fields[variable.name], times)
        raise_all(problems)
        return fields

    def _check_whole(self, coarse: Mapping[str, NDArray[np.float32]], times: Times) -> None:
        side = self.input_side
        raise_all(
            Problem(
                f"{self.region.name}: {side} {name}, {times[0]} to {times[-1]}",
                "values in all cells, since models need whole inputs",
                f"{np.count_nonzero(np.isnan(values).any(axis=(1, 2)))} times without",
                f"State `gaps = true` for `{side}`, so that they are left out and recorded.",
            )
            for name, values in coarse.items()
            if np.isnan(values).any()
        )

    def _check(
        self, side: str, variable: Variable, values: NDArray[np.float32], times: Times
    ) -> list[Problem]:
        """What is wrong with any block alone, however short and dry."""
        where = f"{self.region.name}: {side} {variable.name}, {times[0]} to {times[-1]}"
        found = summarise(values)
        checks = (is_finite, is_in_kelvin, is_in_range)
        problems = (check(where, variable, found) for check in checks)
        return [problem for problem in problems if problem]

    @cached_property
    def _overlap(self) -> AreaOverlap:
        return region_grid(self.task, self.region).overlap

    def _coarsened(self, fine: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        return {name: self._overlap(values) for name, values in fine.items()}
