"""SEAM: what runs renders. The ledger owns the work; an executor only runs it and tells what happens.

Members: `local.py` (worker processes of this machine). A task carries blob keys and recipes only, so it can be sent
to any machine that reaches the blob store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vidarium.media.conversions import Conversion
from vidarium.media.probe import VideoInfo


@dataclass(frozen=True)
class Source:
    """The blob to work on."""

    digest: str
    length: int
    name: str


@dataclass(frozen=True)
class Task:
    """One document's render: everything that one decode of its source can give.

    `id` is the fencing token of the claim. With no conversion, no storyboard and no preview it is a probe.
    """

    id: str
    source: Source
    conversions: tuple[Conversion, ...] = ()
    storyboard: bool = False
    preview: bool = False


@dataclass(frozen=True)
class StoredFile:
    """A file that was put into the blob store."""

    digest: str
    length: int
    name: str
    mime_type: str


@dataclass(frozen=True)
class Encode:
    """What became of one conversion: a `file` with its `info`, or a `reason` why not.

    `permanent`: trying again cannot help. `seconds`: wall time. `log`: the end of ffmpeg's stderr.
    """

    conversion: Conversion
    file: StoredFile | None = None
    info: VideoInfo | None = None
    reason: str | None = None
    permanent: bool = True
    seconds: float = 0.0
    log: str = ""


@dataclass(frozen=True)
class Frame:
    """A still: a storyboard frame with its `timecode` in seconds, or a preview view named `title`."""

    file: StoredFile
    width: int
    height: int
    timecode: float = 0.0
    title: str = ""


@dataclass(frozen=True)
class Rendered:
    """The result of a task. `encoder` names the ffmpeg build. `notes`: what was wrong with stills, if anything."""

    info: VideoInfo
    encodes: tuple[Encode, ...] = ()
    storyboard: tuple[Frame, ...] = ()
    views: tuple[Frame, ...] = ()
    encoder: str = ""
    notes: tuple[str, ...] = field(default=())


class Failure(StrEnum):
    """Why a task as a whole gave no result."""

    PERMANENT = "permanent"  # bad media: trying again cannot help
    TRANSIENT = "transient"  # anything that may pass: store unreachable, disk full
    LOST = "lost"  # the worker died under it
    CANCELLED = "cancelled"  # as asked


@dataclass(frozen=True)
class Started:
    task: str


@dataclass(frozen=True)
class Progress:
    """Seconds of media encoded so far, out of `total` (all outputs together count once: they advance in step)."""

    task: str
    done: float
    total: float


@dataclass(frozen=True)
class Done:
    task: str
    result: Rendered


@dataclass(frozen=True)
class Failed:
    task: str
    failure: Failure
    reason: str
    log: str = ""


Event = Started | Progress | Done | Failed


class Executor(Protocol):
    """Runs tasks. Each submitted task ends with exactly one Done or Failed, whatever happens to its worker."""

    @property
    def capacity(self) -> int:
        """How many tasks may run at once."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task; never blocks on the work itself."""
        ...

    def cancel(self, task: str) -> None:
        """Stop a task within seconds, its ffmpeg included; Failed(CANCELLED) follows. Unknown ids are ignored."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call; waits up to `timeout` seconds for the first event."""
        ...

    def wake(self) -> None:
        """Make a waiting `events` return now."""
        ...

    def stop(self) -> None:
        """Kill what runs, end the workers, clean the scratch. No event follows."""
        ...
