"""What routes ask for. The trivial ones are `async`, so that only what may take time occupies a thread."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from http import HTTPMethod
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from vidarium.documents import Ref
from vidarium.errors import Forbidden, NotFound
from vidarium.library import Library
from vidarium.permissions import Principal
from vidarium.rest.authentication import authenticated
from vidarium.rest.context import Context
from vidarium.rest.forms import body, json_object
from vidarium.rest.rendering import Rendering, rendering_of
from vidarium.rest.urls import CONTEXT, decoded

# --- The server and the caller


async def current_context(request: Request) -> Context:
    """The parts of this server."""
    context: Context = request.app.state.context
    return context


CurrentContext = Annotated[Context, Depends(current_context)]


def current_user(request: Request, context: CurrentContext) -> Principal:
    """The caller; 401 without valid credentials."""
    principal = authenticated(request.headers, context.users)
    request.state.user = principal.name  # for the access log
    return principal


CurrentUser = Annotated[Principal, Depends(current_user)]


async def administrator(principal: CurrentUser) -> Principal:
    """The caller, if an administrator; else 403 with a null message (spec/rest.md 14)."""
    if not principal.is_administrator:
        raise Forbidden
    return principal


Administrator = Annotated[Principal, Depends(administrator)]


async def current_library(context: CurrentContext, principal: CurrentUser) -> Library:
    """The library as the caller sees it."""
    return context.libraries.of(principal)


CurrentLibrary = Annotated[Library, Depends(current_library)]


async def administrator_library(context: CurrentContext, principal: Administrator) -> Library:
    """The library of a caller who is an administrator."""
    return context.libraries.of(principal)


AdministratorLibrary = Annotated[Library, Depends(administrator_library)]

# --- What is asked


async def base_url(request: Request) -> str:
    """`http://host:8080/nuxeo`, as the caller addresses this server."""
    return f"{request.url.scheme}://{request.url.netloc}{CONTEXT}"


BaseUrl = Annotated[str, Depends(base_url)]


async def rendering(request: Request, url: BaseUrl) -> Rendering:
    """What the headers and the query ask to see of entities."""
    return rendering_of(url, [*request.headers.items(), *request.query_params.multi_items()])


CurrentRendering = Annotated[Rendering, Depends(rendering)]


async def authenticated_body(request: Request, _: CurrentUser) -> bytes:
    """The whole body of a caller who is known; 413 over the limit."""
    return await body(request)


def json_body(content: Annotated[bytes, Depends(authenticated_body)]) -> dict[str, Any]:
    """The body as a JSON object; 400 for anything else."""
    return json_object(content)


JsonObject = Annotated[dict[str, Any], Depends(json_body)]

# --- Documents, by path and by id


def by_path(path: str) -> Ref:
    """The reference in a canonical document path (segments still encoded); an adapter nobody knows is a 404."""
    segments = [segment for segment in path.split("/") if segment]
    if unknown := next((segment for segment in segments if segment.startswith("@")), None):
        raise NotFound(f"Type not found: {unknown.removeprefix('@')}")
    text = "/" + "/".join(map(decoded, segments))
    return Ref(path=text, text=text)


def by_id(uid: str) -> Ref:
    """The reference in a document id; what is no UUID names nothing."""
    try:
        return Ref(id=uuid.UUID(uid), text=uid)
    except ValueError:
        raise NotFound(uid) from None


async def document_ref(request: Request) -> Ref:
    """The document that the URL names."""
    parameters = request.path_params
    return by_path(parameters["path"]) if "path" in parameters else by_id(parameters["uid"])


DocumentRef = Annotated[Ref, Depends(document_ref)]


async def _path(path: Annotated[str, Path(description="Path of a document, without the leading slash.")]) -> None: ...


async def _uid(uid: Annotated[str, Path(description="Id of a document.")]) -> None: ...


def on_document(
    router: APIRouter,
    method: HTTPMethod,
    suffix: str,
    endpoint: Callable[..., Any],
    status: int = 200,
) -> None:
    """Serve an endpoint for documents addressed by path and by id; `suffix` is the adapter: `/@children`."""
    for prefix, parameter in (("/path/{path:path}", _path), ("/id/{uid}", _uid)):
        router.add_api_route(
            prefix + suffix,
            endpoint,
            methods=[method],
            status_code=status,
            dependencies=[Depends(parameter)],
            response_class=Response,
            include_in_schema=method is not HTTPMethod.HEAD,
        )
