"""Between a client and a real S3 server: counts requests, and spoils some of them on purpose.

What the store does is real; only the way to it is not to be trusted. One thread a connection.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it reached the proxy."""

    method: str
    path: str
    """with its query"""
    host: str
    headers: dict[str, str]

    @property
    def what(self) -> str:
        """The call of the S3 API, as far as these tests tell them apart."""
        query = urlsplit(self.path).query
        if self.method == "POST":
            return "create" if "uploads" in query and "uploadId" not in query else "complete"
        if self.method == "PUT":
            return "part" if "partNumber" in query else "put"
        if self.method == "DELETE":
            return "abort" if "uploadId" in query else "delete"
        if self.method == "GET" and ("list-type" in query or "uploads" in query):
            return "list"
        return self.method.lower()


@dataclass(kw_only=True)
class Fault:
    """What happens to the next `times` requests of one kind."""

    what: str = "*"
    """put, part, create, complete, abort, delete, list, get, head, or * for all"""
    times: int = 1
    status: int | None = None
    """answered instead of the store, which never sees the request"""
    code: str = "SlowDown"
    reset: str = ""
    """request: while its body is sent; answer: the store has done it, the client never hears; body: in the middle"""
    stall: bool = False
    """the body is never read, nothing is answered"""
    delay_s: float = 0
    headers: tuple[tuple[str, str], ...] = ()
    rewrite: Callable[[str, str], str] | None = None
    """(name, value) of a header of the store's answer -> another value"""


class FaultyProxy:
    """`url` leads to `upstream`; tests put faults in and read what was seen."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.seen: list[Request] = []
        self.statuses: Counter[int] = Counter()
        """of all answers"""
        self.lost = 0
        """requests to which the store itself gave no answer: it closed the connection"""
        self.busy = 0
        self.most_busy = 0
        self.virtual_only = False
        """answer as a store that wants the bucket in the host's name"""
        self.stopped = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.request_queue_size = 128
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def inject(self, **fault: Any) -> None:
        """Add a Fault."""
        with self._lock:
            self._faults.append(Fault(**fault))

    def count(self, what: str = "*") -> int:
        """How many requests of one kind, or of all, came so far."""
        return sum(what in ("*", one.what) for one in self.seen)

    def clear(self) -> None:
        """Forget faults, requests and answers."""
        with self._lock:
            self._faults.clear()
            self.seen.clear()
            self.statuses.clear()
            self.lost = 0

    def close(self) -> None:
        """Stop serving."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, request: Request) -> Fault:
        """The fault that this request meets; one that does nothing if there is none for it."""
        with self._lock:
            self.seen.append(request)
            for fault in self._faults:
                if fault.times and fault.what in ("*", request.what):
                    fault.times -= 1
                    return fault
        return Fault()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Counts requests that are being answered."""
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        try:
            yield
        finally:
            with self._lock:
                self.busy -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        proxy = self.proxy
        request = Request(
            method=self.command, path=self.path, host=self.headers["Host"], headers=dict(self.headers.items())
        )
        fault = proxy.take(request)
        length = int(self.headers.get("Content-Length") or 0)
        with proxy.under_way():
            if fault.stall:
                proxy.stopped.wait(120)
                return self._reset()
            if fault.reset == "request":
                self.rfile.read(length // 2)
                return self._reset()
            body = self.rfile.read(length)
            time.sleep(fault.delay_s)
            if proxy.virtual_only and self.headers["Host"].partition(":")[0].count(".") < 2:
                return self._answer(403, _error("PathStyleDomainForbidden"), {})
            if fault.status is not None:
                return self._answer(fault.status, _error(fault.code), dict(fault.headers))
            return self._forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _forward(self, body: bytes, fault: Fault) -> None:
        upstream = http.client.HTTPConnection(*self.proxy.upstream, timeout=120)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    upstream.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            response = upstream.getresponse()
            data = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            length = response.getheader("Content-Length")
        except (ConnectionError, http.client.HTTPException):
            self.proxy.lost += 1
            return self._reset()
        finally:
            upstream.close()
        if fault.reset == "answer":
            return self._reset()
        if fault.rewrite:
            headers = {name: fault.rewrite(name.lower(), value) for name, value in headers.items()}
        if self.command == "HEAD" and length:
            headers["Content-Length"] = fault.rewrite("content-length", length) if fault.rewrite else length
        return self._answer(response.status, data, headers, cut=fault.reset == "body")

    def _answer(self, status: int, data: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.proxy.statuses[status] += 1
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            time.sleep(0.1)  # a reset takes what the client has not read yet with it
            self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # we have closed it ourselves
            super().finish()

    def log_message(self, *args: object) -> None:
        """Quiet."""


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>'.encode()
