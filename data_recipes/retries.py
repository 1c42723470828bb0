"""Patience with servers: waits between tries, and few requests at a time."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from benchmark.errors import InputError, Problem

_LONGEST_ASKED_S = 3600.0
_AT_ONCE = 4
_LOOK_UPS = 3

_known_hosts: set[str] = set()
_slots: dict[str, threading.BoundedSemaphore] = {}
_slots_lock = threading.Lock()


@dataclass(frozen=True)
class Retries:
    """How patient to be with a server.

    attempts: tries in a row that bring nothing; a try that brings bytes which can be kept starts
    the count anew. base_s, longest_s: the first and the longest wait, doubled in between, of which
    a random half is left out. timeout_s: silence after which a connection counts as broken.
    """

    attempts: int = 8
    base_s: float = 1.0
    longest_s: float = 60.0
    timeout_s: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def wait(self, failures: int, asked_s: float | None = None) -> None:
        """Sleep after that many failures in a row (from 1); never less than the server asked."""
        longest = min(self.longest_s, self.base_s * 2.0 ** (failures - 1))
        waited = longest * random.uniform(0.5, 1.0)
        self.sleep(max(waited, min(asked_s or 0.0, _LONGEST_ASKED_S)))


PATIENT = Retries()


class TryAgainError(Exception):
    """A failure that may pass; `asked_s` is what the server's Retry-After asks for."""

    def __init__(self, reason: str, asked_s: float | None = None) -> None:
        super().__init__(reason)
        self.asked_s = asked_s


@contextmanager
def politely(host: str, *, at_once: int = _AT_ONCE) -> Iterator[None]:
    """Hold one of the `at_once` requests that this process makes to a host at a time.

    `download` and `get_bytes` do it themselves; do not call them inside. The first call for a
    host settles its number.
    """
    with _slots_lock:
        slot = _slots.setdefault(host, threading.BoundedSemaphore(at_once))
    with slot:
        yield


def check_name(url: str, *, retries: Retries = PATIENT) -> None:
    """Refuse a URL whose host name cannot be resolved, within seconds: three tries, not all.

    Called before the first request to a host. One that was resolved is not looked up again in this
    process: a network that goes away in the middle of a long build gets all the patience that
    there is. Behind a proxy nothing is looked up, since the proxy does it.
    Errors: InputError.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _known_hosts or _has_proxy(parts.scheme, host):
        return
    for failures in range(1, _LOOK_UPS + 1):
        try:
            socket.getaddrinfo(host, parts.port)
        except (socket.gaierror, UnicodeError) as error:
            if failures == _LOOK_UPS:
                why = getattr(error, "strerror", None) or error
                raise InputError(
                    Problem(
                        f"{parts.scheme}://{host}",
                        "a host whose name can be resolved",
                        f"{why}, {failures} times in a row",
                        "This is probably the network: check it (and the address, where it is one "
                        "of yours), then repeat the command: what has arrived is kept.",
                    )
                ) from None
            retries.wait(failures)
        else:
            _known_hosts.add(host)
            return


def _has_proxy(scheme: str, host: str) -> bool:
    return bool({scheme, "all"} & set(getproxies())) and not proxy_bypass(host)


def asked_seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date."""
    if not retry_after:
        return None
    try:
        return float(retry_after)
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None  # neither form: wait as without it
