"""One file from an HTTP server: streamed, resumed after a break, checked, and only then named."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import urlsplit, urlunsplit

import requests
from blake3 import blake3

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from data_recipes.retries import (
    PATIENT,
    Retries,
    TryAgainError,
    asked_seconds,
    check_name,
    politely,
)
from data_recipes.source import Advance, no_report

__all__ = [
    "Arrived",
    "NotThereError",
    "Retries",
    "arrived",
    "download",
    "get_bytes",
    "politely",
    "verify",
]
_BLOCK = 1 << 16
_TRANSIENT = (408, 425, 429)
_WRONG_AT_MOST = 3


@dataclass(frozen=True)
class Arrived:
    """What is known of a file that is here whole; `url` without its query, which may hold a key."""

    url: str
    bytes: int
    sha256: str
    etag: str = ""


class NotThereError(InputError):
    """The server says that it has no such file (404, 410)."""


def arrived(path: Path) -> Arrived | None:
    """The record of a file that `download` brought whole; None where it is not, or not all, here.

    Only the size is compared: `verify` reads the file.
    """
    try:
        record = Arrived(**json.loads(_record_path(path).read_text(encoding="utf-8")))
        return record if path.stat().st_size == record.bytes else None
    except (OSError, ValueError, TypeError):
        return None  # without a good record the file is fetched again


def verify(path: Path) -> bool:
    """Whether the file's bytes still have the SHA-256 with which they arrived."""
    record = arrived(path)
    return record is not None and _digest(path, "sha256") == record.sha256


def download(
    url: str,
    path: Path,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    session: requests.Session | None = None,
    expected_bytes: int | None = None,
    checksum: str | None = None,
    key_help: str = "",
    advance: Advance = no_report,
    retries: Retries = PATIENT,
) -> Arrived:
    """Bring `url` to `path`, whole or not at all; a file that is here whole stays.

    A broken connection, or a call after a kill, goes on where the last one stopped, if the server
    says that the file is still the same one (ETag or Last-Modified). A piece of the wrong length
    or checksum is fetched again, three times in all. 429, 5xx, timeouts and broken connections are
    tried again after a wait. Beside `path` stays `NAME.json`, its record (`Arrived`).
    checksum: "sha256:HEX", "md5:HEX", "blake3:HEX"...; key_help: what to do about 401 and 403,
    such as where the key goes. advance: told of the bytes that arrived before, of new ones, and,
    with a minus, of those that had to be thrown away.
    Errors: InputError when the server refuses, keeps failing, or serves something else;
    `NotThereError` at 404 and 410. OSError (a full disk) passes, and what had arrived is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    failures = wrong = furthest = 0
    with requests.Session() if session is None else nullcontext(session) as http, _alone(part):
        record = arrived(path)
        if record is not None and not _mismatch(path, expected_bytes, checksum):
            part.unlink(missing_ok=True)
            return record
        check_name(url, retries=retries)
        size = part.stat().st_size
        if size:
            advance(size, path.name)
        while True:
            try:
                with politely(urlsplit(url).netloc):
                    etag = _stream(http, url, part, headers, params, key_help, advance, retries)
            except TryAgainError as error:
                size = part.stat().st_size
                failures = 1 if size > furthest else failures + 1
                furthest = max(furthest, size)
                if failures >= retries.attempts:
                    _give_up(url, f"{error}, {failures} times in a row")
                retries.wait(failures, error.asked_s)
                continue
            problem = _mismatch(part, expected_bytes, checksum)
            if not problem:
                return _settle(part, path, url, etag)
            wrong, furthest = wrong + 1, 0
            advance(-part.stat().st_size, path.name)
            _forget(part)
            if wrong >= _WRONG_AT_MOST:
                _give_up(url, f"{problem}, {wrong} times")
            retries.wait(wrong)


def get_bytes(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    session: requests.Session | None = None,
    key_help: str = "",
    retries: Retries = PATIENT,
) -> bytes:
    """A small answer, such as a listing, in memory; retried and refused as in `download`."""
    failures = 0
    check_name(url, retries=retries)
    with requests.Session() if session is None else nullcontext(session) as http:
        while True:
            try:
                with (
                    politely(urlsplit(url).netloc),
                    _answer(http, url, headers, params, retries) as answer,
                ):
                    _check_status(answer, url, key_help)
                    return answer.content
            except TryAgainError as error:
                failures += 1
                if failures >= retries.attempts:
                    _give_up(url, f"{error}, {failures} times in a row")
                retries.wait(failures, error.asked_s)


def _stream(
    http: requests.Session,
    url: str,
    part: Path,
    headers: Mapping[str, str] | None,
    params: Mapping[str, str] | None,
    key_help: str,
    advance: Advance,
    retries: Retries,
) -> str:
    """Bring what is missing of `part`; the file's ETag. Errors: TryAgainError, InputError."""
    start = part.stat().st_size
    validator = _validator(part)
    # Compressed on the way, lengths and ranges would not be those of the file.
    asked = {"Accept-Encoding": "identity", **(headers or {})}
    if start and validator:
        asked |= {"Range": f"bytes={start}-", "If-Range": validator}
    what = part.name.removeprefix(".").removesuffix(".part")
    with _answer(http, url, asked, params, retries) as answer:
        if answer.status_code == 416 and start:
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return _etag(answer)  # a kill came between the last byte and the renaming
            advance(-start, what)
            _forget(part)
            raise TryAgainError("HTTP 416")
        _check_status(answer, url, key_help)
        goes_on = answer.status_code == 206
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            advance(-start, what)
            _forget(part)
            raise TryAgainError(f"the wrong range, {answer.headers.get('Content-Range')!r}")
        if not goes_on:
            if start:
                advance(-start, what)
            _keep_validator(part, answer)
        with part.open("ab" if goes_on else "wb") as file:
            for block in answer.iter_content(_BLOCK):  # urllib3 compares Content-Length
                file.write(block)
                advance(len(block), what)
        return _etag(answer)


@contextmanager
def _answer(
    http: requests.Session,
    url: str,
    headers: Mapping[str, str] | None,
    params: Mapping[str, str] | None,
    retries: Retries,
) -> Iterator[requests.Response]:
    """The answer to a GET; what goes wrong on the line, then or in reading it, may pass."""
    try:
        with http.get(
            url, headers=headers, params=params, stream=True, timeout=retries.timeout_s
        ) as answer:
            yield answer
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise TryAgainError(f"{type(error).__name__}: {error}"[:300]) from error
    except requests.RequestException as error:
        _give_up(url, f"{type(error).__name__}: {error}"[:300])


def _check_status(answer: requests.Response, url: str, key_help: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in _TRANSIENT or status >= 500:
        raise TryAgainError(f"HTTP {status}", asked_seconds(answer.headers.get("Retry-After")))
    where, got = _without_secrets(url), f"HTTP {status}: {_said(answer)}".removesuffix(": ")
    if status in (404, 410):
        raise NotThereError(
            Problem(where, "a file", f"HTTP {status}: it does not exist", "Check name and dates.")
        )
    if status in (401, 403):
        fix = key_help or "Check the key of this provider, and that its licence is accepted."
        raise InputError(Problem(where, "access", got, fix))
    raise InputError(Problem(where, "a file", got, "Check what is asked for."))


def _said(answer: requests.Response) -> str:
    """The beginning of an error page, on one line."""
    try:
        page = next(answer.iter_content(2000), b"")
    except requests.RequestException:
        return ""
    return " ".join(page.decode("utf-8", "replace").split())[:300]


def _give_up(url: str, got: str) -> NoReturn:
    raise InputError(
        Problem(
            _without_secrets(url), "the whole file", got,
            "Try again later: what has arrived is kept.",
        )
    )  # fmt: skip


def _mismatch(path: Path, expected_bytes: int | None, checksum: str | None) -> str:
    """How a file differs from what was promised, or ""."""
    size = path.stat().st_size
    if expected_bytes is not None and size != expected_bytes:
        return f"{size} bytes of {expected_bytes}"
    if checksum:
        algorithm, _, wanted = checksum.partition(":")
        found = _digest(path, algorithm)
        if found != wanted.lower():
            return f"{algorithm} {found} instead of {wanted}"
    return ""


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        if algorithm == "blake3":
            hasher = blake3()
            while block := file.read(1 << 20):
                hasher.update(block)
            return hasher.hexdigest()
        return hashlib.file_digest(file, algorithm).hexdigest()


def _settle(part: Path, path: Path, url: str, etag: str) -> Arrived:
    record = Arrived(_without_secrets(url), part.stat().st_size, _digest(part, "sha256"), etag)
    path.unlink(missing_ok=True)  # never an older file beside a newer record
    write_atomically(_record_path(path), json.dumps(asdict(record), indent=1) + "\n")
    _validator_path(part).unlink(missing_ok=True)
    part.replace(path)
    return record


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _validator_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _validator(part: Path) -> str:
    """What the server called the file of which `part` is the beginning; "" where unknown."""
    try:
        return _validator_path(part).read_text(encoding="utf-8")
    except OSError:
        return ""


def _keep_validator(part: Path, answer: requests.Response) -> None:
    """Keep it before the first byte: a beginning without one is never gone on with."""
    part.open("wb").close()
    etag = _etag(answer)
    strong = "" if etag.startswith("W/") else etag
    write_atomically(_validator_path(part), strong or answer.headers.get("Last-Modified", ""))


def _etag(answer: requests.Response) -> str:
    return answer.headers.get("ETag", "")


def _forget(part: Path) -> None:
    # Emptied, not removed: its lock is on the file itself.
    part.open("wb").close()
    _validator_path(part).unlink(missing_ok=True)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold `part`, made where it is absent, so that no other process or thread writes into it."""
    while True:
        file = part.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_named(file, part):
                try:
                    yield
                finally:
                    if _is_named(file, part) and not part.stat().st_size:
                        part.unlink()
                return
        finally:
            file.close()


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether `path` is still this open file: whoever held it before may have renamed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _without_secrets(url: str) -> str:
    """The URL without user, password and query: signed links hold keys there."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
