"""The statistical models by name, and their settings: no torch. A new one is a file, a config
where it has settings, and a line here."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from baselines.settings import apply_setting
from baselines.statistical import (
    analogue,
    bcsd,
    climatology,
    lapse_rate,
    linear,
    quantile_mapping,
)
from baselines.statistical.base import Fitted
from benchmark.errors import InputError, Problem
from benchmark.toml_model import Frozen, nearest, read_table, validate


@dataclass(frozen=True)
class StatisticalFamily:
    """One model: what its settings look like, and how it is fitted and applied."""

    title: str
    reference: str
    config: type[Frozen]
    model: type[Fitted]


STATISTICAL: dict[str, StatisticalFamily] = {
    "linear": StatisticalFamily(
        "linear regression with statics", linear.REFERENCE, linear.LinearConfig, linear.Linear
    ),
    "lapse-rate": StatisticalFamily(
        "bilinear + lapse rate", lapse_rate.REFERENCE,
        lapse_rate.LapseRateConfig, lapse_rate.LapseRate,
    ),
    "quantile-mapping": StatisticalFamily(
        "bilinear + quantile mapping", quantile_mapping.REFERENCE,
        quantile_mapping.QuantileMappingConfig, quantile_mapping.QuantileMapping,
    ),
    "bcsd": StatisticalFamily(
        "bias correction, spatial disaggregation", bcsd.REFERENCE, bcsd.BCSDConfig, bcsd.BCSD
    ),
    "analogue": StatisticalFamily(
        "analogues", analogue.REFERENCE, analogue.AnalogueConfig, analogue.Analogue
    ),
    "climatology": StatisticalFamily(
        "climatology of the training days", climatology.REFERENCE,
        climatology.ClimatologyConfig, climatology.Climatology,
    ),
}  # fmt: skip


def statistical_family(name: str) -> StatisticalFamily:
    """The model called `name`; InputError with the nearest known name otherwise."""
    if name not in STATISTICAL:
        raise InputError(
            Problem(
                f"model {name!r}", "a known statistical model", "this",
                nearest(name, list(STATISTICAL)),
            )
        )  # fmt: skip
    return STATISTICAL[name]


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
