"""Bulk status and abort, for administrators and the command's own user (spec/rest.md 14.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from vidarium.bulk import Command
from vidarium.documents import date_text
from vidarium.errors import NotFound
from vidarium.permissions import Principal
from vidarium.rest.dependencies import CurrentContext, CurrentUser
from vidarium.rest.responses import EntityResponse

router = APIRouter(tags=["bulk"])


@router.get("/bulk/{command}")
def read(command: str, context: CurrentContext, user: CurrentUser) -> EntityResponse:
    """The status of a bulk command; 404 if it is unknown or somebody else's."""
    return EntityResponse(status_json(_own(context.ledger.get, command, user)))


@router.put("/bulk/{command}/abort")
def abort(command: str, context: CurrentContext, user: CurrentUser) -> EntityResponse:
    """Stop a command: what is queued never starts, what runs is killed within seconds. A finished one stays."""
    _own(context.ledger.get, command, user)
    return EntityResponse(status_json(context.ledger.abort(command)))


def status_json(command: Command) -> Mapping[str, Any]:
    """The `bulkStatus` entity, field by field in its order (spec/video-bulk.md B.9)."""
    times = ("submitted", "scroll_start", "scroll_end", "processing_start", "processing_end", "completed")
    return {
        "entity-type": "bulkStatus",
        "commandId": str(command.id),
        "state": command.state,
        "processed": command.processed,
        "skipCount": command.skipped,
        "error": command.errors > 0,
        "errorCount": command.errors,
        **({"errorMessage": command.error_message} if command.error_message is not None else {}),
        "total": command.total,
        "action": command.action,
        "username": command.username,
        **{_camel(name): _date(getattr(command, name)) for name in times},
        "processingMillis": command.processing_millis,
        **({"result": command.result} if command.result else {}),
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _date(moment: Any) -> str | None:
    return None if moment is None else date_text(moment)


def _own(get: Any, command: str, user: Principal) -> Command:
    unknown = NotFound(f"Bulk command with id={command} doesn't exist")
    try:
        found: Command = get(command)
    except NotFound:
        raise unknown from None
    if not (user.is_administrator or found.username == user.name):
        raise unknown
    return found
