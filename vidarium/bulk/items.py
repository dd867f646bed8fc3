"""Items: claim, settle, give back, take over. Each function is part of one short transaction.

Lock order everywhere: document, item, command last.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from vidarium.bulk import Again, Claim, Ended, ItemState, Outcome, OutcomeState
from vidarium.database.schema import command, document, item, outcome, progress
from vidarium.errors import Conflict

WINDOW = 64
"""The longest is taken first among this many items at the head of the queue: no long one is left for the end."""

MAX_ATTEMPTS = 3
MAX_LOST = 10
"""How often an item may lose its server before it is believed to be what kills them."""

RETRY_SECONDS = 5.0
"""Delay before the second attempt; doubles with each one."""

WORKER_LOST = "worker lost"


class Stale(Conflict):
    """Somebody else holds the item now, or its command was aborted: nothing of this result may be kept."""


def claim(connection: Connection, server: uuid.UUID, count: int) -> list[Claim]:
    """Take up to `count` items that may run now.

    Work of an upload goes first; other work of a document waits for it, and no document is worked on twice at once.
    """
    rows = connection.execute(_CLAIM, {"server": server, "count": count, "window": WINDOW}).all()
    return [Claim(row.command, row.seq, row.document, row.token, row.attempt, row.action, row.params) for row in rows]


def settle(connection: Connection, held: Claim, verdict: Ended | Again) -> None:
    """Write an item's end, or put it back. Raises Stale if the claim does not hold any more: roll back then."""
    _keep_outcomes(connection, held, verdict.outcomes)
    connection.execute(delete(progress).where(progress.c.command == held.command, progress.c.seq == held.seq))
    if isinstance(verdict, Again):
        _requeue(connection, held, verdict)
    else:
        _end(connection, held, verdict)


def after_failure(held: Claim, reason: str) -> Again | None:
    """What follows a failure that may pass: another attempt with back-off, or None after the last one."""
    if held.attempt >= MAX_ATTEMPTS:
        return None
    return Again(reason, RETRY_SECONDS * 2 ** (held.attempt - 1))


def done_before(connection: Connection, held: Claim) -> list[str]:
    """The conversions that an earlier attempt of this very item has finished."""
    rows = connection.scalars(
        select(outcome.c.conversion).where(
            outcome.c.command == held.command, outcome.c.seq == held.seq, outcome.c.state != OutcomeState.FAILED
        )
    )
    return list(rows)


def forget_outcomes(connection: Connection, held: Claim) -> None:
    """Drop what earlier attempts recorded: the file they worked on was replaced."""
    connection.execute(delete(outcome).where(outcome.c.command == held.command, outcome.c.seq == held.seq))


def mark_aborted(connection: Connection, held: Claim) -> None:
    """The end of an item whose command was aborted while it ran."""
    connection.execute(delete(progress).where(progress.c.command == held.command, progress.c.seq == held.seq))
    connection.execute(
        update(item)
        .where(*_held(held))
        .values(state=ItemState.ABORTED, owner=None, token=None, finished=text("clock_timestamp()"))
    )


def report(connection: Connection, held: Claim, done: float, total: float) -> None:
    """Note how far a running item is, in seconds of media."""
    values = {"command": held.command, "seq": held.seq, "done": done, "total": total}
    connection.execute(
        insert(progress)
        .values(values)
        .on_conflict_do_update(
            index_elements=["command", "seq"],
            set_={"done": done, "total": total, "updated": text("clock_timestamp()")},
        )
    )


def learn_cost(connection: Connection, target: uuid.UUID, seconds: float) -> None:
    """Tell the unfinished items of a document how long its media is, if that was not known when they were made.

    A transaction of its own: it may lock several commands, in the order of their numbers.
    """
    unfinished = item.c.state.in_([ItemState.QUEUED, ItemState.RUNNING])
    changed = connection.execute(
        update(item)
        .where(item.c.document == target, item.c.cost == 0, unfinished)
        .values(cost=seconds)
        .returning(item.c.command)
    )
    for number in sorted(row.command for row in changed):
        connection.execute(
            update(command).where(command.c.number == number).values(media_total=command.c.media_total + seconds)
        )


def aborted_among(connection: Connection, claims: Sequence[Claim]) -> set[uuid.UUID]:
    """The tokens of claims that must stop: their command was aborted, or they were taken over."""
    tokens = [held.token for held in claims]
    alive = connection.scalars(
        select(item.c.token)
        .join(command, command.c.number == item.c.command)
        .where(
            item.c.command.in_([held.command for held in claims]),
            item.c.token.in_(tokens),
            item.c.state == ItemState.RUNNING,
            command.c.state == "RUNNING",
        )
    )
    return set(tokens) - set(alive)


def current_files(connection: Connection, documents: Sequence[uuid.UUID]) -> dict[uuid.UUID, str | None]:
    """The digests of documents' main files as they are now; deleted documents are left out."""
    digest = document.c.properties["file:content"]["digest"].astext
    rows = connection.execute(select(document.c.id, digest).where(document.c.id.in_(documents)))
    return {row[0]: row[1] for row in rows}


# --- Servers


def beat(connection: Connection, server: uuid.UUID, name: str) -> None:
    """Say that a server lives, by the database's clock."""
    connection.execute(_BEAT, {"id": server, "name": name})


def give_back(connection: Connection, server: uuid.UUID) -> int:
    """Return what a stopping server holds to the queue; not an attempt. Answers how many items."""
    return connection.execute(_GIVE_BACK, {"server": server}).rowcount


def release_unheld(connection: Connection, server: uuid.UUID, tokens: Sequence[uuid.UUID]) -> None:
    """Return to the queue what a server has claimed but does not hold any more; not an attempt."""
    connection.execute(
        update(item)
        .where(item.c.owner == server, item.c.state == ItemState.RUNNING, item.c.token.not_in(tokens))
        .values(state=ItemState.QUEUED, owner=None, token=None, attempt=item.c.attempt - 1)
    )


def take_over(connection: Connection, server: uuid.UUID, lease: float, *, starting: bool) -> int:
    """Return what dead servers held to the queue. `starting`: this server's own former life counts as dead too.

    The loss is not an attempt, since the server died with it; but an item that has lost ten servers fails.
    """
    dead = {"server": server, "lease": lease, "starting": starting}
    lost = connection.execute(_ORPHANS, dead).all()
    for row in lost:
        held = Claim(row.command, row.seq, row.document, row.token, row.attempt, row.action, row.params)
        if row.lost + 1 > MAX_LOST:
            settle(connection, held, Ended(ItemState.FAILED, error=WORKER_LOST, place=str(row.document)))
        elif row.command_state == "ABORTED":
            mark_aborted(connection, held)
        else:
            settle(connection, held, Again(WORKER_LOST, counts=False))
            connection.execute(
                update(item).where(item.c.command == row.command, item.c.seq == row.seq).values(lost=row.lost + 1)
            )
    return len(lost)


def sweep_aborted(connection: Connection) -> int:
    """Mark a batch of the queued items of aborted commands, so that the queue stays short."""
    return connection.execute(_SWEEP).rowcount


# --- Parts


def _held(held: Claim) -> list[Any]:
    return [
        item.c.command == held.command,
        item.c.seq == held.seq,
        item.c.token == held.token,
        item.c.state == ItemState.RUNNING,
    ]


def _keep_outcomes(connection: Connection, held: Claim, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    rows = [_outcome_row(held, position, entry) for position, entry in enumerate(outcomes)]
    new = insert(outcome).values(rows)
    changed = {name: new.excluded[name] for name in rows[0] if name not in {"command", "seq", "conversion"}}
    connection.execute(new.on_conflict_do_update(index_elements=["command", "seq", "conversion"], set_=changed))


def _outcome_row(held: Claim, position: int, entry: Outcome) -> dict[str, Any]:
    return {
        "command": held.command,
        "seq": held.seq,
        "conversion": entry.conversion,
        "position": position,
        "state": entry.state,
        "reason": entry.reason,
        "attempt": held.attempt,
        "seconds": entry.seconds,
        "bytes": entry.bytes,
        "log": entry.log,
    }


def _requeue(connection: Connection, held: Claim, verdict: Again) -> None:
    values = {
        **_key(held),
        "attempt": held.attempt if verdict.counts else held.attempt - 1,
        "delay": verdict.delay,
        "waiting": verdict.reason,
    }
    if connection.execute(_REQUEUE, values).rowcount == 0:
        raise Stale("The item is held by another server now.")


def _end(connection: Connection, held: Claim, verdict: Ended) -> None:
    ended = connection.execute(_END, {**_key(held), "state": verdict.state, "error": verdict.error}).one_or_none()
    if ended is None:
        raise Stale("The item is held by another server now.")
    failed = verdict.state == ItemState.FAILED
    values = {
        "command": held.command,
        "failed": int(failed),
        "skipped": int(verdict.state == ItemState.SKIPPED),
        "cost": ended.cost,
        "started": ended.started,
        "finished": ended.finished,
        "message": f"{verdict.place}: {verdict.error}" if failed else None,
    }
    if connection.execute(_COUNT, values).rowcount == 0:
        raise Stale("The command was aborted.")


def _key(held: Claim) -> Mapping[str, Any]:
    return {"command": held.command, "seq": held.seq, "token": held.token}


_CLAIM = text(
    """
    WITH head AS (
        SELECT i.command, i.seq, i.priority, i.cost, c.action, c.params
        FROM item i JOIN command c ON c.number = i.command AND c.state = 'RUNNING'
        WHERE i.state = 'queued' AND (i.not_before IS NULL OR i.not_before <= clock_timestamp())
          AND NOT EXISTS (
              SELECT 1 FROM item o WHERE o.document = i.document AND o.state = 'running')
          AND (c.hidden OR NOT EXISTS (
              SELECT 1 FROM item o JOIN command u ON u.number = o.command AND u.hidden AND u.state = 'RUNNING'
              WHERE o.document = i.document AND o.state = 'queued'))
        ORDER BY i.priority DESC, i.command, i.seq
        LIMIT :window
        FOR UPDATE OF i SKIP LOCKED
    ), chosen AS (
        SELECT * FROM head ORDER BY priority DESC, cost DESC, command, seq LIMIT :count
    )
    UPDATE item i SET state = 'running', owner = :server, token = gen_random_uuid(), attempt = i.attempt + 1,
        started = clock_timestamp(), waiting = NULL, not_before = NULL
    FROM chosen WHERE i.command = chosen.command AND i.seq = chosen.seq
    RETURNING i.command, i.seq, i.document, i.token, i.attempt, chosen.action, chosen.params
    """
)

_REQUEUE = text(
    """
    UPDATE item SET state = 'queued', owner = NULL, token = NULL, attempt = :attempt, waiting = :waiting,
        not_before = clock_timestamp() + make_interval(secs => :delay)
    WHERE command = :command AND seq = :seq AND token = :token AND state = 'running'
    """
)

_END = text(
    """
    UPDATE item SET state = :state, error = :error, owner = NULL, token = NULL, finished = clock_timestamp()
    WHERE command = :command AND seq = :seq AND token = :token AND state = 'running'
    RETURNING cost, started, finished
    """
)

_COUNT = text(
    """
    UPDATE command SET
        processed = processed + 1,
        errors = errors + :failed,
        skipped = skipped + :skipped,
        media_done = media_done + :cost,
        processing_start = LEAST(processing_start, :started),
        processing_end = GREATEST(processing_end, :finished),
        processing_millis = processing_millis
            + (EXTRACT(EPOCH FROM CAST(:finished AS timestamptz) - CAST(:started AS timestamptz)) * 1000)::bigint,
        error_message = COALESCE(error_message, :message),
        state = CASE WHEN processed + 1 >= total THEN 'COMPLETED' ELSE state END,
        completed = CASE WHEN processed + 1 >= total THEN clock_timestamp() ELSE completed END
    WHERE number = :command AND state = 'RUNNING'
    """
)

_BEAT = text(
    """
    INSERT INTO server (id, name) VALUES (:id, :name)
    ON CONFLICT (id) DO UPDATE SET heartbeat = clock_timestamp(), name = EXCLUDED.name
    """
)

_GIVE_BACK = text(
    """
    UPDATE item SET state = 'queued', owner = NULL, token = NULL, attempt = attempt - 1
    WHERE owner = :server AND state = 'running'
    """
)

_ORPHANS = text(
    """
    SELECT i.command, i.seq, i.document, i.token, i.attempt, i.lost, c.action, c.params, c.state AS command_state
    FROM item i JOIN command c ON c.number = i.command LEFT JOIN server s ON s.id = i.owner
    WHERE i.state = 'running' AND (
        (:starting AND i.owner = :server)
        OR (i.owner <> :server
            AND (s.heartbeat IS NULL OR s.heartbeat < clock_timestamp() - make_interval(secs => :lease))))
    LIMIT 1000
    FOR UPDATE OF i SKIP LOCKED
    """
)

_SWEEP = text(
    """
    UPDATE item SET state = 'aborted', finished = clock_timestamp() FROM (
        SELECT i.command, i.seq FROM item i JOIN command c ON c.number = i.command AND c.state = 'ABORTED'
        WHERE i.state = 'queued' LIMIT 10000 FOR UPDATE OF i SKIP LOCKED
    ) AS batch WHERE item.command = batch.command AND item.seq = batch.seq
    """
)
