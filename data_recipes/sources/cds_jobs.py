"""Jobs of the Climate Data Store: submitted a few at a time, waited for, resumed, brought."""

import hashlib
import json
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import requests
from ecmwf.datastores import Client, Remote, config
from ecmwf.datastores.processing import ProcessingFailedError

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder, write_atomically
from data_recipes.archives import unpack
from data_recipes.download import Arrived, NotThereError, download
from data_recipes.grib import decode_grib
from data_recipes.retries import PATIENT, Retries, check_name
from data_recipes.source import Advance, no_report
from data_recipes.sources.cds_files import WrongGridError
from data_recipes.sources.cds_requests import Piece

URL = "https://cds.climate.copernicus.eu/api"
KEY_HELP = (
    "Copy your key from https://cds.climate.copernicus.eu/profile into ~/.ecmwfdatastoresrc, two "
    f"lines: 'url: {URL}' and 'key: YOUR-KEY'."
)
_AT_ONCE = 4
_WRONG_AT_MOST = 3
_MOST_BYTES = 256 << 30


Check = Callable[[Path], dict[str, Any]]
"""Refuses a file that is not as it should be; returns what to note of one that is."""


def folder_of(piece: Piece, cache: Path) -> Path:
    """Where a piece's NetCDF files lie once they are all here."""
    return cache / "cds" / piece.dataset / piece.digest / "data"


def bring(
    todo: Sequence[Piece],
    cache: Path,
    *,
    check: Check,
    advance: Advance = no_report,
    retries: Retries = PATIENT,
    at_once: int = _AT_ONCE,
) -> None:
    """Have every piece made and brought, at most `at_once` of them waiting at the store.

    The id of a submitted job is kept, so that a call after a kill waits for that job instead of
    queueing anew; a job that the store no longer knows, or whose result has expired, is submitted
    again. check: called with each NetCDF file before its piece counts as here; what it returns is
    kept in `arrived.json` under `files`.
    Errors: InputError with the store's own words when a job fails or is rejected, with what to do
    about keys and licences.
    """
    client = connect(retries)
    waiting, submitted = deque(todo), dict[Piece, Remote]()
    turns = 0
    while waiting or submitted:
        while waiting and len(submitted) < at_once:
            piece = waiting.popleft()
            with _told(piece):
                submitted[piece] = _job(client, piece, cache)
        ready = [piece for piece, remote in submitted.items() if _ready(piece, remote, cache)]
        for piece in ready:
            remote = submitted.pop(piece)
            try:
                _bring_one(piece, remote, cache, check, advance, retries)
            except NotThereError:
                _forget_job(piece, cache)  # expired: make it again, once
                with _told(piece):
                    remote = _job(client, piece, cache)
                while not _ready(piece, remote, cache):
                    retries.wait(5)
                _bring_one(piece, remote, cache, check, advance, retries)
        turns = 0 if ready else turns + 1
        if submitted and not ready:
            retries.wait(turns)


def connect(retries: Retries = PATIENT) -> Client:
    """The store's own client, with what `url_and_key` finds.

    Errors: InputError without a key, or where the store's name cannot be resolved.
    """
    found = url_and_key()
    check_name(found["url"], retries=retries)
    with warnings.catch_warnings():
        # It warns where the store's messages of the day cannot be had.
        warnings.simplefilter("ignore", UserWarning)
        return Client(
            url=found["url"].rstrip("/"),
            key=found["key"],
            progress=False,
            timeout=retries.timeout_s,
            maximum_tries=retries.attempts,
            retry_after=retries.longest_s / 4,
        )


def url_and_key() -> dict[str, str]:
    """From $ECMWF_DATASTORES_URL and _KEY, or a file in the home folder; asks nobody.

    ~/.ecmwfdatastoresrc is looked at first, then ~/.cdsapirc. Errors: InputError without a key.
    """
    found = {"url": URL, "key": ""}
    for path in ("~/.cdsapirc", None):
        with suppress(FileNotFoundError):
            found |= {k: v for k, v in config.read_config(path).items() if k in found}
    for name in found:
        with suppress(KeyError, FileNotFoundError):
            found[name] = config.get_config(name)
    if not found["key"]:
        raise InputError(Problem("Climate Data Store", "a key", "none", KEY_HELP))
    return found


def _job_path(piece: Piece, cache: Path) -> Path:
    return folder_of(piece, cache).with_name("job.json")


def _job(client: Client, piece: Piece, cache: Path) -> Remote:
    """The job that was submitted for this piece before, or a new one."""
    path = _job_path(piece, cache)
    if path.exists():
        try:
            return client.get_remote(json.loads(path.read_text(encoding="utf-8"))["id"])
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code not in (404, 410):
                raise
        except (ValueError, KeyError):
            pass  # a damaged note: submit again
    remote = client.submit(piece.dataset, piece.keys)
    note = {"id": remote.request_id, "dataset": piece.dataset, "request": piece.keys}
    write_atomically(path, json.dumps(note, indent=1) + "\n")
    return remote


def _ready(piece: Piece, remote: Remote, cache: Path) -> bool:
    with _told(piece):
        try:
            return bool(remote.results_ready)
        except (ProcessingFailedError, requests.HTTPError):
            _forget_job(piece, cache)  # the next call submits anew
            raise


def _forget_job(piece: Piece, cache: Path) -> None:
    _job_path(piece, cache).unlink(missing_ok=True)


def _bring_one(
    piece: Piece,
    remote: Remote,
    cache: Path,
    check: Check,
    advance: Advance,
    retries: Retries,
) -> None:
    folder = folder_of(piece, cache)
    with _told(piece, gone=True):
        results = remote.get_results()
        url, size = results.location, results.content_length
        stated = str(results.asset.get("file:checksum", ""))
    path = folder.with_name(f"{piece.label}.result")

    def fetch() -> Arrived:
        return download(
            url, path, expected_bytes=size, key_help=KEY_HELP, retries=retries,
            advance=lambda count, _: advance(count, f"{piece.dataset} {piece.label}"),
        )  # fmt: skip

    for attempt in range(_WRONG_AT_MOST):
        record = fetch()
        # The checksum is the object store's: an MD5, unless the file was uploaded in parts, which
        # its ETag shows by a dash. So it can raise a doubt, not settle it.
        is_md5 = len(stated) == 32 and "-" not in record.etag
        if is_md5 and not attempt and not _has_md5(path, stated):
            path.unlink()
            record = fetch()
        try:
            with new_folder(folder) as new:
                _unpack(path, new)
                files = {netcdf.name: check(netcdf) for netcdf in sorted(new.glob("*.nc"))}
                note = {
                    "bytes": record.bytes,
                    "sha256": record.sha256,
                    "request": piece.keys,
                    "files": files,
                }
                write_atomically(new / "arrived.json", json.dumps(note, indent=1) + "\n")
            break
        except InputError as error:
            path.unlink()  # fetched again, now or in the next call
            if isinstance(error, WrongGridError) or attempt + 1 == _WRONG_AT_MOST:
                raise
    for used in (path, path.with_name(f"{path.name}.json"), _job_path(piece, cache)):
        used.unlink(missing_ok=True)


def _has_md5(path: Path, wanted: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == wanted.lower()


def _unpack(path: Path, folder: Path) -> None:
    """NetCDF files of a result (NetCDF, GRIB, or a zip of either) into `folder`."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] != b"PK":
        _place(path, folder / "data.nc")
        return
    unpacked = unpack(path, folder / "zip", most_bytes=_MOST_BYTES, most_files=1000)
    for member in sorted(p for p in unpacked.rglob("*") if p.is_file()):
        name = "_".join(member.relative_to(unpacked).with_suffix("").parts)
        _place(member, folder / f"{name}.nc")
    shutil.rmtree(unpacked)


def _place(path: Path, netcdf: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GRIB":
        decode_grib(path, netcdf)
    elif start == b"\x89HDF" or start[:3] == b"CDF":
        shutil.copyfile(path, netcdf)
    else:
        raise InputError(
            Problem(str(path), "NetCDF or GRIB", f"a file that begins with {start!r}", "Try again.")
        )


@contextmanager
def _told(piece: Piece, *, gone: bool = False) -> Iterator[None]:
    """What the client raises, as one problem that says what to do."""
    where = f"{piece.dataset} {piece.label}"
    try:
        yield
    except ProcessingFailedError as error:
        fix = "Correct the request, or try again later if the store had a problem."
        raise InputError(Problem(where, "a successful job", _line(error), fix)) from None
    except requests.HTTPError as error:
        if gone and error.response is not None and error.response.status_code in (404, 410):
            raise NotThereError(Problem(where, "a result", _line(error), "Try again.")) from None
        _refused(where, piece, error)
    except requests.RequestException as error:
        fix = "Check the network; what was submitted is waited for when you call again."
        raise InputError(Problem(where, "an answer", _line(error), fix)) from None


def _refused(where: str, piece: Piece, error: requests.HTTPError) -> NoReturn:
    status = error.response.status_code if error.response is not None else 0
    if "licence" in str(error).lower():
        page = f"https://cds.climate.copernicus.eu/datasets/{piece.dataset}?tab=download"
        fix = f"Log in, accept the licence at the end of {page} and call again."
    elif status in (401, 403):
        fix = KEY_HELP
    elif status >= 500 or status == 429:
        fix = "Try again later: what was submitted is waited for."
    else:
        fix = "Correct the request in the recipe."
    raise InputError(Problem(where, "an accepted request", _line(error), fix)) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:600]
