"""Archives: what is in them comes out whole, and nothing of a bad one is left."""

import gzip
import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.errors import InputError
from data_recipes.archives import unpack

CONTENT = bytes(range(256)) * 500


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def info(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = mode << 16
    return member


def refused(archive: Path, folder: Path, match: str, **limits: int) -> None:
    """Refused with such a message, and nothing written beside the archive."""
    with pytest.raises(InputError, match=match):
        unpack(archive, folder, **limits)
    assert [path.name for path in folder.parent.iterdir()] == [archive.name]


def test_a_zip_comes_out_whole(tmp_path: Path) -> None:
    archive = zip_of(
        tmp_path / "a.zip", ("instant.nc", CONTENT), ("deep/", b""), ("deep/accum.nc", b"2")
    )
    folder = unpack(archive, tmp_path / "out")
    assert (folder / "instant.nc").read_bytes() == CONTENT
    assert (folder / "deep" / "accum.nc").read_bytes() == b"2"
    assert sum(path.is_file() for path in folder.rglob("*")) == 2


def test_a_gzip_comes_out_whole(tmp_path: Path) -> None:
    archive = tmp_path / "rain.grib2.gz"
    archive.write_bytes(gzip.compress(CONTENT[:7]) + gzip.compress(CONTENT[7:]))
    assert (unpack(archive, tmp_path / "out") / "rain.grib2").read_bytes() == CONTENT


def test_unpacking_again_replaces(tmp_path: Path) -> None:
    unpack(zip_of(tmp_path / "a.zip", ("old", b"1")), tmp_path / "out")
    unpack(zip_of(tmp_path / "a.zip", ("new", b"2")), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "C:\\x", "C:/x", "..\\x", "\\\\host\\x", "a\\b"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", ("good", b"1"), (name, b"evil"))
    refused(archive, tmp_path / "out", "paths")


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(tmp_path: Path, mode: int) -> None:
    archive = zip_of(tmp_path / "a.zip", (info("link", mode), b"/etc/passwd"))
    refused(archive, tmp_path / "out", "plain files")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("secret", b"1"))
    archive.write_bytes(_with_flag(archive.read_bytes()))
    refused(archive, tmp_path / "out", "encrypted")


def _with_flag(zipped: bytes) -> bytes:
    """The same zip with the encryption bit set in its directory."""
    changed = bytearray(zipped)
    at = changed.index(b"PK\x01\x02") + 8
    struct.pack_into("<H", changed, at, struct.unpack_from("<H", changed, at)[0] | 1)
    return bytes(changed)


def test_one_path_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zip_of(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    refused(archive, tmp_path / "out", "several times")
    archive = zip_of(tmp_path / "a.zip", ("a.nc", b"1"), ("A.nc", b"2"))
    refused(archive, tmp_path / "out", "several times")


def test_too_many_files_or_bytes_are_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a", CONTENT), ("b", CONTENT))
    refused(archive, tmp_path / "out", "at most 1 files; got 2", most_files=1)
    refused(archive, tmp_path / "out", "bytes", most_bytes=2 * len(CONTENT) - 1)
    unpack(archive, tmp_path / "out", most_files=2, most_bytes=2 * len(CONTENT))


def test_a_gzip_that_is_too_large_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.gz"
    archive.write_bytes(gzip.compress(bytes(5_000_000)))
    refused(archive, tmp_path / "out", "at most 4999999 bytes", most_bytes=4_999_999)
    unpack(archive, tmp_path / "out", most_bytes=5_000_000)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """A member that states 10 GB for a few bytes, whatever `most_bytes` allows."""
    archive = zip_of(tmp_path / "a.zip", ("bomb", b"small"))
    changed = bytearray(archive.read_bytes())
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, 4_000_000_000)
    archive.write_bytes(changed)
    refused(archive, tmp_path / "out", "sensible size", most_bytes=1 << 50)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a", bytes(1000)))
    changed = bytearray(archive.read_bytes())
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, 10)
    archive.write_bytes(changed)
    refused(archive, tmp_path / "out", "damaged")


def flipped(content: bytes) -> bytes:
    at = content.index(CONTENT[100:110])
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("harm", [flipped, cut])
def test_a_damaged_zip_is_refused(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr("a", CONTENT)
    archive = tmp_path / "a.zip"
    archive.write_bytes(harm(held.getvalue()))
    refused(archive, tmp_path / "out", "damaged")


@pytest.mark.parametrize("harm", [flipped, cut])
def test_a_damaged_gzip_is_refused(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    archive = tmp_path / "a.gz"
    archive.write_bytes(harm(gzip.compress(CONTENT, compresslevel=0)))
    refused(archive, tmp_path / "out", "damaged")


def test_something_else_or_nothing_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "a.zip"
    page.write_bytes(b"<html>Please log in")
    refused(page, tmp_path / "out", "begins with b'<htm'")
    with pytest.raises(InputError, match="no such file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")
