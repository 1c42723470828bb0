"""A recipe as a file: which products make the coarse and the fine side of a task, and how."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from benchmark.region import Slug
from benchmark.toml_model import Frozen, read_toml
from data_recipes.fields import FieldOf
from data_recipes.source import Source
from data_recipes.sources import arco, cds, earthdata, files, icechunk_store, products, rainshift

Onto = Literal["exact", "area", "bilinear", "nearest"]
"""How a product's cells become the task's: see `regrid.regridder`."""

SourceOptions = Annotated[
    arco.ArcoOptions
    | cds.CdsOptions
    | earthdata.EarthdataOptions
    | files.FilesOptions
    | icechunk_store.IcechunkOptions
    | products.ProductOptions
    | rainshift.RainShiftOptions,
    Field(discriminator="provider"),
]

_OPEN: dict[str, Callable[..., Source]] = {
    "arco": arco.open_source,
    "cds": cds.open_source,
    "earthdata": earthdata.open_source,
    "icechunk": icechunk_store.open_source,
    "product": products.open_source,
    "rainshift": rainshift.open_source,
}


def _field(value: object) -> object:
    """A bare name is a field of that name."""
    return {"from": value} if isinstance(value, str) else value


Fields = dict[Slug, Annotated[FieldOf, BeforeValidator(_field)]]


class Side(Frozen):
    """One side of a pair, or its static fields.

    onto: how the product's cells become the task's. gaps: whether the product may lack times, or
    at some times cells that models need; such times are left out and recorded, else refused. Cells
    that are never there are no gaps. moved: what is added to the product's (y, x), for papers that
    take points for tiles; nothing else may.
    """

    source: SourceOptions
    onto: Onto = "exact"
    gaps: bool = False
    moved: tuple[float, float] = (0.0, 0.0)
    variables: Fields


class RecipeFile(Frozen):
    """The recipe of one task. coarse: none where it is the area mean of fine (perfect model).

    every_hours: how far apart the task's times are; offset_hours: of the first one from midnight
    UTC.
    """

    every_hours: Annotated[float, Field(gt=0)] = 1
    offset_hours: Annotated[float, Field(ge=0)] = 0
    coarse: Side | None = None
    fine: Side
    static: Side | None = None


def open_side(side: Side, *, cache: Path, base: Path) -> Source:
    """The source of a side. cache: where what is fetched stays; base: of relative paths."""
    options = side.source
    if isinstance(options, files.FilesOptions):
        return files.open_source(options, cache=cache, base=base)
    return _OPEN[options.provider](options, cache=cache)


def read_recipe(path: Path) -> RecipeFile:
    """Read a recipe; InputError with one problem for each wrong key."""
    return read_toml(path, RecipeFile)
