"""The scroll: one statement turns a query into items. A consistent set of distinct documents, no client loop."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    cast,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from vidarium.bulk import Command, CommandState, ItemState
from vidarium.bulk.ledger import _COLUMNS, from_row, scroll_name
from vidarium.database.schema import command, document, item
from vidarium.errors import QueryError
from vidarium.nxql.compiler import compile_query
from vidarium.nxql.parser import parse

log = structlog.get_logger()

Visible = Callable[[Connection, str], list[ColumnElement[bool]]]
"""The condition that hides what a user may not see."""

INVALID_QUERY = "Invalid query"


def next_scroll(engine: Engine, server: uuid.UUID, lease: float) -> Command | None:
    """Take a command whose query must run: a new one, or one whose scrolling server is dead."""
    with engine.begin() as connection:
        number = connection.scalar(_NEXT, {"server": server, "lease": lease})
        if number is None:
            return None
        row = connection.execute(
            update(command)
            .where(command.c.number == number)
            .values(state=CommandState.SCROLLING_RUNNING, scroller=server, scroll_start=func.clock_timestamp())
            .returning(*_COLUMNS)
        ).one()
    return from_row(row)


def scroll(engine: Engine, found: Command, visible: Visible, timeout: float) -> None:
    """Fill the items of a command in SCROLLING_RUNNING. An abort cancels the statement.

    An invalid query, or one that takes longer than `timeout` seconds, ends the command COMPLETED with an error
    (spec/video-bulk.md A.6).
    """
    try:
        with engine.begin() as connection:
            if not _lock(connection, found, timeout):
                return
            _fill(connection, found, visible)
    except QueryError as error:
        log.info("query refused", command=str(found.id), error=str(error))
        _end(engine, found, INVALID_QUERY)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning("scroll failed", command=str(found.id), error=str(error.orig))
        _end(engine, found, _reason(error, timeout))


def _lock(connection: Connection, found: Command, timeout: float) -> bool:
    """Hold the command's row, so that a half-dead server and its successor cannot both scroll."""
    millis = str(int(timeout * 1000))
    connection.execute(select(func.set_config("application_name", scroll_name(found.number), True)))
    connection.execute(select(func.set_config("statement_timeout", millis, True)))
    state = connection.scalar(
        select(command.c.state).where(command.c.number == found.number).with_for_update(skip_locked=True)
    )
    return state == CommandState.SCROLLING_RUNNING


def _fill(connection: Connection, found: Command, visible: Visible) -> None:
    shown = visible(connection, found.username)
    compiled = compile_query(parse(found.query), now=datetime.now(UTC), visible=shown)
    seconds = cast(document.c.computed["vid:info"]["duration"].astext, Float)
    order = compiled.order_by or [document.c.path]
    rows = select(
        literal(found.number),
        func.row_number().over(order_by=[*order, document.c.id]),
        document.c.id,
        literal(str(ItemState.QUEUED)),
        literal(found.priority),
        func.coalesce(seconds, 0.0),
    ).where(compiled.where, *shown)
    names = ["command", "seq", "document", "state", "priority", "cost"]
    connection.execute(insert(item).from_select(names, rows))
    connection.execute(_FILLED, {"command": found.number})


def _end(engine: Engine, found: Command, reason: str) -> None:
    with engine.begin() as connection:
        connection.execute(_FAILED, {"command": found.number, "reason": reason})


def _reason(error: DBAPIError, timeout: float) -> str:
    if getattr(error.orig, "sqlstate", None) == "57014":  # query_canceled: by the timeout, or by an abort
        return f"The query took longer than {timeout:g} s; set VIDARIUM_SCROLL_TIMEOUT higher, or narrow the query."
    return INVALID_QUERY


_NEXT = text(
    """
    SELECT c.number FROM command c LEFT JOIN server s ON s.id = c.scroller
    WHERE c.state = 'SCHEDULED' OR (c.state = 'SCROLLING_RUNNING' AND (
        c.scroller = :server OR s.heartbeat IS NULL
        OR s.heartbeat < clock_timestamp() - make_interval(secs => :lease)))
    ORDER BY c.priority DESC, c.number LIMIT 1
    FOR UPDATE OF c SKIP LOCKED
    """
)

_FILLED = text(
    """
    UPDATE command SET
        total = found.count, media_total = found.seconds, scroll_end = clock_timestamp(),
        state = CASE WHEN found.count = 0 THEN 'COMPLETED' ELSE 'RUNNING' END,
        completed = CASE WHEN found.count = 0 THEN clock_timestamp() END
    FROM (SELECT count(*), COALESCE(sum(cost), 0) AS seconds FROM item WHERE command = :command) AS found
    WHERE number = :command
    """
)

_FAILED = text(
    """
    UPDATE command SET state = 'COMPLETED', errors = 1, error_message = :reason,
        scroll_end = clock_timestamp(), completed = clock_timestamp()
    WHERE number = :command AND state = 'SCROLLING_RUNNING'
    """
)
