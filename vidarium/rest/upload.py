"""Upload batches over HTTP, plain and chunked (spec/rest.md 8). Bodies stream; nothing of them is kept in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from vidarium.errors import BadRequest, NotFound
from vidarium.rest.dependencies import CurrentContext, CurrentUser
from vidarium.rest.forms import body
from vidarium.rest.ranges import is_mime_type
from vidarium.rest.responses import UploadResponse
from vidarium.uploads import Arrival, Chunk, UploadEntry, guess_type

router = APIRouter(prefix="/upload", tags=["upload"])

HANDLER = "default"


@router.post("", status_code=201)
def open_batch(context: CurrentContext, user: CurrentUser) -> UploadResponse:
    """A new batch, which belongs to the caller."""
    return UploadResponse({"batchId": context.uploads.create(user)}, 201)


@router.get("/handlers")
async def handlers(_: CurrentUser) -> UploadResponse:
    """Where uploads may go: to this server."""
    return UploadResponse({"handlers": [{"name": HANDLER}]})


@router.get("/handlers/{name}")
async def handler(name: str, _: CurrentUser) -> UploadResponse:
    """One handler; 404 if unknown."""
    _require_handler(name)
    return UploadResponse({"name": name})


@router.post("/new/{name}")
def open_batch_with(name: str, context: CurrentContext, user: CurrentUser) -> UploadResponse:
    """A new batch of a handler, told as `info` does."""
    _require_handler(name)
    return UploadResponse(_info(context.uploads.create(user), ()))


@router.get("/{batch}/info")
def info(batch: str, context: CurrentContext, user: CurrentUser) -> UploadResponse:
    """A batch with its handler and files."""
    return UploadResponse(_info(batch, context.uploads.entries(user, batch)))


@router.get("/{batch}")
def files(batch: str, context: CurrentContext, user: CurrentUser) -> Response:
    """The files of a batch; 204 if it has none."""
    entries = context.uploads.entries(user, batch)
    return UploadResponse([entry_json(entry) for entry in entries]) if entries else Response(status_code=204)


@router.delete("/{batch}", status_code=204)
def drop(batch: str, context: CurrentContext, user: CurrentUser) -> Response:
    """Remove a batch and what was sent for it."""
    context.uploads.drop(user, batch)
    return Response(status_code=204)


@router.post("/{batch}/refreshToken")
def refresh_token(batch: str, context: CurrentContext, user: CurrentUser) -> Response:
    """Uploads to this server need no token: 501."""
    context.uploads.entries(user, batch)
    raise HTTPException(501)


@router.post("/{batch}/{index}/complete")
def complete(batch: str, index: str, context: CurrentContext, user: CurrentUser) -> Response:
    """Uploads to this server complete themselves: 409."""
    context.uploads.entries(user, batch)
    raise HTTPException(409, "There is nothing to complete")


@router.get("/{batch}/{index}")
def file(batch: str, index: str, context: CurrentContext, user: CurrentUser) -> Response:
    """One file; 202 while chunks are missing."""
    number = _number(index)
    if number is None:
        return _not_a_number()
    entry = context.uploads.entry(user, batch, number)
    return UploadResponse(entry_json(entry), 200 if entry.has_all_chunks else 202)


@router.delete("/{batch}/{index}", status_code=204)
def drop_file(batch: str, index: str, context: CurrentContext, user: CurrentUser) -> Response:
    """Remove one file from a batch."""
    number = _number(index)
    if number is None:
        return _not_a_number()
    context.uploads.drop_file(user, batch, number)
    return Response(status_code=204)


async def expected_body(request: Request, _: CurrentUser) -> None:
    """Read what an ordinary call brings; only the bytes of a file stream past the limit."""
    await body(request)


@router.post("/{batch}/execute/{operation:path}", dependencies=[Depends(expected_body)])
@router.post("/{batch}/{index}/execute/{operation:path}", dependencies=[Depends(expected_body)])
async def execute(operation: str) -> Response:
    """Operations on uploaded files: none exists."""
    raise HTTPException(404, f"No such operation: {operation}")


@router.post("/{batch}/{index}", status_code=201)
async def receive(batch: str, index: str, request: Request, context: CurrentContext, user: CurrentUser) -> Response:
    """A file or one chunk of it, as the raw body. 201 when the file is whole, 202 while chunks are missing.

    Headers: `X-File-Name`, `X-File-Type`, `X-File-Size`, `X-Upload-Type`, `X-Upload-Chunk-Index`,
    `X-Upload-Chunk-Count`.
    """
    number = _number(index)
    if number is None:
        return _not_a_number()
    arrival = _arrival(batch, number, request)
    entry = await context.uploads.receive(user, arrival, request.stream())
    announced = "-1" if arrival.length is None else str(arrival.length)
    answer = {
        "uploaded": "true",
        "batchId": batch,
        "fileIdx": str(number),
        "uploadType": _type_name(entry),
        "uploadedSize": announced,
    }
    return UploadResponse(answer | _chunks_json(entry), 201 if entry.has_all_chunks else 202)


def entry_json(entry: UploadEntry) -> dict[str, Any]:
    """What is known of a file; here the size is a number."""
    known = {"name": entry.name, "size": entry.length, "uploadType": _type_name(entry)}
    return known | _chunks_json(entry)


def _info(batch: str, entries: Iterable[UploadEntry]) -> dict[str, Any]:
    return {"provider": HANDLER, "fileEntries": [entry_json(entry) for entry in entries], "batchId": batch}


def _type_name(entry: UploadEntry) -> str:
    return "normal" if entry.chunk_count is None else "chunked"


def _chunks_json(entry: UploadEntry) -> dict[str, Any]:
    if entry.chunk_count is None:
        return {}
    return {"uploadedChunkIds": list(entry.chunks), "chunkCount": entry.chunk_count}


def _require_handler(name: str) -> None:
    if name != HANDLER:
        raise NotFound(name)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _not_a_number() -> Response:
    return PlainTextResponse("fileIdx request path parameter must be a number", 400)


def _arrival(batch: str, index: int, request: Request) -> Arrival:
    headers = request.headers
    if headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise BadRequest('Content-Type: "multipart/form-data" is not supported')
    name = file_name(headers.get("x-file-name", ""))
    given = headers.get("x-file-type", "").strip()
    chunk = None
    if headers.get("x-upload-type", "").lower() == "chunked":
        numbers = [_header_number(request, f"X-{header}") for header in ("Upload-Chunk-Index", "Upload-Chunk-Count")]
        chunk = Chunk(numbers[0], max(numbers[1], 1), _header_number(request, "X-File-Size"))
    announced = headers.get("content-length", "")
    return Arrival(
        batch=batch,
        index=index,
        name=name,
        mime_type=given if is_mime_type(given) else guess_type(name),
        length=int(announced) if announced.isdigit() else None,
        chunk=chunk,
    )


def file_name(sent: str) -> str:
    """The base name in an `X-File-Name` header: form-encoded UTF-8, folders cut off, `file` for none at all.

    Raises BadRequest for control characters.
    """
    raw = unquote_to_bytes(sent.replace("+", " ").encode("latin-1", "replace"))
    name = re.split(r"[/\\]", raw.decode("utf-8", "replace"))[-1].strip()
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise BadRequest("The file's name holds a control character.")
    return name or "file"


def _header_number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name} must be a number")
    return int(text)
