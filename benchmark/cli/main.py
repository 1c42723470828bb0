"""The entry point: runs a verb and turns what can go wrong into one clear message."""

import errno
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import typer
from rich.console import Console

from benchmark import __version__
from benchmark.cli import (
    building,
    comparing,
    conformance,
    constraining,
    demo,
    modelling,
    scoring,
    shifting,
    tasks,
    training,
)
from benchmark.cli.output import print_problems
from benchmark.errors import InputError

EXTRAS = {
    "torch": "train",
    "jinja2": "site",
    "matplotlib": "site",
    **dict.fromkeys(
        (
            "earthaccess",
            "eccodes",
            "ecmwf",
            "gcsfs",
            "h5netcdf",
            "huggingface_hub",
            "icechunk",
            "netCDF4",
            "requests",
            "shapely",
        ),
        "recipes",
    ),
}
"""Which extra brings a module that the base installation lacks."""

_USAGE_ERROR: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Typer's own click, vendored since typer 0.26 or so: not the `click` that may be installed."""

DONE, SAID_NO, WRONG_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Does your downscaling model work elsewhere? Build a task, train, predict, score, show.",
)
for module in (
    demo,
    tasks,
    building,
    shifting,
    training,
    modelling,
    constraining,
    scoring,
    comparing,
    conformance,
):
    module.add_to(app)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Does your downscaling model work elsewhere?"""
    if version:
        print(__version__)
        raise typer.Exit


class _Interruption(logging.Filter):
    """Ctrl-C, and SIGTERM as if it were Ctrl-C, but for the exit code.

    After either, threads that finish a piece of work report to a scheduler that has left, which
    concurrent.futures logs as an error, and workers that the same signal has ended are missed by
    their loader: tracebacks of nothing that a user can use.
    """

    seen = False
    code = INTERRUPTED

    def notice(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT and SIGTERM."""
        self.seen = True
        sys.unraisablehook = lambda _: None
        self.code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
        signal.default_int_handler(number, frame)

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Whether a record is passed on."""
        return not self.seen


def main() -> None:
    """Run the command line.

    Exit 0 done, 1 a check said no, 2 wrong input, 130 interrupted, 143 terminated.
    """
    interruption = _Interruption()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interruption.notice)
    # A launcher ends its processes by SIGTERM, at once, also in the middle of an exchange.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and "WORLD_SIZE" not in os.environ:
        signal.signal(signal.SIGTERM, interruption.notice)
    logging.getLogger("concurrent.futures").addFilter(interruption)
    try:
        code = _run()
    except Exception:
        if not interruption.seen:
            raise
        code = _interrupted()
    sys.exit(interruption.code if code == INTERRUPTED else code)


def _run() -> int:
    errors = Console(stderr=True, highlight=False)
    code = WRONG_INPUT
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        print_problems(error.problems, errors)
    except _USAGE_ERROR as error:
        error.show()
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        errors.print(
            f"This verb needs {error.name}. Install it: pip install 'elsewhere\\[{extra}]'"
        )
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            errors.print(
                f"{error.strerror}: {error.filename}. Choose another path.", soft_wrap=True
            )
            return WRONG_INPUT
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        place = f" ({error.filename})" if error.filename else ""
        errors.print(
            f"{error.strerror}{place}. Nothing that existed was changed: make room or choose "
            "another folder, then repeat the command."
        )
    else:
        code = code if isinstance(code, int) else DONE
    return _interrupted() if code == INTERRUPTED else code


def _interrupted() -> int:
    errors = Console(stderr=True, highlight=False)  # also through a bar that was left standing
    errors.print("Interrupted. The same command goes on where this one stopped.")
    return INTERRUPTED
