"""Whether a task has the static fields that a model reads: asked before anything is fitted."""

from collections.abc import Sequence

from benchmark.errors import InputError, Problem
from benchmark.task import Static, Task


def check_statics(task: Task, model: str, needed: Sequence[Static]) -> None:
    """Errors: InputError where the task lacks a static field that the model reads."""
    lacking = [name for name in needed if name not in task.static]
    if lacking:
        raise InputError(
            Problem(
                f"model {model} on {task.id}",
                f"a task with {' and '.join(needed)}, which {model} reads",
                f"one without {' and '.join(lacking)}",
                "Choose a model that reads no static fields, such as unet or quantile-mapping, or "
                "build them into a task of your own.",
            )
        )
