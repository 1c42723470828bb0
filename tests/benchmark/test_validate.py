"""Broken prediction stores: every one is refused by name, and none of them can be scored."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

Command = Callable[..., CompletedProcess[str]]
Break = Callable[[Path], object]

REGION = "amazon-northeast"
FIELD = f"{REGION}.zarr: t2m"
DIMS = ("time", "member", "y", "x")
CHUNK = Path(f"{REGION}.zarr/t2m/c/0/0/0/0")


def group(folder: Path) -> zarr.Group:
    """The broken region, open for writing."""
    return zarr.open_group(folder / f"{REGION}.zarr", mode="r+")


def values(folder: Path, name: str) -> NDArray[Any]:
    return np.asarray(group(folder)[name][...])  # type: ignore[index]


def put(
    folder: Path,
    name: str,
    new: NDArray[Any],
    dims: tuple[str, ...] | None = DIMS,
    fill: float = np.nan,
) -> None:
    """Replace a variable by `new`, its attributes kept."""
    root = group(folder)
    attributes = dict(root[name].attrs)
    del root[name]
    array = root.create_array(
        name, shape=new.shape, dtype=new.dtype, chunks=new.shape, dimension_names=dims,
        attributes=attributes, fill_value=fill if new.dtype.kind == "f" else 0,
    )  # fmt: skip
    array[...] = new


def put_all(folder: Path, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change the values of all three variables."""
    for name in ("t2m", "wind_speed", "precipitation"):
        put(folder, name, change(values(folder, name)))


def shift(name: str, by: float) -> Break:
    """Move a coordinate."""

    def apply(folder: Path) -> None:
        array = group(folder)[name]
        array[...] = (values(folder, name) + by).astype(array.dtype)  # type: ignore[index,union-attr]

    return apply


def set_value(value: float) -> Break:
    """Spoil one number of t2m."""

    def apply(folder: Path) -> None:
        group(folder)["t2m"][3, 0, 10, 10] = value  # type: ignore[index]

    return apply


def cast(dtype: str) -> Break:
    return lambda folder: put(folder, "t2m", values(folder, "t2m").astype(dtype))


def attribute(name: str, key: str, value: str | float | None) -> Break:
    """Set an attribute, or remove it where `value` is None."""

    def apply(folder: Path) -> None:
        array = group(folder)[name]
        attributes = dict(array.attrs) | {key: value}
        array.attrs.put({k: v for k, v in attributes.items() if v is not None})

    return apply


def card(old: str, new: str) -> Break:
    """Edit model.toml."""

    def apply(folder: Path) -> None:
        text = (folder / "model.toml").read_text()
        assert old in text
        (folder / "model.toml").write_text(text.replace(old, new, 1))

    return apply


def drop(name: str) -> Break:
    return lambda folder: shutil.rmtree(folder / f"{REGION}.zarr" / name)


def duplicate(source: str, target: str) -> Break:
    return lambda folder: shutil.copytree(folder / source, folder / target)


def one_step_less(folder: Path) -> None:
    put(folder, "time", values(folder, "time")[:-1], ("time",))
    put_all(folder, lambda field: field[:-1])


def three_members(folder: Path) -> None:
    put(folder, "member", np.arange(3), ("member",))
    put_all(folder, lambda field: np.repeat(field, 3, axis=1))


def truncate(folder: Path) -> None:
    content = (folder / CHUNK).read_bytes()
    (folder / CHUNK).write_bytes(content[: len(content) // 2])


def flip(folder: Path, chunk: Path = CHUNK, at: float = 0.4) -> None:
    """Invert one bit at a share of the chunk's length; its size stays."""
    content = bytearray((folder / chunk).read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    (folder / chunk).write_bytes(content)


def no_group(folder: Path) -> None:
    drop("")(folder)
    (folder / f"{REGION}.zarr").mkdir()
    (folder / f"{REGION}.zarr" / "t2m.nc").write_bytes(b"CDF")


def plain_file(folder: Path) -> None:
    drop("")(folder)
    (folder / f"{REGION}.zarr").write_bytes(b"CDF")


def lost_dry_chunk(folder: Path) -> None:
    put(folder, "precipitation", values(folder, "precipitation"), fill=0.0)
    (folder / f"{REGION}.zarr/precipitation/c/0/0/0/0").unlink()


def variable_as_group(folder: Path) -> None:
    del group(folder)["t2m"]
    group(folder).create_group("t2m")


@dataclass(frozen=True)
class Case:
    """A defect, and one problem that must be reported: a part of each of its four sentences."""

    spoil: Break
    where: str
    expected: str
    got: str
    fix: str
    count: int = 1
    """Problems in all: no more than the defect deserves."""
    ensemble: bool = False


BROKEN = {
    "missing region": Case(drop(""), f"{REGION}.zarr", "a region", "nothing there", "Predict it"),
    "extra region": Case(
        duplicate(f"{REGION}.zarr", "atlantis.zarr"), "atlantis.zarr", "21 reg", "else", "Remove"
    ),
    "stray file": Case(
        lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt", "only", "else", "Remove"
    ),
    "extra variable": Case(
        duplicate(f"{REGION}.zarr/t2m", f"{REGION}.zarr/q2m"), ": q2m", "only", "extra", "Remove"
    ),
    "missing variable": Case(drop("t2m"), FIELD, "a variable of the task", "none", "Predict it"),
    "variable is a group": Case(variable_as_group, FIELD, "a variable", "none", "Predict it"),
    "wrong units": Case(attribute("t2m", "units", "degC"), f"{FIELD}: units", "K", "degC", "Conv"),
    "missing units": Case(attribute("t2m", "units", None), f"{FIELD}: units", "K", "None", "Conv"),
    "packed": Case(
        attribute("t2m", "scale_factor", 0.1), FIELD, "plain", "scale_factor", "unpacked"
    ),
    "shifted x": Case(shift("x", 1.0), ": x", "-65.0 to", "-64.0 to", "exactly"),
    "x shifted by half a cell": Case(shift("x", 0.5), ": x", "-65.0 to", "-64.5 to", "exactly"),
    "y shifted by half a cell": Case(shift("y", 0.5), ": y", "22.0 to", "22.5 to", "exactly"),
    "reversed y": Case(
        lambda folder: put(folder, "y", values(folder, "y")[::-1].copy(), ("y",)),
        ": y", "22.0 to -9.0", "-9.0 to 22.0", "exactly",
    ),
    "missing time": Case(drop("time"), ": time", "a coordinate", "none", "template"),
    "missing member": Case(drop("member"), ": member", "a coordinate", "none", "template"),
    "time an hour late": Case(
        shift("time", 1), ": time", "8 values from 2026-03-29T2", "first 2026-03-29T2", "exactly"
    ),
    "time without units": Case(
        attribute("time", "units", None), ": time", "readable", "no CF time units", ""
    ),
    "one step too few": Case(
        one_step_less, FIELD, "shape (8, ", "(7, 1, 32, 32)", "whole period", count=4
    ),
    "transposed by name": Case(
        lambda folder: put(folder, "t2m", values(folder, "t2m"), ("time", "member", "x", "y")),
        FIELD, "(time, member, y, x)", "(time, member, x, y)", "Transpose",
    ),
    "member last": Case(
        lambda folder: put(
            folder, "t2m", np.moveaxis(values(folder, "t2m"), 1, 3), ("time", "y", "x", "member")
        ),
        FIELD, "(time, member, y, x)", "(time, y, x, member)", "Transpose", count=2,
    ),
    "squeezed member": Case(
        lambda folder: put(folder, "t2m", values(folder, "t2m")[:, 0], ("time", "y", "x")),
        FIELD, "shape (8, ", "(8, 32, 32)", "", count=2,
    ),
    "no dimension names": Case(
        lambda folder: put(folder, "t2m", values(folder, "t2m"), None),
        FIELD, "dimensions (time, member, y, x)", "()", "",
    ),
    "NaN": Case(set_value(np.nan), FIELD, "finite values", "1 not: step 3", "Write it again"),
    "infinity": Case(set_value(np.inf), FIELD, "finite values", "1 not: step 3", "Write it again"),
    "float16": Case(cast("float16"), FIELD, "float32", "float16", "nothing is cast"),
    "float64": Case(cast("float64"), FIELD, "float32", "float64", "nothing is cast"),
    "three members": Case(three_members, ": member", "1 member(s)", "3", "as many as the task"),
    "members of one variable": Case(
        lambda folder: put(folder, "t2m", np.repeat(values(folder, "t2m"), 8, axis=1)),
        FIELD, "1", "8", "",
    ),
    "ensemble declared single": Case(
        card('"exchangeable"', '"single"'), f"{REGION}.zarr: member", '1 member(s) (members = "si',
        "8", "Deterministic models have one", count=21, ensemble=True,
    ),
    "single declared an ensemble": Case(
        card('"single"', '"exchangeable"'), f"{REGION}.zarr: member", "8 member(s)", "1",
        "Deterministic models have one", count=21,
    ),
    "truncated chunk": Case(truncate, f"{FIELD}, steps 0 to 7", "readable", "", "damaged"),
    "one flipped bit": Case(flip, f"{FIELD}, steps 0 to 7", "readable", "", "damaged"),
    "deleted chunk": Case(
        lambda folder: (folder / CHUNK).unlink(), FIELD, "finite", "step 0, ", "lost chunk"
    ),
    "lost chunk that would read as dry": Case(
        lost_dry_chunk, f"{REGION}.zarr: precipitation", "", "", ""
    ),
    "no Zarr group": Case(no_group, f"{REGION}.zarr", "a Zarr group", "", "again"),
    "a file for a region": Case(plain_file, f"{REGION}.zarr", "a Zarr group", "", "again"),
    "broken array metadata": Case(
        lambda folder: (folder / f"{REGION}.zarr/t2m/zarr.json").write_text('{"shape": [8,'),
        REGION, "", "", "",
    ),
    "no model.toml": Case(
        lambda folder: (folder / "model.toml").unlink(), "model.toml", "a TOML", "no such file", ""
    ),
    "unknown key in model.toml": Case(
        card("members =", 'membrs = "single"\nmembers ='), "model.toml: membrs", "a known key",
        "an unknown one", "Did you mean 'members'?",
    ),
    "wrong task in model.toml": Case(
        card("era5-sample@1", "era5-sample@2"), "model.toml: task", "era5-sample@1",
        "era5-sample@2", "Predict this task",
    ),
    "unknown regime in model.toml": Case(
        card("zero_shot", "zero-shot"), "model.toml: regime", "'zero_shot'", "'zero-shot'", "Corr"
    ),
    "broken TOML": Case(
        card("members =", "members"), "model.toml", "valid TOML", "line ", "Correct the file"
    ),
}  # fmt: skip


@pytest.fixture
def broken(
    request: pytest.FixtureRequest,
    bilinear_predictions: Path,
    dressed_predictions: Path,
    tmp_path: Path,
) -> tuple[Case, Path]:
    """One defect and a store that has it."""
    case = BROKEN[request.param]
    source = dressed_predictions if case.ensemble else bilinear_predictions
    folder = shutil.copytree(source, tmp_path / "predictions")
    case.spoil(folder)
    return case, folder


every_defect = pytest.mark.parametrize("broken", BROKEN, indirect=True)


@every_defect
def test_the_defect_is_named(broken: tuple[Case, Path], elsewhere: Command, data: Path) -> None:
    """Exit 2; the place, what was expected, what came, what to do; no false alarm beside it."""
    case, folder = broken
    done = elsewhere("validate", "era5-sample", folder, "--data", data, "--json")
    assert (done.returncode, done.stderr) == (2, "")
    problems = json.loads(done.stdout)
    wanted = (case.where, case.expected, case.got, case.fix)
    found = [
        problem for problem in problems
        if all(part in problem[key] for part, key in
               zip(wanted, ("where", "expected", "got", "fix"), strict=True))
    ]  # fmt: skip
    assert found, problems
    assert len(problems) == case.count, problems
    assert all(all(problem.values()) for problem in problems), "an empty sentence"


@every_defect
def test_the_defect_cannot_be_scored(
    broken: tuple[Case, Path],
    elsewhere: Command,
    data: Path,
    bilinear_scores: Path,  # noqa: ARG001  the references are scored once, not in each test
    tmp_path: Path,
) -> None:
    """Exit 2 with a problem instead of a traceback, and no result file of any kind."""
    _, folder = broken
    out = tmp_path / "scores"
    refused = elsewhere("score", "era5-sample", folder, "--out", out, "--data", data)
    assert refused.returncode == 2, refused.stdout
    assert "expected" in refused.stderr
    assert "to do" in refused.stderr
    written = [p.name for p in out.iterdir() if ".partial-" not in p.name] if out.exists() else []
    assert written == []


def test_many_defects_are_all_named_in_one_run(
    bilinear_predictions: Path, executable: Command, data: Path, tmp_path: Path
) -> None:
    """Ten defects of a region, the card and the folder: ten problems, four sentences each."""
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    shutil.rmtree(folder / "andes-south.zarr")
    spoiled = [
        "extra region", "extra variable", "wrong units", "x shifted by half a cell", "reversed y",
        "time an hour late", "unknown key in model.toml", "stray file",
    ]  # fmt: skip
    for name in spoiled:
        BROKEN[name].spoil(folder)
    # A field of wrong units is not read, so its bad values wait; those of another are named.
    group(folder)["wind_speed"][0, 0, 0, 0] = np.nan  # type: ignore[index]
    done = executable("validate", "era5-sample", folder, "--data", data)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    places = ["andes-south.zarr", f"{REGION}.zarr: wind_speed"]
    places += [BROKEN[name].where for name in spoiled]
    lines = done.stderr.splitlines()
    assert lines[0] == "10 problems"
    for place in places:
        at = next(k for k, line in enumerate(lines) if line.endswith(place))
        labels = ("expected", "got", "to do")
        for label, line in zip(labels, lines[at + 1 : at + 4], strict=True):
            assert len(line.split(f"  {label} ", 1)[1]) > 1, line


def test_one_flipped_bit_is_caught_wherever_it_is(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Each region's chunk is damaged at another place; the checksums catch all of them."""
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    chunks = sorted(folder.glob("*/t2m/c/0/0/0/0"))
    assert len(chunks) == 21
    for chunk, at in zip(chunks, np.linspace(0, 1, len(chunks)), strict=True):
        flip(folder, chunk, at)
    done = elsewhere("validate", "era5-sample", folder, "--data", data, "--json")
    named = {problem["where"] for problem in json.loads(done.stdout)}
    assert named == {f"{chunk.parents[5]}: t2m, steps 0 to 7" for chunk in chunks}


def test_good_stores_have_no_problem(
    bilinear_predictions: Path, dressed_predictions: Path, executable: Command, data: Path
) -> None:
    """One member or the task's eight: exit 0, and `--json` prints an empty list only."""
    said = executable("validate", "era5-sample", bilinear_predictions, "--data", data)
    assert (said.returncode, said.stderr) == (0, "")
    assert "no problem" in said.stdout
    as_json = executable("validate", "era5-sample", dressed_predictions, "--data", data, "--json")
    assert (as_json.returncode, json.loads(as_json.stdout), as_json.stderr) == (0, [], "")


def test_a_refused_store_leaves_earlier_scores_alone(
    bilinear_predictions: Path,
    bilinear_scores: Path,
    elsewhere: Command,
    data: Path,
    tmp_path: Path,
) -> None:
    """Old results stay as they were, and the corrected store can be scored over them."""
    out = shutil.copytree(bilinear_scores, tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    good = values(folder, "t2m")
    set_value(np.nan)(folder)
    command = ("score", "era5-sample", folder, "--out", out, "--data", data)
    assert elsewhere(*command).returncode == 2
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert after == before
    group(folder)["t2m"][...] = good  # type: ignore[index]
    assert elsewhere(*command).returncode == 0
    assert {path.name for path in out.iterdir()} == set(before)
    assert (out / "cases.zarr.zip").read_bytes() == before["cases.zarr.zip"]
