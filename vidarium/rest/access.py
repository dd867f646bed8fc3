"""ASGI middleware: one log line per request, and the guard of the default password."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidarium.errors import Forbidden
from vidarium.rest.errors import error_response

log = structlog.get_logger(__name__)


class AccessLog:
    """Logs method, path without query, status, milliseconds, user and request id; never a header or a body.

    The id is also the answer's `X-Request-Id`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        identifier = uuid.uuid4().hex[:12]
        state = scope.setdefault("state", {})
        state["request_id"] = identifier
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identifier.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
                status=int(status),
                ms=round((time.perf_counter() - started) * 1000, 1),
                user=state.get("user"),
                request=identifier,
            )


class DefaultPasswordGuard:
    """While the default password stands, only callers on this machine are served, and no proxy of theirs.

    `stands` may look into the database; it is asked only about requests that come from elsewhere.
    """

    def __init__(self, app: ASGIApp, stands: Callable[[], bool], exempt: str) -> None:
        self._app = app
        self._stands = stands
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        elsewhere = scope["type"] == "http" and scope["path"] != self._exempt and is_elsewhere(Headers(scope=scope))
        if elsewhere and await run_in_threadpool(self._stands):
            error = Forbidden("The password of Administrator is still the default one: change it first.")
            return await error_response(error)(scope, receive, send)
        return await self._app(scope, receive, send)


def is_elsewhere(headers: Headers) -> bool:
    """Whether a request came through a proxy or was sent to a name that is not this machine's loopback."""
    forwarded = any(name == "forwarded" or name.startswith("x-forwarded-") for name in headers)
    return forwarded or not is_loopback(headers.get("host", ""))


def is_loopback(host: str) -> bool:
    """Whether a Host header (with or without port) means this machine: `localhost`, 127.0.0.0/8 or ::1."""
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 or "]:" in host else host
    name = name.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
