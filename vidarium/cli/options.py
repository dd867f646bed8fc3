"""The options that every client command has, and the client they describe."""

from __future__ import annotations

import os
from typing import Annotated

import httpx
import typer

from vidarium.cli.client import Client

DEFAULT_URL = "http://localhost:8080/nuxeo"
DEFAULT_USER = "Administrator"

Url = Annotated[str, typer.Option("--url", envvar="NUXEO_URL", help="Address of the server, with its /nuxeo.")]
User = Annotated[
    str,
    typer.Option(
        "--user",
        envvar="NUXEO_USER",
        metavar="NAME[:PASSWORD]",
        show_default=False,
        help="Who you are. Without a password here NUXEO_PASSWORD is used; Administrator's is Administrator "
        "on a fresh server.",
    ),
]


def connect(url: str, user: str) -> Client:
    """A client for what the options say; opens no connection yet. Raises typer.BadParameter."""
    name, colon, password = user.partition(":")
    if not colon:
        password = os.environ.get("NUXEO_PASSWORD") or (DEFAULT_USER if name == DEFAULT_USER else "")
    if not name or not password:
        raise typer.BadParameter("Give --user NAME:PASSWORD, or the password in NUXEO_PASSWORD.")
    return Client(checked_url(url), name, password)


def checked_url(url: str) -> str:
    """The address, if a client can use it; else typer.BadParameter."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"Not an address: {error}") from None
    if parsed.userinfo:
        raise typer.BadParameter("No user or password in the address, please: use --user.")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise typer.BadParameter(f"Not an address: {url!r}. It looks like {DEFAULT_URL}.")
    return url
