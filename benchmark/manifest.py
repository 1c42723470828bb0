"""A region's manifest: where its values came from and what they were."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.task import Source
from benchmark.toml_model import Frozen

SCHEMA_VERSION = 1


class Interval(Frozen):
    """Times without data, first and last included."""

    first: datetime
    last: datetime


class Manifest(Frozen):
    """What `REGION.json` says; `digests` by `side/variable` and `static/name`."""

    schema_version: Literal[1] = 1
    task: str
    region: str
    steps: int
    first_time: datetime
    last_time: datetime
    digests: dict[str, str]
    units: dict[str, str]
    sources: tuple[Source, ...]
    source_ids: dict[str, str]
    missing_intervals: tuple[Interval, ...] = ()
    recipe: dict[str, Any]
    packages: dict[str, str]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically; it is written last, so its presence means a whole region."""
    write_atomically(path, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; InputError when it is absent or of another schema."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        got = "no such file"
    except ValidationError as error:
        got = f"{error.error_count()} problems, first {error.errors()[0]['msg']!r}"
    raise InputError(
        Problem(str(path), f"a manifest of schema {SCHEMA_VERSION}", got, "Build the task again.")
    )
