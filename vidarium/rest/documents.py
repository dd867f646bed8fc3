"""Documents by path and by id: read, create, change, delete, children, ACL (spec/rest.md 4, 5)."""

from __future__ import annotations

from http import HTTPMethod
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from vidarium.documents import now_text
from vidarium.errors import BadRequest
from vidarium.rest.dependencies import (
    CurrentContext,
    CurrentLibrary,
    CurrentRendering,
    DocumentRef,
    JsonObject,
    by_id,
    on_document,
)
from vidarium.rest.enrichers import enriched_json
from vidarium.rest.entities import MAX_PAGE_SIZE, Paging, acls_adapter_json, page_json
from vidarium.rest.responses import EntityResponse
from vidarium.rest.values import stored_properties, uploaded_files

router = APIRouter(tags=["documents"])

CHILDREN_PAGE = 50

NoDrop = Annotated[str, Header(alias="X-Batch-No-Drop")]


def read(ref: DocumentRef, library: CurrentLibrary, rendering: CurrentRendering) -> EntityResponse:
    """One document; 404 if it is missing or hidden from the caller, 403 if it may be seen but not read."""
    return EntityResponse(enriched_json(library, library.get(ref), rendering))


def create(
    ref: DocumentRef,
    entity: JsonObject,
    context: CurrentContext,
    library: CurrentLibrary,
    rendering: CurrentRendering,
    no_drop: NoDrop = "false",
) -> EntityResponse:
    """A new document below the addressed one. A name that is taken gets a suffix; upload batches used go."""
    kind, name = entity.get("type"), entity.get("name")
    if not (isinstance(kind, str) and kind.strip() and isinstance(name, str) and name.strip()):
        raise BadRequest("type or name property is missing")
    properties = _properties(entity, rendering.base_url)
    batches = context.uploads.prepare(library.principal, uploaded_files(properties))
    document = library.create(ref, kind, name, properties)
    _drop(context, library, batches, no_drop)
    return EntityResponse(enriched_json(library, document, rendering), 201)


def update(
    ref: DocumentRef,
    entity: JsonObject,
    context: CurrentContext,
    library: CurrentLibrary,
    rendering: CurrentRendering,
    no_drop: NoDrop = "false",
) -> EntityResponse:
    """Change the properties that are present; the change token counts if sent together with `uid`."""
    properties = _properties(entity, rendering.base_url)
    uid, token = entity.get("uid"), entity.get("changeToken")
    if uid is not None and library.get(by_id(str(uid))).id != library.get(ref).id:
        raise BadRequest(f"The URL names another document than the uid {uid}")
    batches = context.uploads.prepare(library.principal, uploaded_files(properties))
    checked = str(token) if uid is not None and token is not None else None
    document = library.update(ref, properties, token=checked)
    _drop(context, library, batches, no_drop)
    return EntityResponse(enriched_json(library, document, rendering))


def delete(ref: DocumentRef, library: CurrentLibrary) -> Response:
    """Delete for good, with everything below."""
    library.delete(ref)
    return Response(status_code=204)


def children(
    ref: DocumentRef,
    library: CurrentLibrary,
    rendering: CurrentRendering,
    size: Annotated[int, Query(alias="pageSize", ge=0)] = CHILDREN_PAGE,
    index: Annotated[int, Query(alias="currentPageIndex", ge=0, le=10**9)] = 0,
) -> EntityResponse:
    """A page of children, by title; counted no further than one page (spec/rest.md 7.3)."""
    size = min(size, MAX_PAGE_SIZE) or CHILDREN_PAGE
    page = library.children(ref, size=size, index=index)
    entries = [enriched_json(library, document, rendering) for document in page.entries]
    return EntityResponse(page_json("documents", entries, Paging(page.total, size, index, limit=size)))


def acl(ref: DocumentRef, library: CurrentLibrary) -> EntityResponse:
    """The ACLs that count for a document: its own, then the inherited ones."""
    return EntityResponse(acls_adapter_json(library.aces(ref), now_text()))


def _properties(entity: dict[str, Any], base_url: str) -> dict[str, Any]:
    if entity.get("entity-type", "document") != "document":
        raise BadRequest("The entity-type is not document")
    properties = entity.get("properties")
    if not isinstance(properties, dict | None):
        raise BadRequest("properties is not an object")
    return stored_properties(properties or {}, base_url)


def _drop(context: CurrentContext, library: CurrentLibrary, batches: frozenset[str], no_drop: str) -> None:
    """Remove the batches that a save has used. One that failed keeps them: the client may try again."""
    if no_drop.lower() != "true":
        for batch in batches:
            context.uploads.drop(library.principal, batch)


on_document(router, HTTPMethod.GET, "/@children", children)
on_document(router, HTTPMethod.GET, "/@acl", acl)
on_document(router, HTTPMethod.GET, "", read)
on_document(router, HTTPMethod.POST, "", create, 201)
on_document(router, HTTPMethod.PUT, "", update)
on_document(router, HTTPMethod.DELETE, "", delete, 204)
