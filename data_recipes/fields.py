"""From a product's own fields to the task's: names, units, hours."""

from typing import Annotated, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen
from data_recipes.source import Times
from data_recipes.units import conversion

Array = NDArray[np.float64]

PACKING_NOISE = {"mm h-1": 1e-3, "mm d-1": 24e-3}
"""Negative rain down to minus this is what packing leaves of none; `make` sets it to 0."""

Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class FieldOf(Frozen):
    """How one variable of the task is made from a product.

    from: the product's own name, or the names that `rule` combines. units: what the values are in,
    where the product does not say or says it wrongly; otherwise its attribute decides. hours: the
    interval that a value is of (accumulated or mean), 0 for an instant; stamp: which end of that
    interval its time is, or its middle (days of gauges read at 12 UTC that are named by their date
    are so). over_hours: the interval ending at the task's time that the task's values
    are means of, 0 for an instant.
    """

    names: Annotated[Names, Field(alias="from", min_length=1)]
    rule: Literal["value", "speed"] = "value"
    units: str | None = None
    hours: Annotated[float, Field(ge=0)] = 0
    stamp: Literal["start", "middle", "end"] = "end"
    over_hours: Annotated[float, Field(ge=0)] = 0


def needed(field: FieldOf, times: Times | np.datetime64) -> Times:
    """(..., n) the product's times that make the task's value at each of the times (...).

    The time itself for an instant; otherwise the stamps, in order, of all the product's intervals
    that tile the `over_hours` before it. So half-hours stamped at their start make the hour to T
    of T - 1 h and T - 0.5 h, and an ERA5 day to 06 UTC is made of the hours stamped 07 to 06.
    Errors: InputError where `hours` do not tile `over_hours`.
    """
    at = np.asarray(times).astype("datetime64[s]")[..., None]
    interval, over = round(field.hours * 3600), round(field.over_hours * 3600)
    if not interval and not over:
        return at
    if not interval or over % interval or over < interval:
        raise _refused(
            ", ".join(field.names),
            "over_hours that a whole number of the product's intervals make up, or 0 for both",
            f"hours = {field.hours:g} and over_hours = {field.over_hours:g}",
            "Correct the two in the recipe.",
        )
    ends = np.arange(interval - over, 1, interval)
    starts = ends - interval
    stamps = {"start": starts, "middle": starts + interval // 2, "end": ends}[field.stamp]
    return np.asarray(at + stamps.astype("timedelta64[s]"))


def make(field: FieldOf, dataset: xr.Dataset, times: Times, *, units: str) -> Array:
    """(time, y, x) values of the task at `times`, in its units, from what `Source.read` gave.

    A speed is taken of its two components at each of the product's times, before any mean. Amounts
    become rates by `hours`; rates and amounts over several intervals become means. y and x stay in
    the product's order. Rain between -`PACKING_NOISE` and 0 becomes 0; anything below stays, for
    `checks` to refuse.
    Missing data: NaN where the product has none, at any of the times that a value needs, also
    where such a time is not in the data set.
    Errors: InputError for names that are not there, units that cannot be meant, a time that is
    there twice.
    """
    stamps = needed(field, times)
    places = _places(field, dataset, stamps)
    components = [_component(field, name, dataset, units, ndim=3) for name in field.names]
    shape = components[0].shape[1:]
    out = np.zeros((len(times), *shape))
    for k in range(stamps.shape[-1]):
        there = places[:, k] >= 0
        found = [values[places[there, k]] for values in components]
        out[there] += _combined(field, found)
        out[~there] = np.nan
    out /= stamps.shape[-1]
    return _without_noise(out, units)


def make_static(field: FieldOf, dataset: xr.Dataset, *, units: str) -> Array:
    """(y, x) of a field that does not change, in "m" or "1", as `make` does it."""
    found = [_component(field, name, dataset, units, ndim=2) for name in field.names]
    return _combined(field, found)


def _combined(field: FieldOf, components: list[Array]) -> Array:
    wanted = {"value": 1, "speed": 2}[field.rule]
    if len(components) != wanted:
        raise _refused(
            ", ".join(field.names), f'{wanted} name(s) for the rule "{field.rule}"',
            f"{len(components)}", "Correct `from` in the recipe.",
        )  # fmt: skip
    return np.hypot(*components) if field.rule == "speed" else components[0]


def _component(field: FieldOf, name: str, dataset: xr.Dataset, units: str, *, ndim: int) -> Array:
    """One variable of the product, in the task's units."""
    if name not in dataset.data_vars:
        known = ", ".join(sorted(str(known) for known in dataset.data_vars)) or "none"
        raise _refused(name, f"a variable of the product ({known})", "another", "Correct `from`.")
    variable = dataset[name]
    dims = ("time", "y", "x")[-ndim:]
    if variable.dims != dims:
        got = f"({', '.join(map(str, variable.dims))})"
        raise _refused(name, f"dimensions ({', '.join(dims)})", got, "Choose one level or member.")
    given = field.units if field.units is not None else variable.attrs.get("units")
    if given is None:
        fix = "Say in `units` what the values are in."
        raise _refused(name, "units", "none, neither in the product nor in the recipe", fix)
    change = conversion(name, str(given), units, hours=field.hours)
    values = variable.values.astype(np.float64)
    return np.asarray(values * change.factor + change.offset)


def _places(field: FieldOf, dataset: xr.Dataset, stamps: Times) -> NDArray[np.intp]:
    """Where each stamp is along the data set's time, -1 where it is not."""
    there = dataset["time"].values.astype("datetime64[s]")
    order = np.argsort(there, kind="stable")
    ordered = there[order]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        fix = "Fetch the file again, or remove what is there twice."
        raise _refused(", ".join(field.names), "every time once", f"{twice[0]} twice", fix)
    if not len(there):
        return np.full(stamps.shape, -1, np.intp)
    at = np.minimum(np.searchsorted(ordered, stamps), len(there) - 1)
    return np.where(ordered[at] == stamps, order[at], -1)


def _without_noise(values: Array, units: str) -> Array:
    noise = PACKING_NOISE.get(units)
    if noise is not None:
        values[(values < 0) & (values >= -noise)] = 0
    return values


def _refused(where: str, expected: str, got: str, fix: str) -> InputError:
    return InputError(Problem(where, expected, got, fix))
