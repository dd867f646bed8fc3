"""What the server says about itself (spec/rest.md 3, 9.2)."""

from __future__ import annotations

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from vidarium import __version__
from vidarium.errors import BadRequest
from vidarium.rest.dependencies import CurrentContext, CurrentUser, JsonObject
from vidarium.rest.entities import login_json
from vidarium.rest.responses import EntityResponse
from vidarium.rest.urls import REPOSITORY

router = APIRouter(tags=["server"])
site = APIRouter(tags=["server"])
"""What lies outside of the API's prefix."""

COMPATIBLE_VERSION = "2023.6"
"""The reference's version whose API this is; clients switch code paths on it (spec/rest.md 3)."""

log = structlog.get_logger(__name__)


@site.get("/runningstatus")
async def running_status() -> JSONResponse:
    """Whether the server answers. No authentication, no thread, no database: it never queues."""
    return JSONResponse({"runtimeStatus": True})


@site.get("/json/cmis")
async def repositories(_: CurrentUser) -> JSONResponse:
    """The repositories; clients read `default.productVersion`."""
    facts = {
        "repositoryId": REPOSITORY,
        "repositoryName": REPOSITORY,
        "vendorName": "Vidarium",
        "productName": "Vidarium",
        "productVersion": COMPATIBLE_VERSION,
    }
    return JSONResponse({REPOSITORY: facts})


@router.get("/capabilities")
async def capabilities(_: CurrentUser, context: CurrentContext) -> EntityResponse:
    """Product, version and repositories."""
    return EntityResponse(
        {
            "entity-type": "capabilities",
            "server": {
                "distributionName": "vidarium",
                "distributionVersion": COMPATIBLE_VERSION,
                "distributionServer": f"vidarium-{__version__}",
            },
            "cluster": {"enabled": False, "nodeId": context.node},
            "repository": {REPOSITORY: {"queryBlobKeys": True}},
        }
    )


@router.get("/automation/login")
@router.post("/automation/login")
async def login(user: CurrentUser) -> EntityResponse:
    """Who the caller is."""
    return EntityResponse(login_json(user))


@router.post("/automation/Log", status_code=204)
@router.post("/automation/LogOperation", status_code=204, include_in_schema=False)
def write_log(entity: JsonObject, user: CurrentUser) -> Response:
    """Operation `Log`: a line in the server's log. Test suites of clients call it before every test."""
    params = entity.get("params")
    if not isinstance(params, dict) or not params.get("level") or not params.get("message"):
        raise BadRequest("Failed to invoke operation: Log, level and message are required")
    log.info("operation Log", level_asked=str(params["level"]), text=str(params["message"]), user=user.name)
    return Response(status_code=204)
