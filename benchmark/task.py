"""The contract of a task: data sets, variables, regions and roles, periods, scoring choices.

A task is one TOML file in `benchmark/tasks/`. Its name and revision together stand for
everything that decides what a score means; changing any of it needs a new revision.
"""

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from benchmark.bins import Bins
from benchmark.errors import InputError, Problem
from benchmark.region import MapGrid, Region, Slug
from benchmark.toml_model import Frozen, nearest

Paper = Literal["ganvsdiffusion", "orbit2", "wassdiff"]
Split = Literal["train", "val_id", "test_id", "val_ood", "test_ood"]
SPLITS: tuple[Split, ...] = ("train", "val_id", "test_id", "val_ood", "test_ood")
TEST_SPLITS: tuple[Split, ...] = ("test_id", "test_ood")


def _in_order(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if list(bounds) != sorted(set(bounds)):
        raise ValueError("values in ascending order")
    return bounds


def _percents(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < value < 100 for value in values):
        raise ValueError("percentiles between 0 and 100")
    return values


def _odd(windows: tuple[int, ...]) -> tuple[int, ...]:
    if not all(window > 0 and window % 2 for window in windows):
        raise ValueError("odd numbers of cells")
    return windows


_ascending = AfterValidator(_in_order)
Ascending = Annotated[tuple[float, ...], Field(max_length=3), _ascending]
Percentiles = Annotated[tuple[float, ...], AfterValidator(_percents), _ascending]
Static = Literal["land_fraction", "orography"]
STATICS: tuple[Static, ...] = ("land_fraction", "orography")


class BinsOf(Frozen):
    """The fixed bins of a variable's values: see `benchmark.bins.Bins`."""

    kind: Literal["log2", "linear"]
    low: float
    high: float
    width: float | None = None
    per_octave: int = 512

    @property
    def bins(self) -> Bins:
        """The bins themselves."""
        return Bins(self.kind, self.low, self.high, self.width, self.per_octave)

    @model_validator(mode="after")
    def _make(self) -> Self:
        try:
            _ = self.bins
        except InputError as error:
            raise ValueError("; ".join(str(problem) for problem in error.problems)) from None
        return self


class Variable(Frozen):
    """One variable. `nonnegative` ones count negative predictions as a defect."""

    name: Slug
    long_name: str
    standard_name: str
    units: Literal["K", "m s-1", "mm h-1", "mm d-1", "kg m-2", "s-1"]
    cell_methods: str
    nonnegative: bool
    thresholds: tuple[float, ...] = ()
    """Events are values at or above these, in `units`."""
    percentiles: Percentiles = ()
    """And at or above these percentiles of each region's truth in the training period."""
    intensity: Ascending = ()
    """Up to three bounds between classes of the truth, for scores by intensity."""
    bins: BinsOf
    data_range: Annotated[tuple[float, float], _ascending]
    """(low, high) of SSIM and PSNR, fixed for all models and regions."""

    @property
    def threshold_names(self) -> list[str]:
        """The names of the thresholds, in the order that they are kept."""
        absolute = [f">= {value:g} {self.units}" for value in self.thresholds]
        return absolute + [f">= P{value:g}" for value in self.percentiles]


class Vector(Frozen):
    """Two variables that are a vector's eastward and northward components.

    Adds three variables that no model predicts: `NAME_speed`, scored as any variable, and
    `NAME_divergence` and `NAME_vorticity` in s-1, of which only the spectra are.
    """

    name: Slug
    eastward: Slug
    northward: Slug
    speed: Variable

    @model_validator(mode="after")
    def _speed_is_derived(self) -> Self:
        if self.speed.percentiles:
            raise ValueError("speed.percentiles: only absolute thresholds, it has no stored truth")
        return self


class Period(Frozen):
    """All times from `first` to `last`, both included, UTC without a zone."""

    first: datetime
    last: datetime


class Periods(Frozen):
    """Common to all regions; consecutive periods are at least `embargo_hours` apart."""

    train: Period
    val: Period
    test: Period
    embargo_hours: Annotated[float, Field(ge=0)]


class FewShot(Frozen):
    """The labelled days of each target region that `few_shot` may learn from.

    days: how many; draws: several sets of as many UTC days of the training period, common to all
    regions. Seed N learns from draw N modulo their number, so that the choice of days is part of
    the spread over seeds.
    """

    days: Annotated[int, Field(ge=1)]
    draws: Annotated[tuple[tuple[date, ...], ...], Field(min_length=1)]

    def draw(self, seed: int) -> tuple[date, ...]:
        """The days of a seed."""
        return self.draws[seed % len(self.draws)]

    @model_validator(mode="after")
    def _draws_are_as_stated(self) -> Self:
        if any(len(draw) != self.days for draw in self.draws):
            raise ValueError(f"draws of {self.days} day(s) each")
        if any(list(draw) != sorted(set(draw)) for draw in self.draws):
            raise ValueError("days in ascending order within a draw, each once")
        if len(set(self.draws)) != len(self.draws):
            raise ValueError("draws that differ")
        return self


class Primary(Frozen):
    """What alone ranks; its board follows from the metric (CRPS: probabilistic)."""

    variable: Slug
    metric: Literal["rmse", "crps_fair"]


class Source(Frozen):
    """One product behind the task, with what its licence asks to be said."""

    product: str
    licence: str
    attribution: str


class Task(Frozen):
    """A task as read from its file. `factor` is the ratio of grid spacings, fine to coarse."""

    name: Slug
    revision: Annotated[int, Field(ge=1)]
    title: str
    summary: str
    banner: str = ""
    track: Literal["perfect_model", "real_pair"]
    factor: Annotated[float, Field(gt=1)]
    spacing: Annotated[float, Field(gt=0)] | None = None
    """Fine grid spacing in degrees, where regions are boxes of latitude and longitude."""
    grids: tuple[MapGrid, ...] = ()
    """Grids on maps, for regions that are boxes of one."""
    coarse_shift: tuple[float, float] = (0.0, 0.0)
    """How far the coarse box lies north and east of the fine one, in coarse cells: 0.5 where the
    points of a product are the centres of its cells and lie on the fine box's edge."""
    static: tuple[Static, ...] = STATICS
    """The static fields of each region; without both of them there are no scores by surface."""
    margin: Annotated[int, Field(ge=0)]
    """Border of each box in coarse cells that models predict but that is not scored."""
    members: Annotated[int, Field(ge=2)]
    """Ensemble size of the probabilistic board. A deterministic model has one member."""
    case: Literal["day", "snapshot"]
    season_coverage: Literal["full", "partial"]
    block_days: Annotated[int, Field(ge=1)] = 15
    buffer_km: Annotated[float, Field(ge=0)]
    """Smallest distance between boxes of different roles, on the sphere."""
    cluster_km: Annotated[float, Field(gt=0)] = 1000.0
    """Boxes closer than this count as one in claims about new regions."""
    primary: Primary
    windows: Annotated[tuple[int, ...], AfterValidator(_odd), _ascending] = (1, 3, 5, 9)
    """Sides of the fractions skill score's windows, in fine cells."""
    lags: Annotated[tuple[int, ...], _ascending] = (1, 2, 4, 8)
    """Distances of the structure functions, in fine cells."""
    image_every: Annotated[int, Field(ge=1)] = 1
    """Spectra, SSIM, structure functions and FSS take every n-th step of the test period, counted
    from its first: consecutive hours are nearly one picture, and pictures are costly."""
    papers: tuple[Paper, ...] = ()
    """Papers whose own scores are kept beside ours, under their names."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    vectors: tuple[Vector, ...] = ()
    variables: Annotated[tuple[Variable, ...], Field(min_length=1)]
    periods: Periods
    few_shot: FewShot | None = None
    """None where the task has no such regime."""
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _name_grids_once(cls, table: Any) -> Any:
        """A region's `grid` is a name in the file."""
        if not isinstance(table, dict) or not isinstance(table.get("regions"), list | tuple):
            return table
        given = table.get("grids", ())
        grids = {
            grid["name"]: grid
            for grid in (given if isinstance(given, list | tuple) else ())
            if isinstance(grid, dict) and isinstance(grid.get("name"), str)
        }

        def named(region: Any) -> Any:
            if not isinstance(region, dict) or not isinstance(region.get("grid"), str):
                return region
            if region["grid"] not in grids:
                known = ", ".join(grids) or "none"
                raise ValueError(
                    f"region {region.get('name')}: the name of one of the grids ({known}), "
                    f"not {region['grid']!r}"
                )
            return region | {"grid": grids[region["grid"]]}

        return table | {"regions": [named(region) for region in table["regions"]]}

    @model_validator(mode="after")
    def _boxes_have_a_spacing(self) -> Self:
        if self.spacing is None and any(region.grid is None for region in self.regions):
            raise ValueError("spacing: a value in degrees, for the regions with lat and lon")
        if self.vectors and any(region.grid for region in self.regions):
            raise ValueError("vectors: on latitudes and longitudes only")
        if len({grid.name for grid in self.grids}) < len(self.grids):
            raise ValueError("grids: each with a name of its own")
        return self

    @field_validator("few_shot")
    @classmethod
    def _labelled_days_are_training_days(
        cls, few_shot: FewShot | None, info: ValidationInfo
    ) -> FewShot | None:
        periods = info.data.get("periods")
        if few_shot is None or periods is None:
            return few_shot
        train = periods.train
        for day in sorted({day for draw in few_shot.draws for day in draw}):
            if not train.first <= datetime.combine(day, time()) <= train.last:
                raise ValueError(f"days that begin in the training period, not {day}")
        return few_shot

    @property
    def id(self) -> str:
        """`name@revision`, the task's full name."""
        return f"{self.name}@{self.revision}"

    def spacing_of(self, region: Region) -> float:
        """Spacing of a region's fine cells along its axes, in degrees or metres."""
        spacing = region.grid.spacing if region.grid else self.spacing
        assert spacing is not None  # by the validator above
        return spacing

    @property
    def variable_names(self) -> tuple[str, ...]:
        """The variables' names in the task's order."""
        return tuple(variable.name for variable in self.variables)

    @property
    def scored_variables(self) -> tuple[Variable, ...]:
        """The variables that have scores of all families: the task's, then its vectors' speeds."""
        return (*self.variables, *(vector.speed for vector in self.vectors))

    def variable(self, name: str) -> Variable:
        """The variable called `name`; InputError with the nearest known name otherwise."""
        for variable in self.variables:
            if variable.name == name:
                return variable
        raise InputError(
            Problem(
                f"variable {name!r}",
                f"a variable of {self.id}",
                "an unknown one",
                nearest(name, list(self.variable_names)),
            )
        )

    def region(self, name: str) -> Region:
        """The region called `name`; InputError with the nearest known name otherwise."""
        for region in self.regions:
            if region.name == name:
                return region
        known = [region.name for region in self.regions]
        raise InputError(
            Problem(
                f"region {name!r}", f"a region of {self.id}", "an unknown one", nearest(name, known)
            )
        )

    def regions_of(self, *splits: Split) -> tuple[Region, ...]:
        """The regions of one or several splits, sorted by name."""
        roles = {"train" if split in ("train", "val_id", "test_id") else split for split in splits}
        return tuple(
            sorted((r for r in self.regions if r.role in roles), key=lambda region: region.name)
        )

    def period_of(self, split: Split) -> Period:
        """The period of a split: `val_id` and `val_ood` share one, as do the test splits."""
        kind = split.split("_")[0]
        period: Period = getattr(self.periods, kind)
        return period

    @property
    def embargo(self) -> timedelta:
        """The stated embargo between periods."""
        return timedelta(hours=self.periods.embargo_hours)
