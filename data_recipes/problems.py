"""Gathering problems: a user wants to hear all of them at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmark.errors import InputError, Problem


@contextmanager
def gathered(problems: list[Problem], *, of: str = "") -> Iterator[None]:
    """Adds the problems of an InputError to `problems`, and goes on after the block.

    of: what they are of, where they do not say it themselves.
    """
    try:
        yield
    except InputError as error:
        named = (f"{of}: {problem.where}" if of else problem.where for problem in error.problems)
        problems += map(_at, error.problems, named)


def _at(problem: Problem, where: str) -> Problem:
    return replace(problem, where=where)


def raise_all(problems: Iterable[Problem]) -> None:
    """InputError with all problems, each once; nothing where there are none."""
    once = list(dict.fromkeys(problems))
    if once:
        raise InputError(once)
