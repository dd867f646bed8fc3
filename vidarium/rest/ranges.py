"""Conditional and partial downloads, as pure functions of headers (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

_RANGE = re.compile(r"bytes=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")
_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( *;[ -~]*)?")


@dataclass(frozen=True)
class Span:
    """Bytes `start` up to but not including `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


class Unsatisfiable(Exception):
    """A range that begins after the last byte."""


def requested_span(header: str | None, length: int) -> Span | None:
    """The bytes a Range header asks for; None: all of them (no header, not understood, or several ranges at once).

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last n bytes
        if int(last) == 0 or length == 0:
            raise Unsatisfiable
        return Span(max(0, length - int(last)), length)
    if last and int(last) < int(first):
        return None
    if int(first) >= length:
        raise Unsatisfiable
    return Span(int(first), min(int(last) + 1, length) if last else length)


def matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names the entity tag; weak tags compare as strong ones."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags


def disposition(name: str, inline: bool) -> str:
    """Content-Disposition: a plain name as it is, any other percent-encoded (RFC 6266, spec/rest.md 6)."""
    kind = "inline" if inline else "attachment"
    if _TOKEN.fullmatch(name):
        return f"{kind}; filename={name}"
    return f"{kind}; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"


def is_mime_type(text: str) -> bool:
    """Whether a text has the form of a MIME type."""
    return _MIME_TYPE.fullmatch(text) is not None


def content_type(mime_type: str | None, encoding: str | None = None) -> str:
    """A Content-Type header: the blob's type if it is one, with the charset of a text."""
    if mime_type is None or not is_mime_type(mime_type):
        return "application/octet-stream"
    charset = encoding if encoding and _TOKEN.fullmatch(encoding) else None
    return f"{mime_type};charset={charset}" if charset and mime_type.startswith("text/") else mime_type
