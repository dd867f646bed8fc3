"""The one table from the library's errors to HTTP statuses, and the one shape an error has (spec/rest.md 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vidarium import errors
from vidarium.rest.responses import EntityResponse

STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BlobMissing: HTTPStatus.SERVICE_UNAVAILABLE,  # bytes were collected meanwhile: the client sends them again
    errors.NoSpace: HTTPStatus.INSUFFICIENT_STORAGE,
}

CHALLENGE = {"WWW-Authenticate": 'Basic realm="Nuxeo Automation"'}
NO_CHALLENGE = ("x-authentication-token", "x-no-basic-header", "cookie")
"""With one of these headers a 401 has no challenge: a browser would open its own login window (spec/rest.md 1.2)."""

log = structlog.get_logger(__name__)


def status_of(error: Exception) -> HTTPStatus:
    """The status of the error's class or of the nearest class above it; 500 for what nobody foresaw."""
    found = (STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def exception_json(status: int, message: str | None) -> dict[str, object]:
    """The exception entity. From 500 on the message says nothing: the log does."""
    return {
        "entity-type": "exception",
        "status": status,
        "message": "Internal Server Error" if status >= 500 else message,
    }


def error_response(error: Exception, headers: Mapping[str, str] | None = None) -> EntityResponse:
    """The answer to an error; an empty text is sent as a null message."""
    status = status_of(error)
    return EntityResponse(exception_json(status, str(error) or None), status, dict(headers or {}))


def install(app: FastAPI, known: frozenset[str], prefix: str) -> None:
    """Make every error of the app an exception entity. `known`: the first segments below `prefix` that exist."""

    async def of_library(request: Request, error: Exception) -> Response:
        if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return await unforeseen(request, error)
        if isinstance(error, errors.NotFound) and request.url.path.startswith(f"{prefix}/upload/"):
            return Response(status_code=HTTPStatus.NOT_FOUND)  # spec/rest.md 8: with an empty body
        challenge = isinstance(error, errors.Unauthorized) and not any(map(request.headers.get, NO_CHALLENGE))
        return error_response(error, CHALLENGE if challenge else None)

    async def of_routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND:
            message = _not_found(request.scope["path"], known, prefix)
        return EntityResponse(exception_json(error.status_code, message), error.status_code, error.headers)

    async def of_parameters(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
        return EntityResponse(exception_json(HTTPStatus.BAD_REQUEST, wrong), HTTPStatus.BAD_REQUEST)

    async def of_client(_: Request, __: Exception) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it

    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("request failed", request=getattr(request.state, "request_id", None), exc_info=error)
        return error_response(error)

    app.add_exception_handler(errors.VidariumError, of_library)
    app.add_exception_handler(HTTPException, of_routing)
    app.add_exception_handler(RequestValidationError, of_parameters)
    app.add_exception_handler(ClientDisconnect, of_client)
    app.add_exception_handler(Exception, unforeseen)


def _not_found(path: str, known: frozenset[str], prefix: str) -> str:
    first = path.removeprefix(f"{prefix}/").split("/")[0]
    return path if not path.startswith(f"{prefix}/") or first in known else f"Type not found: {first}"
