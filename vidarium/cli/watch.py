"""Following a command on the screen until it ends: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from vidarium.cli.client import Client, Refused, Unreachable
from vidarium.cli.progress import Snapshot, clean, progress_text, read_snapshot, summary_text

INTERVAL = 1.0
LINE_EVERY = 10.0
ABSENCE = 120.0
SHOWN_RUNNING = 8
INTERRUPTED = 130


def watch(client: Client, command: str, console: Console) -> Snapshot:
    """Show how a command goes until it has ended, and how it ended.

    Ctrl-C stops the watching only: the command goes on, and the text says how to come back (exit status 130).
    """
    try:
        return show_to_end(client, command, console)
    except KeyboardInterrupt:
        console.print(
            f"The command goes on. To watch it again: vidarium status {command} --watch", markup=False, soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED) from None


def show_to_end(client: Client, command: str, console: Console, interval: float = INTERVAL) -> Snapshot:
    """Show how a command goes, live in a terminal and in lines elsewhere, then its summary."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            last = follow(client, command, lambda snapshot: live.update(view(snapshot)), interval)
    else:
        last = follow(client, command, Lines(console).show, interval)
    console.print(summary_text(last), markup=False, highlight=False, soft_wrap=True)
    return last


def follow(client: Client, command: str, show: Callable[[Snapshot], None], interval: float) -> Snapshot:
    """Read the command every `interval` seconds, show it, and return it when it has ended.

    Once it was heard of, an absence of the server of up to two minutes is bridged. Raises Unreachable, Refused.
    """
    heard: float | None = None
    while True:
        try:
            snapshot = read_snapshot(client, command)
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and not error.passing:
                raise
            if heard is None or time.monotonic() - heard > ABSENCE:
                raise
        else:
            heard = time.monotonic()
            show(snapshot)
            if snapshot.ended:
                return snapshot
        time.sleep(interval)


class Lines:
    """Plain lines: one when something happened, else one in ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Snapshot | None = None
        self._printed = 0.0

    def show(self, snapshot: Snapshot) -> None:
        """Print the snapshot if it is worth a line now. The end is printed by whoever watches."""
        if snapshot.ended or not (news(self._last, snapshot) or time.monotonic() - self._printed > LINE_EVERY):
            return
        self._last, self._printed = snapshot, time.monotonic()
        self._console.print(line(snapshot), markup=False, highlight=False, soft_wrap=True)


def news(before: Snapshot | None, now: Snapshot) -> bool:
    """Whether something happened that a reader of lines should see at once."""
    if before is None:
        return True
    return (before.state, before.processed, before.waiting) != (now.state, now.processed, now.waiting)


def line(snapshot: Snapshot) -> str:
    """A snapshot as one line: `RUNNING 12/40 documents, …`."""
    return f"{snapshot.state} {progress_text(snapshot)}"


def view(snapshot: Snapshot) -> Group:
    """A snapshot for a terminal: a bar, the numbers, and the documents in work."""
    by_media = snapshot.media_total > 0
    bar = ProgressBar(
        total=(snapshot.media_total if by_media else snapshot.total) or 1,
        completed=snapshot.media_done if by_media else snapshot.processed,
        pulse=snapshot.total == 0,
        width=60,
    )
    rows = [
        Text(f"  {each.done:6.0f}/{each.total:.0f} s  {clean(each.path)}", no_wrap=True, overflow="ellipsis")
        for each in snapshot.running[:SHOWN_RUNNING]
    ]
    hidden = len(snapshot.running) - len(rows)
    return Group(Padding(bar), Text(line(snapshot)), *rows, *([Text(f"  and {hidden} more")] if hidden else []))
