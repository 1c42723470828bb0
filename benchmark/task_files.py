"""Where tasks are found: shipped with the package, beside a pair store, beside a row's scores."""

from functools import cache
from importlib import resources
from pathlib import Path

from benchmark.errors import InputError, Problem
from benchmark.files import write_atomically
from benchmark.task import Task
from benchmark.toml_model import nearest, read_json, read_table, validate

CONTRACT = "task.json"
"""The contract of a task that does not ship, in its pair store's folder and in its rows'."""


def task_names() -> list[str]:
    """Names of the tasks that ship with the package, sorted."""
    folder = resources.files("benchmark") / "tasks"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


@cache
def load_task(name: str) -> Task:
    """The shipped task called `name`.

    Errors: InputError when there is no such task (the nearest is suggested) or its file is not
    a valid contract.
    """
    known = task_names()
    if name not in known:
        raise _unknown(name, known)
    with resources.as_file(resources.files("benchmark") / "tasks" / f"{name}.toml") as path:
        return validate(read_table(path), Task, where=path.name)


def find_task(name: str, data: Path) -> Task:
    """The task called `name`: a shipped one, or the one built last under the data folder.

    name: also NAME@REVISION, of one that was built. Errors: InputError as for `load_task`.
    """
    if name in task_names():
        return load_task(name)
    built = {path.parent.name: path for path in sorted(data.glob(f"*@*/{CONTRACT}"))}
    revisions = {folder: _revision(folder) for folder in built if folder.split("@")[0] == name}
    folder = max(revisions, key=lambda found: revisions[found]) if revisions else name
    if folder not in built:
        raise _unknown(
            name, task_names() + sorted({folder.split("@")[0] for folder in built}), data
        )
    return read_json(built[folder], Task)


def write_contract(folder: Path, task: Task) -> None:
    """Leave the contract of a task that does not ship beside what was made with it."""
    path, text = folder / CONTRACT, task.model_dump_json(indent=1) + "\n"
    if task.name in task_names() or (path.is_file() and path.read_text(encoding="utf-8") == text):
        return
    write_atomically(path, text)


def contract_of(folder: Path, task_id: str) -> Task:
    """The task of a row: the contract in its folder, else the shipped one.

    Errors: InputError where neither is of this revision.
    """
    path = folder / CONTRACT
    task = read_json(path, Task) if path.is_file() else load_task(task_id.partition("@")[0])
    if task.id != task_id:
        raise InputError(
            Problem(
                str(folder),
                f"scores of {task.id}",
                task_id,
                "Score the predictions again, or use the version of the package that made them.",
            )
        )
    return task


def _revision(folder: str) -> int:
    revision = folder.rpartition("@")[2]
    return int(revision) if revision.isdecimal() else 0


def _unknown(name: str, known: list[str], data: Path | None = None) -> InputError:
    fix = nearest(name, known)
    if data is not None:
        fix += f" A task of your own is known once `elsewhere build` made it in {data}."
    return InputError(Problem(f"task {name!r}", "a known task", "this", fix))
