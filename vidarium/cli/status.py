"""`vidarium status`: how a command stands, and what failed in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from vidarium.cli.client import Client, Refused, pages
from vidarium.cli.options import DEFAULT_URL, DEFAULT_USER, Url, User, connect
from vidarium.cli.progress import clean, read_snapshot, summary_text
from vidarium.cli.watch import watch

PAGE = 50


def status(
    command: Annotated[str, typer.Argument(metavar="ID", help="The command's id, as printed by recompute.")],
    follow: Annotated[bool, typer.Option("--watch", help="Stay and show the progress until it ends.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="List each failed document: what, why, the log.")] = False,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Show how a bulk command stands.

    \b
    Examples:
      vidarium status 6d1c9c0e-55b4-4f0f-9c2b-2f5f0a2f7a11
      vidarium status 6d1c9c0e-55b4-4f0f-9c2b-2f5f0a2f7a11 --watch
      vidarium status 6d1c9c0e-55b4-4f0f-9c2b-2f5f0a2f7a11 --failed

    \b
    Exit status: 0 running, or ended without errors; 1 ended with errors or aborted;
    2 wrong usage; 3 the server cannot be reached or refused (also: no such command).
    """
    console = Console()
    with connect(url, user) as client:
        command = quote(command, safe="")
        if follow:
            snapshot = watch(client, command, console)
        else:
            snapshot = read_snapshot(client, command)
            console.print(summary_text(snapshot), markup=False, highlight=False, soft_wrap=True)
        if failed:
            for line in failures(client, command):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        if snapshot.failed:
            raise typer.Exit(1)


def failures(client: Client, command: str) -> Iterator[str]:
    """Lines on every failed document of a command, page by page. A server without such lists gets one line."""
    try:
        for entry in pages(client, f"management/bulk/{command}/documents", {"state": "failed", "pageSize": PAGE}):
            yield from failure_lines(entry)
    except Refused as refused:
        if refused.status not in {403, 404}:
            raise
        yield "This server does not list the failed documents of a command to you."


def failure_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """A failed document: its path and id, then each failed conversion with its reason and the end of its log."""
    where = clean(str(entry.get("path") or "(no path)"))
    attempts = f", attempt {entry['attempt']}" if (entry.get("attempt") or 0) > 1 else ""
    yield f"{where} ({clean(str(entry['document']))}{attempts})"
    if entry.get("error"):
        yield f"  {clean(str(entry['error']))}"
    for conversion in entry.get("conversions") or ():
        if conversion.get("state") == "failed":
            yield f"  {clean(str(conversion['name']))}: {clean(str(conversion.get('reason') or 'no reason given'))}"
            yield from (f"    | {clean(line)}" for line in str(conversion.get("log") or "").splitlines())
