"""TOML and JSON read into frozen pydantic models: unknown keys refused, the nearest suggested."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import InputError, Problem


class Frozen(BaseModel):
    """Base of every configuration and every file schema: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def nearest(name: str, known: list[str]) -> str:
    """A sentence that names the closest known word, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(sorted(known))}."


def read_toml(path: Path, model: type[M]) -> M:
    """Read one TOML file into `model`.

    Errors: InputError with one problem for each missing, unknown or mistyped key.
    """
    return validate(read_table(path), model, where=str(path))


def read_json(path: Path, model: type[M]) -> M:
    """Read one JSON file that `model` wrote; InputError when it is absent or not of it."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _absent(path, "a JSON file") from None
    except ValidationError as error:
        raise InputError([_problem(item, model, str(path)) for item in error.errors()]) from None


def _absent(path: Path, expected: str) -> InputError:
    return InputError(Problem(str(path), expected, "no such file", "Check the path."))


def read_table(path: Path) -> dict[str, Any]:
    """The raw table of a TOML file; InputError when it is absent or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(path, "a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            Problem(str(path), "valid TOML", str(error), "Correct the file.")
        ) from None


def validate(table: Mapping[str, Any], model: type[M], *, where: str) -> M:
    """Validate a mapping against `model`; every pydantic error becomes one Problem."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise InputError([_problem(item, model, where) for item in error.errors()]) from None


def _problem(item: Any, model: type[BaseModel], where: str) -> Problem:
    key = ".".join(str(part) for part in item["loc"]) or "the table"
    place = f"{where}: {key}"
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        return Problem(place, "a known key", "an unknown one", nearest(str(item["loc"][-1]), known))
    if item["type"] == "missing":
        return Problem(place, "a value", "none", "Add this key.")
    message = item["msg"].removeprefix("Value error, ")
    return Problem(place, _lower_first(message), repr(item["input"])[:80], "Correct this value.")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys of the (possibly nested) model that an error location points into."""
    current: type[BaseModel] = model
    candidates: list[type[BaseModel]] = []
    for part in location:
        # After a field of several models stands the tag of the one that is meant.
        tagged = [one for one in candidates if part in _tags(one)]
        if len(candidates) > 1 and tagged:
            current, candidates = tagged[0], []
            continue
        field = current.model_fields.get(str(part))
        if field is not None:
            candidates = _models_in(field.annotation)
            current = candidates[0] if candidates else current
    return [field.alias or name for name, field in current.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """All models that an annotation speaks of: of a list, a mapping, a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tags(model: type[BaseModel]) -> set[Any]:
    """The literals that a model's fields allow."""
    annotations = [field.annotation for field in model.model_fields.values()]
    return {word for one in annotations if get_origin(one) is Literal for word in get_args(one)}
