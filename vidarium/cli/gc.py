"""`vidarium gc`: remove blobs that no document uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vidarium import config

HOUR = 3600


def gc(
    home: Annotated[Path | None, typer.Option(help="Home of the server.")] = None,
    grace: Annotated[
        float | None, typer.Option(help="Hours a blob without owner is kept; 24 unless set otherwise.", min=0)
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL to use instead of the embedded one.")] = None,
    blobs: Annotated[str | None, typer.Option(help="Blob store: a folder, or a URL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
) -> None:
    """Remove blobs without owner, and upload batches that nobody has touched for long.

    The server of the home may run meanwhile.

    \b
    Examples:
      vidarium gc --dry-run
      vidarium gc --home /srv/vidarium --grace 0
    """
    from vidarium import ownership  # here: the other commands start faster without them
    from vidarium.app import open_stores_beside

    settings = config.load(home=home, database_url=database_url, blobs=blobs, blob_grace_hours=grace)
    console = Console()
    with open_stores_beside(settings) as stores:
        if not dry_run:
            ownership.expire_batches(stores.engine, stores.blobs, settings.upload_expiry_hours * HOUR)
        found = ownership.collect(stores.engine, stores.blobs, settings.blob_grace_hours * HOUR, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    console.print(f"{found.blobs} blobs and {found.objects} stray objects {verb}, {found.bytes:,} bytes.")
