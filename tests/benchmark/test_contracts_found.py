"""Where a task's contract is found: shipped, beside a pair store, beside a row's scores."""

from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.task import Task
from benchmark.task_files import (
    CONTRACT,
    contract_of,
    find_task,
    load_task,
    task_names,
    write_contract,
)


@pytest.fixture
def own(task: Task) -> Task:
    """A task that does not ship."""
    return task.model_copy(update={"name": "mine", "title": "Mine"})


def kept(task: Task, data: Path) -> Path:
    """Its folder below the data folder, with its contract."""
    folder = data / task.id
    write_contract(folder, task)
    return folder


def test_a_shipped_task_is_what_ships(task: Task, tmp_path: Path) -> None:
    """No contract is left beside its stores, and none there is believed."""
    folder = kept(task, tmp_path)
    assert not (folder / CONTRACT).exists()
    folder.mkdir()
    (folder / CONTRACT).write_text(task.model_copy(update={"title": "other"}).model_dump_json())
    assert find_task("era5-sample", tmp_path) == task == load_task("era5-sample")


def test_every_field_survives(own: Task, tmp_path: Path) -> None:
    """A contract is read as it was written, of every shipped task."""
    for name in task_names():
        mine = load_task(name).model_copy(update={"name": f"my-{name}"})
        kept(mine, tmp_path)
        assert find_task(mine.name, tmp_path) == mine
    assert kept(own, tmp_path) == tmp_path / "mine@1"


def test_the_latest_revision(own: Task, tmp_path: Path) -> None:
    """10 is after 9; another one by its full name."""
    for revision in (9, 10, 1):
        kept(own.model_copy(update={"revision": revision}), tmp_path)
    assert find_task("mine", tmp_path).revision == 10
    assert find_task("mine@9", tmp_path).revision == 9


def test_an_unknown_name(own: Task, tmp_path: Path) -> None:
    """Shipped and built ones are suggested; a store without a contract is none."""
    kept(own, tmp_path)
    (tmp_path / "yours@1").mkdir()
    for name, nearest in (("mine2", "mine"), ("era5-sampl", "era5-sample")):
        with pytest.raises(InputError, match=f"Did you mean '{nearest}'"):
            find_task(name, tmp_path)
    for name in ("mine@3", "yours"):
        with pytest.raises(InputError, match="a known task"):
            find_task(name, tmp_path)
    with pytest.raises(InputError, match="a known task"):
        find_task("mine", tmp_path / "nowhere")


def test_the_task_of_a_row(task: Task, own: Task, tmp_path: Path) -> None:
    """By the contract in its folder, else the shipped one; of the row's own revision."""
    write_contract(tmp_path / "row", own)
    assert contract_of(tmp_path / "row", "mine@1") == own
    assert contract_of(tmp_path, task.id) == task
    for folder, name in (("row", "mine@2"), ("row", task.id), ("none", "era5-sample@7")):
        with pytest.raises(InputError, match="Score the predictions again"):
            contract_of(tmp_path / folder, name)
    with pytest.raises(InputError, match="a known task"):
        contract_of(tmp_path / "none", "mine@1")


@pytest.mark.parametrize("content", ["", "{", '{"name": "mine"}', "[]"])
def test_a_damaged_contract(content: str, own: Task, tmp_path: Path) -> None:
    """Named, with what is wrong with it."""
    folder = kept(own, tmp_path)
    (folder / CONTRACT).write_text(content)
    with pytest.raises(InputError, match=CONTRACT):
        find_task("mine", tmp_path)
    with pytest.raises(InputError, match=CONTRACT):
        contract_of(folder, "mine@1")
