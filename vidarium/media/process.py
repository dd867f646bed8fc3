"""Runs one program on media: watched, limited, and never outliving the process that started it."""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vidarium.errors import MediaError, VidariumError
from vidarium.media.ffmpeg import progress_seconds
from vidarium.media.text import LOG_TAIL, log_text

TICK = 0.2  # seconds between two looks at the cancel signal and the limits
NICE = 10
PR_SET_PDEATHSIG = 1

# Words on stderr that speak of the machine, not of the media
PASSING = (
    "No space left on device",
    "Disk quota exceeded",
    "Cannot allocate memory",
    "Input/output error",
    "Too many open files",
    "Resource temporarily unavailable",
)


class Cancelled(VidariumError):
    """The work was stopped because its owner asked for it."""


@dataclass(frozen=True)
class Limits:
    """`memory`: bytes of address space. `deadline`: seconds of wall time. `stall`: seconds without any progress."""

    memory: int
    deadline: float
    stall: float = 60.0


@dataclass(frozen=True)
class Watch:
    """How the owner follows the work: `cancelled` is asked several times a second, `progress` told seconds done."""

    cancelled: Callable[[], bool] = lambda: False
    progress: Callable[[float], None] = lambda done: None


@dataclass(frozen=True)
class Ended:
    """How a program ended. `stopped`: why it was killed here. `done`: seconds of media it had written."""

    argv: tuple[str, ...]
    code: int
    log: str
    seconds: float
    done: float = 0.0
    stopped: str = ""

    @property
    def failed(self) -> bool:
        return self.code != 0 or bool(self.stopped)

    def error(self) -> MediaError:
        """Why it failed, with its last words. Not permanent: killed, no space, no memory."""
        last = self.log.splitlines()[-1] if self.log else f"exit code {self.code}"
        found = next((words for words in PASSING if words in self.log), "")
        if self.stopped:
            return MediaError(self.stopped, permanent=False, log=self.log, argv=self.argv)
        if self.code < 0:
            return MediaError(f"ffmpeg was killed by signal {-self.code}", False, self.log, self.argv)
        return MediaError(f"ffmpeg failed: {found or _cause(self.log) or last}", not found, self.log, self.argv)


@dataclass
class _Running:
    """What was heard from the program so far."""

    out: bytes = b""
    err: bytes = b""
    done: float = 0.0
    last_sign: float = field(default_factory=time.monotonic)
    reads: str = ""


def run(argv: tuple[str, ...], folder: Path, limits: Limits, watch: Watch) -> Ended:
    """Run until the end, a limit, or the owner's cancel (raises Cancelled; the process group is dead then).

    Must be called from the main thread of a process, which the program then never outlives.
    Raises MediaError, not permanent, if the program cannot be started.
    """
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            preexec_fn=_preparation(limits.memory),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(f"ffmpeg cannot be started: {error}", permanent=False, argv=argv) from error
    heard = _Running()
    with process:
        try:
            stopped = _follow(process, heard, limits, watch)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    return Ended(argv, code, log_text(heard.err), time.monotonic() - began, heard.done, stopped)


def _follow(process: subprocess.Popen[bytes], heard: _Running, limits: Limits, watch: Watch) -> str:
    """Read both pipes until the process ends; the reason if it has to be killed, else nothing."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + limits.deadline
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() or process.poll() is None:
            if selector.get_map():
                for key, _ in selector.select(TICK):
                    _hear(key.fileobj, process, heard, selector, watch)  # type: ignore[arg-type]
            else:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
            if watch.cancelled():
                raise Cancelled("cancelled")
            stopped = _over(process.pid, heard, limits, deadline)
            if stopped:
                return stopped
    return ""


def _hear(
    pipe: IO[bytes],
    process: subprocess.Popen[bytes],
    heard: _Running,
    selector: selectors.BaseSelector,
    watch: Watch,
) -> None:
    data = os.read(pipe.fileno(), 65536)
    if not data:
        selector.unregister(pipe)
    elif pipe is process.stderr:
        heard.err = (heard.err + data)[-LOG_TAIL:]
    else:
        *lines, heard.out = (heard.out + data).split(b"\n")
        said = [seconds for line in lines if (seconds := progress_seconds(line.decode("ascii", "replace"))) is not None]
        if said and said[-1] > heard.done:
            heard.done, heard.last_sign = said[-1], time.monotonic()
            watch.progress(heard.done)


def _over(pid: int, heard: _Running, limits: Limits, deadline: float) -> str:
    now = time.monotonic()
    if now > deadline:
        return f"ffmpeg was stopped: not finished within {limits.deadline:.0f} seconds"
    if now - heard.last_sign > limits.stall:
        reads = _reads(pid)
        if reads == heard.reads:
            return f"ffmpeg was stopped: no progress for {limits.stall:.0f} seconds"
        heard.reads, heard.last_sign = reads, now
    return ""


def _reads(pid: int) -> str:
    """How much a process has read, where the system tells: writing an index or a long seek is no stall."""
    try:
        return Path(f"/proc/{pid}/io").read_text().partition("\n")[0]
    except OSError:
        return ""


def _cause(log: str) -> str:
    """The first line that names a reason: those after it tell how the failure went through ffmpeg's threads."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    words = ("error", "invalid", "unable", "cannot", "could not", "no such", "not ", "unknown", "unsupported")
    return next((line for line in lines if any(word in line.lower() for word in words)), "")


def _preparation(memory: int) -> Callable[[], None]:
    """What the child does before it becomes the program. Everything it needs is looked up before the fork."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before the signal was set
                os._exit(1)
        os.nice(NICE)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return prepare
