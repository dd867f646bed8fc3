"""`vidarium import`: send video files to a server, several at once, and go on where an interruption stopped it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import typer
from rich.console import Console

from vidarium.cli.client import Client, Unreachable
from vidarium.cli.discovery import LocalFile, Problem, discover
from vidarium.cli.import_screen import ImportScreen
from vidarium.cli.journal import Journal, default_folder
from vidarium.cli.options import DEFAULT_URL, DEFAULT_USER, Url, User, connect
from vidarium.cli.sending import Interrupted, Sender, Sent
from vidarium.cli.target import Target
from vidarium.errors import VidariumError

INTERRUPTED = 130
FAREWELL = 5.0  # seconds that running requests get to end after Ctrl-C

Outcome = tuple[LocalFile, Sent | Exception]


def import_videos(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Video files, and folders of them.")],
    to: Annotated[str, typer.Option("--to", help="Path of the folder on the server; made if missing.")],
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=32, help="Uploads at once.")] = 4,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Import video files into a folder of the server.

    What lies in a given folder goes into the target; its subfolders become folders there. In folders, files count as
    videos by their extension; a file that you name is sent whatever it is called. What is there already, with the same
    name and the same bytes, is not sent again: after an interruption run the same command again.

    \b
    Examples:
      vidarium import holiday.mp4 --to /default-domain/workspaces/holiday
      vidarium import /archive/2023 /archive/2024 --to /default-domain/workspaces/archive --parallel 8

    \b
    Exit status: 0 everything is there; 1 something could not be sent; 2 wrong usage;
    3 the server cannot be reached or refused; 130 interrupted.
    """
    console = Console()
    with connect(url, user) as client:
        found = list(discover(paths))
        files = [each for each in found if isinstance(each, LocalFile)]
        screen = ImportScreen(console, files=len(files), length=sum(each.length for each in files))
        problems = [each for each in found if isinstance(each, Problem)]
        for problem in problems:
            screen.problem(problem)
        counts = send_all(files, sender(client, to), screen, parallel)
        counts["not reached"] = len(files) - counts.total()
        counts["failed"] += sum(each.fatal for each in problems)
        screen.summary(counts)
    if counts["failed"] or counts["not reached"]:
        raise typer.Exit(1)


def sender(client: Client, to: str) -> Sender:
    """What sends the files: the target is found or made here. Raises Unreachable, Refused."""
    journal = Journal(default_folder(), client.url, client.user)
    journal.prune()
    return Sender(client, Target(client, to), journal, threading.Event())


def send_all(files: list[LocalFile], sender: Sender, screen: ImportScreen, parallel: int) -> Counter[str]:
    """Send files by `parallel` threads; how many were sent, were there, failed.

    Ctrl-C ends it (typer.Exit 130); a server that stays away too (Unreachable).
    """
    waiting: SimpleQueue[LocalFile] = SimpleQueue()
    for file in files:
        waiting.put(file)
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    # Daemons: a request that hangs must not keep the program from ending.
    crew = [
        threading.Thread(target=work, args=(waiting, outcomes, sender, screen), daemon=True) for _ in range(parallel)
    ]
    with screen:
        try:
            for thread in crew:
                thread.start()
            return collect(outcomes, crew, screen)
        except KeyboardInterrupt:
            screen.say("Interrupted. To go on, run the same command again: what is there is not sent twice.")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            sender.stop.set()
            for thread in crew:
                thread.join(FAREWELL / parallel)


def work(waiting: SimpleQueue[LocalFile], outcomes: SimpleQueue[Outcome], sender: Sender, screen: ImportScreen) -> None:
    """Send files until none waits. Every file that was taken gives an outcome."""
    while not sender.stop.is_set():
        try:
            file = waiting.get_nowait()
        except Empty:
            return
        with screen.sending(file) as moved:
            try:
                outcomes.put((file, sender.send(file, moved)))
            except (VidariumError, OSError) as error:
                outcomes.put((file, error))


def collect(outcomes: SimpleQueue[Outcome], crew: list[threading.Thread], screen: ImportScreen) -> Counter[str]:
    """Show and count the outcomes until all threads have ended."""
    counts: Counter[str] = Counter()
    while True:
        at_work = any(thread.is_alive() for thread in crew)
        try:
            file, outcome = outcomes.get(timeout=0.2 if at_work else 0)
        except Empty:
            if not at_work:
                return counts
            continue
        if isinstance(outcome, Unreachable):
            raise outcome
        if isinstance(outcome, Interrupted):
            continue
        screen.outcome(file, outcome)
        counts["failed" if isinstance(outcome, Exception) else outcome.value] += 1
