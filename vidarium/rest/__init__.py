"""The REST API: one file per area, and `entities.py`, the only place that knows the wire's field names."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from vidarium import __version__
from vidarium.rest import bulk, documents, downloads, errors, management, server, upload, users
from vidarium.rest.access import AccessLog, DefaultPasswordGuard
from vidarium.rest.context import Context
from vidarium.rest.urls import API, CONTEXT, CanonicalUrls

__all__ = ["Context", "build"]

API_ROUTERS = (
    server.router,
    users.router,
    upload.router,
    management.router,
    bulk.router,
    downloads.router,
    documents.router,  # last: a document path takes whatever no adapter took
)
SITE_ROUTERS = (server.site, downloads.site)


def build(context: Context) -> FastAPI:
    """The application: routes, one shape of error, and the middleware in the order it is passed."""
    app = FastAPI(
        title="Vidarium",
        version=__version__,
        openapi_url=f"{CONTEXT}/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(AccessLog),
            Middleware(
                DefaultPasswordGuard,
                stands=context.users.default_password_stands,
                exempt=f"{CONTEXT}/runningstatus",
            ),
            Middleware(CanonicalUrls),
        ],
    )
    app.state.context = context
    for router in API_ROUTERS:
        app.include_router(router, prefix=API)
    for router in SITE_ROUTERS:
        app.include_router(router, prefix=CONTEXT)
    errors.install(app, first_segments(API_ROUTERS), API)
    return app


def first_segments(routers: tuple[APIRouter, ...]) -> frozenset[str]:
    """The areas of the API: `path`, `upload`, …"""
    paths = (getattr(route, "path", "") for router in routers for route in router.routes)
    return frozenset(path.split("/")[1] for path in paths if path)
