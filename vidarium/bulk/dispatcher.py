"""The dispatcher: claim → plan → run → record. One per server, on threads of its own.

What it holds in memory is only what runs now; everything else is rows. Losing it loses at most the running encodes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from vidarium.bulk import Again, Claim, Ended, ItemState, Work, items
from vidarium.bulk.ledger import CHANNEL, Ledger
from vidarium.bulk.scroll import Visible, next_scroll, scroll
from vidarium.executor import Done, Event, Executor, Failed, Failure, Progress, Rendered

log = structlog.get_logger()

REPORT_SECONDS = 1.0
"""How often the progress of a running item is written."""

PAUSE_SECONDS = 10.0
"""How long no item is claimed after one had to wait for space."""


Decision = Ended | Again


@dataclass(frozen=True)
class Timing:
    """In seconds. `lease`: how long a silent server keeps its items. `poll`: how often the ledger is looked at."""

    lease: float
    poll: float
    scroll_timeout: float


@dataclass
class Held:
    """A claim whose work an executor runs. `reported`: when its progress was last written (monotonic)."""

    claim: Claim
    work: Work
    reported: float = 0.0


class Dispatcher:
    """Works on the ledger until stopped. `visible` hides from a query what its user may not see."""

    def __init__(
        self, engine: Engine, ledger: Ledger, executor: Executor, visible: Visible, timing: Timing, *, server: uuid.UUID
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._executor = executor
        self._visible = visible
        self._timing = timing
        self._server = server
        self._held: dict[str, Held] = {}
        self._stopping = threading.Event()
        self._wake_scroll = threading.Event()
        self._paused_until = 0.0
        self._interrupted = False
        self._threads: list[threading.Thread] = []

    # --- Life

    def start(self, name: str) -> None:
        """Take over what this server held in its former life, then begin."""
        with self._engine.begin() as connection:
            items.beat(connection, self._server, name)
            again = items.take_over(connection, self._server, self._timing.lease, starting=True)
        if again:
            log.info("taking up work that was running", items=again)
        duties: list[tuple[str, Callable[[], None]]] = [
            ("dispatch", self._dispatch),
            ("scroll", self._scroll),
            ("heartbeat", lambda: self._heartbeat(name)),
            ("listen", self._listen),
        ]
        for title, duty in duties:
            thread = threading.Thread(target=self._forever, args=(duty,), name=f"vidarium-{title}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Claim nothing new, kill what runs and give it back. Returns when nothing is held any more."""
        self._stopping.set()
        self._wake()
        for thread in self._threads:
            thread.join(timeout=15)
        self._executor.stop()
        with self._engine.begin() as connection:
            count = items.give_back(connection, self._server)
        if count:
            log.info("running work given back", items=count)

    def _wake(self) -> None:
        self._wake_scroll.set()
        self._executor.wake()

    def _forever(self, duty: Callable[[], None]) -> None:
        """Run a duty again and again. Whatever it raises is logged, and it goes on: the ledger knows what is left."""
        while not self._stopping.is_set():
            try:
                duty()
            except Exception:
                log.exception("dispatcher", thread=threading.current_thread().name)
                self._stopping.wait(self._timing.poll)

    # --- Duties

    def _dispatch(self) -> None:
        """One round. What an interrupted round left claimed without being held goes back to the queue first."""
        if self._interrupted:
            with self._engine.begin() as connection:
                items.release_unheld(connection, self._server, [entry.claim.token for entry in self._held.values()])
        self._interrupted = True
        self._fill()
        for event in self._executor.events(self._timing.poll):
            self._handle(event)
        self._interrupted = False

    def _scroll(self) -> None:
        found = next_scroll(self._engine, self._server, self._timing.lease)
        if found is None:
            self._wake_scroll.wait(self._timing.poll)
            self._wake_scroll.clear()
            return
        scroll(self._engine, found, self._visible, self._timing.scroll_timeout)
        self._executor.wake()

    def _heartbeat(self, name: str) -> None:
        with self._engine.begin() as connection:
            items.beat(connection, self._server, name)
            items.take_over(connection, self._server, self._timing.lease, starting=False)
            items.sweep_aborted(connection)
        self._stopping.wait(min(self._timing.lease / 6, 5.0))

    def _listen(self) -> None:
        """Wait for notifications on a connection of its own; the polling behind it makes a lost one harmless."""
        url = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True, application_name="vidarium listen") as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while not self._stopping.is_set():
                for _ in connection.notifies(timeout=self._timing.poll, stop_after=1):
                    self._cancel_pointless()
                    self._wake()
                self._cancel_pointless()

    def _cancel_pointless(self) -> None:
        """Stop work whose command was aborted, and work on a file that its document does not have any more."""
        held = list(self._held.values())
        if not held:
            return
        with self._engine.connect() as connection:
            gone = items.aborted_among(connection, [entry.claim for entry in held])
            files = items.current_files(connection, [entry.claim.document for entry in held])
        for entry in held:
            if entry.claim.token in gone or files.get(entry.claim.document) != entry.work.task.source.digest:
                self._executor.cancel(entry.work.task.id)

    # --- Claim and plan

    def _fill(self) -> None:
        """Claim and plan until the executor is full or nothing may run."""
        while not self._stopping.is_set() and time.monotonic() >= self._paused_until:
            free = self._executor.capacity - len(self._held)
            if free <= 0:
                return
            with self._engine.begin() as connection:
                claims = items.claim(connection, self._server, free)
            if not claims:
                return
            for claim in claims:
                self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        """Plan a claimed document: submit its work, or settle it at once if there is none."""
        action = self._ledger.actions[claim.action]
        plan = self._conclude(claim, lambda connection: action.plan(connection, claim))
        if isinstance(plan, Work):
            self._held[plan.task.id] = Held(claim, plan)
            self._executor.submit(plan.task)
        elif isinstance(plan, Again) and not plan.counts:
            self._paused_until = time.monotonic() + min(plan.delay, PAUSE_SECONDS)

    # --- Record

    def _handle(self, event: Event) -> None:
        held = self._held.get(event.task)
        if held is None:
            return
        match event:
            case Progress(done=done, total=total):
                self._report(held, done, total)
            case Done(result=result):
                del self._held[event.task]
                self._record(held, result)
            case Failed(failure=Failure.CANCELLED):
                del self._held[event.task]
                self._let_go(held.claim)
            case Failed():
                del self._held[event.task]
                self._fail(held, event)
            case _:
                self._report(held, 0.0, 0.0)

    def _report(self, held: Held, done: float, total: float) -> None:
        if time.monotonic() - held.reported < REPORT_SECONDS or not total:
            return
        if not held.reported:
            self._learn(held.claim, total)
        held.reported = time.monotonic()
        with self._engine.begin() as connection:
            items.report(connection, held.claim, done, total)

    def _fail(self, held: Held, event: Failed) -> None:
        again = None if event.failure == Failure.PERMANENT else items.after_failure(held.claim, event.reason)
        if again is None:
            self._record(held, event)
        else:
            self._conclude(held.claim, lambda connection: again)

    def _record(self, held: Held, result: Rendered | Failed) -> None:
        action = self._ledger.actions[held.claim.action]
        if isinstance(result, Rendered):
            self._learn(held.claim, result.info.duration)
        self._conclude(held.claim, lambda connection: action.record(connection, held.claim, held.work, result))

    def _learn(self, claim: Claim, seconds: float) -> None:
        if seconds > 0:
            with self._engine.begin() as connection:
                items.learn_cost(connection, claim.document, seconds)

    def _conclude(self, claim: Claim, decide: Callable[[Connection], Work | Decision]) -> Work | Decision | None:
        """Document, item, outcomes and counters in one transaction, or nothing of it.

        A mistake of our own is tried again like any failure that may pass, then recorded as the document's failure.
        """
        try:
            with self._engine.begin() as connection:
                decision = decide(connection)
                if not isinstance(decision, Work):
                    items.settle(connection, claim, decision)
            return decision
        except items.Stale:
            self._let_go(claim)
        except Exception as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise
            log.exception("no result kept", command=claim.command, document=str(claim.document))
            self._conclude_mistake(claim, f"{type(error).__name__}: {error}")
        return None

    def _conclude_mistake(self, claim: Claim, reason: str) -> None:
        failed = Ended(ItemState.FAILED, error=reason, place=str(claim.document))
        try:
            with self._engine.begin() as connection:
                items.settle(connection, claim, items.after_failure(claim, reason) or failed)
        except items.Stale:
            self._let_go(claim)

    def _let_go(self, claim: Claim) -> None:
        """A claim that came to nothing: aborted, taken over by somebody else, or to be planned anew."""
        with self._engine.begin() as connection:
            if claim.token in items.aborted_among(connection, [claim]):
                items.mark_aborted(connection, claim)
            else:
                items.forget_outcomes(connection, claim)
                items.settle(connection, claim, Again("the file was replaced meanwhile", counts=False))
