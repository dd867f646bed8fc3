"""Users (spec/rest.md 10). Only administrators make and remove them; everybody may read their own entity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from vidarium.errors import BadRequest, Forbidden
from vidarium.rest.dependencies import CurrentContext, CurrentUser, JsonObject
from vidarium.rest.responses import EntityResponse
from vidarium.users import User

router = APIRouter(tags=["users"])

_PROPERTIES = ("firstName", "lastName", "email", "company")


@router.get("/me")
def me(context: CurrentContext, user: CurrentUser) -> EntityResponse:
    """The caller."""
    return EntityResponse(user_json(context.users.get(user.name)))


@router.get("/user/{name}")
def read(name: str, context: CurrentContext, user: CurrentUser) -> EntityResponse:
    """A user; 404 if there is none of that name."""
    return EntityResponse(user_json(context.users.get(name)))


@router.post("/user")
def create(body: JsonObject, context: CurrentContext, user: CurrentUser) -> EntityResponse:
    """A new user; 409 if the name is taken."""
    if not user.is_administrator:
        raise Forbidden("")
    given = body.get("properties")
    if not isinstance(given, dict) or not isinstance(given.get("username"), str):
        raise BadRequest("A user needs properties with a username.")
    password, groups = given.get("password"), given.get("groups") or []
    if not isinstance(password, str | None) or not all(isinstance(group, str) for group in groups):
        raise BadRequest("The password must be text, groups a list of names.")
    properties = {name: given[name] for name in _PROPERTIES if isinstance(given.get(name), str)}
    made = context.users.create(given["username"], password, properties, tuple(groups))
    return EntityResponse(user_json(made), status_code=201)


@router.delete("/user/{name}")
def delete(name: str, context: CurrentContext, user: CurrentUser) -> Response:
    """Remove a user."""
    if not user.is_administrator:
        raise Forbidden("")
    context.users.delete(name)
    return Response(status_code=204)


def user_json(user: User) -> Mapping[str, Any]:
    """The `user` entity; the password is never part of it."""
    return {
        "entity-type": "user",
        "id": user.name,
        "properties": {
            "username": user.name,
            **{name: user.properties.get(name) for name in _PROPERTIES},
            "password": None,
            "groups": list(user.groups),
            "tenantId": None,
        },
        "extendedGroups": [
            {"name": group, "label": group, "url": f"group/{group}"} for group in sorted(user.principal.groups)
        ],
        "isPartial": False,
        "isAdministrator": user.principal.is_administrator,
        "isAnonymous": False,
    }
