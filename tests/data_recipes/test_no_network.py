"""A network that is not there is said in seconds; one that goes away later gets all the patience.

No name but that of this machine can be resolved, as on a laptop in a train.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played.http import PlayedServer

from benchmark.errors import InputError
from benchmark.toml_model import validate
from data_recipes import retries as patience
from data_recipes.download import download, get_bytes
from data_recipes.retries import Retries, check_name
from data_recipes.source import Window
from data_recipes.sources import cds, earthdata, rainshift

TIMES = np.datetime64("2020-01-01T00", "s") + np.arange(2) * np.timedelta64(1800, "s")
WINDOW = Window(41.0, 49.0, 26.0, 34.0, ("tp",), TIMES)
PROXIES = [
    f(name) for name in ("http_proxy", "https_proxy", "all_proxy") for f in (str.lower, str.upper)
]


class Names:
    """The names that were looked up; `known`: those that can be resolved."""

    def __init__(self, known: set[str]) -> None:
        self.known, self.asked = known, list[str]()
        self.really = socket.getaddrinfo

    def __call__(self, host: Any, *words: Any, **others: Any) -> Any:
        """As `socket.getaddrinfo`."""
        self.asked.append(str(host))
        str(host).encode("idna")  # as the true one does
        if host in self.known:
            return self.really("127.0.0.1", *words, **others)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(patience, "_known_hosts", set())
    found = Names({"127.0.0.1"})
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return found


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def retries(waits: list[float]) -> Retries:
    """As patient as by default, without the waiting."""
    return Retries(sleep=waits.append)


def _cds(cache: Path, retries: Retries) -> None:
    table = {
        "provider": "cds", "dataset": "reanalysis-era5-single-levels",
        "variables": {"tp": "total_precipitation"}, "request": {"product_type": ["reanalysis"]},
    }  # fmt: skip
    options = validate(table, cds.CdsOptions, where="a test")
    cds.open_source(options, cache=cache, retries=retries).fetch(WINDOW)


def _hub_is_asked(cache: Path, retries: Retries) -> None:
    options = rainshift.RainShiftOptions(side="in")
    rainshift.RainShift(options, cache, retries).to_fetch(WINDOW)


def _earthdata(cache: Path, retries: Retries) -> None:
    options = earthdata.EarthdataOptions(provider="earthdata")
    earthdata.EarthdataSource(options, cache, retries).fetch(WINDOW)


def _download(cache: Path, retries: Retries) -> None:
    download("https://data.test/a.nc", cache / "a.nc", retries=retries)


def _listing(_: Path, retries: Retries) -> None:
    get_bytes("https://data.test/list", retries=retries)


@pytest.mark.parametrize(
    ("ask", "host"),
    [
        (_cds, "cds.climate.copernicus.eu"), (_hub_is_asked, "huggingface.co"),
        (_earthdata, "urs.earthdata.nasa.gov"), (_download, "data.test"), (_listing, "data.test"),
    ],
    ids=["cds", "hub", "earthdata", "download", "listing"],
)  # fmt: skip
def test_it_is_said_within_seconds(
    ask: Callable[[Path, Retries], None],
    host: str,
    names: Names,
    retries: Retries,
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three look-ups with short waits, and that it is the network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", "a key")
    monkeypatch.setenv("EARTHDATA_TOKEN", "a key")
    for name in ("HF_ENDPOINT", "ECMWF_DATASTORES_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError) as caught:
        ask(tmp_path / "cache", retries)
    assert names.asked == [host] * 3
    assert sum(waits) <= 5
    (problem,) = caught.value.problems
    assert problem.where == f"https://{host}"
    assert "name" in problem.expected
    assert "Temporary failure in name resolution, 3 times" in problem.got
    assert "probably the network" in problem.fix
    assert "repeat the command" in problem.fix


def test_a_network_that_comes_back_within_seconds(names: Names, retries: Retries) -> None:
    """As after a laptop has woken up."""
    tried: list[float] = []

    def wake(seconds: float) -> None:
        tried.append(seconds)
        if len(tried) == 2:
            names.known.add("data.test")

    check_name("https://data.test/a", retries=Retries(sleep=wake))
    assert names.asked == ["data.test"] * 3
    check_name("https://data.test/b", retries=retries)
    assert len(names.asked) == 3  # once is enough


def test_in_the_middle_of_a_build_all_patience_is_left(
    names: Names, retries: Retries, waits: list[float]
) -> None:
    names.known.add("data.test")
    with PlayedServer({"/a": b"1", "/b": b"2"}) as server:
        url = server.url.replace("127.0.0.1", "data.test")
        assert get_bytes(f"{url}/a", retries=retries) == b"1"
        names.known.discard("data.test")
        with pytest.raises(InputError, match=rf"resolve.*, {retries.attempts} times in a row"):
            get_bytes(f"{url}/b", retries=retries)
    assert sum(waits) > 60


def test_a_proxy_resolves_names_itself(
    names: Names, retries: Retries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "inside.test")
    check_name("https://data.test/a", retries=retries)
    assert names.asked == []
    with pytest.raises(InputError, match=r"inside\.test"):
        check_name("https://inside.test/a", retries=retries)


@pytest.mark.usefixtures("names")
def test_an_address_that_cannot_be_a_name(retries: Retries) -> None:
    """A problem, not a traceback."""
    with pytest.raises(InputError, match="label empty or too long"):
        check_name(f"https://{'x' * 70}.test/a", retries=retries)
