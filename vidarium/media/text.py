"""Text that comes from media files and from programs, made fit for storage."""

from __future__ import annotations

LOG_TAIL = 4000  # bytes of a program's stderr that are kept


def clean_text(text: str) -> str:
    """Without control characters and lone surrogates: PostgreSQL's JSON takes neither NUL nor half a surrogate pair."""
    sound = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in sound if c in "\n\t" or (c >= " " and c != "\x7f"))


def log_text(raw: bytes) -> str:
    """The end of a program's output as text; progress bars' carriage returns become line ends."""
    return clean_text(raw[-LOG_TAIL:].decode("utf-8", "replace").replace("\r", "\n")).strip()
