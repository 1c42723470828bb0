"""Downloading: whole or not at all, resumed, retried, checked, and clear about what to do."""

import errno
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from played.http import LAST_MODIFIED, Fault, PlayedServer

from benchmark.errors import InputError
from data_recipes import download as downloading
from data_recipes.download import NotThereError, arrived, download, verify
from data_recipes.retries import Retries

CONTENT = np.random.default_rng(7).bytes(3_000_000)
MIB = 1 << 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[PlayedServer]:
    with PlayedServer({"/a.nc": CONTENT}) as played:
        yield played


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def retries(waits: list[float]) -> Retries:
    return Retries(attempts=3, timeout_s=5, sleep=waits.append)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_with_its_record(server: PlayedServer, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.nc"
    came: list[int] = []
    record = download(
        f"{server.url}/a.nc?token=secret", path, advance=lambda size, _: came.append(size)
    )
    assert path.read_bytes() == CONTENT
    assert (record.bytes, record.sha256) == (len(CONTENT), SHA256)
    assert record.url == f"{server.url}/a.nc"
    assert record == arrived(path)
    assert sum(came) == len(CONTENT)
    assert "secret" not in (path.parent / "a.nc.json").read_text()
    assert leftovers(path.parent) == {"a.nc", "a.nc.json"}


def test_what_is_here_is_not_asked_for_again(server: PlayedServer, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    first = download(f"{server.url}/a.nc", path)
    assert download(f"{server.url}/a.nc", path, checksum=f"sha256:{SHA256}") == first
    assert len(server.requests) == 1


def test_a_file_of_another_size_or_checksum_is_fetched_again(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    path = tmp_path / "a.nc"
    server.files["/a.nc"] = b"older"
    download(f"{server.url}/a.nc", path)
    server.files["/a.nc"] = CONTENT
    download(f"{server.url}/a.nc", path, expected_bytes=len(CONTENT), retries=retries)
    assert path.read_bytes() == CONTENT
    path.write_bytes(CONTENT[:-1])
    assert arrived(path) is None
    download(f"{server.url}/a.nc", path)
    assert path.read_bytes() == CONTENT
    path.write_bytes(bytes(len(CONTENT)))
    assert arrived(path) is not None
    assert not verify(path)
    download(f"{server.url}/a.nc", path, checksum=f"sha256:{SHA256}")
    assert verify(path)
    assert len(server.requests) == 4


@pytest.mark.parametrize("fault", [Fault(reset_after=MIB), Fault(truncate_after=MIB)])
def test_a_broken_transfer_goes_on_where_it_broke(
    server: PlayedServer, tmp_path: Path, retries: Retries, waits: list[float], fault: Fault
) -> None:
    came: list[int] = []
    server.fault("/a.nc", fault)
    download(
        f"{server.url}/a.nc",
        tmp_path / "a.nc",
        retries=retries,
        advance=lambda size, _: came.append(size),
    )
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    first, second = server.requests
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= MIB
    assert second.headers["if-range"].startswith('"')
    assert "range" not in first.headers
    assert sum(came) == len(CONTENT)
    assert len(waits) == 1


def test_a_file_that_changed_meanwhile_starts_over(server: PlayedServer, tmp_path: Path) -> None:
    came: list[int] = []
    server.files["/a.nc"] = bytes(len(CONTENT))
    server.fault("/a.nc", Fault(truncate_after=MIB))

    def change(_: float) -> None:
        server.files["/a.nc"] = CONTENT

    download(
        f"{server.url}/a.nc",
        tmp_path / "a.nc",
        retries=Retries(sleep=change),
        advance=lambda size, _: came.append(size),
    )
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    assert sum(came) == len(CONTENT)
    assert min(came) == -MIB


def test_without_a_validator_nothing_is_gone_on_with(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    server.fault("/a.nc", Fault(truncate_after=MIB, without=("ETag", "Last-Modified")))
    download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert "range" not in server.requests[1].headers
    assert (tmp_path / "a.nc").read_bytes() == CONTENT


def test_a_weak_validator_does_not_promise_the_same_bytes(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    server.etags["/a.nc"] = 'W/"1"'
    server.fault("/a.nc", Fault(truncate_after=MIB))
    download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert server.requests[1].headers["if-range"] == LAST_MODIFIED


def test_a_kill_at_the_renaming_leaves_no_older_file(
    server: PlayedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size, it would pass for the newer one."""
    path = tmp_path / "a.nc"
    path.write_bytes(bytes(len(CONTENT)))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", _killed_at_last(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            download(f"{server.url}/a.nc", path)
    assert arrived(path) is None
    download(f"{server.url}/a.nc", path)
    assert path.read_bytes() == CONTENT


def _killed_at_last(rename: Any) -> Any:
    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(self, target)

    return killed


def test_a_server_without_ranges_is_no_trouble(tmp_path: Path, retries: Retries) -> None:
    with PlayedServer({"/a.nc": CONTENT}, ranges=False) as server:
        server.fault("/a.nc", Fault(truncate_after=MIB))
        download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
        assert (tmp_path / "a.nc").read_bytes() == CONTENT
        server.fault("/a.nc", *[Fault(truncate_after=MIB)] * 9)
        with pytest.raises(InputError, match="3 times in a row"):
            download(f"{server.url}/a.nc", tmp_path / "b.nc", retries=retries)


def test_progress_makes_patience_anew(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    server.fault("/a.nc", *[Fault(truncate_after=500_000)] * 5)
    download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    assert len(server.requests) == 6


KILLED = """
import sys
from pathlib import Path
from data_recipes.download import download
download(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_kill_costs_only_what_had_not_arrived(server: PlayedServer, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    part = tmp_path / ".a.nc.part"
    server.fault("/a.nc", Fault(truncate_after=MIB), Fault(pause_s=30))
    victim = subprocess.Popen([sys.executable, "-c", KILLED, f"{server.url}/a.nc", str(path)])
    while len(server.requests) < 2:
        assert victim.poll() is None
        time.sleep(0.02)
    victim.kill()
    victim.wait()
    assert not path.exists()
    assert part.stat().st_size == MIB
    download(f"{server.url}/a.nc", path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1].headers["range"] == f"bytes={MIB}-"
    assert leftovers(tmp_path) == {"a.nc", "a.nc.json"}


def test_a_kill_before_the_renaming_costs_nothing(server: PlayedServer, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    server.fault("/a.nc", Fault(truncate_after=10))
    with pytest.raises(InputError):
        download(f"{server.url}/a.nc", path, retries=Retries(attempts=1))
    (tmp_path / ".a.nc.part").write_bytes(CONTENT)
    download(f"{server.url}/a.nc", path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1].headers["range"] == f"bytes={len(CONTENT)}-"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_waited_for(
    server: PlayedServer, tmp_path: Path, retries: Retries, waits: list[float], status: int
) -> None:
    server.fault("/a.nc", *[Fault(status=status)] * 2)
    download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    assert 0.5 <= waits[0] <= 1
    assert 1 <= waits[1] <= 2


def test_the_server_says_how_long_to_wait(
    server: PlayedServer, tmp_path: Path, retries: Retries, waits: list[float]
) -> None:
    late = "Fri, 31 Dec 2100 23:59:59 GMT"
    server.fault("/a.nc", Fault(status=429, headers={"Retry-After": "17"}))
    server.fault("/a.nc", Fault(status=503, headers={"Retry-After": late}))
    download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert waits == [17, 3600]


def test_a_server_that_keeps_failing_is_left(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    server.fault("/a.nc", *[Fault(status=503)] * 9)
    with pytest.raises(InputError, match=r"/a\.nc: .*HTTP 503, 3 times in a row.*later"):
        download(f"{server.url}/a.nc", tmp_path / "a.nc", retries=retries)
    assert len(server.requests) == 3
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize("status", [404, 410])
def test_what_does_not_exist_is_not_waited_for(
    server: PlayedServer, tmp_path: Path, retries: Retries, waits: list[float], status: int
) -> None:
    server.fault("/a.nc", Fault(status=status))
    with pytest.raises(NotThereError, match=rf"/a\.nc: .*HTTP {status}: it does not exist"):
        download(f"{server.url}/a.nc?token=secret", tmp_path / "a.nc", retries=retries)
    assert waits == []


@pytest.mark.parametrize("status", [401, 403])
def test_without_access_it_says_where_the_key_goes(
    server: PlayedServer, tmp_path: Path, retries: Retries, status: int
) -> None:
    server.fault("/a.nc", Fault(status=status, body=b"who\nare you?"))
    with pytest.raises(InputError, match=r"who are you\?.*Put it into ~/\.keys") as caught:
        download(
            f"{server.url}/a.nc?token=secret",
            tmp_path / "a.nc",
            key_help="Put it into ~/.keys.",
            retries=retries,
        )
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


def test_any_other_refusal_is_told(server: PlayedServer, tmp_path: Path) -> None:
    server.fault("/a.nc", Fault(status=422, body=b"no such variable"))
    with pytest.raises(InputError, match="HTTP 422: no such variable"):
        download(f"{server.url}/a.nc", tmp_path / "a.nc")


@pytest.mark.parametrize(
    "checksum",
    [
        f"sha256:{SHA256}",
        f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        f"blake3:{blake3(CONTENT).hexdigest().upper()}",
    ],
)
def test_a_corrupt_piece_is_fetched_again(
    server: PlayedServer, tmp_path: Path, retries: Retries, checksum: str
) -> None:
    server.fault("/a.nc", Fault(body=bytes(len(CONTENT))))
    download(f"{server.url}/a.nc", tmp_path / "a.nc", checksum=checksum, retries=retries)
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_short_piece_that_claims_to_be_whole_is_fetched_again(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    server.fault("/a.nc", Fault(body=CONTENT[:-1]))
    download(f"{server.url}/a.nc", tmp_path / "a.nc", expected_bytes=len(CONTENT), retries=retries)
    assert (tmp_path / "a.nc").read_bytes() == CONTENT


def test_what_stays_wrong_is_never_kept(
    server: PlayedServer, tmp_path: Path, retries: Retries
) -> None:
    with pytest.raises(InputError, match=r"sha256 .* instead of 00, 3 times"):
        download(f"{server.url}/a.nc", tmp_path / "a.nc", checksum="sha256:00", retries=retries)
    assert len(server.requests) == 3
    assert leftovers(tmp_path) == set()


def test_a_full_disk_passes_and_what_arrived_is_kept(
    server: PlayedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        file = opened(self, *arguments, **options)
        if self.name == ".a.nc.part" and arguments == ("wb",):
            true_write = file.write

            def write(block: bytes) -> int:
                if file.tell() >= MIB:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return int(true_write(block))

            return _Written(file, write)
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(OSError, match="No space left"):
            download(f"{server.url}/a.nc", tmp_path / "a.nc")
    assert not (tmp_path / "a.nc").exists()
    download(f"{server.url}/a.nc", tmp_path / "a.nc")
    assert server.requests[-1].headers["range"] == f"bytes={MIB}-"
    assert (tmp_path / "a.nc").read_bytes() == CONTENT


class _Written:
    """A file of which only `write` is another's."""

    def __init__(self, file: Any, write: Any) -> None:
        self.file, self.write = file, write

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_two_at_once_fetch_a_file_once(server: PlayedServer, tmp_path: Path) -> None:
    server.fault("/a.nc", Fault(pause_s=0.1))
    threads = [
        threading.Thread(target=download, args=(f"{server.url}/a.nc", tmp_path / "a.nc"))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert (tmp_path / "a.nc").read_bytes() == CONTENT
    assert leftovers(tmp_path) == {"a.nc", "a.nc.json"}


def test_a_query_that_holds_a_key_is_never_shown() -> None:
    shown = downloading._without_secrets("https://me:pass@host:8/a/b.nc?X-Amz-Signature=1#x")
    assert shown == "https://host:8/a/b.nc"
