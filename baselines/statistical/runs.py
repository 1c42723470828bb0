"""The run folder of a statistical model: fitted once, then a predictor; no torch, no pickle."""

import json
import time
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.numpy import load, save

from baselines.sources import source_regions
from baselines.statics import check_statics
from baselines.statistical import statistical_family
from baselines.statistical.base import Fitted, Place, Report, Rule, Training
from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.model_card import ModelCard, SourceSet, without_later
from benchmark.pair_store import PairStore, RegionStore
from benchmark.post_hoc import move_known
from benchmark.predictor import Fields
from benchmark.provenance import hardware
from benchmark.toml_model import Frozen, validate

RECORD, ARRAYS = "run.json", "fit.safetensors"


class StatisticalRequest(Frozen):
    """Everything that decides a fitted model; a run with the same request is the same run."""

    task: str
    data_hash: str
    model: str
    regime: Literal["zero_shot", "oracle"]
    sources: SourceSet = ()
    """The training regions to fit on; empty for those of the regime."""
    config: dict[str, Any]
    """The model's settings; see `load_statistical_config`."""

    @model_validator(mode="after")
    def _sources_are_a_choice(self) -> Self:
        if self.sources and self.regime == "oracle":
            raise ValueError("no sources with the oracle, whose regions are fixed")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(dump(self))


class StatisticalRecord(Frozen):
    """`run.json` of a statistical model. parameters: how many numbers were fitted or kept."""

    schema_version: Literal[1] = 1
    kind: Literal["statistical"] = "statistical"
    request: StatisticalRequest
    parameters: int
    seconds: float
    hardware: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Statistical:
    """The model of a finished run; `post_hoc` projects its predictions onto the constraint."""

    card: ModelCard
    model: Fitted
    post_hoc: bool
    member_count: int = 1

    def predict(self, region: RegionStore, steps: slice) -> Fields:
        """(time, 1, ny, nx) float32 fields by variable.

        Step by step in float64, so that an answer depends on nothing else that is asked for:
        the model; no values below 0 in variables that the task calls non-negative; then the
        projection, which may bring some back.
        """
        variables, rule = region.task.variables, self._rule(region)
        coarse = np.stack([region.read("coarse", v.name, steps) for v in variables], axis=1)
        fine = np.empty((len(coarse), len(variables), *region.grid.fine.shape), np.float32)
        for at, field in enumerate(coarse.astype(np.float64)):
            fine[at] = rule(field)
        return {
            variable.name: np.ascontiguousarray(fine[:, k, None])
            for k, variable in enumerate(variables)
        }

    def _rule(self, region: RegionStore) -> Rule:
        if region.name not in self._rules:
            place = Place(region)
            rule, overlap = self.model.on(place), region.grid.overlap
            nonnegative = np.array([v.nonnegative for v in region.task.variables])[:, None, None]
            project = place.project if self.post_hoc else None

            def whole(coarse: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
                field = rule(coarse)
                field = np.where(nonnegative, np.maximum(field, 0.0), field)
                return field if project is None else move_known(overlap, project, field, coarse)

            self._rules[region.name] = whole
        return self._rules[region.name]

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is cached: another process makes its own."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def fit_run(
    store: PairStore, request: StatisticalRequest, folder: Path, report: Report = lambda *_: None
) -> StatisticalRecord:
    """Fit the model of `request` on the training days of its regions and write its run folder.

    A finished run with the same request returns at once; one that was stopped starts again.
    `run.json` is written last. Errors: InputError when the folder holds another run or other
    things, the request is for another task or other data, the task lacks static fields that the
    model reads, or the model cannot be fitted to the data.
    """
    if (folder / RECORD).exists():
        return _finished(folder, request)
    _check_folder(folder)
    _check_data(store, request, where="the request")
    family = statistical_family(request.model)
    check_statics(store.task, request.model, family.statics)
    config = validate(request.config, family.config, where=f"settings of {request.model}")
    regions = source_regions(store, request.regime, request.sources)
    began = time.perf_counter()
    model = family.model.fit(Training(tuple(regions), store.task.periods.train, report), config)
    arrays = model.arrays()
    write_atomically(folder / ARRAYS, save(arrays))
    record = StatisticalRecord(
        request=request,
        parameters=sum(array.size for array in arrays.values()),
        seconds=round(time.perf_counter() - began, 3),
        hardware=hardware(),
        packages={name: version(name) for name in ("elsewhere", "numpy", "scipy", "safetensors")},
    )
    write_atomically(folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record


def open_statistical(folder: Path, store: PairStore, *, post_hoc: bool = False) -> Statistical:
    """The predictor of a run folder.

    Errors: InputError when the run is unfinished, damaged, or of another task or other data.
    """
    record = read_statistical(folder)
    request = record.request
    _check_data(store, request, where=str(folder))
    family = statistical_family(request.model)
    config = validate(request.config, family.config, where=f"{folder / RECORD}: config")
    path = folder / ARRAYS
    try:
        model = family.model.from_arrays(config, load(path.read_bytes()))
    except (FileNotFoundError, SafetensorError, ValueError) as error:
        raise InputError(
            Problem(
                str(path), "the arrays of this run's model", f"{type(error).__name__}: {error}",
                "Train again into a new folder.",
            )
        ) from None  # fmt: skip
    card = ModelCard(
        task=request.task,
        model=request.model,
        title=family.title,
        reference=family.reference,
        regime=request.regime,
        sources=request.sources,
        constraint="post_hoc" if post_hoc else "none",
        parameters=record.parameters,
    )
    return Statistical(card, model, post_hoc)


def is_statistical(folder: Path) -> bool:
    """Whether `run.json` is a statistical model's; False where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("kind") == "statistical"


def read_statistical(folder: Path) -> StatisticalRecord:
    """Read a finished run's record; InputError when there is none."""
    path = folder / RECORD
    try:
        return StatisticalRecord.model_validate_json(path.read_bytes())
    except OSError:
        begun = (folder / ARRAYS).exists()
        got = "an unfinished run" if begun else "no such file"
        fix = "Repeat its `elsewhere train` to finish it." if begun else "Check the path."
    except ValidationError as error:
        got, fix = f"{error.error_count()} problems in it", "Train again into a new folder."
    raise InputError(Problem(str(path), "the record of a finished statistical run", got, fix))


def _finished(folder: Path, request: StatisticalRequest) -> StatisticalRecord:
    if is_statistical(folder):
        record = read_statistical(folder)
        if record.request == request:
            return record
    raise InputError(
        Problem(
            str(folder), "a new folder, or a run with these settings", "a run with other settings",
            "Choose another --out, or delete the folder.",
        )
    )  # fmt: skip


def _check_folder(folder: Path) -> None:
    """Nothing but what a stopped fit may have left."""
    others = [
        path.name
        for path in (folder.iterdir() if folder.exists() else ())
        if not path.name.lstrip(".").startswith((ARRAYS, RECORD))
    ]
    if others:
        raise InputError(
            Problem(
                str(folder), "a new folder, or a run with these settings",
                f"a folder with {', '.join(sorted(others)[:3])} in it",
                "Choose another --out, or delete the folder.",
            )
        )  # fmt: skip


def _check_data(store: PairStore, request: StatisticalRequest, *, where: str) -> None:
    """A fit is one of some data: an analogue's details are read from them."""
    if request.task != store.task.id:
        raise InputError(
            Problem(where, f"a run of {store.task.id}", request.task, "Choose another run.")
        )
    if request.data_hash != store.data_hash:
        raise InputError(
            Problem(
                where, f"a run on the data {store.data_hash[:12]}", request.data_hash[:12],
                "Train again on these data.",
            )
        )  # fmt: skip
