"""A scheduler that cannot be reached is a mistake of the user's, said before anything is begun."""

import socket

import dask
import distributed  # noqa: F401  (its defaults must be there before one is changed)
import pytest
from dask.base import compute
from dask.delayed import delayed

from benchmark.errors import InputError
from benchmark.execution import check_scheduler, run_tasks


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        return int(at.getsockname()[1])


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:{port}"])
def test_a_wrong_address_is_named(address: str) -> None:
    """No traceback: the address, and how to start a scheduler; no task is run."""
    address = address.format(port=free_port())
    done: list[int] = []
    with dask.config.set({"distributed.comm.timeouts.connect": "0.1s"}):
        with pytest.raises(InputError) as refused:
            run_tasks(abs, [-1], done=lambda _, result: done.append(result), scheduler=address)
        with pytest.raises(InputError):
            check_scheduler(address)
    assert f"--scheduler {address}" in str(refused.value)
    assert "dask scheduler" in str(refused.value)
    assert done == []
    # Whoever computes with dask next, in this process, is not sent to a cluster that is not there.
    assert compute(delayed(abs)(-1)) == (1,)
