"""A data set on the Hugging Face Hub: its files at one commit, with the checksums they must have.

The Hub's own client finds the files; `download` brings them, since a file of 20 GB has to go on
after a kill and its bytes have to be checked: `hf_hub_download` does neither over HTTP.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.toml_model import Frozen
from data_recipes.download import download
from data_recipes.extra import require
from data_recipes.retries import Retries, check_name
from data_recipes.source import Advance

_TOKEN_HELP = "Put a token of https://huggingface.co/settings/tokens into HF_TOKEN."


class HubFile(Frozen):
    """A file as the Hub knows it; without `sha256` where it is not kept in Git LFS."""

    bytes: int
    sha256: str | None


class Listing(Frozen):
    """What a data set holds at one commit."""

    data_set: str
    commit: str
    files: dict[str, HubFile]

    def file(self, name: str) -> HubFile:
        """One file. Errors: InputError where there is none of that name."""
        if name not in self.files:
            where, fix = f"{self.data_set} at {self.commit}", "Choose another revision."
            raise InputError(Problem(where, f"the file {name}", "none of that name", fix))
        return self.files[name]


def listing(
    data_set: str, revision: str, folder: Path, *, endpoint: str, retries: Retries
) -> Listing:
    """The files of a data set; asked for once, and from then on read from `folder`.

    So a branch stays at the commit at which it was first seen, and files fetched on different
    days belong together. The environment's HF_ENDPOINT goes before `endpoint`.
    Errors: InputError where the Hub refuses or keeps failing.
    """
    path = folder / "listing.json"
    if not path.is_file():
        asked = _ask(data_set, revision, _at(endpoint), retries)
        write_atomically(path, asked.model_dump_json(indent=1) + "\n")
    return Listing.model_validate_json(path.read_text(encoding="utf-8"))


def fetch_file(
    listed: Listing, name: str, folder: Path, *, endpoint: str, advance: Advance, retries: Retries
) -> None:
    """Bring one file to `folder/name`, as `download` does, with HF_TOKEN where it is set."""
    hub, file = _client(), listed.file(name)
    url = hub.hf_hub_url(
        listed.data_set, name, repo_type="dataset", revision=listed.commit, endpoint=_at(endpoint)
    )
    download(
        url,
        folder / name,
        headers=hub.utils.build_hf_headers(library_name="elsewhere"),
        expected_bytes=file.bytes,
        checksum=f"sha256:{file.sha256}" if file.sha256 else None,
        key_help=_TOKEN_HELP,
        advance=advance,
        retries=retries,
    )


def _at(endpoint: str) -> str:
    return (os.environ.get("HF_ENDPOINT") or endpoint).rstrip("/")


def _client() -> Any:
    require("Hugging Face", "huggingface_hub")
    import huggingface_hub
    import huggingface_hub.utils

    return huggingface_hub


def _ask(data_set: str, revision: str, endpoint: str, retries: Retries) -> Listing:
    api = _client().HfApi(endpoint=endpoint, library_name="elsewhere")
    check_name(endpoint, retries=retries)
    info = _patiently(
        lambda: api.dataset_info(
            data_set, revision=revision, files_metadata=True, timeout=retries.timeout_s
        ),
        f"{endpoint}/datasets/{data_set} at {revision}",
        retries,
    )
    files = {
        entry.rfilename: HubFile(
            bytes=entry.lfs.size if entry.lfs else entry.size,
            sha256=entry.lfs.sha256 if entry.lfs else None,
        )
        for entry in info.siblings
    }
    return Listing(data_set=data_set, commit=info.sha, files=files)


def _patiently(ask: Callable[[], Any], where: str, retries: Retries) -> Any:
    """What the Hub answers, asked again while it fails in a way that may pass."""
    from huggingface_hub import errors

    failures = 0
    while True:
        try:
            return ask()
        # HTTPError: the client's transport errors, of whichever httpx it is built on.
        except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
            status = getattr(getattr(error, "response", None), "status_code", 0)
            got = " ".join(str(error).split())[:300]
            if status in (401, 403):
                raise InputError(Problem(where, "access", got, _TOKEN_HELP)) from None
            if 400 <= status < 500 and status not in (408, 425, 429):
                fix = "Check the revision."
                raise InputError(Problem(where, "the data set", got, fix)) from None
            failures += 1
            if failures >= retries.attempts:
                got = f"{got}, {failures} times in a row"
                raise InputError(Problem(where, "an answer", got, "Try again later.")) from None
            retries.wait(failures)
