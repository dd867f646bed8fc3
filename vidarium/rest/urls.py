"""From the URLs that clients send to the ones that routes are written for.

Clients use two API prefixes, an optional repository segment, doubled and trailing slashes, and names with any character
in them (spec/rest.md 1.1). Routes know one spelling of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from vidarium.errors import BadRequest, NotFound, VidariumError
from vidarium.rest.errors import error_response

CONTEXT = "/nuxeo"
API = "/nuxeo/api/v1"
REPOSITORY = "default"

NEEDS_REPOSITORY = frozenset({"path", "id", "search", "query"})
"""The areas where a header that names an unknown repository counts; elsewhere it must not break a call."""


def canonical(raw: str, repository: str | None = None) -> str:
    """The path that routes match, for a percent-encoded path as sent and the repository a header names.

    Everything is decoded but the segments of a document path and of a download: they stay encoded, `@` included, so
    that only a segment sent with a raw `@` is an adapter. An empty document path is the root: `/path/`, `/path//@acl`.
    Raises NotFound for an unknown repository and for a path that cannot name anything (NUL, not UTF-8).
    """
    segments = [segment for segment in raw.split("/") if segment]
    if segments[:1] != ["nuxeo"]:
        return "/" + "/".join(map(decoded, segments))
    rest = segments[1:]
    if rest[:2] == ["site", "automation"]:
        rest = ["api", "v1", *rest[1:]]
    elif rest[:2] == ["site", "api"]:
        rest = rest[1:]
    if rest[:2] == ["api", "v1"]:
        return "/".join((API, *_area(_without_repository(rest[2:], repository))))
    if rest[:1] == ["nxfile"]:
        return "/".join((CONTEXT, "nxfile", *map(encoded, rest[1:])))
    return "/".join((CONTEXT, *map(decoded, rest)))


def decoded(segment: str) -> str:
    """A percent-encoded segment as text; raises NotFound where it is not the name of anything."""
    data = unquote_to_bytes(segment)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NotFound(segment) from None
    if "\0" in text:
        raise NotFound(segment)
    return text


def encoded(segment: str) -> str:
    """A segment with everything encoded that is not a letter, a digit or one of `_.-~`, however it was sent."""
    return quote(decoded(segment), safe="")


def _without_repository(segments: Sequence[str], header: str | None) -> Sequence[str]:
    if segments[:1] == ["repo"]:
        name = decoded(segments[1]) if len(segments) > 1 else ""
        if name != REPOSITORY:
            raise NotFound(f"Repository not found: {name}")
        return segments[2:]
    if header not in (None, "", REPOSITORY) and segments and segments[0] in NEEDS_REPOSITORY:
        raise NotFound(f"Repository not found: {header}")
    return segments


def _area(segments: Sequence[str]) -> list[str]:
    if segments[:1] != ["path"]:
        return [decoded(segment) for segment in segments]
    adapter = next((at for at, segment in enumerate(segments) if segment.startswith("@")), len(segments))
    names = [encoded(segment) for segment in segments[1:adapter]]
    return ["path", *(names or [""]), *map(decoded, segments[adapter:])]


class CanonicalUrls:
    """ASGI middleware: routes see canonical paths; `raw_path` stays as sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            changed = {**scope, "path": _requested(scope)}
        except VidariumError as error:
            return await error_response(error)(scope, receive, send)
        return await self._app(changed, receive, send)


def _requested(scope: Scope) -> str:
    if b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        raise BadRequest("A query parameter holds a NUL character.")
    raw = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return canonical(raw, headers.get(b"x-nxrepository") or headers.get(b"repository"))
