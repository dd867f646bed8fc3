"""Request bodies: read up to a limit, then parsed as JSON or as a form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from vidarium.errors import BadRequest, TooLarge


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge as soon as more than `limit` bytes are announced or have come."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
        parts.append(part)
    return b"".join(parts)


async def body(request: Request) -> bytes:
    """The whole body, up to the server's limit."""
    return await read_body(request, request.app.state.context.settings.body_limit)


async def form_fields(request: Request) -> list[tuple[str, str]]:
    """Dependency: the fields of a form body, in order; 413 over the server's limit."""
    return parse_form(await body(request))


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The fields of an urlencoded form, in order, repeated names kept.

    Tolerant, since the admin console sends values unencoded: split on `&`, then on the first `=` only; raw spaces,
    quotes and `=` pass (spec/rest.md 14.1). Raises BadRequest for a NUL character, which no stored text can hold.
    """
    pairs = (field.partition(b"=") for field in body.split(b"&") if field)
    return [(_form_text(name), _form_text(value)) for name, _, value in pairs]


def _form_text(data: bytes) -> str:
    text = unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8", "replace")
    if "\0" in text:
        raise BadRequest("A form field holds a NUL character.")
    return text


def parse_json(body: bytes) -> Any:
    """A JSON value; raises BadRequest for anything that is not JSON in UTF-8 or that no database can store.

    Refused: NaN and Infinity, NUL characters and lone surrogates in strings, nesting beyond the parser's depth.
    """
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}") from None
    if b"\\u" in body and any(map(_unstorable, _strings(value))):
        raise BadRequest("The body holds a NUL character or half a surrogate pair.")
    return value


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object; raises BadRequest for anything else, an empty body included."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case list() as members:
                waiting += members
            case dict() as members:
                yield from members
                waiting += members.values()


def _unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)
