"""In front of everything: who gets in, and with how much. Plain ASGI: nothing of a request is looked at before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from farm.serve.bearer import shows
from farm.serve.faults import fault, name_of

BODY_BYTES = 64 << 10
BODY_S = 10.0
"""that a body may take to arrive"""
_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Lets requests with the token through, whatever they ask for, their bodies read whole and small."""

    def __init__(self, app: App, token: str, *, body_bytes: int = BODY_BYTES, body_s: float = BODY_S) -> None:
        self._app = app
        self._token = token
        self._body_bytes = body_bytes
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a web socket: there are none, and one that is not accepted is refused
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not shows(self._token, [value for name, value in headers if name.lower() == b"authorization"]):
            await _refuse(send, 401, "show the token of this service: Authorization: Bearer TOKEN")
            return
        try:
            body = await asyncio.wait_for(self._read(headers, receive), self._body_s)
        except asyncio.TimeoutError:
            await _refuse(send, 408, f"the body did not arrive within {self._body_s:.0f} s; send it again")
            return
        if body is None:
            await _refuse(send, 413, f"the body has more than {self._body_bytes} bytes; a run needs far fewer")
            return
        await self._app(scope, _replay(body, receive), _with_headers(send))

    async def _read(self, headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
        """The whole body; None for one that is too large, of which no more is read than shows it."""
        said = next((value for name, value in headers if name.lower() == b"content-length"), b"0")
        if said.isdigit() and (len(said) > 18 or int(said) > self._body_bytes):
            return None
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._body_bytes:
                return None
            if message["type"] != "http.request" or not message.get("more_body", False):
                return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes."""
    left = [body]

    async def receive_again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return receive_again


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return send_with_headers


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps(fault(name_of(status), message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    else:
        headers.append((b"connection", b"close"))  # what is left of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
