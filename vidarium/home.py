"""The folder of one server: what lies where, who holds it."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from vidarium.errors import StartError


class HomeHeld(StartError):
    """Another process holds the home."""


@dataclass(frozen=True)
class Home:
    """An open home: locked until `close`. `server_id` names this server in the ledger, across restarts.

    The home itself may be searched by others when root made it (the database's user must reach `postgres`);
    all that lies in it is private.
    """

    folder: Path
    server_id: uuid.UUID
    _lock: IO[str] | None = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Home:
        """Create the home if need be, and lock it.

        Raises StartError if it cannot be used, HomeHeld if a server has it (the text has its process id).
        """
        folder = folder.expanduser().resolve()
        try:
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(exist_ok=True)
                folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            with ExitStack() as undo:
                lock = undo.enter_context(_lock(folder / "lock"))
                home = cls(folder, _server_id(folder / "server-id"), lock)
                for private in (home.scratch, home.blobs):
                    private.mkdir(mode=0o700, exist_ok=True)
                undo.pop_all()
        except OSError as error:
            raise StartError(f"The home {folder} cannot be used: {error.strerror}: {error.filename}.") from None
        return home

    @classmethod
    def beside(cls, folder: Path) -> Home:
        """The home of a server that runs, for commands that work beside it; not locked."""
        folder = folder.expanduser().resolve()
        return cls(folder, _server_id(folder / "server-id"), None)

    @property
    def scratch(self) -> Path:
        """Work files of encodes."""
        return self.folder / "scratch"

    @property
    def blobs(self) -> Path:
        """The default blob store."""
        return self.folder / "blobs"

    @property
    def postgres(self) -> Path:
        """The embedded database, or a symbolic link to where it had to go."""
        return self.folder / "postgres"

    def close(self) -> None:
        """Give the home free."""
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Home:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(path: Path) -> IO[str]:
    """Hold `path` by flock: the kernel gives it free with the process, however that ends."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = file.read().strip() or "unknown"
        file.close()
        raise HomeHeld(
            f"The home {path.parent} is held by another server, process {holder}."
            " Stop that one, or give this one a home of its own with --home."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _server_id(path: Path) -> uuid.UUID:
    """The id kept in `path`, made on the first start."""
    if path.exists():
        try:
            return uuid.UUID(path.read_text().strip())
        except ValueError:
            raise StartError(f"{path} does not hold the id of a server. Remove it, and a new one is made.") from None
    made = uuid.uuid4()
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{made}\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return made
