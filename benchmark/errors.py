"""What a user did that cannot work, as data: turned into text only by the command line."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    where: the file, variable, region or option; expected: what would have been right;
    got: what came instead; fix: what to do about it.
    """

    where: str
    expected: str
    got: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.got}. {self.fix}"


class InputError(Exception):
    """Everything that is wrong with an input, all at once."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
