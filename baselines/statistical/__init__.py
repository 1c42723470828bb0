"""The statistical models by name, and their settings: no torch. A new one is a file, a config
where it has settings, and a line here."""

from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from baselines.settings import apply_setting
from baselines.statistical.base import StatisticalFamily
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen, nearest, read_table, validate

STATISTICAL: dict[str, str] = {
    "linear": "baselines.statistical.linear",
    "lapse-rate": "baselines.statistical.lapse_rate",
    "quantile-mapping": "baselines.statistical.quantile_mapping",
    "bcsd": "baselines.statistical.bcsd",
    "analogue": "baselines.statistical.analogue",
    "climatology": "baselines.statistical.climatology",
}
"""The file of each model, which holds its `FAMILY`. Opened when it is asked for."""


def statistical_family(name: str) -> StatisticalFamily:
    """The model called `name`; InputError with the nearest known name otherwise."""
    if name not in STATISTICAL:
        raise InputError(
            Problem(
                f"model {name!r}", "a known statistical model", "this",
                nearest(name, list(STATISTICAL)),
            )
        )  # fmt: skip
    found: StatisticalFamily = import_module(STATISTICAL[name]).FAMILY
    return found


def load_statistical_config(
    model: str, *, file: Path | None = None, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """The checked settings of `baselines/configs/MODEL.toml` (or `file`), table `model`, with
    `key=value` changes such as `model.ridge=0.1`.

    Errors: InputError for every unknown key, malformed setting and value out of range.
    """
    chosen = statistical_family(model)
    where = f"{model}.toml"
    table: dict[str, Any] = {"model": {}}
    if file is not None or chosen.config.model_fields:
        with resources.as_file(resources.files("baselines") / "configs" / where) as packaged:
            path = file or packaged
            where, table = path.name, read_table(path)
    for setting in settings:
        apply_setting(table, setting, example="model.every=2")
    outer = validate(table, _File, where=where)
    return validate(outer.model, chosen.config, where=f"{where}: model").model_dump()


class _File(Frozen):
    model: dict[str, Any]
