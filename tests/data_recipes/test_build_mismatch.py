"""What `build` keeps of how a real pair's products differ: there, and the same whoever builds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from own_world import COARSE, FINE, TASK, coarse_product, product, write

from benchmark import kept_mismatch, mismatch, pair_parts
from benchmark.files import write_atomically
from benchmark.pair_parts import PartialRegion
from benchmark.pair_store import PairStore, open_pair_store
from data_recipes.build import build
from data_recipes.shipped import own_recipe

Command = Callable[..., CompletedProcess[str]]
NAMES = ("away", "home", "middle")
STEPS = 4
TRAIN = 24


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them, to be written and to be read."""
    for module in (pair_parts, mismatch):
        monkeypatch.setattr(module, "steps_per_shard", lambda *_: STEPS)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own files of two products; read-only."""
    folder = tmp_path_factory.mktemp("own")
    return write(folder, TASK + FINE + COARSE, fine=product(), coarse=coarse_product())


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Built in one go, in blocks of the usual size."""
    return made(recipe, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The regions whose blocks are made during a test, each once a block."""
    names: list[str] = []
    plain = PartialRegion.write

    def noted(self: PartialRegion, block: slice, steps: Any) -> None:
        names.append(self.region)
        plain(self, block, steps)

    monkeypatch.setattr(PartialRegion, "write", noted)
    return names


def made(recipe: Path, data: Path, **options: Any) -> PairStore:
    """Build a recipe."""
    task, source = own_recipe(recipe, data)
    return build(task, data, recipe=source, **options)


def kept(store: PairStore) -> dict[str, bytes]:
    """{name: bytes} of every file that says how products differ."""
    return {path.name: path.read_bytes() for path in (store.folder / "mismatch").iterdir()}


def assert_same(found: PairStore, expected: PairStore) -> None:
    """The same bytes of each region, and the store's hash."""
    assert sorted(kept(expected)) == [f"{name}.json" for name in NAMES]
    assert kept(found) == kept(expected)
    assert found.data_hash == expected.data_hash


def test_each_region_s_is_there(undisturbed: PairStore) -> None:
    """The coarse product is half a kelvin too warm; the file is no part of the store's hash."""
    for name in NAMES:
        found = kept_mismatch.kept_mismatch(undisturbed.region(name))
        assert found is not None
        (one,) = found
        region = undisturbed.region(name)
        m = undisturbed.task.margin
        train = slice(0, TRAIN)
        x = region.read("coarse", "t2m", train).astype(float)[:, m:-m, m:-m]
        fine = region.read("fine", "t2m", train).astype(float)
        south = region.grid.fine.y.edges[1:]
        bands = np.abs(
            np.sin(np.radians(region.grid.fine.y.edges[:-1])) - np.sin(np.radians(south))
        )
        rows = (fine * bands[:, None]).reshape(TRAIN, 8, 2, 8, 2).sum(axis=(2, 4))
        whole = bands.reshape(8, 2).sum(axis=1)
        y = (rows / (2 * whole[:, None]))[:, m:-m, m:-m]
        weights = np.broadcast_to(whole[m:-m, None], y.shape)
        assert one.bias == pytest.approx(np.average(x - y, weights=weights), rel=1e-6)
        assert one.bias == pytest.approx(0.5, abs=0.05)
        assert one.values == x.size
    hashed = undisturbed.data_hash
    assert open_pair_store(undisturbed.task, undisturbed.folder.parent).data_hash == hashed


def test_the_user_sees_it(recipe: Path, tmp_path: Path) -> None:
    """After its region is whole, before each block that is read; a second build does nothing."""
    reports: list[tuple[str, int, int]] = []
    store = made(recipe, tmp_path, report=lambda *entry: reports.append(entry))
    of_away = [entry for entry in reports if "away" in entry[0]]
    assert of_away == [("away", k, 48) for k in range(0, 49, STEPS)] + [
        ("mismatch of away", k, TRAIN) for k in range(0, TRAIN, STEPS)
    ]
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    reports.clear()
    made(recipe, tmp_path, report=lambda *entry: reports.append(entry))
    assert reports == [(name, 0, 0) for name in NAMES]
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_workers_change_no_byte(
    recipe: Path, undisturbed: PairStore, scheduler: str, tmp_path: Path
) -> None:
    """Threads of this process, and the workers of one's own scheduler."""
    assert_same(made(recipe, tmp_path / "threads", workers=2), undisturbed)
    assert_same(made(recipe, tmp_path / "cluster", scheduler=scheduler), undisturbed)


@pytest.mark.parametrize("blocks", [0, 3, 7])
def test_stopped_while_it_is_computed(
    blocks: int,
    recipe: Path,
    undisturbed: PairStore,
    tmp_path: Path,
    elsewhere: Command,
    written: list[str],
) -> None:
    """Ctrl-C after so many blocks were read: the next call reads, and makes no block again."""
    read: list[int] = []
    plain = mismatch.overlap

    def interrupted(*grids: Any) -> Any:
        operator = plain(*grids)

        def coarsen(values: Any) -> Any:
            if len(read) == blocks:
                raise KeyboardInterrupt
            read.append(len(values))
            return operator(values)

        return coarsen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mismatch, "overlap", interrupted)
        assert elsewhere("build", recipe, "--data", tmp_path).returncode == 130
    folder = tmp_path / "mine@1"
    there = {path.name for path in folder.glob("mismatch/*")}
    assert there == ({"away.json"} if blocks == 7 else set())
    done = elsewhere("build", recipe, "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(written) == sorted(NAMES * 12)
    assert_same(open_pair_store(undisturbed.task, tmp_path), undisturbed)


def test_stopped_while_it_is_written(
    recipe: Path, undisturbed: PairStore, tmp_path: Path, written: list[str]
) -> None:
    """Just before the file has its name: there is none, and then the same one."""

    def stopped(path: Path, content: str) -> None:
        if path.stem == "home":
            raise KeyboardInterrupt
        write_atomically(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_mismatch, "write_atomically", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(recipe, tmp_path)
    assert {path.name for path in tmp_path.glob("mine@1/mismatch/*")} == {"away.json"}
    assert_same(made(recipe, tmp_path), undisturbed)
    assert sorted(written) == sorted(NAMES * 12)


def test_an_older_store_gets_it(
    recipe: Path, undisturbed: PairStore, tmp_path: Path, written: list[str]
) -> None:
    """At its next build, which makes no block; also where only one region's is damaged."""
    shutil.copytree(undisturbed.folder, tmp_path / "mine@1")
    shutil.rmtree(tmp_path / "mine@1" / "mismatch")
    store = made(recipe, tmp_path)
    assert_same(store, undisturbed)
    (store.folder / "mismatch" / "home.json").write_text("{")
    assert_same(made(recipe, tmp_path), undisturbed)
    assert written == []


def test_a_changed_file_changes_it(tmp_path: Path, undisturbed: PairStore) -> None:
    """With the values of the region: one product warmer by two kelvin."""
    folder, data = tmp_path / "files", tmp_path / "data"
    text = TASK + FINE + COARSE
    recipe = write(folder, text, fine=product(), coarse=coarse_product())
    before = kept(made(recipe, data))
    warmer = coarse_product()
    warmer["t"] = (warmer.t.dims, warmer.t.values + np.float32(2), warmer.t.attrs)
    write(folder, text, coarse=warmer)
    store = made(recipe, data)
    assert {name for name, now in kept(store).items() if now != before[name]} == set(before)
    for name in NAMES:
        now, old = (kept_mismatch.kept_mismatch(s.region(name)) for s in (store, undisturbed))
        assert now is not None
        assert old is not None
        assert now[0].bias is not None
        assert old[0].bias is not None
        assert now[0].bias - old[0].bias == pytest.approx(2, abs=1e-4)
