"""What an import shows: bars in a terminal, one line per file elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from vidarium.cli.discovery import LocalFile, Problem
from vidarium.cli.progress import clean, size_text
from vidarium.cli.sending import Sent


class ImportScreen:
    """Shows how an import of `files` files of `length` bytes goes. `sending` may be called from several threads."""

    def __init__(self, console: Console, *, files: int, length: int) -> None:
        self._console = console
        self._files = files
        self._done = 0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._bars.add_task(f"{files} files", total=length)

    def __enter__(self) -> ImportScreen:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """A line of text as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def problem(self, problem: Problem) -> None:
        """A file that is not sent, and why."""
        self.say(f"{'failed' if problem.fatal else 'left out'}  {shown(problem.path)}: {problem.reason}")

    @contextmanager
    def sending(self, file: LocalFile) -> Iterator[Callable[[int], None]]:
        """A bar for one file; what is yielded counts bytes on their way."""
        bar = self._bars.add_task(escape(shown(Path(file.path.name))), total=file.length)
        counted = 0

        def moved(count: int) -> None:
            nonlocal counted
            counted += count
            self._bars.advance(bar, count)
            self._bars.advance(self._all, count)

        try:
            yield moved
        finally:
            self._bars.advance(self._all, file.length - counted)  # sent or not, it is behind us
            self._bars.remove_task(bar)

    def outcome(self, file: LocalFile, outcome: Sent | Exception) -> None:
        """What became of a file. In a terminal only what a user must know, elsewhere a line for each file."""
        self._done += 1
        self._bars.update(self._all, description=f"{self._done}/{self._files} files")
        name = f"{shown(file.path)} ({size_text(file.length)})"
        if isinstance(outcome, Exception):
            self.say(f"failed  {name}: {reason(outcome)}")
        elif not self._console.is_terminal:
            self.say(f"{outcome.value}  {name}")
        if outcome is Sent.SENT and os.fsencode(file.path.name) != file.title.encode():
            self.say(f"note  {shown(file.path)}: its name is no plain text; it is called {file.title!r} on the server")

    def summary(self, counts: Counter[str]) -> None:
        """The last line: how many files were sent, were there, failed, and if any, were not reached."""
        if not self._files and not counts.total():
            self.say("No video file was found.")
            return
        rest = f", {counts['not reached']} not reached" if counts["not reached"] else ""
        there = counts[Sent.THERE.value]
        self.say(f"{counts[Sent.SENT.value]} sent, {there} already there, {counts['failed']} failed{rest}.")


def shown(path: Path) -> str:
    """A local path that can be printed whatever its bytes are."""
    return clean(str(path))


def reason(error: Exception) -> str:
    """Why a file was not sent, in a clause."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error)
