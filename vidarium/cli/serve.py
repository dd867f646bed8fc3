"""`vidarium serve`: HTTP, dispatcher, encodes and the embedded database, in one command."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn

from vidarium import config, logs
from vidarium.config import Settings
from vidarium.errors import StartError

log = structlog.get_logger()

DRAIN_SECONDS = 10
"""How long requests that are being answered may take once the server stops."""


def serve(
    home: Annotated[Path | None, typer.Option(help="Folder for database, blobs and work files.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL to use instead of the embedded one.")] = None,
    blobs: Annotated[str | None, typer.Option(help="Blob store: a folder, or a URL such as s3://bucket.")] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Every option is also a setting in the environment (VIDARIUM_HOME, …), where there are more of them; see
    docs/operations.md.

    \b
    Examples:
      vidarium serve
      vidarium serve --home /srv/vidarium --port 8081
      vidarium serve --database-url postgresql://vidarium@db/vidarium --blobs s3://videos

    \b
    Exit status: 0 stopped as asked; 1 the server could not start, the reason is said.
    """
    settings = config.load(home=home, host=host, port=port, database_url=database_url, blobs=blobs)
    logs.configure(as_json=settings.log_json)
    run(settings)


def run(settings: Settings) -> None:
    """Serve until a signal comes. Raises StartError."""
    from vidarium import app, rest  # here: the other commands start faster without them

    listening = _listen(settings)
    _on_signals(lambda *_: sys.exit(0))
    with listening, app.running(settings) as server:
        if server.context.users.default_password_stands() and not is_loopback(settings.host):
            raise StartError(
                f"Administrator still has the default password, so {settings.host} would be open to everybody. Change "
                "the password first (on a server that listens on 127.0.0.1), or listen on 127.0.0.1."
            )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{listening.getsockname()[1]}/nuxeo"
        web = uvicorn.Server(
            uvicorn.Config(
                rest.build(server.context),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # a header must not decide who the client is
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        _on_signals(lambda *_: None)  # uvicorn sets its own, and raises the signal again when it has stopped
        log.info("ready", url=url, home=str(server.stores.home.folder))
        web.run(sockets=[listening])
        log.info("stopping")
    log.info("stopped")


def _on_signals(handler: Callable[..., None]) -> None:
    """What Ctrl-C and SIGTERM do: an exception while starting, so that what has begun ends in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(settings: Settings) -> socket.socket:
    """The socket, open before anything else is started: a taken port is known at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise StartError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose another --port, or 0 for a"
            " free one."
        ) from None
