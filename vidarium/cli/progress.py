"""How a bulk command stands: what the server says of it, and that as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidarium.cli.client import Client, Refused

ENDED = frozenset({"COMPLETED", "ABORTED", "UNKNOWN"})


@dataclass(frozen=True)
class Running:
    """A document in work: `done` of `total` seconds of media."""

    path: str
    done: float
    total: float


@dataclass(frozen=True)
class Snapshot:
    """A command at one moment. Media and `eta` in seconds, `speed` in seconds of media per second.

    A server without progress of its own leaves media, speed, eta, waiting and running unset.
    """

    command: str
    state: str
    total: int
    processed: int
    errors: int
    skipped: int
    media_total: float = 0.0
    media_done: float = 0.0
    speed: float | None = None
    eta: float | None = None
    waiting: str | None = None
    running: tuple[Running, ...] = ()
    error_message: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than without errors."""
        return self.ended and (self.state != "COMPLETED" or self.errors > 0 or self.error_message is not None)


def read_snapshot(client: Client, command: str) -> Snapshot:
    """How a command stands, with media and speed where the server knows them. Raises Unreachable, Refused."""
    try:
        running = parse(client.get(f"management/bulk/{command}/progress"))
    except Refused as refused:
        if refused.status not in {403, 404}:
            raise
    else:
        if not running.ended:
            return running
        return replace(running, error_message=read_status(client, command).error_message)
    return read_status(client, command)


def read_status(client: Client, command: str) -> Snapshot:
    """The plain status that every server has; unlike the progress it carries the first error's text."""
    return parse(client.get(f"bulk/{command}"))


def parse(entity: Mapping[str, Any]) -> Snapshot:
    """A snapshot from a bulkProgress or a bulkStatus entity (spec/video-bulk.md B.9)."""
    return Snapshot(
        command=str(entity["commandId"]),
        state=str(entity["state"]),
        total=int(entity.get("total") or 0),
        processed=int(entity.get("processed") or 0),
        errors=int(entity.get("errorCount") or 0),
        skipped=int(entity.get("skipCount") or 0),
        media_total=float(entity.get("mediaTotal") or 0),
        media_done=float(entity.get("mediaDone") or 0),
        speed=entity.get("speed"),
        eta=entity.get("eta"),
        waiting=entity.get("waiting"),
        running=tuple(
            Running(str(each.get("path") or each["document"]), float(each["done"]), float(each["total"]))
            for each in entity.get("running") or ()
        ),
        error_message=entity.get("errorMessage"),
    )


def progress_text(snapshot: Snapshot) -> str:
    """`12/40 documents, 340/1200 s of media, 8.3x, ETA 1:43, 2 failed`: only what is known.

    No ETA is shown while more media was encoded than the server counts in total: it cannot be true then.
    """
    parts = [f"{snapshot.processed}/{snapshot.total} documents"]
    if snapshot.media_total > 0:
        parts.append(f"{snapshot.media_done:.0f}/{snapshot.media_total:.0f} s of media")
    if snapshot.speed is not None:
        parts.append(f"{snapshot.speed:.1f}x")
    if snapshot.eta is not None and snapshot.media_total > snapshot.media_done and not snapshot.ended:
        parts.append(f"ETA {time_text(snapshot.eta)}")
    if snapshot.errors:
        parts.append(f"{snapshot.errors} failed")
    if snapshot.skipped:
        parts.append(f"{snapshot.skipped} skipped")
    if snapshot.waiting and not snapshot.ended:
        parts.append(f"waiting: {clean(snapshot.waiting)}")
    return ", ".join(parts)


def summary_text(snapshot: Snapshot) -> str:
    """One line on where a command stands, with the first error and where to read the others."""
    line = f"{snapshot.state}: {progress_text(snapshot)}"
    if snapshot.error_message:
        line += f"\nFirst error: {clean(snapshot.error_message)}"
    if snapshot.errors:
        line += f"\nAll of them: vidarium status {snapshot.command} --failed"
    return line


def time_text(seconds: float) -> str:
    """`1:43`, `2:05:09`, `3 d 4 h`: short, never more precise than it can be true."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def size_text(count: float) -> str:
    """Bytes for people: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clean(text: str) -> str:
    """Text that came from elsewhere, safe to print: control characters (a terminal obeys them) become `?`.

    What is no UTF-8 in a local name (lone surrogates) becomes the replacement character.
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", re.sub(r"[\ud800-\udfff]", "\ufffd", text))
