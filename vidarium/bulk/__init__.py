"""The ledger of all work: plain data that its parts and the actions share.

Rows: a command has items (one per document), an item has outcomes (one per conversion). design: docs/architecture.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Connection

from vidarium.executor import Failed, Rendered, Task

UPLOAD_PRIORITY = 100
"""Work of an upload goes before bulk work: somebody is waiting for it."""


class CommandState(StrEnum):
    """What may follow: SCHEDULED → SCROLLING_RUNNING → RUNNING → COMPLETED; any but COMPLETED → ABORTED."""

    SCHEDULED = "SCHEDULED"  # stored, nothing done
    SCROLLING_RUNNING = "SCROLLING_RUNNING"  # a server runs the query
    RUNNING = "RUNNING"  # the items are known
    COMPLETED = "COMPLETED"  # every item has ended, or the query was wrong
    ABORTED = "ABORTED"  # somebody stopped it


OPEN_STATES = (CommandState.SCHEDULED, CommandState.SCROLLING_RUNNING, CommandState.RUNNING)


class ItemState(StrEnum):
    """What may follow: queued → running → done | failed | skipped; running → queued again; either → aborted."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # at least one conversion failed; the others are kept
    SKIPPED = "skipped"  # no file, deleted meanwhile, or not a video
    ABORTED = "aborted"


class OutcomeState(StrEnum):
    DONE = "done"  # encoded now
    REUSED = "reused"  # the same source and recipe were encoded before
    COPIED = "copied"  # the source's streams already satisfy the recipe
    FAILED = "failed"


@dataclass(frozen=True)
class NewCommand:
    """What to submit. `priority`: higher goes first. `exclusive`: alone of its action in its repository."""

    action: str
    query: str
    username: str
    params: Mapping[str, Any] = field(default_factory=dict)
    repository: str = "default"
    exclusive: bool = False
    priority: int = 0


@dataclass(frozen=True)
class Command:
    """A command as stored. Times are None until known; `media_…` are seconds."""

    number: int
    id: uuid.UUID
    action: str
    query: str
    params: Mapping[str, Any]
    username: str
    repository: str
    exclusive: bool
    hidden: bool
    priority: int
    state: CommandState
    submitted: datetime
    scroll_start: datetime | None
    scroll_end: datetime | None
    processing_start: datetime | None
    processing_end: datetime | None
    completed: datetime | None
    processing_millis: int
    total: int
    processed: int
    skipped: int
    errors: int
    media_total: float
    media_done: float
    error_message: str | None
    result: Mapping[str, Any] | None


@dataclass(frozen=True)
class Claim:
    """An item that this server may work on. `token` fences it: a later claim of the same item has another one."""

    command: int
    seq: int
    document: uuid.UUID
    token: uuid.UUID
    attempt: int
    action: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one conversion. `seconds`: wall time of the encode; `bytes`: size of the rendition."""

    conversion: str
    state: OutcomeState
    reason: str | None = None
    seconds: float | None = None
    bytes: int | None = None
    log: str | None = None


@dataclass(frozen=True)
class Ended:
    """An item's end. `error`: why it failed or was skipped. `place`: the document, for the command's message."""

    state: ItemState
    outcomes: tuple[Outcome, ...] = ()
    error: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Again:
    """Back to the queue after `delay` seconds.

    `counts`: whether this was an attempt. `outcomes`: the conversions that are done already.
    """

    reason: str
    delay: float = 0.0
    counts: bool = True
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Work:
    """What an executor must run for a claim. `known`: the conversions that need no encode, by name."""

    task: Task
    known: Mapping[str, Any] = field(default_factory=dict)


class Action(Protocol):
    """A bulk action: what its parameters are, what a document needs, and how a result is kept.

    `plan` and `record` run in a transaction of the ledger and may run twice. Scrolling, claims, leases, retries,
    progress and abort are the ledger's.
    """

    @property
    def name(self) -> str: ...

    def check(self, params: Mapping[str, Any]) -> None:
        """Raises BadRequest for parameters that cannot be."""
        ...

    def plan(self, connection: Connection, claim: Claim) -> Work | Ended | Again:
        """What to run for a claimed document; Ended if there is nothing to run."""
        ...

    def record(self, connection: Connection, claim: Claim, work: Work, result: Rendered | Failed) -> Ended | Again:
        """Keep a result. Again if the document's file was replaced meanwhile, or an encode should be tried again."""
        ...
