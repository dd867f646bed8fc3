"""JSON answers as the clients expect them (spec/rest.md 1.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


class EntityResponse(JSONResponse):
    """`application/json; nuxeo-entity=<type>`: clients look at the start of the content type, some at its end."""

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        kind = content.get("entity-type") if isinstance(content, Mapping) else None
        media_type = f"application/json; nuxeo-entity={kind}" if kind else "application/json"
        super().__init__(content, status_code, headers, media_type)

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


class UploadResponse(JSONResponse):
    """The plain JSON of the upload calls."""

    media_type = "application/json; charset=UTF-8"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


def json_bytes(content: Any) -> bytes:
    """Compact UTF-8. What an error message echoes may hold lone surrogates; they become `?`."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
