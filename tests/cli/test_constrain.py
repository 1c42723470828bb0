"""`elsewhere constrain`: anybody's predictions, moved onto the coarse field."""

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from benchmark import post_hoc
from benchmark.cli import constraining
from benchmark.coarsen import AreaOverlap
from benchmark.pair_store import PairStore, open_pair_store
from benchmark.prediction_store import expected_regions
from benchmark.task_files import load_task

Command = Callable[..., CompletedProcess[str]]
NAMES = ("t2m", "wind_speed", "precipitation")
EPS = float(np.finfo(np.float32).eps)
TASK = "era5-sample"


def values(folder: Path, region: str, name: str) -> NDArray[np.float32]:
    return np.asarray(zarr.open_group(folder / f"{region}.zarr", mode="r")[name])


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(folder: Path, region: str, name: str, change: Callable[..., object]) -> None:
    array = zarr.open_group(folder / f"{region}.zarr", mode="r+")[name]
    array[...] = change(np.asarray(array))  # type: ignore[index]


def residuals(store: PairStore, folder: Path, name: str) -> dict[str, float]:
    """max |A y - x| of each region in units of eps32 max |x|, by block means from the edges."""
    found = {}
    for region in expected_regions(store):
        steps = region.steps(store.task.periods.test)
        coarse = region.read("coarse", name, steps)[:, None].astype(np.float64)
        lat = np.sin(np.deg2rad(region.grid.fine.y.edges))
        fine = values(folder, region.name, name).astype(np.float64)
        rows = np.abs(np.diff(lat))[:, None] * fine
        shape = (*fine.shape[:2], coarse.shape[2], 4, coarse.shape[3], 4)
        mean = rows.reshape(shape).mean(axis=5).sum(axis=3)
        mean /= np.abs(np.diff(lat)).reshape(-1, 4).sum(axis=1)[:, None]
        found[region.name] = float(np.abs(mean - coarse).max() / (EPS * np.abs(coarse).max()))
    return found


@pytest.fixture(scope="module")
def constrained(
    elsewhere: Command, data: Path, dressed_predictions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Bilinear dressed with training residuals, eight members, constrained by `add`."""
    out = tmp_path_factory.mktemp("constrained") / "add"
    words = ("constrain", TASK, dressed_predictions, "--with", "add", "--out", out)
    done = elsewhere(*words, "--data", data)
    assert done.returncode == 0, done.stderr
    assert f"elsewhere score {TASK} {out} --out DIR" in done.stdout
    return out


def test_every_member_is_conserved(
    constrained: Path, dressed_predictions: Path, store: PairStore
) -> None:
    """A y = x to the rounding of float32 for each of eight members; before, far from it."""
    for name in NAMES:
        before = residuals(store, dressed_predictions, name)
        after = residuals(store, constrained, name)
        assert len(after) == 21
        assert max(after.values()) <= 4
        assert min(before.values()) > 1000


def test_the_card_says_what_was_done(constrained: Path, dressed_predictions: Path) -> None:
    """Only the constraint changes."""
    before, after = (
        tomllib.loads((folder / "model.toml").read_text())
        for folder in (dressed_predictions, constrained)
    )
    assert before.pop("constraint") == "none"
    assert after.pop("constraint") == "post_hoc"
    assert after == before


def test_projection_is_the_same_on_whole_blocks(
    constrained: Path, dressed_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """And is what is done when nothing is said."""
    out = tmp_path / "projected"
    done = elsewhere("constrain", TASK, dressed_predictions, "--out", out, "--data", data, "--json")
    assert json.loads(done.stdout) == {"predictions": str(out)}
    for name in NAMES:
        expected = values(constrained, "andes-south", name)
        got = values(out, "andes-south", name)
        np.testing.assert_allclose(got, expected, rtol=0, atol=EPS * np.abs(expected).max())


def test_bilinear_becomes_the_null_that_is_projected(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """`constrain` after `predict bilinear` is `predict bilinear-projected`, and can be scored,
    which checks what a card with a hard constraint claims.
    """
    out, null = tmp_path / "constrained", tmp_path / "null"
    words = ("constrain", TASK, bilinear_predictions, "--with", "projection", "--out", out)
    assert elsewhere(*words, "--data", data).returncode == 0
    done = elsewhere("predict", TASK, "bilinear-projected", "--out", null, "--data", data)
    assert done.returncode == 0
    for name in NAMES:
        expected, got = (values(folder, "europe-west", name) for folder in (null, out))
        np.testing.assert_allclose(got, expected, rtol=0, atol=2 * EPS * np.abs(expected).max())
    scored = elsewhere("score", TASK, out, "--out", tmp_path / "scores", "--data", data)
    assert scored.returncode == 0, scored.stderr


def test_clipping_keeps_the_means(
    constrained: Path, dressed_predictions: Path, store: PairStore, elsewhere: Command,
    data: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """Without `--clip` the shift makes rain negative; with it nothing is, and means are kept."""
    out = tmp_path / "clipped"
    words = ("constrain", TASK, dressed_predictions, "--with", "add", "--clip", "--out", out)
    assert elsewhere(*words, "--data", data).returncode == 0
    shifted, clipped = (
        values(folder, "andes-south", "precipitation") for folder in (constrained, out)
    )
    assert shifted.min() < -0.01
    assert clipped.min() == 0
    for name in NAMES:
        assert max(residuals(store, out, name).values()) <= 4
    # Cutting alone would have added a large part of all rain.
    assert np.maximum(shifted, 0).mean() > 1.02 * clipped.mean()


def test_the_same_command_again_changes_nothing(
    constrained: Path, dressed_predictions: Path, elsewhere: Command, data: Path
) -> None:
    """A finished store is kept as it is."""
    before = files(constrained)
    words = ("constrain", TASK, dressed_predictions, "--with", "add", "--out", constrained)
    assert elsewhere(*words, "--data", data).returncode == 0
    assert files(constrained) == before


def test_it_goes_on_where_it_was_stopped(
    constrained: Path, bilinear_predictions: Path, dressed_predictions: Path,
    elsewhere: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ctrl-C in the third region exits 130; whole regions are kept and the rest is made."""
    out, whole = tmp_path / "constrained", 2
    predict = post_hoc.Constrained.predict
    seen: list[str] = []

    def interrupted(self, region, steps):  # type: ignore[no-untyped-def]
        if region.name not in seen:
            seen.append(region.name)
        if len(seen) > whole:
            raise KeyboardInterrupt
        return predict(self, region, steps)

    words = ("constrain", TASK, dressed_predictions, "--with", "add", "--out", out, "--data", data)
    with monkeypatch.context() as patch:
        patch.setattr(post_hoc.Constrained, "predict", interrupted)
        done = elsewhere(*words)
    assert (done.returncode, "goes on" in done.stderr) == (130, True)
    assert len(list(out.glob("*.zarr"))) == whole
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    killed = shutil.copytree(out / f"{seen[0]}.zarr", out / f".{seen[2]}.zarr.k1ll3d")
    assert elsewhere(*words).returncode == 0
    assert not killed.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files(out) == files(constrained)
    # Another model's folder, and this model's other predictions, are not mixed with these.
    other = elsewhere("constrain", TASK, bilinear_predictions, "--out", out, "--data", data)
    assert (other.returncode, "another model's" in other.stderr) == (2, True)
    moved = shutil.copytree(dressed_predictions, tmp_path / "moved")
    edit(moved, "andes-south", "t2m", lambda field: field[::-1])
    mixed = elsewhere("constrain", TASK, moved, "--out", out, "--data", data)
    assert (mixed.returncode, "other values" in mixed.stderr) == (2, True)
    clipped = elsewhere(*words, "--clip")
    assert (clipped.returncode, "other values" in clipped.stderr) == (2, True)
    assert files(out) == files(constrained)


def test_a_missing_region_and_a_lost_value_are_named_first(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """What `validate` would refuse is refused, every problem at once, and nothing is written."""
    folder = shutil.copytree(bilinear_predictions, tmp_path / "predictions")
    shutil.rmtree(folder / "andes-south.zarr")

    def lose(field: NDArray[np.float32]) -> NDArray[np.float32]:
        field[1, 0, 3, 3] = np.nan
        return field

    edit(folder, "europe-west", "t2m", lose)
    out = tmp_path / "out"
    done = elsewhere("constrain", TASK, folder, "--with", "add", "--out", out, "--data", data)
    assert done.returncode == 2
    assert done.stderr.startswith("2 problems")
    assert "andes-south.zarr" in done.stderr
    assert "europe-west.zarr: t2m" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "ad"), "Did you mean 'add'?"),
        (("--with", "softmax"), "add or projection"),
        ((), "no such folder"),
    ],
)
def test_mistakes_are_named(
    words: tuple[str, ...], said: str, elsewhere: Command, data: Path,
    bilinear_predictions: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """An unknown method suggests one; a layer that must be trained in is none; no such store."""
    source = bilinear_predictions if words else tmp_path / "none"
    out = tmp_path / "out"
    done = elsewhere("constrain", TASK, source, *words, "--out", out, "--data", data)
    assert done.returncode == 2
    assert said in done.stderr
    assert not out.exists()


def test_what_is_constrained_already_is_refused(
    constrained: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Once is enough, and the card would not say that it was twice."""
    out = tmp_path / "twice"
    done = elsewhere("constrain", TASK, constrained, "--out", out, "--data", data)
    assert (done.returncode, "constrained already" in done.stderr) == (2, True)
    assert not out.exists()


def test_blocks_that_are_not_whole_want_the_projection(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At factor 2.5 `add` and `--clip` are named before anything is written."""

    def shared(_: AreaOverlap) -> None:
        raise ValueError("the coarse cells do not partition the fine cells")

    monkeypatch.setattr(AreaOverlap, "block_weights", property(shared))
    for words, option in ((("--with", "add"), "--with add"), (("--clip",), "--clip")):
        out = tmp_path / "out"
        done = elsewhere(
            "constrain", TASK, bilinear_predictions, *words, "--out", out, "--data", data
        )
        assert (done.returncode, f"{option}\n" in done.stderr) == (2, True)
        assert "--with projection" in done.stderr
        assert not out.exists()


def test_real_pairs_come_with_a_warning(
    bilinear_predictions: Path, elsewhere: Command, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The coarse product's bias is passed on: said on stderr, and done."""
    whole = open_pair_store(load_task(TASK), data)
    pairs = replace(whole, task=whole.task.model_copy(update={"track": "real_pair"}))
    monkeypatch.setattr(constraining, "pair_store", lambda *_: pairs)
    words = ("constrain", TASK, bilinear_predictions, "--out", tmp_path / "out", "--data", data)
    done = elsewhere(*words)
    assert (done.returncode, "bias" in done.stderr) == (0, True)
