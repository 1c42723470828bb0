"""Running independent tasks through dask: in this thread, in threads, or on a cluster."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from dask.local import get_sync
from dask.threaded import get as get_threaded

from benchmark.errors import InputError, Problem

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")
Done = Callable[[T, R], None]
"""done(task, result): called in the calling thread as each result arrives."""


def run_tasks(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    done: Done[T, R],
    workers: int = 1,
    scheduler: str | None = None,
) -> None:
    """Apply `function` to every task and hand each result over as it arrives, in any order.

    workers: threads of this process (1: this thread); scheduler: the address of the user's own
    `dask.distributed` scheduler, which then does the work.
    Errors: InputError where no scheduler answers at that address.
    """
    if scheduler is not None:
        _on_cluster(function, tasks, done, scheduler)
        return
    keys = {f"task-{k}": task for k, task in enumerate(tasks)}

    def posttask(key: Any, result: R, *_: Any) -> None:
        if key in keys:
            done(keys[key], result)

    graph = [delayed(function, pure=False)(task, dask_key_name=key) for key, task in keys.items()]
    # By their names, dask looks for a cluster first, and imports all of distributed to do so.
    get = get_sync if workers == 1 else get_threaded
    with Callback(posttask=posttask):
        compute(*graph, scheduler=get, num_workers=workers)


def _on_cluster(
    function: Callable[[T], R], tasks: Sequence[T], done: Done[T, R], address: str
) -> None:
    from distributed import as_completed

    with _client(address) as client:
        futures = {client.submit(function, task, pure=False): task for task in tasks}
        for future, result in as_completed(list(futures), loop=client.loop, with_results=True):
            done(futures[future], result)


def check_scheduler(address: str) -> None:
    """Refuse an address at which no scheduler answers, before anything long is begun.

    Errors: InputError.
    """
    with _client(address):
        pass


def _client(address: str) -> "Client":
    from distributed import Client

    try:
        # As the default it would take over all of dask in this process, and stay when it fails.
        return Client(address, set_as_default=False)
    # A port where nobody answers; an address that cannot be one.
    except (OSError, ValueError) as error:
        fix = "Start `dask scheduler`, and give the address that it prints, as tcp://HOST:8786."
        got = " ".join(str(error).split()) or type(error).__name__
        raise InputError(Problem(f"--scheduler {address}", "a scheduler", got, fix)) from None
