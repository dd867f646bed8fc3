"""A throw-away server for the demo: a process of its own, in a temporary home, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vidarium.cli.progress import clean
from vidarium.errors import StartError

KEPT_SETTINGS = frozenset({"VIDARIUM_FFMPEG", "VIDARIUM_WORKERS", "VIDARIUM_FFMPEG_MEMORY", "VIDARIUM_FREE_SPACE"})
READY = re.compile(r"http://127\.0\.0\.1:\d+/nuxeo")
START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL = 0.1
TAIL = 30


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The server's environment. The user's own settings stay out: they may name a database that matters."""
    kept = {name: value for name, value in inherited.items() if not foreign_setting(name)}
    return kept | {"VIDARIUM_AUTOMATIC_CONVERSIONS": "false"}  # so that the recompute has something to do


def foreign_setting(name: str) -> bool:
    """Whether an environment variable is a setting of a server that the demo's must not have."""
    return name.upper().startswith("VIDARIUM_") and name.upper() not in KEPT_SETTINGS


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """A server with its home and log in a folder; yields its URL (with /nuxeo) and stops it in the end.

    Raises StartError with the end of its log if it does not come up.
    """
    log = folder / "server.log"
    command = [sys.executable, "-m", "vidarium", "serve", "--home", str(folder / "home"), "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the server in order
        )
    try:
        yield wait_until_ready(process, log)
    finally:
        stop(process)


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL from the server's log, once it stands there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if found := READY.search(log.read_text(errors="replace")):
            return found.group()
        if ended:
            raise StartError(f"The server ended with status {process.returncode}. The end of its log:\n{tail(log)}")
        time.sleep(POLL)
    raise StartError(f"The server was not ready after {START_SECONDS:.0f} s. The end of its log:\n{tail(log)}")


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(clean(line) for line in log.read_text(errors="replace").splitlines()[-TAIL:])


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server in order, or by force if that takes too long."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
