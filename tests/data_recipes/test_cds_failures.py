"""The Climate Data Store failing in every way: what is retried, resumed, refused, and said."""

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played import era5
from played.cds import KEY, PlayedCds
from played.http import Fault

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes.retries import Retries
from data_recipes.source import Window, weigh
from data_recipes.sources.cds import CdsOptions, CdsSource, open_source
from data_recipes.sources.cds_requests import pieces

RETRIES = Retries(attempts=4, base_s=0.01, longest_s=0.01, timeout_s=20)
TABLE: dict[str, Any] = {
    "provider": "cds",
    "dataset": "reanalysis-era5-single-levels",
    "variables": {"t2m": "2m_temperature", "tp": "total_precipitation"},
    "request": {"product_type": ["reanalysis"]},
    "hours": [0, 12],
    "split": "day",
}
DAYS = np.datetime64("2020-02-01T00", "s") + np.arange(12) * np.timedelta64(12 * 3600, "s")
WINDOW = Window(44.1, 45.2, 6.0, 7.5, ("t2m", "tp"), DAYS)
ONE = Window(44.1, 45.2, 6.0, 7.5, ("t2m", "tp"), DAYS[:2])
SUBMIT = "/api/retrieve/v1/processes/reanalysis-era5-single-levels/execution"
FIRST = "00000001-aaaa-bbbb-cccc-dddddddddddd"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", KEY)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCds]:
    with PlayedCds(era5.payload) as played:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", played.url)
        yield played


def source(tmp_path: Path, table: dict[str, Any] = TABLE) -> CdsSource:
    options = validate(table, CdsOptions, where="a test")
    return open_source(options, cache=tmp_path / "cache", retries=RETRIES)


def fetched(tmp_path: Path) -> dict[str, bytes]:
    """Every file of the cache."""
    folder = tmp_path / "cache"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_few_requests_wait_at_the_store_at_a_time(store: PlayedCds, tmp_path: Path) -> None:
    source(tmp_path).fetch(WINDOW)
    assert len(store.jobs) == 6
    assert store.most_waiting == 4


def test_progress_is_told_by_piece(store: PlayedCds, tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    source(tmp_path).fetch(ONE, advance=lambda count, what: told.append((count, what)))
    assert sum(count for count, _ in told) == len(store.server.files[store.result_path(FIRST)])
    assert {what for _, what in told} == {"reanalysis-era5-single-levels 2020-02-01"}


def test_only_the_files_that_are_read_stay(store: PlayedCds, tmp_path: Path) -> None:
    source(tmp_path).fetch(ONE)
    assert len(store.jobs) == 1
    assert {Path(name).name for name in fetched(tmp_path)} == {
        "data_stream-oper_stepType-instant.nc",
        "data_stream-oper_stepType-accum.nc",
        "arrived.json",
    }


@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500), Fault(reset_after=0)])
def test_the_api_may_stumble(store: PlayedCds, tmp_path: Path, fault: Fault) -> None:
    store.server.fault(SUBMIT, fault)
    store.server.fault(f"/api/retrieve/v1/jobs/{FIRST}", fault)
    store.server.fault(f"/api/retrieve/v1/jobs/{FIRST}/results", fault)
    source(tmp_path).fetch(ONE)
    assert weigh(source(tmp_path).to_fetch(ONE)).fetched == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=500),
        Fault(reset_after=1000),
        Fault(truncate_after=1000),
        Fault(body=b"short"),
    ],
)
def test_the_download_may_stumble(store: PlayedCds, tmp_path: Path, fault: Fault) -> None:
    store.server.fault(store.result_path(FIRST), fault, fault)
    source(tmp_path).fetch(ONE)
    source(tmp_path).read(ONE, ONE.times)
    assert len(store.jobs) == 1


def test_a_checksum_that_differs_is_a_doubt(store: PlayedCds, tmp_path: Path) -> None:
    """Fetched again; kept where the same bytes come twice, for it may not be an MD5 at all."""
    path = store.result_path(FIRST)
    size = len(era5.payload("", _request(tmp_path)))
    store.server.fault(path, Fault(body=bytes(size)))
    source(tmp_path).fetch(ONE)
    assert len(store.server.asked(path)) == 2
    assert source(tmp_path).read(ONE, ONE.times).t2m.notnull().all()


def test_a_checksum_of_parts_is_none_of_the_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with PlayedCds(era5.payload, checksums=False) as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        store.other_checksum = "0" * 32
        path = store.result_path(FIRST)
        store.server.etags[path] = f'"{"0" * 32}-7"'
        source(tmp_path).fetch(ONE)
        assert len(store.server.asked(path)) == 1


def _request(tmp_path: Path) -> dict[str, Any]:
    return pieces(source(tmp_path).options, ONE)[0].keys


def test_a_corrupt_archive_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the right length, and without a checksum: what is in it tells."""
    with PlayedCds(era5.payload, checksums=False) as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        whole = era5.payload("", _request(tmp_path))
        middle = len(whole) // 3
        harmed = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path = store.result_path(FIRST)
        store.server.fault(path, Fault(body=harmed), Fault(body=harmed))
        source(tmp_path).fetch(ONE)
        assert len(store.server.asked(path)) == 3
        assert source(tmp_path).read(ONE, ONE.times).t2m.notnull().all()


def test_what_stays_corrupt_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with PlayedCds(lambda *_: b"<html>we are sorry") as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        with pytest.raises(InputError, match="NetCDF or GRIB"):
            source(tmp_path).fetch(ONE)
    assert {Path(name).name for name in fetched(tmp_path)} <= {"job.json", "2020-02-01.result.json"}


def test_an_archive_that_leads_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        zipped.writestr("../../evil.nc", b"x")
    with PlayedCds(lambda *_: held.getvalue()) as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        with pytest.raises(InputError, match="paths inside the archive"):
            source(tmp_path).fetch(ONE)
    assert not list(tmp_path.rglob("evil.nc"))


def test_without_a_key_it_says_where_it_goes(
    store: PlayedCds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECMWF_DATASTORES_KEY")
    with pytest.raises(InputError, match=r"a key; got none\. .*~/\.ecmwfdatastoresrc"):
        source(tmp_path).fetch(ONE)
    assert store.server.requests == []


@pytest.mark.parametrize("name", [".ecmwfdatastoresrc", ".cdsapirc"])
def test_the_key_may_lie_in_a_file(
    store: PlayedCds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("ECMWF_DATASTORES_KEY")
    monkeypatch.delenv("ECMWF_DATASTORES_URL")
    (tmp_path / "home" / name).write_text(f"url: {store.url}/\nkey: {KEY}\n")
    source(tmp_path).fetch(ONE)
    assert len(store.jobs) == 1


def test_a_wrong_key_is_told(
    store: PlayedCds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", "not this one")
    with pytest.raises(InputError, match=r"401 .*invalid token.*~/\.ecmwfdatastoresrc"):
        source(tmp_path).fetch(ONE)
    assert store.jobs == {}


def test_a_licence_that_is_not_accepted_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with PlayedCds(era5.payload, licensed=False) as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        page = r"datasets/reanalysis-era5-single-levels\?tab=download"
        with pytest.raises(InputError, match=rf"licence-to-use-copernicus.*accept .*{page}"):
            source(tmp_path).fetch(ONE)


def test_a_data_set_that_is_none_is_told(store: PlayedCds, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"era6-levels 2020-02-01: .*404 .*Correct the request"):
        source(tmp_path, TABLE | {"dataset": "era6-levels"}).fetch(ONE)
    assert store.jobs == {}


@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_a_failed_job_is_told_and_then_submitted_anew(
    store: PlayedCds, tmp_path: Path, status: str
) -> None:
    store.life = ["accepted", status]
    with pytest.raises(InputError, match=f"The job has {status} MARS returned no data"):
        source(tmp_path).fetch(ONE)
    store.life = ["successful"]
    source(tmp_path).fetch(ONE)
    assert len(store.jobs) == 2


def test_a_result_that_has_expired_is_made_again(store: PlayedCds, tmp_path: Path) -> None:
    store.server.fault(store.result_path(FIRST), Fault(status=404))
    source(tmp_path).fetch(ONE)
    assert len(store.jobs) == 2
    assert source(tmp_path).read(ONE, ONE.times).t2m.notnull().all()


KILLED = """
import json, sys
from pathlib import Path
import numpy as np
from benchmark.toml_model import validate
from data_recipes.retries import Retries
from data_recipes.source import Window
from data_recipes.sources.cds import CdsOptions, open_source
options = validate(json.loads(sys.argv[1]), CdsOptions, where="a test")
times = np.array(json.loads(sys.argv[3]), "datetime64[s]")
window = Window(44.1, 45.2, 6.0, 7.5, ("t2m", "tp"), times)
retries = Retries(attempts=4, base_s=0.01, longest_s=0.05)
open_source(options, cache=Path(sys.argv[2]), retries=retries).fetch(window)
"""


def killed(tmp_path: Path, until: Any) -> None:
    """Fetch in another process, and kill it as soon as `until()`."""
    arguments = [
        json.dumps(TABLE),
        str(tmp_path / "cache"),
        json.dumps(WINDOW.times.astype(str).tolist()),
    ]
    victim = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    while not until():
        assert victim.poll() is None
        time.sleep(0.02)
    victim.kill()
    victim.wait()


def test_two_kills_change_nothing(store: PlayedCds, tmp_path: Path) -> None:
    """Killed while jobs run, killed in a download: no job is queued twice, and no byte differs."""
    store.life = ["accepted"] + ["running"] * 10_000
    notes = lambda: list((tmp_path / "cache").rglob("job.json"))  # noqa: E731
    killed(tmp_path, lambda: len(notes()) == 4)
    assert len(store.jobs) == 4
    for job in store.jobs.values():
        job.life = ["successful"]
    store.life = ["successful"]
    path = store.result_path(FIRST)
    store.server.fault(path, Fault(truncate_after=1 << 12), Fault(pause_s=30))
    killed(tmp_path, lambda: len(store.server.asked(path)) == 2)
    assert list((tmp_path / "cache").rglob("*.part"))
    source(tmp_path).fetch(WINDOW)
    assert len(store.jobs) == 6
    undisturbed = tmp_path / "undisturbed"
    source(undisturbed).fetch(WINDOW)
    assert fetched(tmp_path) == fetched(undisturbed)
    assert len(fetched(tmp_path)) == 6 * 3


def test_a_job_that_the_store_forgot_is_submitted_anew(store: PlayedCds, tmp_path: Path) -> None:
    store.server.fault(store.result_path(FIRST), *[Fault(status=500)] * 9)
    with pytest.raises(InputError, match="HTTP 500"):
        source(tmp_path).fetch(ONE)
    store.jobs.clear()
    store.server._faults.clear()
    source(tmp_path).fetch(ONE)
    assert len(store.jobs) == 1
