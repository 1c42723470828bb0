"""The build engine: stopped anywhere it goes on; the bits do not tell who made the blocks."""

import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from attempts import attempt, moment
from killed_build import built, has_lines, whole_blocks
from own_world import FINE, HOURS, START, TASK, edited, product, write

from benchmark import pair_parts
from benchmark.errors import InputError
from benchmark.lock import only_writer
from benchmark.pair_parts import PartialRegion
from benchmark.pair_store import PairStore, open_pair_store
from data_recipes.build import build
from data_recipes.pair_recipe import BlockMaker
from data_recipes.shipped import own_recipe

Command = Callable[..., CompletedProcess[str]]

STEPS = 4
BLOCKS = 12
"""Of 48 times, in each region."""


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them, though the store is small."""
    monkeypatch.setattr(pair_parts, "steps_per_shard", lambda *_: STEPS)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of own files, which are looked through for gaps; read-only."""
    text = TASK + edited(FINE, a="[fine] -> [fine]\ngaps = true")
    return write(tmp_path_factory.mktemp("own"), text, fine=product())


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Its store, built in one go in blocks of the usual size."""
    return made(recipe, tmp_path_factory.mktemp("whole"))


def made(recipe: Path, data: Path, **options: Any) -> PairStore:
    """Build a recipe."""
    task, source = own_recipe(recipe, data)
    return build(task, data, recipe=source, **options)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The blocks that are made during a test, each as "REGION FIRST-STEP"."""
    names: list[str] = []
    plain = PartialRegion.write

    def noted(self: PartialRegion, block: slice, steps: Any) -> None:
        names.append(f"{self.region} {block.start}")
        plain(self, block, steps)

    monkeypatch.setattr(PartialRegion, "write", noted)
    return names


def assert_same(found: PairStore, expected: PairStore) -> None:
    """Every manifest is the same in all that it says, and the values are what it says."""
    assert found.manifests == expected.manifests
    for region in found.task.regions:
        for side in ("coarse", "fine"):
            found.region(region.name).read(side, "t2m", slice(None))
    assert {path.name for path in found.folder.iterdir()} == {
        "task.json", *(f"{region.name}.{kind}" for region in found.task.regions
                       for kind in ("json", "zarr")),
    }  # fmt: skip
    assert not list(found.folder.rglob("*.partial"))
    assert not list(found.folder.rglob("*.zarr/block-*"))


def test_the_size_of_blocks_does_not_matter(
    recipe: Path, undisturbed: PairStore, tmp_path: Path, written: list[str]
) -> None:
    """Blocks are parts of the work, not of the result; the user hears of each."""
    reports: list[tuple[str, int, int]] = []
    found = made(recipe, tmp_path, report=lambda *entry: reports.append(entry))
    assert_same(found, undisturbed)
    assert len(written) == 3 * BLOCKS
    away = [(steps, total) for name, steps, total in reports if name == "away"]
    assert away == [(STEPS * k, 48) for k in range(BLOCKS + 1)]


def looks_elsewhere(monkeypatch: pytest.MonkeyPatch, place: Callable[[], int]) -> None:
    """Have a scan for gaps fail where `place` is what it is here."""
    here, plain = place(), BlockMaker.inputs_are_whole

    @wraps(plain)  # pickled by its name
    def look(self: BlockMaker, block: slice) -> Any:
        assert place() != here
        return plain(self, block)

    monkeypatch.setattr(BlockMaker, "inputs_are_whole", look)


def test_two_threads(
    recipe: Path, undisturbed: PairStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two make the blocks of NetCDF files, whose library knows no threads."""
    looks_elsewhere(monkeypatch, threading.get_ident)
    assert_same(made(recipe, tmp_path, workers=2), undisturbed)


def test_a_cluster(
    recipe: Path, undisturbed: PairStore, scheduler: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The workers of one's own scheduler make the same store."""
    looks_elsewhere(monkeypatch, os.getpid)
    assert_same(made(recipe, tmp_path, scheduler=scheduler), undisturbed)


@pytest.mark.parametrize("seed", range(5))
def test_killed_twice(seed: int, recipe: Path, undisturbed: PairStore, tmp_path: Path) -> None:
    """kill -9 at two random moments: the store in the end is the undisturbed one; no block is made
    again that was whole at a kill.
    """
    draw, log, data = random.Random(seed), tmp_path / "log", tmp_path / "data"
    whole: list[set[str]] = []
    for kill in range(2):
        # After so many blocks, not seconds: a slow machine is killed in the middle as well.
        enough = BLOCKS * kill + draw.randrange(3 * BLOCKS // 2)
        until = moment(draw.uniform(0, 0.03), since=partial(has_lines, log, enough))
        assert attempt(built, recipe, data, log, STEPS, until=until)
        whole.append(whole_blocks(data))
    assert not attempt(built, recipe, data, log, STEPS)
    assert_same(open_pair_store(undisturbed.task, data), undisturbed)
    made = log.read_text().split("\n")[:-1]
    assert whole[0] | whole[1] <= set(made)
    assert all(made.count(block) == 1 for block in whole[0] | whole[1])


@pytest.mark.parametrize("after", [0, 5, 30])
def test_interrupted(
    after: int,
    recipe: Path,
    undisturbed: PairStore,
    tmp_path: Path,
    elsewhere: Command,
    monkeypatch: pytest.MonkeyPatch,
    written: list[str],
) -> None:
    """Ctrl-C: exit 130 and what to do; the next call makes only the blocks that are left."""
    plain = PartialRegion.write

    def interrupted(self: PartialRegion, block: slice, steps: Any) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        plain(self, block, steps)

    with monkeypatch.context() as patch:
        patch.setattr(PartialRegion, "write", interrupted)
        done = elsewhere("build", recipe, "--data", tmp_path)
    assert done.returncode == 130
    assert "The same command goes on where this one stopped." in done.stderr
    assert len(written) == after
    assert elsewhere("build", recipe, "--data", tmp_path).returncode == 0
    assert len(written) == len(set(written)) == 3 * BLOCKS
    assert_same(open_pair_store(undisturbed.task, tmp_path), undisturbed)


@pytest.mark.parametrize("stop", ["rename", "replace", "rmtree", "finish_region", "leave_manifest"])
def test_stopped_while_a_region_gets_its_name(
    stop: str,
    recipe: Path,
    undisturbed: PairStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: list[str],
) -> None:
    """At each of its steps: no block is made again, and a region without a manifest is none."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def only_the_last(self: Path, target: Path) -> Path:
        if target.name == "away.json" and target.parent.name == "mine@1":
            raise KeyboardInterrupt
        return plain(self, target)

    plain = Path.replace
    with monkeypatch.context() as patch:
        if stop == "rename":
            patch.setattr(Path, "rename", stopped)
        elif stop == "replace":
            patch.setattr(Path, "replace", only_the_last)
        elif stop == "rmtree":
            patch.setattr(
                pair_parts.shutil, "rmtree",
                lambda path, **_: stopped() if path.name == ".away.part" and written else None,
            )  # fmt: skip
        else:
            patch.setattr(pair_parts, stop, stopped)
        with pytest.raises(KeyboardInterrupt):
            made(recipe, tmp_path)
    if stop != "rmtree":
        with pytest.raises(InputError, match="a pair store with 3 regions"):
            open_pair_store(undisturbed.task, tmp_path)
    found = made(recipe, tmp_path)
    shutil.rmtree(tmp_path / "mine@1" / ".away.part", ignore_errors=True)
    assert_same(found, undisturbed)
    assert len(written) == len(set(written)) == 3 * BLOCKS


CHANGES = {
    "recipe": 't2m = "t" -> t2m = { from = "t", units = "K" }',
    "periods": "2021-06-03T03 -> 2021-06-03T02",
    "box": "lat = [52, 60], lon = [20, 28] -> lat = [50, 58], lon = [20, 28]",
    "factor": "factor = 2 -> factor = 4",
    "attribution": 'attribution = "me" -> attribution = "you"',
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("what", [*CHANGES, "file"])
def test_what_changes_values_builds_anew(
    what: str, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the blocks of a region that was stopped; with a box, only that region."""
    files, data = tmp_path / "files", tmp_path / "data"
    recipe = write(files, TASK + FINE, fine=product())
    if whole:
        made(recipe, data)
    else:
        monkeypatch.setattr(PartialRegion, "finish", lambda *_: (_ for _ in ()).throw(KeyError()))
        for region in ("away", "home", "middle"):
            with pytest.raises(KeyError):
                made(recipe, data, regions=[region])
        monkeypatch.undo()
        monkeypatch.setattr(pair_parts, "steps_per_shard", lambda *_: STEPS)
    text = TASK + FINE if what == "file" else edited(TASK + FINE, change=CHANGES[what])
    fine = product() + 1 if what == "file" else product()
    fine["t"].attrs["units"] = "K"
    write(files, text, **({"fine": fine} if what == "file" else {}))
    built: list[str] = []
    changed = made(
        recipe, data, report=lambda name, k, n: built.append(name) if k == 0 < n else None
    )
    assert built == (["away"] if what == "box" else ["away", "home", "middle"])
    expected = made(write(tmp_path / "other", text, fine=fine), tmp_path / "fresh")
    assert {n: m.digests for n, m in changed.manifests.items()} == {
        n: m.digests for n, m in expected.manifests.items()
    }


def test_what_changes_no_value_keeps_all(tmp_path: Path) -> None:
    """Titles, roles and how scores are made are no matter to a store."""
    recipe = write(tmp_path, TASK + FINE, fine=product())
    made(recipe, tmp_path / "data")
    text = edited(
        TASK + FINE, a='"My temperatures" -> "Ours"', b="factor = 2 -> factor = 2\nmembers = 4"
    )
    write(tmp_path, text)
    os.utime(tmp_path / "fine.nc")  # a file that is touched is still the same
    reports: list[tuple[str, int, int]] = []
    made(recipe, tmp_path / "data", report=lambda *entry: reports.append(entry))
    assert reports == [(name, 0, 0) for name in ("away", "home", "middle")]


def test_only_the_region_of_a_changed_file_is_built_anew(tmp_path: Path) -> None:
    """Where each has files of its own; and one may be built while those of others are absent."""
    names = ("away", "home", "middle")
    sources = "".join(f'[fine.source.regions.{name}]\npaths = "{name}.nc"\n' for name in names)
    text = TASK + (
        '[fine.source]\nprovider = "files"\nengine = "netcdf4"\n'
        f'{sources}[fine.variables]\nt2m = "t"\n'
    )
    recipe = write(tmp_path, text, home=product())
    made(recipe, tmp_path / "data", regions=["home"])
    write(tmp_path, text, away=product(), middle=product())
    made(recipe, tmp_path / "data")
    changed = product() + 1
    changed["t"].attrs["units"] = "K"
    write(tmp_path, text, middle=changed)
    built: list[str] = []
    made(recipe, tmp_path / "data",
         report=lambda name, k, n: built.append(name) if k == 0 < n else None)  # fmt: skip
    assert built == ["middle"]


def test_two_builds_at_once(
    recipe: Path, undisturbed: PairStore, tmp_path: Path, elsewhere: Command
) -> None:
    """The second is refused and says who the first is; a killed one's lock file is no obstacle."""
    folder = tmp_path / "mine@1"
    with only_writer(folder / ".away.lock", of="the test"):
        # A lock is of an open file: another one of this process is refused as well.
        done = elsewhere("build", recipe, "--data", tmp_path)
        assert done.returncode == 2
        assert f"process {os.getpid()} on " in done.stderr
        assert "Wait until it has ended" in done.stderr
        assert elsewhere("build", recipe, "--data", tmp_path, "--regions", "home").returncode == 0
    assert not (folder / ".away.lock").exists()
    (folder / ".away.lock").write_text("process 1 on the moon")
    assert_same(made(recipe, tmp_path), undisturbed)


def test_too_little_room(
    recipe: Path, tmp_path: Path, elsewhere: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is written, with what is needed and what is free."""
    needed = 3 * 4 * 48 * (16 * 16 + 8 * 8)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    done = elsewhere("build", recipe, "--data", tmp_path)
    assert done.returncode == 2
    assert "0.2 MB of pairs" in done.stderr
    assert "0.2 MB free" in done.stderr
    assert not list(tmp_path.glob("mine@1/*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert elsewhere("build", recipe, "--data", tmp_path).returncode == 0


def test_the_estimate(recipe: Path, tmp_path: Path, elsewhere: Command) -> None:
    """What each region takes, for people and as JSON; nothing is built."""
    size = 4 * 48 * (16 * 16 + 8 * 8)
    done = elsewhere("build", recipe, "--data", tmp_path, "--estimate", "--json")
    rows = {row["region"]: (row["fetched"], row["written"]) for row in json.loads(done.stdout)}
    one = dict.fromkeys(("away", "home", "middle"), (0, size))
    assert rows == one | {"all of these": (0, 3 * size)}
    shown = elsewhere("build", recipe, "--data", tmp_path, "--estimate").stdout
    assert "home" in shown
    assert "0.1 MB" in shown
    assert not (tmp_path / "mine@1").exists()


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk(
    limit: int, recipe: Path, undisturbed: PairStore, tmp_path: Path, shell: dict[str, str]
) -> None:
    """A real limit on file size: one message, nothing half-named; with room it goes on."""
    program = [Path(sys.executable).with_name("elsewhere"), "build", recipe, "--data", tmp_path]
    done = subprocess.run(
        program, env=shell, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2
    assert os.strerror(errno.EFBIG) in done.stderr
    assert not list(tmp_path.glob("mine@1/*.zarr"))
    assert not list(tmp_path.rglob("*.partial"))
    assert_same(made(recipe, tmp_path), undisturbed)


def test_memory_is_that_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as many times take hardly more."""
    monkeypatch.setattr(pair_parts, "steps_per_shard", lambda *_: 48)
    peaks = []
    for number, hours in enumerate((HOURS, 10 * HOURS)):
        times = START + np.arange(hours) * np.timedelta64(3600, "s")
        fine = product(lat=(39, 61), lon=(-21, 29), times=times)
        last = f"{times[-1] - np.timedelta64(3600, 's')}"
        text = edited(TASK + FINE, a=f"2021-06-03T03:00:00 -> {last}")
        recipe = write(tmp_path / str(number), text, fine=fine)
        del fine
        tracemalloc.start()
        made(recipe, tmp_path / str(number) / "data", regions=["home"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks
