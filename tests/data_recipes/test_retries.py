"""Patience: bounded waits that grow, few requests to a host at a time, small answers."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from played.http import Fault, PlayedServer

from benchmark.errors import InputError
from data_recipes.download import NotThereError, get_bytes
from data_recipes.retries import Retries, asked_seconds, politely


def test_the_longest_wait_is_bounded() -> None:
    waits: list[float] = []
    for failures in range(1, 30):
        Retries(longest_s=60, sleep=waits.append).wait(failures)
    assert 30 <= max(waits) <= 60


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0.5", 0.5), ("", None), ("soon", None)]
)
def test_what_the_server_asks_for(header: str, seconds: float | None) -> None:
    assert asked_seconds(header) == seconds


def test_the_server_may_name_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert asked_seconds(date) == pytest.approx(99, abs=1.5)


def test_few_requests_at_a_time() -> None:
    inside = most = 0
    lock = threading.Lock()

    def visit() -> None:
        nonlocal inside, most
        with politely("a host of this test"):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=visit) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 4


def test_a_listing_is_retried_and_refused_likewise() -> None:
    retries = Retries(attempts=3, sleep=lambda _: None)
    with PlayedServer() as server:
        server.files["/list"] = json.dumps(["a.nc"]).encode()
        server.fault("/list", Fault(status=500), Fault(reset_after=3))
        assert get_bytes(f"{server.url}/list", retries=retries) == b'["a.nc"]'
        with pytest.raises(NotThereError):
            get_bytes(f"{server.url}/none", retries=retries)
        server.fault("/list", *[Fault(status=500)] * 9)
        with pytest.raises(InputError, match="3 times in a row"):
            get_bytes(f"{server.url}/list", retries=retries)


def test_silence_is_a_broken_connection() -> None:
    with PlayedServer({"/a": b"1"}) as server:
        server.fault("/a", Fault(pause_s=3))
        retries = Retries(timeout_s=0.1, sleep=lambda _: None)
        assert get_bytes(f"{server.url}/a", retries=retries) == b"1"
        assert len(server.requests) == 2


def test_nobody_at_home() -> None:
    with PlayedServer() as server:
        url = server.url
    with pytest.raises(InputError, match=r"ConnectionError.* 3 times in a row"):
        get_bytes(f"{url}/a", retries=Retries(attempts=3, sleep=lambda _: None))
