"""Files and folders that are there whole or not at all."""

import os
import zipfile
from pathlib import Path

import pytest

from benchmark.files import new_folder, pack_folder, write_atomically


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden entries too."""
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_are_written(tmp_path: Path) -> None:
    """Parents are made, text is UTF-8, others may read, nothing else is left."""
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "Größe")
    assert path.read_bytes() == "Größe".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    """Whether writing or renaming fails or is interrupted: old content, no remains."""
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def fail(*_: object, **__: object) -> None:
        raise error

    if step == "fdopen":
        original = os.fdopen

        class Failing:
            """A file whose write fails half-way."""

            def __init__(self, handle: int, mode: str) -> None:
                self.file = original(handle, mode)

            def __enter__(self) -> "Failing":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def write(self, data: bytes) -> None:
                self.file.write(data[:1])
                raise error

        monkeypatch.setattr("benchmark.files.os.fdopen", Failing)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error):
        write_atomically(path, "new content")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_no_reader_ever_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of renaming, the old file is whole and the new one is whole beside it."""
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    seen = []
    original = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((self.parent, self.read_text(), Path(target).read_text()))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_atomically(path, "new")
    assert seen == [(tmp_path, "new", "old")]
    assert path.read_text() == "new"


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    """While it is filled the target is not there; afterwards it is all there."""
    target = tmp_path / "deep" / "store"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent, "on the same file system"
    assert (target / "a").read_text() == "1"
    assert names(target.parent) == ["store"]
    assert target.stat().st_mode & 0o777 == 0o755


def fill_and_fail(target: Path, error: type[BaseException]) -> None:
    """Begin a folder, and fail half-way."""
    with new_folder(target) as folder:
        (folder / "a").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_vanishes_on_error(tmp_path: Path, error: type[BaseException]) -> None:
    """An error or interrupt leaves nothing, and an older folder as it was."""
    target = tmp_path / "store"
    with pytest.raises(error):
        fill_and_fail(target, error)
    assert names(tmp_path) == []
    with new_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(error):
        fill_and_fail(target, error)
    assert names(tmp_path) == ["store"]
    assert (target / "a").read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the old content stays behind."""
    target = tmp_path / "store"
    for content in ("a", "b"):
        with new_folder(target) as folder:
            (folder / content).write_text(content)
    assert names(target) == ["b"]
    assert names(tmp_path) == ["store"]


def test_packing_is_deterministic(tmp_path: Path) -> None:
    """Files made in another order, at another time, with other modes: the same bytes."""
    contents = {"zarr.json": "{}" * 500, "c/0/1": "chunk", "c/0/0": "other", "b.bin": "\x00" * 999}
    archives = []
    for k, order in enumerate((list(contents), list(reversed(contents)))):
        folder = tmp_path / f"folder-{k}"
        for name in order:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents[name])
            path.chmod(0o600 if k else 0o644)
            os.utime(path, (1e9 + 1e6 * k, 1e9 + 1e6 * k))
        archive = tmp_path / f"{k}.zip"
        pack_folder(folder, archive)
        archives.append(archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with zipfile.ZipFile(archives[0]) as zipped:
        assert zipped.namelist() == sorted(contents)
        assert {name: zipped.read(name).decode() for name in contents} == contents
        kinds = {entry.filename: entry.compress_type for entry in zipped.infolist()}
    assert kinds["zarr.json"] == zipfile.ZIP_DEFLATED
    assert kinds["b.bin"] == zipfile.ZIP_STORED
    assert names(tmp_path) == ["0.zip", "1.zip", "folder-0", "folder-1"], "no remains"
