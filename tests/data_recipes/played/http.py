"""A small HTTP server on loopback, with ranges, validators and faults, that remembers requests.

    with PlayedServer({"/a.nc": b"..."}) as server:
        server.fault("/a.nc", Fault(status=503), Fault(reset_after=100))
        download(f"{server.url}/a.nc", path)

Faults strike in order, one a request, and then the path works. An API is played by `answer`, which
is asked first and returns None for what it does not know.
"""

import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LAST_MODIFIED = "Wed, 01 Jan 2025 00:00:00 GMT"
LONGEST_S = 60.0
"""No wait of a played server for anyone is longer: a connection that is silent is closed."""


@dataclass(frozen=True)
class Request:
    """What a client asked; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the server says. Only a 200 to GET or HEAD is cut into ranges."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200) -> Answer:
    """An answer that holds JSON."""
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with one request.

    status (and headers): answered instead. body: served instead of the true one, as if it were
    that. reset_after: that many bytes of the body, then the connection is reset. truncate_after:
    that many, then it is closed although more were promised. pause_s: silence before the answer.
    without: header names left out (such as "ETag"). Other parts of the answer stay as they are.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    reset_after: int | None = None
    truncate_after: int | None = None
    pause_s: float = 0.0
    without: tuple[str, ...] = ()


class PlayedServer:
    """Serves `files` (path to bytes, may be changed while it runs) and what `answer` answers.

    An ETag is the MD5 of the content, as object stores have it, but where `etags` has another.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        answer: Callable[[Request], Answer | None] | None = None,
        ranges: bool = True,
    ) -> None:
        self.files = dict(files or {})
        self.answer = answer
        self.ranges = ranges
        self.etags: dict[str, str] = {}
        self.requests: list[Request] = []
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()

    def fault(self, path: str, *faults: Fault) -> None:
        """The next requests for `path` meet these, one each."""
        with self._lock:
            self._faults.setdefault(path, []).extend(faults)

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests for `path` so far."""
        return [r for r in list(self.requests) if r.path == path and r.method == method]

    def __enter__(self) -> Self:
        played = self

        class Handler(_Handler):
            server_played = played

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(LONGEST_S)

    def take_fault(self, path: str) -> Fault:
        """The fault that strikes this request: the next one of `path`, or none."""
        with self._lock:
            faults = self._faults.get(path)
            return faults.pop(0) if faults else Fault()

    def respond(self, request: Request) -> Answer:
        """What is said to a request where nothing goes wrong."""
        said = self.answer(request) if self.answer else None
        if said is not None:
            return said
        if request.path in self.files:
            return Answer(self.files[request.path])
        return Answer(b"no such path", 404)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = LONGEST_S
    server_played: PlayedServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        played = self.server_played
        played.requests.append(request)
        fault = played.take_fault(parts.path)
        time.sleep(fault.pause_s)
        if fault.status is not None:
            self._send(Answer(fault.body or b"", fault.status, fault.headers), fault)
            return
        said = played.respond(request)
        if fault.body is not None:
            said = Answer(fault.body, said.status, said.headers)
        self._send(self._part(request, said), fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _part(self, request: Request, said: Answer) -> Answer:
        """The answer with validators and, where the request asks for one, as a range."""
        if said.status != 200 or request.method not in ("GET", "HEAD"):
            return said
        known = self.server_played.etags.get(request.path)
        etag = known or f'"{hashlib.md5(said.body).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": LAST_MODIFIED, **said.headers}
        if not self.server_played.ranges:
            return Answer(said.body, 200, headers)
        headers["Accept-Ranges"] = "bytes"
        asked = request.headers.get("range", "")
        if not asked or request.headers.get("if-range", etag) not in (etag, LAST_MODIFIED):
            return Answer(said.body, 200, headers)
        size = len(said.body)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return Answer(b"", 416, headers | {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(said.body[start:stop], 206, headers)

    def _send(self, said: Answer, fault: Fault) -> None:
        self.send_response(said.status)
        left_out = {name.lower() for name in fault.without}
        for name, value in said.headers.items():
            if name.lower() not in left_out:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = fault.reset_after if fault.reset_after is not None else fault.truncate_after
        self.wfile.write(said.body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
        if fault.reset_after is not None:
            # Closed with bytes unsent and no linger: the client gets RST, not an end of file.
            time.sleep(0.02)
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
