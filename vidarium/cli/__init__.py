"""The command line: one file per command, listed here."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from vidarium.cli.client import Refused, Unreachable
from vidarium.cli.demo import demo
from vidarium.cli.doctor import doctor
from vidarium.cli.gc import gc
from vidarium.cli.importing import import_videos
from vidarium.cli.recompute import recompute
from vidarium.cli.serve import serve
from vidarium.cli.status import status
from vidarium.errors import VidariumError

COMMANDS: Mapping[str, Callable[..., Any]] = {
    "serve": serve,
    "demo": demo,
    "import": import_videos,
    "recompute": recompute,
    "status": status,
    "doctor": doctor,
    "gc": gc,
}

NO_SERVER = 3


def application() -> typer.Typer:
    """The commands as one program."""
    app = typer.Typer(
        help="A server for video libraries, and its client.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,  # they print local variables, and one of them is a password
    )
    for name, command in COMMANDS.items():
        app.command(name)(command)
    app.callback()(_root)
    return app


def _root() -> None:
    """A server for video libraries, and its client."""


def main() -> None:
    """Run what the command line says. What is expected to go wrong is one sentence on stderr, and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names may hold characters that this terminal's encoding lacks
    try:
        application()()
    except (Unreachable, Refused) as error:
        _complain(error, NO_SERVER)
    except VidariumError as error:
        _complain(error, 1)


def _complain(error: VidariumError, status: int) -> None:
    print(f"vidarium: {error}", file=sys.stderr)
    raise SystemExit(status)
