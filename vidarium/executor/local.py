"""Runs tasks in worker processes of this machine.

One supervisor thread owns the workers for as long as the executor lives: a worker's parent-death signal is tied to
the thread that started it. Everybody else talks to that thread through a queue and a socket that wakes it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import psutil

from vidarium.executor import Done, Event, Failed, Failure, Progress, Started, Task
from vidarium.executor.worker import PATIENCE, Alive, Cancel, Setup

TICK = 0.5  # seconds between two looks at the workers' deadlines
CANCEL_GRACE = 3.0  # seconds for a worker to stop its ffmpeg, before it is killed
END_GRACE = 3.0  # the same at the executor's end
# Imported by its name, not run as __main__: the messages' classes must be the same at both ends
ENTRY = "import sys; from vidarium.executor.worker import main; sys.exit(main(sys.argv[1:]))"
OWN_SETTINGS = "VIDARIUM_"  # not handed to workers: they decode hostile files and need no password


@dataclass
class _Worker:
    """A worker process and its task. `until`: when it counts as stuck. `cancelled`: the task's end was asked for."""

    process: subprocess.Popen[bytes]
    connection: Connection
    scratch: Path
    task: Task | None = None
    until: float = 0.0
    cancelled: bool = False


@dataclass
class _Outbox:
    """Events on their way out. A wake makes one waiting or coming `take` return at once."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    events: list[Event] = field(default_factory=list)
    woken: bool = False
    closed: bool = False

    def put(self, event: Event) -> None:
        with self.changed:
            if not self.closed:
                self.events.append(event)
                self.changed.notify_all()

    def wake(self) -> None:
        with self.changed:
            self.woken = True
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.events.clear()
            self.changed.notify_all()

    def take(self, timeout: float) -> list[Event]:
        with self.changed:
            self.changed.wait_for(lambda: self.events or self.woken or self.closed, timeout)
            taken, self.events, self.woken = self.events, [], False
            return taken


class LocalExecutor:
    """The executor of one machine (see `executor.Executor`). Workers start when there is work for them.

    `blobs_url`: the store as `BlobStore.open` takes it. `scratch`: a folder of its own; what is in it goes.
    `memory`: bytes of address space for one ffmpeg.
    """

    def __init__(self, blobs_url: str, ffmpeg: Path, scratch: Path, workers: int, memory: int) -> None:
        self._setup = Setup(blobs_url, ffmpeg, scratch.absolute(), memory, _threads(workers))
        self._capacity = workers
        self._orders: deque[Callable[[], None]] = deque()  # run by the supervisor; appending is atomic
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._started = 0
        self._outbox = _Outbox()
        self._stopping = False
        _clean(self._setup.scratch)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._supervisor = threading.Thread(target=self._supervise, name="local-executor", daemon=True)
        self._supervisor.start()

    @property
    def capacity(self) -> int:
        """How many tasks may run at once."""
        return self._capacity

    def submit(self, task: Task) -> None:
        """Take a task; it starts as soon as a worker is free."""
        self._order(lambda: self._waiting.append(task))

    def cancel(self, task: str) -> None:
        """Stop a task within seconds, its ffmpeg included; Failed(CANCELLED) follows. Unknown ids are ignored."""
        self._order(lambda: self._cancel(task))

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call; waits up to `timeout` seconds for the first event."""
        return self._outbox.take(timeout)

    def wake(self) -> None:
        """Make a waiting `events` return now."""
        self._outbox.wake()

    def stop(self) -> None:
        """Kill what runs, end the workers, clean the scratch. No event follows."""
        self._outbox.close()
        self._stopping = True
        self._ring()
        self._supervisor.join()
        self._bell.close()
        self._ear.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError, OSError):  # full: it will wake anyway; closed: it has ended
            self._bell.send(b"!")

    # From here on: the supervisor thread only.

    def _supervise(self) -> None:
        while not self._stopping:
            self._listen()
            while self._orders:
                self._orders.popleft()()
            self._check()
            self._assign()
        self._end()

    def _listen(self) -> None:
        """Wait for a word from any worker or from outside, and take it in."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait([self._ear, *by_connection], TICK):
            if ready is self._ear:
                with suppress(BlockingIOError):
                    self._ear.recv(4096)
                continue
            worker = by_connection[cast(Connection, ready)]
            try:
                self._heard(worker, worker.connection.recv())
            except (EOFError, OSError, ValueError, UnpicklingError):
                self._lost(worker, "the worker process ended")

    def _heard(self, worker: _Worker, message: Event | Alive) -> None:
        if worker.task is None or message.task != worker.task.id:
            return
        match message:
            case Alive(_, patience):
                self._expect(worker, patience)
            case Started() | Progress():
                if not worker.cancelled:
                    self._outbox.put(message)
            case Done() | Failed():
                self._finish(worker, message)

    def _expect(self, worker: _Worker, patience: float) -> None:
        if not worker.cancelled:  # a cancelled task has its own, shorter deadline
            worker.until = time.monotonic() + patience

    def _finish(self, worker: _Worker, event: Done | Failed) -> None:
        """The task's one last event; whatever came of a cancelled task, cancelled it is."""
        self._outbox.put(_cancelled(event.task) if worker.cancelled else event)
        worker.task, worker.cancelled = None, False

    def _check(self) -> None:
        now = time.monotonic()
        for worker in [w for w in self._workers if w.task is not None and now > w.until]:
            self._lost(worker, "the worker process was stuck and has been killed")

    def _assign(self) -> None:
        """Give waiting tasks to idle workers, starting workers up to the capacity."""
        while self._waiting:
            worker = next((w for w in self._workers if w.task is None), None)
            if worker is None and len(self._workers) >= self._capacity:
                return
            task = self._waiting.popleft()
            try:
                worker = worker or self._start()
            except OSError as error:
                reason = f"no worker process can be started: {error}"
                self._outbox.put(Failed(task.id, Failure.TRANSIENT, reason))
                continue
            worker.task, worker.cancelled = task, False
            self._expect(worker, PATIENCE)
            self._send(worker, task)

    def _send(self, worker: _Worker, order: Task | Cancel) -> None:
        try:
            worker.connection.send(order)
        except OSError:
            self._lost(worker, "the worker process ended")

    def _start(self) -> _Worker:
        """A new worker process, which takes orders as soon as it is up."""
        self._started += 1
        scratch = self._setup.scratch / f"worker-{self._started}"
        scratch.mkdir(parents=True)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                (sys.executable, "-c", ENTRY, str(theirs.fileno()), str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C at the terminal is for the server
                env={name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)},
            )
        worker = _Worker(process, Connection(ours.detach()), scratch)
        self._workers.append(worker)
        setup = self._setup
        with suppress(OSError):  # dead already: the first task on it will tell
            worker.connection.send(Setup(setup.blobs, setup.ffmpeg, scratch, setup.memory, setup.threads))
        return worker

    def _cancel(self, task: str) -> None:
        for waiting in [t for t in self._waiting if t.id == task]:
            self._waiting.remove(waiting)
            self._outbox.put(_cancelled(task))
        for worker in [w for w in self._workers if w.task is not None and w.task.id == task and not w.cancelled]:
            worker.cancelled, worker.until = True, time.monotonic() + CANCEL_GRACE
            self._send(worker, Cancel(task))

    def _lost(self, worker: _Worker, reason: str) -> None:
        """Take a worker out; its task, if any, ends here. The next task starts another one."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        _kill(worker)
        shutil.rmtree(worker.scratch, ignore_errors=True)
        if worker.task is not None:
            code = worker.process.returncode
            self._finish(worker, Failed(worker.task.id, Failure.LOST, f"worker lost: {reason} (exit code {code})"))

    def _end(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # a worker that hears stops its ffmpeg and goes
        deadline = time.monotonic() + END_GRACE
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            _kill(worker)
        self._workers.clear()
        _clean(self._setup.scratch)


def _cancelled(task: str) -> Failed:
    return Failed(task, Failure.CANCELLED, "cancelled")


def _kill(worker: _Worker) -> None:
    """End a worker and its ffmpeg, and wait until both are gone."""
    worker.connection.close()
    children: list[psutil.Process] = []
    if worker.process.poll() is None:  # else its id may be another process's by now
        with suppress(psutil.Error):
            children = psutil.Process(worker.process.pid).children(recursive=True)
        worker.process.kill()
        worker.process.wait()
    for child in children:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=END_GRACE)


def _threads(workers: int) -> int:
    """Threads of each encoder: the cores this process may use, shared out."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // max(1, workers))


def _clean(folder: Path) -> None:
    """Empty the scratch folder, making it if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
