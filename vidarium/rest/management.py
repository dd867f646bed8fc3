"""What administrators do: recompute renditions, follow bulk commands (spec/video-bulk.md A, spec/rest.md 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from vidarium.actions.recompute_video_conversion import RECOMPUTE_ALL_INFO
from vidarium.bulk import NewCommand
from vidarium.bulk.ledger import ItemRecord, Progress
from vidarium.documents import date_text
from vidarium.errors import NotFound, TooLarge
from vidarium.permissions import SYSTEM
from vidarium.rest.bulk import status_json
from vidarium.rest.dependencies import AdministratorLibrary, CurrentContext, administrator
from vidarium.rest.forms import form_fields
from vidarium.rest.responses import EntityResponse

router = APIRouter(prefix="/management", tags=["management"], dependencies=[Depends(administrator)])

DEFAULT_QUERY = (
    "SELECT * FROM Document WHERE ecm:mixinType = 'Video' AND ecm:isProxy = 0 AND ecm:isVersion = 0"
    " AND vid:transcodedVideos/0/name IS NULL"
)
"""Documents without any rendition (spec/video-bulk.md A.1)."""

MAX_PAGE = 1000

Fields = Annotated[Sequence[tuple[str, str]], Depends(form_fields)]


@router.post("/videos/recompute")
def recompute(fields: Fields, library: AdministratorLibrary, context: CurrentContext) -> EntityResponse:
    """Recompute the renditions of all videos that match `query`; blank: of those that have none, exclusively.

    Form fields: `query`, `conversionNames` (repeatable; none: all), `recomputeAllVideoInfo`, and beyond the
    reference `force` (encode even what was encoded before). 409 while an exclusive run is alive.
    """
    query = _last(fields, "query")
    if len(query) > context.settings.query_limit:
        raise TooLarge(f"The query is longer than {context.settings.query_limit} characters.")
    blank = not query.strip()
    params = {
        "xpath": "file:content",
        RECOMPUTE_ALL_INFO: _flag(fields, "recomputeAllVideoInfo"),
        "conversionNames": [value for name, value in fields if name == "conversionNames"],
        "force": _flag(fields, "force"),
    }
    new = NewCommand(
        "recomputeVideoConversion", DEFAULT_QUERY if blank else query, SYSTEM.name, params, exclusive=blank
    )
    return EntityResponse(status_json(library.submit(new)))


@router.get("/bulk/{command}")
def status(command: str, context: CurrentContext) -> EntityResponse:
    """The status of a bulk command."""
    with _unknown(command):
        return EntityResponse(status_json(context.ledger.get(command)))


@router.get("/bulk/{command}/progress")
def progress(command: str, context: CurrentContext) -> EntityResponse:
    """How a command goes, in documents and seconds of media, with speed and remaining time. Vidarium's own."""
    with _unknown(command):
        return EntityResponse(progress_json(context.ledger.progress(command)))


@router.get("/bulk/{command}/documents")
def documents(
    command: str,
    context: CurrentContext,
    state: Annotated[str | None, Query(description="queued, running, done, failed, skipped or aborted")] = None,
    pageSize: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    currentPageIndex: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> EntityResponse:
    """What became of each document of a command: state, conversions, reasons, log tails. Vidarium's own."""
    with _unknown(command):
        records, total = context.ledger.documents(command, state, pageSize, currentPageIndex)
    offset = pageSize * currentPageIndex
    return EntityResponse(
        {
            "entity-type": "bulkDocuments",
            "commandId": command,
            "resultsCount": total,
            "pageSize": pageSize,
            "currentPageIndex": currentPageIndex,
            "currentPageSize": len(records),
            "numberOfPages": -(-total // pageSize),
            "isNextPageAvailable": offset + len(records) < total,
            "entries": [item_json(record) for record in records],
        }
    )


def progress_json(progress: Progress) -> Mapping[str, Any]:
    """The `bulkProgress` entity. `speed`: seconds of media per second; `eta`: seconds."""
    command = progress.command
    return {
        "entity-type": "bulkProgress",
        "commandId": str(command.id),
        "state": command.state,
        "total": command.total,
        "processed": command.processed,
        "errorCount": command.errors,
        "skipCount": command.skipped,
        "mediaTotal": round(command.media_total, 3),
        "mediaDone": round(progress.media_done, 3),
        "speed": None if progress.speed is None else round(progress.speed, 3),
        "eta": None if progress.eta is None else round(progress.eta, 1),
        "waiting": progress.waiting,
        "running": [
            {"document": str(entry.document), "path": entry.path, "done": entry.done, "total": entry.total}
            for entry in progress.running
        ],
    }


def item_json(record: ItemRecord) -> Mapping[str, Any]:
    """One document of a command."""
    row = record.row
    return {
        "document": str(row.document),
        "path": row.path,
        "state": row.seen,
        "attempt": row.attempt,
        "error": row.error or row.waiting,
        "started": None if row.started is None else date_text(row.started),
        "finished": None if row.finished is None else date_text(row.finished),
        "conversions": [
            {
                "name": entry.conversion,
                "state": entry.state,
                "reason": entry.reason,
                "attempt": entry.attempt,
                "seconds": entry.seconds,
                "bytes": entry.bytes,
                "log": entry.log,
            }
            for entry in record.outcomes
        ],
    }


class _unknown:
    """Says which command is unknown, in the words of this area."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, NotFound):
            raise NotFound(f"commandId doesn't exist: {self._command}") from None


def _last(fields: Sequence[tuple[str, str]], name: str) -> str:
    return next((value for key, value in reversed(fields) if key == name), "")


def _flag(fields: Sequence[tuple[str, str]], name: str) -> bool:
    """Only the word `true`, in any letter case, is true (spec/video-bulk.md A.1)."""
    return _last(fields, name).lower() == "true"
