"""Archives from elsewhere, unpacked only after everything in them was found harmless."""

import gzip
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from benchmark.errors import InputError, Problem
from benchmark.files import new_folder

_BLOCK = 1 << 20
# Deflate cannot reach 1 to 1033; real fields stay far below, all-zero masks come near.
_MOST_RATIO = 1100
_RATIO_FROM = 100 << 20


def unpack(
    archive: Path, folder: Path, *, most_bytes: int = 64 << 30, most_files: int = 10_000
) -> Path:
    """Unpack a zip, or a gzipped single file, into `folder`, which is there whole or not at all.

    Which of the two is told from its first bytes. `folder` is replaced where it exists. The file
    of a gzip is named after the archive, without `.gz`.
    most_bytes, most_files: of what may come out. Before anything is written, a zip is refused
    that says it holds more, an absolute path, a path with "..", a link, an encrypted member, one
    path twice, or a member that grows absurdly; what is written is counted again, and every
    checksum (CRC) is compared.
    Errors: InputError. Returns `folder`.
    """
    try:
        with archive.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            _unpack_gzip(archive, folder, most_bytes)
        elif start[:2] == b"PK":
            _unpack_zip(archive, folder, most_bytes, most_files)
        else:
            raise _refused(archive, "a zip or a gzip file", f"a file that begins with {start!r}")
    except FileNotFoundError as error:
        if error.filename != str(archive):
            raise
        raise _refused(archive, "an archive", "no such file") from None
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        raise _refused(archive, "a whole archive", f"a damaged one ({error})") from None
    return folder


def _unpack_zip(archive: Path, folder: Path, most_bytes: int, most_files: int) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = [member for member in zipped.infolist() if not member.is_dir()]
        for member in zipped.infolist():
            _check_member(archive, member)
        if len(members) > most_files:
            raise _refused(archive, f"at most {most_files} files", f"{len(members)}")
        names = [str(PurePosixPath(member.filename)).casefold() for member in members]
        if len(set(names)) < len(names):
            raise _refused(archive, "every path once", "one path several times")
        size = sum(member.file_size for member in members)
        if size > most_bytes:
            raise _refused(archive, f"at most {most_bytes} bytes", f"{size}")
        with new_folder(folder) as new:
            for member in members:
                target = new / PurePosixPath(member.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                # Stops at the size that the directory of the archive states, and compares the CRC.
                with zipped.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\\" in name:
        raise _refused(archive, "relative paths", f"{name!r}")
    if ".." in PurePosixPath(name).parts or not PurePosixPath(name).parts:
        raise _refused(archive, "paths inside the archive", f"{name!r}")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, "plain files", f"a link or device, {name!r}")
    if member.flag_bits & 0x1:
        raise _refused(archive, "unencrypted files", f"an encrypted one, {name!r}")
    if member.file_size > _RATIO_FROM and member.file_size > _MOST_RATIO * member.compress_size:
        raise _refused(
            archive,
            "files that unpack to a sensible size",
            f"{name!r} of {member.compress_size} bytes that says it holds {member.file_size}",
        )


def _unpack_gzip(archive: Path, folder: Path, most_bytes: int) -> None:
    name = archive.name.removesuffix(".gz") or "content"
    with new_folder(folder) as new, gzip.open(archive) as source, (new / name).open("wb") as file:
        size = 0
        # A gzip does not say beforehand what it holds; reading to its end compares the CRC.
        while block := source.read(_BLOCK):
            size += len(block)
            if size > most_bytes:
                raise _refused(archive, f"at most {most_bytes} bytes", "more")
            file.write(block)


def _refused(archive: Path, expected: str, got: str) -> InputError:
    return InputError(
        Problem(
            str(archive), expected, got,
            "Delete the file and fetch it again; if it stays so, do not trust its source.",
        )
    )  # fmt: skip
