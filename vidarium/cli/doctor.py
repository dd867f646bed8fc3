"""`vidarium doctor`: does everything that a server needs work here?"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vidarium import config
from vidarium.config import Settings
from vidarium.errors import VidariumError

Finding = tuple[str, str | None, str]
"""What was looked at, what is wrong with it (None: nothing), what was found."""


def doctor(
    home: Annotated[Path | None, typer.Option(help="Home of the server.")] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL to use instead of the embedded one.")] = None,
    blobs: Annotated[str | None, typer.Option(help="Blob store: a folder, or a URL.")] = None,
) -> None:
    """Check settings, ffmpeg with its encoders, free space, database and blob store, and say what is missing.

    The server of the home may run meanwhile.

    \b
    Exit status: 0 all is well; 1 something is not, each line says what to do.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    settings = config.load(home=home, database_url=database_url, blobs=blobs)
    healthy = True
    for title, problem, found in findings(settings):
        console.print(f"{'ok   ' if problem is None else 'WRONG'}  {title}: {problem or found}")
        healthy &= problem is None
    if not healthy:
        raise typer.Exit(1)


def findings(settings: Settings) -> Iterator[Finding]:
    """One finding per thing that a server needs."""
    yield from _checked("ffmpeg", lambda: _ffmpeg(settings))
    yield from _checked("home, database and blob store", lambda: _stores(settings))


def _checked(title: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except (VidariumError, OSError) as error:
        yield title, str(error).splitlines()[0], ""


def _ffmpeg(settings: Settings) -> Iterator[Finding]:
    from vidarium.app import impossible_conversions
    from vidarium.media.conversions import CONVERSIONS
    from vidarium.media.ffmpeg import build, find_ffmpeg

    ffmpeg = find_ffmpeg(settings.ffmpeg)
    yield "ffmpeg", None, f"{ffmpeg} ({build(ffmpeg)})"
    impossible = impossible_conversions(ffmpeg)
    for name in CONVERSIONS:
        lacking = impossible.get(name)
        advice = f"{lacking}: use the bundled ffmpeg (unset VIDARIUM_FFMPEG), or one built with it"
        yield f"conversion {name}", advice if lacking else None, "possible"


def _stores(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy import text

    from vidarium.app import open_stores_beside

    with open_stores_beside(settings) as stores:
        with stores.engine.connect() as connection:
            version = connection.scalar(text("SHOW server_version"))
            count = connection.scalar(text("SELECT count(*) FROM document"))
        kind = "external" if settings.database_url else "embedded"
        yield "database", None, f"PostgreSQL {version}, {kind}, {count} documents"
        digest, length = stores.blobs.put_bytes(b"vidarium doctor")
        whole = stores.blobs.length(digest) == length
        yield "blob store", None if whole else "a blob that was written cannot be read back", stores.blobs.url
        free = shutil.disk_usage(stores.home.scratch).free
        low = free < settings.free_space
        advice = f"{free:,} bytes free, nothing starts below {settings.free_space:,}: make room"
        yield "free space", advice if low else None, f"{free:,} bytes in {stores.home.scratch}"
