"""Downloads: blobs stream from the store without a thread or a database connection (spec/rest.md 5, 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from vidarium.blobs import BlobStore
from vidarium.documents import Document, Ref
from vidarium.errors import BlobMissing, NotFound
from vidarium.rest.dependencies import CurrentContext, CurrentLibrary, DocumentRef, on_document
from vidarium.rest.links import blob_location, blob_xpath
from vidarium.rest.ranges import Unsatisfiable, content_type, disposition, matches, requested_span

router = APIRouter(tags=["downloads"])
site = APIRouter(tags=["downloads"])
"""What lies outside of the API's prefix."""

Blob = Mapping[str, Any]

SAFETY = {
    "X-Content-Type-Options": "nosniff",
    # an uploaded page may be shown, but must not run scripts as this server
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data: 'self'; media-src 'self'; "
    "style-src 'unsafe-inline'",
}
PREVIEW = "Small"
"""The picture view that stands for a document."""

# --- Finding the blob: may take a moment, so in a thread


def at_xpath(ref: DocumentRef, request: Request, library: CurrentLibrary) -> Blob | Response:
    """The blob of `@blob/{xpath}`; of a note without file the text itself."""
    xpath = blob_xpath(request.path_params.get("xpath", ""))
    document = library.get(ref) if xpath is None else None
    if document is not None and document.file is None and document.get("note:note"):
        return _note(document)
    return library.blob(ref, xpath)


def at_url(location: str, library: CurrentLibrary) -> Blob:
    """The blob of a download URL; 404 where there is none."""
    document, xpath = blob_location([unquote(segment) for segment in location.split("/") if segment])
    return library.blob(Ref(id=document, text=str(document)), xpath)


def of_rendition(ref: DocumentRef, name: str, library: CurrentLibrary) -> Blob:
    """The blob of a rendition; 404 for an unknown name and for one that is not there yet."""
    known = renditions(library.get(ref))
    if name not in known:
        raise NotFound(f"No rendition '{name}' was found")
    blob = known[name]
    if blob is None:
        raise NotFound(f"No Blob was found for rendition '{name}'")
    return blob


def renditions(document: Document) -> dict[str, Blob | None]:
    """Every rendition by its name: the thumbnail, the main file, and one for each transcoded video."""
    found: dict[str, Blob | None] = {"thumbnail": _thumbnail(document)}
    if document.file is not None or document.is_video:
        found["mainBlob"] = document.file
    for video in document.get("vid:transcodedVideos") or ():
        found[video["name"]] = video.get("content")
    return found


def _thumbnail(document: Document) -> Blob | None:
    views = document.get("picture:views") or ()
    chosen = [view for view in views if view.get("title") == PREVIEW] or list(views)
    blob: Blob | None = chosen[0].get("content") if chosen else None
    return blob


def _note(document: Document) -> Response:
    mime_type = content_type(document.get("note:mime_type") or "text/plain", "UTF-8")
    headers = {"Content-Type": mime_type, "Content-Disposition": disposition(document.name, False), **SAFETY}
    return Response(document.get("note:note").encode("utf-8", "replace"), headers=headers)


# --- Sending it


async def send_found(
    request: Request, context: CurrentContext, found: Annotated[Blob | Response, Depends(at_xpath)]
) -> Response:
    """The bytes of a blob property; `blobholder:0` or nothing is the main file. Ranges and entity tags count."""
    return found if isinstance(found, Response) else await download(request, context.store, found)


async def send_rendition(
    request: Request, context: CurrentContext, found: Annotated[Blob, Depends(of_rendition)]
) -> Response:
    """The bytes of a rendition: `mainBlob`, `thumbnail`, or the name of a conversion."""
    return await download(request, context.store, found)


async def send_url(request: Request, context: CurrentContext, found: Annotated[Blob, Depends(at_url)]) -> Response:
    """The bytes behind a blob's `data` URL; `inline=true` for showing instead of saving."""
    return await download(request, context.store, found)


async def download(request: Request, store: BlobStore, blob: Blob) -> Response:
    """The answer for a stored blob: whole, a part, or "not modified"; raises NotFound if its bytes are gone."""
    length, etag = int(blob["length"]), f'"{blob["digest"]}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache", **SAFETY}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    inline = request.query_params.get("inline", "").lower() == "true"
    headers["Content-Type"] = content_type(blob.get("mime-type"), blob.get("encoding"))
    headers["Content-Disposition"] = disposition(blob.get("name") or "file", inline)
    if request.method == HTTPMethod.HEAD:
        return Response(headers=headers | {"Content-Length": str(length)})
    asked = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    try:
        span = requested_span(asked, length)
    except Unsatisfiable:
        gone = {"Content-Range": f"bytes */{length}", "Accept-Ranges": "bytes"}
        return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=gone)
    if span is None:
        return await _stream(store, blob, (0, length), HTTPStatus.OK, headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{length}"
    return await _stream(store, blob, (span.start, span.end), HTTPStatus.PARTIAL_CONTENT, headers)


async def _stream(
    store: BlobStore, blob: Blob, span: tuple[int, int], status: HTTPStatus, headers: dict[str, str]
) -> Response:
    start, end = span
    headers["Content-Length"] = str(end - start)
    if start == end:
        return Response(status_code=status, headers=headers)
    return StreamingResponse(await _started(store.stream(blob["digest"], start, end)), status, headers)


async def _started(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first one read already: while it may still be a 404."""
    try:
        first = await anext(pieces)
    except BlobMissing as error:
        raise NotFound(str(error)) from None

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return whole()


for _method in (HTTPMethod.GET, HTTPMethod.HEAD):
    on_document(router, _method, "/@blob", send_found)
    on_document(router, _method, "/@blob/{xpath:path}", send_found)
    on_document(router, _method, "/@rendition/{name:path}", send_rendition)
    site.add_api_route(
        "/nxfile/default/{location:path}",
        send_url,
        methods=[_method],
        response_class=Response,
        include_in_schema=_method is HTTPMethod.GET,
    )
