"""What can go wrong, in the library's words. `rest/errors.py` has the one table that maps these to HTTP statuses.

The text of an error says what is wrong and, where it can, what to do next.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass


class VidariumError(Exception):
    """Any error this product raises on purpose; its text may be shown to the caller."""


class BadRequest(VidariumError):
    """The caller's input cannot be used as it is."""


class QueryError(BadRequest):
    """An NXQL query that cannot be parsed or compiled. `offset` is the 0-based character position, if known."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class Unauthorized(VidariumError):
    """No credentials, or wrong ones."""


class Forbidden(VidariumError):
    """The principal may not do this. An empty text is sent as a null message (spec/rest.md 1.2)."""


class NotFound(VidariumError):
    """No such thing, or hidden from the caller."""


class Conflict(VidariumError):
    """The state of the stored thing does not allow this now."""


class TooLarge(VidariumError):
    """The input is over a limit."""


class NoSpace(VidariumError):
    """The disk would run full."""


class BlobMissing(VidariumError):
    """Bytes that a row speaks of are not in the store."""


class StartError(VidariumError):
    """The server cannot start; the text says why and what to do about it."""


@dataclass
class MediaError(VidariumError):
    """A media file that cannot be used, or a program that failed on it.

    `permanent`: trying again cannot help (bad media). `log`: the end of the program's stderr. `argv`: the command line,
    ready to be run again by hand.
    """

    reason: str
    permanent: bool = True
    log: str = ""
    argv: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.reason

    @property
    def command_line(self) -> str:
        """The command as one line for a shell; empty if no program was started."""
        return shlex.join(self.argv)
