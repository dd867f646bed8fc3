"""`vidarium recompute`: have the server make renditions."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from vidarium.cli.options import DEFAULT_URL, DEFAULT_USER, Url, User, connect
from vidarium.cli.progress import parse
from vidarium.cli.watch import watch


def recompute(
    query: Annotated[str, typer.Option("--query", help="NXQL: which documents. Without: videos without any.")] = "",
    conversion: Annotated[
        list[str] | None, typer.Option("--conversion", help="Name of a conversion; may be repeated. Without: all.")
    ] = None,
    all_info: Annotated[bool, typer.Option("--all-info", help="Read every file's video info anew.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Encode even what is there already (Vidarium only).")] = False,
    follow: Annotated[bool, typer.Option("--watch", help="Stay and show the progress until it ends.")] = False,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Recompute renditions of the videos that a query names.

    Without --query: of all videos that have none. The command runs on the server; its id is printed.

    \b
    Examples:
      vidarium recompute --watch
      vidarium recompute --conversion "MP4 480p" --conversion "WebM 480p"
      vidarium recompute --query "SELECT * FROM Video WHERE ecm:path STARTSWITH '/default-domain'" --watch

    \b
    Exit status: 0 accepted, or with --watch ended without errors; 1 ended with errors or aborted;
    2 wrong usage; 3 the server cannot be reached or refused.
    """
    console = Console()
    with connect(url, user) as client:
        fields = form(query, conversion or [], all_info=all_info, force=force)
        started = parse(client.post_form("management/videos/recompute", fields))
        console.print(f"Command {started.command} {started.state}", markup=False, highlight=False, soft_wrap=True)
        if follow and watch(client, started.command, console).failed:
            raise typer.Exit(1)


def form(query: str, conversions: list[str], *, all_info: bool, force: bool) -> dict[str, str | list[str]]:
    """The fields of the request (spec/video-bulk.md A.1); what is not asked for is left out."""
    fields: dict[str, str | list[str]] = {}
    if query.strip():
        fields["query"] = query
    if conversions:
        fields["conversionNames"] = conversions
    if all_info:
        fields["recomputeAllVideoInfo"] = "true"
    if force:
        fields["force"] = "true"
    return fields
