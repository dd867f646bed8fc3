"""Commands: submit, read, abort. Everything here is one short transaction; `dispatcher.py` does the work."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, bindparam, case, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, OperationalError

from vidarium.bulk import (
    OPEN_STATES,
    UPLOAD_PRIORITY,
    Action,
    Command,
    CommandState,
    ItemState,
    NewCommand,
)
from vidarium.database.schema import command, document, item, outcome, progress
from vidarium.errors import BadRequest, Conflict, NotFound

CHANNEL = "vidarium"
"""What `NOTIFY` is sent on when a command was submitted or aborted; the payload says nothing."""

_COLUMNS = [command.c[field.name] for field in fields(Command)]


@dataclass(frozen=True)
class Running:
    """An item that is being worked on: seconds of media done, of a total."""

    document: uuid.UUID
    path: str | None
    done: float
    total: float


@dataclass(frozen=True)
class Progress:
    """How a command goes. `speed`: seconds of media per second of wall time; `eta`: seconds; None when unknown."""

    command: Command
    running: tuple[Running, ...]
    media_done: float
    speed: float | None
    eta: float | None
    waiting: str | None


@dataclass(frozen=True)
class ItemRecord:
    """One document of a command, with its outcomes."""

    row: Row[Any]
    outcomes: tuple[Row[Any], ...]


class Ledger:
    """The commands of one installation. `actions` is the written-out table of what may be submitted."""

    def __init__(self, engine: Engine, actions: Mapping[str, Action]) -> None:
        self._engine = engine
        self.actions = actions

    # --- Submitting

    def submit(self, new: NewCommand) -> Command:
        """Store a command; raises BadRequest for wrong parameters, Conflict while an exclusive one is alive.

        Exclusivity is the unique index `command_exclusive`: two servers cannot both succeed.
        """
        action = self.actions.get(new.action)
        if action is None:
            raise BadRequest(f"Unknown action for command: {new.action}")
        action.check(new.params)
        while True:
            with self._engine.begin() as connection:
                if stored := _insert(connection, new):
                    connection.execute(select(func.pg_notify(CHANNEL, "")))
                    return stored
                if holder := _exclusive(connection, new):
                    raise Conflict(f"Bulk Action: {new.action} is exclusive, command: {holder} is already running")

    def submit_upload(self, connection: Connection, action: str, target: uuid.UUID, params: Mapping[str, Any]) -> None:
        """Make the work of an upload part of the document's own transaction: a hidden command with one item."""
        row = {
            "action": action,
            "query": f"SELECT * FROM Document WHERE ecm:uuid = '{target}'",
            "params": dict(params),
            "username": "system",
            "repository": "default",
            "hidden": True,
            "priority": UPLOAD_PRIORITY,
            "state": CommandState.RUNNING,
            "scroll_start": func.now(),
            "scroll_end": func.now(),
            "total": 1,
        }
        number = connection.scalar(insert(command).values(row).returning(command.c.number))
        work = {"command": number, "seq": 1, "document": target, "state": ItemState.QUEUED, "priority": UPLOAD_PRIORITY}
        connection.execute(insert(item).values(work))
        connection.execute(select(func.pg_notify(CHANNEL, "")))

    # --- Reading

    def get(self, key: str) -> Command:
        """A command by its id; raises NotFound with an empty text."""
        with self._engine.connect() as connection:
            return _find(connection, key)

    def progress(self, key: str) -> Progress:
        """How a command goes, down to the seconds inside its running documents."""
        with self._engine.connect() as connection:
            found = _find(connection, key)
            running = tuple(Running(*row) for row in connection.execute(_RUNNING, {"command": found.number}))
            waiting = connection.scalar(_WAITING, {"command": found.number})
            elapsed = connection.scalar(_ELAPSED, {"command": found.number})
        media_done = found.media_done + sum(entry.done for entry in running)
        speed = media_done / elapsed if elapsed and media_done else None
        left = max(0.0, found.media_total - media_done)
        eta = left / speed if speed and left and found.state == CommandState.RUNNING else None
        return Progress(found, running, media_done, speed, eta, waiting)

    def documents(self, key: str, state: str | None, size: int, index: int) -> tuple[list[ItemRecord], int]:
        """One page of a command's documents in scroll order, and how many there are; `state` filters."""
        if state is not None and state not in set(ItemState):
            raise BadRequest(f"Unknown state {state!r}. The states are: {', '.join(ItemState)}.")
        with self._engine.connect() as connection:
            found = _find(connection, key)
            seen = _seen_state(found)
            where = [item.c.command == found.number] + ([seen == state] if state else [])
            total = connection.scalar(select(func.count()).select_from(item).where(*where)) or 0
            rows = connection.execute(
                select(item, seen.label("seen"), document.c.path)
                .outerjoin(document, document.c.id == item.c.document)
                .where(*where)
                .order_by(item.c.seq)
                .limit(size)
                .offset(size * index)
            ).all()
            outcomes = connection.execute(
                select(outcome)
                .where(outcome.c.command == found.number, outcome.c.seq.in_([row.seq for row in rows]))
                .order_by(outcome.c.seq, outcome.c.position)
            ).all()
        return [ItemRecord(row, tuple(o for o in outcomes if o.seq == row.seq)) for row in rows], total

    # --- Aborting

    def abort(self, key: str) -> Command:
        """Stop a command: nothing queued starts, what runs is killed within seconds. A finished one stays as it is.

        A scroll holds the row while it runs, so it is cancelled first.
        """
        number = self.get(key).number
        while True:
            try:
                with self._engine.begin() as connection:
                    connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
                    connection.execute(_ABORT, {"command": number})
                    connection.execute(select(func.pg_notify(CHANNEL, "")))
                return self.get(key)
            except OperationalError as error:
                if not is_lock_timeout(error):
                    raise
            with self._engine.begin() as connection:
                connection.execute(_CANCEL_SCROLL, {"name": scroll_name(number)})


def scroll_name(number: int) -> str:
    """The application name of the connection that runs a command's scroll: how an abort finds it."""
    return f"vidarium scroll {number}"


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether PostgreSQL gave up waiting for a lock (SQLSTATE 55P03)."""
    return getattr(error.orig, "sqlstate", None) == "55P03"


def from_row(row: Row[Any]) -> Command:
    """The command of a row with at least the columns that `Command` names."""
    values = {field.name: getattr(row, field.name) for field in fields(Command)}
    return Command(**values | {"state": CommandState(values["state"])})


def _find(connection: Connection, key: str) -> Command:
    try:
        wanted = uuid.UUID(key)
    except ValueError:
        raise NotFound("") from None
    row = connection.execute(select(*_COLUMNS).where(command.c.id == wanted)).one_or_none()
    if row is None:
        raise NotFound("")
    return from_row(row)


def _insert(connection: Connection, new: NewCommand) -> Command | None:
    values = {field.name: getattr(new, field.name) for field in fields(NewCommand)}
    values |= {"params": dict(new.params), "state": CommandState.SCHEDULED}
    row = connection.execute(upsert(command).values(values).on_conflict_do_nothing().returning(*_COLUMNS)).one_or_none()
    return None if row is None else from_row(row)


def _exclusive(connection: Connection, new: NewCommand) -> uuid.UUID | None:
    """The living exclusive command that keeps a new one out; None if it has just ended."""
    return connection.scalar(
        select(command.c.id).where(
            command.c.action == new.action,
            command.c.repository == new.repository,
            command.c.exclusive,
            command.c.state.in_(OPEN_STATES),
        )
    )


def _seen_state(found: Command) -> Any:
    """An item's state as it is for a reader: what is queued in an aborted command will never start."""
    if found.state != CommandState.ABORTED:
        return item.c.state
    return case((item.c.state == ItemState.QUEUED, literal(str(ItemState.ABORTED))), else_=item.c.state)


_RUNNING = (
    select(
        item.c.document,
        document.c.path,
        func.coalesce(progress.c.done, 0.0),
        func.coalesce(progress.c.total, item.c.cost),
    )
    .outerjoin(progress, and_(progress.c.command == item.c.command, progress.c.seq == item.c.seq))
    .outerjoin(document, document.c.id == item.c.document)
    .where(item.c.command == bindparam("command"), item.c.state == ItemState.RUNNING)
    .order_by(item.c.seq)
    .limit(100)
)

_WAITING = text(
    """
    SELECT waiting FROM (
        SELECT waiting FROM item WHERE command = :command AND state = 'queued' ORDER BY seq LIMIT 100
    ) AS head WHERE waiting IS NOT NULL LIMIT 1
    """
)

_ELAPSED = text(
    """
    SELECT EXTRACT(EPOCH FROM COALESCE(completed, clock_timestamp()) - scroll_end)::float
    FROM command WHERE number = :command
    """
)

_ABORT = (
    update(command)
    .where(command.c.number == bindparam("command"), command.c.state.in_(OPEN_STATES))
    .values(state=CommandState.ABORTED, completed=func.clock_timestamp())
)

_CANCEL_SCROLL = text("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
