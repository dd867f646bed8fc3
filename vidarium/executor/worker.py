"""A worker process: takes one task at a time over a socket, renders it, puts the results into the blob store.

Started by `local.py`, which passes a socket and its own process id. Imports media and blobs only. It ends with its
server: by the parent-death signal, and by the end of the socket.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path, PurePosixPath

from obstore.exceptions import BaseError as StoreError

from vidarium.blobs import BlobStore
from vidarium.errors import MediaError, VidariumError
from vidarium.executor import (
    Done,
    Encode,
    Failed,
    Failure,
    Frame,
    Progress,
    Rendered,
    Started,
    StoredFile,
    Task,
)
from vidarium.media.ffmpeg import Ffmpeg, Input, open_ffmpeg
from vidarium.media.probe import probe
from vidarium.media.process import PR_SET_PDEATHSIG, Cancelled, Watch
from vidarium.media.render import Job, Picture, Rendition, render
from vidarium.media.text import clean_text

HEARTBEAT = 5.0  # seconds between two signs of life while ffmpeg runs
PATIENCE = 120.0  # seconds without a sign of life that the server grants in any case
SLOWEST_STORE = 1_000_000  # bytes per second; a store that is slower than this counts as stuck
SLOWEST_DISK = 20_000_000
LEAST_MEMORY = 4_000_000_000  # address space of the worker itself: decoders, the store's threads


@dataclass(frozen=True)
class Setup:
    """What a worker is told first. `scratch` is this worker's own folder; `threads` are those of each encoder."""

    blobs: str
    ffmpeg: Path
    scratch: Path
    memory: int
    threads: int


@dataclass(frozen=True)
class Alive:
    """A sign of life. `patience`: how many seconds may pass until the next one."""

    task: str
    patience: float


@dataclass(frozen=True)
class Cancel:
    """From the server: stop this task."""

    task: str


Order = Setup | Task | Cancel


class Line:
    """The worker's end of the socket. Messages are dataclasses, pickled: both ends are the same program."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: object) -> None:
        """Raises OSError when the server is gone."""
        self._connection.send(message)

    def receive(self) -> Order:
        """Waits for the next order; EOFError or OSError when the server is gone."""
        order: Order = self._connection.recv()
        return order

    def cancels(self, task: str) -> bool:
        """Whether the server wants this task stopped, or is gone."""
        try:
            while self._connection.poll(0):
                if self.receive() == Cancel(task):
                    return True
        except (EOFError, OSError):
            return True
        return False


def main(arguments: list[str]) -> int:
    """Serve until the server goes."""
    descriptor, parent = (int(argument) for argument in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the server decides what ends
    _end_with(parent)
    line = Line(Connection(descriptor))
    try:
        setup = line.receive()
        assert isinstance(setup, Setup)
        _limit(setup.memory)
        _serve(line, setup)
    except (EOFError, OSError):
        return 0
    return 0


def _serve(line: Line, setup: Setup) -> None:
    """One task after the other; ends by the exception of a closed socket."""
    ffmpeg = open_ffmpeg(setup.ffmpeg, setup.threads)
    while True:
        order = line.receive()
        if not isinstance(order, Task):
            continue  # the cancel of a task that has just ended
        line.send(Started(order.id))
        folder = setup.scratch / "task"
        try:
            ended = _ended(order, _Work(order, line, setup, ffmpeg, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        line.send(ended)


@dataclass(frozen=True)
class _Work:
    """All that one task needs."""

    task: Task
    line: Line
    setup: Setup
    ffmpeg: Ffmpeg
    folder: Path

    def alive(self, patience: float) -> None:
        self.line.send(Alive(self.task.id, patience))


def _ended(task: Task, work: _Work) -> Done | Failed:
    """The task's last event. What is not named here ends the worker, which the server reports as lost."""
    try:
        return Done(task.id, _rendered(work))
    except Cancelled:
        return Failed(task.id, Failure.CANCELLED, "cancelled")
    except MediaError as error:
        failure = Failure.PERMANENT if error.permanent else Failure.TRANSIENT
        return Failed(task.id, failure, error.reason, error.log)
    except (VidariumError, StoreError, OSError, MemoryError) as error:
        return Failed(task.id, Failure.TRANSIENT, clean_text(str(error)) or type(error).__name__)


def _rendered(work: _Work) -> Rendered:
    task = work.task
    work.folder.mkdir()
    store = BlobStore.open(work.setup.blobs)
    work.alive(PATIENCE + task.source.length / SLOWEST_STORE)
    source = _fetched(store, work)
    work.alive(PATIENCE + task.source.length / SLOWEST_DISK)
    probed = probe(source)
    job = Job(
        Input(source, probed),
        work.folder,
        work.setup.memory,
        task.conversions,
        storyboard=task.storyboard,
        preview=task.preview,
    )
    made = render(job, work.ffmpeg, _watch(work, probed.info.duration))
    stored = _Storing(store, work)
    return Rendered(
        info=probed.info,
        encodes=tuple(stored.encode(rendition) for rendition in made.renditions),
        storyboard=tuple(stored.frame(picture) for picture in made.storyboard),
        views=tuple(stored.frame(picture) for picture in made.views),
        encoder=work.ffmpeg.build,
        notes=tuple(clean_text(note) for note in made.notes),
    )


def _fetched(store: BlobStore, work: _Work) -> Path:
    """The source as a file whose name ends as the user's did: ffmpeg tells some formats by that alone."""
    source = work.task.source
    target = work.folder / f"source{_extension(source.name)}"
    local = store.local_path(source.digest)
    if local is None:
        store.fetch(source.digest, target)
    else:
        # resolved: ffmpeg runs elsewhere; checked: a link to nothing would be blamed on the media
        local.stat()
        target.symlink_to(local.absolute())
    return target


def _extension(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if len(suffix) <= 6 and suffix[1:].isascii() and suffix[1:].isalnum() else ""


def _watch(work: _Work, total: float) -> Watch:
    """Cancel orders and progress over the line; each look at the line is a sign of life now and then."""
    patience = PATIENCE + work.task.source.length / SLOWEST_DISK
    last = time.monotonic()

    def cancelled() -> bool:
        nonlocal last
        if time.monotonic() - last > HEARTBEAT:
            last = time.monotonic()
            work.alive(patience)
        return work.line.cancels(work.task.id)

    def progress(done: float) -> None:
        work.line.send(Progress(work.task.id, min(done, total) if total else done, total))

    return Watch(cancelled, progress)


@dataclass(frozen=True)
class _Storing:
    """Puts files into the store and describes them."""

    store: BlobStore
    work: _Work

    def encode(self, rendition: Rendition) -> Encode:
        conversion = rendition.conversion
        outcome = Encode(
            conversion,
            reason=clean_text(rendition.reason) if rendition.reason else None,
            permanent=rendition.permanent,
            seconds=rendition.seconds,
            log=rendition.log,
        )
        if rendition.path is None:
            return outcome
        # the rendition has the source's name with its own extension (spec/video-bulk.md C.3)
        base = PurePosixPath(self.work.task.source.name).stem or "video"
        name = f"{base}{conversion.container.extension}"
        return replace(
            outcome, file=self._file(rendition.path, name, conversion.container.mime_type), info=rendition.info
        )

    def frame(self, picture: Picture) -> Frame:
        still = picture.still
        file = self._file(picture.path, still.name, "image/jpeg")
        return Frame(file, still.size.width, still.size.height, still.timecode, still.title)

    def _file(self, path: Path, name: str, mime_type: str) -> StoredFile:
        self.work.alive(PATIENCE + path.stat().st_size / SLOWEST_STORE)
        digest, length = self.store.put_file(path)
        return StoredFile(digest, length, name, mime_type)


def _end_with(parent: int) -> None:
    """Die with the server, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the signal was set
        sys.exit(0)


def _limit(memory: int) -> None:
    """A hostile file can kill this worker at most."""
    size = max(memory, LEAST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
