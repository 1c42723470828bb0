"""`elsewhere build` when the Climate Data Store fails, refuses, or has not been asked yet."""

import calendar
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
from played.cds import KEY, PlayedCds
from played.gcs import BUCKET, Bucket
from played.http import Fault, PlayedServer

from benchmark.manifest import read_manifest
from data_recipes import build as building
from data_recipes import recipe_file
from data_recipes.sources import cds
from recipes.builds import QUICK
from recipes.cerra_world import World, every

Command = Callable[..., CompletedProcess[str]]
RECIPE = """\
[task]
name = "mine"
title = "ERA5 temperatures"
licence = "CC-BY 4.0"
attribution = "Copernicus Climate Change Service"
factor = 2
spacing = 0.25
variables = ["t2m"]
regions = [
  { name = "home", role = "train", lat = [43.875, 46.875], lon = [3.875, 6.875] },
  { name = "north", role = "val_ood", lat = [53.875, 56.875], lon = [3.875, 6.875] },
  { name = "away", role = "test_ood", lat = [43.875, 46.875], lon = [13.875, 16.875] },
]
[task.periods]
embargo_hours = 2
train = { first = 2020-03-01T00:00:00, last = 2020-03-01T05:00:00 }
val = { first = 2020-03-01T08:00:00, last = 2020-03-01T10:00:00 }
test = { first = 2020-03-01T13:00:00, last = 2020-03-01T15:00:00 }
[fine]
variables = { t2m = "t2m" }
[fine.source]
provider = "cds"
dataset = "reanalysis-era5-single-levels"
request = { product_type = ["reanalysis"] }
hours = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
variables = { t2m = "2m_temperature" }
"""
REGIONS = ("away", "home", "north")
HOURS = every("2020-03-01", 16, 1)
SUBMIT = "/api/retrieve/v1/processes/reanalysis-era5-single-levels/execution"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources of recipes do not wait long between tries."""
    opened = partial(cds.open_source, retries=QUICK)
    monkeypatch.setitem(recipe_file._OPEN, "cds", opened)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def world() -> World:
    return World(HOURS)


@pytest.fixture
def store(world: World) -> Iterator[PlayedCds]:
    with PlayedCds(world.payload) as played:
        yield played


def login(store: PlayedCds, key: str = KEY) -> dict[str, str]:
    return {"ECMWF_DATASTORES_URL": store.url, "ECMWF_DATASTORES_KEY": key}


def digests(data: Path) -> dict[str, dict[str, str]]:
    """{region: digests} of the store."""
    return {name: read_manifest(data / "mine@1" / f"{name}.json").digests for name in REGIONS}


def is_clear(done: CompletedProcess[str]) -> bool:
    """Whether a command stopped for a user's reason, and not by accident."""
    return done.returncode == 2 and "Traceback" not in done.stderr + done.stdout


def test_faults_on_the_way_do_not_change_a_bit(
    store: PlayedCds, recipe: Path, elsewhere: Command, tmp_path: Path
) -> None:
    """429 and 500 while asking and waiting; a reset, a truncation and a corrupt result."""
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    assert elsewhere("build", recipe, "--data", calm, env=login(store)).returncode == 0
    assert len(store.jobs) == 3
    ids = [f"{number:08}-aaaa-bbbb-cccc-dddddddddddd" for number in (4, 5, 6)]
    store.server.fault(SUBMIT, Fault(status=429), Fault(status=503))
    store.server.fault(f"/api/retrieve/v1/jobs/{ids[0]}", Fault(status=500), Fault(status=429))
    faults = (
        (Fault(status=500), Fault(reset_after=2000)),
        (Fault(truncate_after=2000),),
        (Fault(body=b"PK\x03\x04 but no archive"),),
    )
    for job, of_job in zip(ids, faults, strict=True):
        store.server.fault(store.result_path(job), *of_job)
    done = elsewhere(
        "build",
        recipe,
        "--data",
        rough,
        env=login(store),
    )
    assert done.returncode == 0, done.stderr
    assert list(store.jobs)[3:] == ids
    for job, of_job in zip(ids, faults, strict=True):
        assert len(store.server.asked(store.result_path(job))) >= 1 + len(of_job)
    assert digests(rough) == digests(calm)


def test_a_job_that_failed_is_told_in_the_stores_words(
    world: World, recipe: Path, elsewhere: Command, tmp_path: Path
) -> None:
    """And asked for anew by the next call."""
    life, failure = ["accepted", "running", "failed"], "MARS returned no data, expected 496 fields"
    with PlayedCds(world.payload, life=life, failure=failure) as store:
        failed = elsewhere("build", recipe, "--data", tmp_path, env=login(store))
        assert is_clear(failed)
        assert failure in failed.stderr
        assert "reanalysis-era5-single-levels 2020-03" in failed.stderr
        assert not list(tmp_path.glob("mine@1/*.json"))
        store.life = ["accepted", "successful"]
        for job in store.jobs.values():
            job.life = ["successful"]
        again = elsewhere("build", recipe, "--data", tmp_path, env=login(store))
        assert again.returncode == 0, again.stderr
    assert len(digests(tmp_path)) == 3


def test_a_licence_that_is_not_accepted_names_its_page(
    world: World, recipe: Path, elsewhere: Command, tmp_path: Path
) -> None:
    with PlayedCds(world.payload, licensed=False) as store:
        done = elsewhere("build", recipe, "--data", tmp_path, env=login(store))
    assert is_clear(done)
    assert "accept the licence" in done.stderr
    page = "https://cds.climate.copernicus.eu/datasets/reanalysis-era5-single-levels?tab=download"
    assert page in done.stderr


def test_a_key_that_is_refused_is_told_with_where_it_goes(
    store: PlayedCds, recipe: Path, elsewhere: Command, tmp_path: Path
) -> None:
    done = elsewhere("build", recipe, "--data", tmp_path, env=login(store, "not-mine"))
    assert is_clear(done)
    assert "401" in done.stderr
    assert_tells_where_the_key_goes(done.stderr)


def assert_tells_where_the_key_goes(said: str) -> None:
    assert "https://cds.climate.copernicus.eu/profile" in said
    assert "~/.ecmwfdatastoresrc" in said
    assert "key: YOUR-KEY" in said


@pytest.fixture
def endless_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the real tasks, of which nothing is fetched."""
    free = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1 << 50))
    monkeypatch.setattr(building, "shutil", SimpleNamespace(**{**vars(shutil), **vars(free)}))


@pytest.mark.usefixtures("endless_disk")
@pytest.mark.parametrize("name", ["cerra-wind", "cerra-t2m", "cerra-precip", "merizzi-wind"])
def test_without_a_key_nothing_is_begun(
    name: str, store: PlayedCds, elsewhere: Command, tmp_path: Path
) -> None:
    """The real task, as the README has it."""
    env = {"ECMWF_DATASTORES_URL": store.url}
    done = elsewhere("build", name, "--regions", "italy", "--data", tmp_path, env=env)
    assert is_clear(done)
    assert "expected  a key\n  got       none\n" in done.stderr
    assert_tells_where_the_key_goes(done.stderr)
    assert store.server.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("endless_disk")
@pytest.mark.parametrize("name", ["cerra-wind", "cerra-t2m", "cerra-precip"])
def test_without_a_key_the_public_bucket_is_not_read_for_hours_first(
    name: str, elsewhere: Command, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    words = ("--regions", "italy", "--recipe", "arco", "--data", data)
    with PlayedServer(answer=Bucket(BUCKET, tmp_path)) as gcs:
        done = elsewhere("build", name, *words, env={"STORAGE_EMULATOR_HOST": gcs.url})
        assert gcs.requests == []
    assert is_clear(done)
    assert_tells_where_the_key_goes(done.stderr)


def test_too_small_a_disk_is_told_before_anything_is_asked(
    store: PlayedCds, elsewhere: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=50 * 10**9))
    monkeypatch.setattr(building, "shutil", little)
    words = ("--regions", "italy", "--data", tmp_path)
    done = elsewhere("build", "cerra-wind", *words, env=login(store))
    assert is_clear(done)
    assert "room for 130.6 GB of downloads and at most 4.7 GB of pairs" in done.stderr
    assert "50.0 GB free" in done.stderr
    assert store.server.requests == []


YEARS = {"cerra-wind": (2006, 2020), "cerra-precip": (2006, 2020), "merizzi-wind": (2010, 2020)}


@pytest.mark.parametrize("name", YEARS)
def test_what_the_real_tasks_take_is_told_without_network_or_key(
    name: str, elsewhere: Command, tmp_path: Path
) -> None:
    """CERRA's whole domain every time of whole months, and a box of ERA5's."""
    words = ("--regions", "italy", "--estimate", "--json", "--data", tmp_path)
    env = {"ECMWF_DATASTORES_URL": "http://127.0.0.1:9/api"}  # where nobody listens
    done = elsewhere("build", name, *words, env=env)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    first, last = YEARS[name]
    days = sum(366 if calendar.isleap(year) else 365 for year in range(first, last + 1))
    a_day = 1 if name == "cerra-precip" else 8
    of_cerra = 2 * 1069**2 * (a_day * days + 2)
    of_era5: Any = row["fetched"] - of_cerra
    # Two winds eight times a day, or rain every hour, of 30 to 65 points a side, 2 bytes each.
    fields = (24 if name == "cerra-precip" else 16) * days
    assert 2 * fields * 30 * 45 < of_era5 < 2 * fields * 1.01 * 60 * 65
    fine, coarse = (160**2, 32**2) if name != "merizzi-wind" else (260**2, 52**2)
    # Twenty days without pairs, or thereabouts: the embargos.
    assert 0.99 * days < row["written"] / (4 * a_day * (fine + coarse)) < days
    assert list(tmp_path.iterdir()) == []
