"""The executor: one suite for every member. Real workers, a real store, the real ffmpeg."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from clips import make_clip, make_rotated, make_text

from vidarium.blobs import BlobStore
from vidarium.executor import (
    Done,
    Event,
    Executor,
    Failed,
    Failure,
    Frame,
    Progress,
    Rendered,
    Source,
    Started,
    StoredFile,
    Task,
)
from vidarium.executor.local import LocalExecutor
from vidarium.media.conversions import CONVERSIONS, Codec
from vidarium.media.ffmpeg import build, find_ffmpeg
from vidarium.media.probe import probe

MEMORY = 8_000_000_000
PATIENCE = 60.0
MP4 = CONVERSIONS["MP4 480p"]
ALL = tuple(CONVERSIONS.values())


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    (tmp_path / "blobs").mkdir()
    return BlobStore.open(str(tmp_path / "blobs"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "left-behind").write_text("by a killed server")
    return folder


@pytest.fixture
def executor(store: BlobStore, scratch: Path) -> Iterator[Executor]:
    made = LocalExecutor(store.url, find_ffmpeg(None), scratch, workers=1, memory=MEMORY)
    yield made
    made.stop()
    assert list(scratch.iterdir()) == []
    assert not descendants()


def descendants() -> list[str]:
    """Command lines of this process's children's children, workers and encodes, as far as they live."""
    alive = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    return [line for p in alive if "vidarium.executor" in (line := " ".join(p.cmdline())) or "ffmpeg" in line]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough that its encode can be caught at work."""
    return make_clip(tmp_path_factory.mktemp("clips") / "long.mp4", seconds=30, size="1280x720", audio=False)


def stored(store: BlobStore, path: Path) -> Source:
    digest, length = store.put_file(path)
    return Source(digest, length, path.name)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def collect(executor: Executor, last: Callable[[Event], bool]) -> list[Event]:
    """Events up to the first that is looked for."""
    seen: list[Event] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for event in executor.events(timeout=1):
            seen.append(event)
            if last(event):
                return seen
    raise AssertionError(f"it did not come; seen: {seen}")


def ended(executor: Executor, task: str) -> Done | Failed:
    *_, last = collect(executor, lambda event: isinstance(event, Done | Failed) and event.task == task)
    assert isinstance(last, Done | Failed)
    return last


def result(executor: Executor, task: str) -> Rendered:
    last = ended(executor, task)
    assert isinstance(last, Done), last
    return last.result


def task_for(store: BlobStore, path: Path, name: str) -> Task:
    return Task(name, stored(store, path), ALL)


def encoding(executor: Executor, task: Task) -> psutil.Process:
    """Submit, wait until it is encoding, and return the worker."""
    executor.submit(task)
    collect(executor, lambda event: isinstance(event, Progress) and event.task == task.id)
    (worker,) = [p for p in psutil.Process().children() if "vidarium.executor" in " ".join(p.cmdline())]
    assert any("ffmpeg" in child.name() for child in worker.children())
    return worker


def test_a_render_ends_in_the_store(executor: Executor, store: BlobStore, tmp_path: Path) -> None:
    source = stored(store, make_clip(tmp_path / "My film.mp4", seconds=11, size="320x180"))
    executor.submit(Task("one", source, ALL, storyboard=True, preview=True))
    events = collect(executor, lambda event: isinstance(event, Done | Failed))
    assert events[0] == Started("one")
    assert all(e.total == pytest.approx(11, abs=0.1) and e.done <= e.total for e in events if isinstance(e, Progress))
    assert any(isinstance(event, Progress) for event in events)
    (done,) = [event for event in events if isinstance(event, Done)]
    rendered = done.result
    assert (rendered.info.width, rendered.info.height, rendered.notes) == (320, 180, ())
    assert rendered.encoder == build(find_ffmpeg(None))
    for row, encode in zip(ALL, rendered.encodes, strict=True):
        assert (encode.conversion, encode.reason) == (row, None)
        assert encode.file is not None
        assert encode.file.name == f"My film{row.container.extension}"
        assert encode.file.mime_type == row.container.mime_type
        assert_same_file(store, encode.file, tmp_path, width=320)
    assert len(rendered.storyboard) == 9
    assert [frame.title for frame in rendered.views] == ["Small", "StaticPlayerView"]
    for frame in (*rendered.storyboard, *rendered.views):
        assert_is_picture(store, frame)


def assert_same_file(store: BlobStore, file: StoredFile, folder: Path, *, width: int) -> None:
    copy = folder / "copy"
    store.fetch(file.digest, copy)
    assert copy.stat().st_size == file.length == store.length(file.digest)
    assert probe(copy).info.width == width


def assert_is_picture(store: BlobStore, frame: Frame) -> None:
    assert frame.file.mime_type == "image/jpeg"
    assert frame.file.length == store.length(frame.file.digest)
    assert min(frame.width, frame.height) >= 80


def test_a_task_without_outputs_is_a_probe(executor: Executor, store: BlobStore, tmp_path: Path) -> None:
    executor.submit(Task("probe", stored(store, make_rotated(tmp_path / "phone.mp4"))))
    rendered = result(executor, "probe")
    assert (rendered.info.width, rendered.info.height, rendered.encodes) == (360, 640, ())


def test_bad_media_fails_for_good_and_the_next_task_works(executor: Executor, store: BlobStore, tmp_path: Path) -> None:
    executor.submit(Task("bad", stored(store, make_text(tmp_path / "text.mp4")), ALL))
    executor.submit(Task("good", stored(store, make_clip(tmp_path / "good.mp4", seconds=1)), (MP4,)))
    bad = ended(executor, "bad")
    assert isinstance(bad, Failed)
    assert (bad.failure, bad.reason.startswith("not a media file")) == (Failure.PERMANENT, True)
    assert result(executor, "good").encodes[0].file is not None


def test_missing_bytes_may_come_back(executor: Executor) -> None:
    executor.submit(Task("gone", Source("0" * 64, 10, "gone.mp4"), ALL))
    gone = ended(executor, "gone")
    assert isinstance(gone, Failed)
    assert gone.failure is Failure.TRANSIENT
    assert gone.reason


def test_one_failing_conversion_keeps_the_others(executor: Executor, store: BlobStore, tmp_path: Path) -> None:
    broken = replace(MP4, name="broken", video=Codec("h264", "libx264", ("-preset", "nonsense")))
    source = stored(store, make_clip(tmp_path / "in.mp4", seconds=1))
    executor.submit(Task("mixed", source, (broken, MP4)))
    first, second = result(executor, "mixed").encodes
    assert (first.file, first.permanent) == (None, True)
    assert first.reason is not None
    assert "nonsense" in first.reason
    assert second.file is not None


def test_cancel_stops_the_encode(executor: Executor, store: BlobStore, tmp_path: Path, long_clip: Path) -> None:
    worker = encoding(executor, task_for(store, long_clip, "long"))
    (encode,) = worker.children()
    executor.cancel("long")
    last = ended(executor, "long")
    assert isinstance(last, Failed)
    assert last.failure is Failure.CANCELLED
    until(lambda: is_gone(encode), "ffmpeg still runs")
    assert worker.is_running()  # it was asked, not killed
    executor.submit(Task("next", stored(store, make_clip(tmp_path / "next.mp4", seconds=1)), (MP4,)))
    assert result(executor, "next").encodes[0].file is not None


def test_cancel_of_a_waiting_task(executor: Executor, store: BlobStore, long_clip: Path) -> None:
    task = task_for(store, long_clip, "running")
    encoding(executor, task)
    executor.submit(replace(task, id="waiting"))
    executor.cancel("nobody's")
    executor.cancel("waiting")
    last = ended(executor, "waiting")
    assert isinstance(last, Failed)
    assert last.failure is Failure.CANCELLED


def test_a_worker_that_does_not_listen_is_killed(executor: Executor, store: BlobStore, long_clip: Path) -> None:
    worker = encoding(executor, task_for(store, long_clip, "deaf"))
    (encode,) = worker.children()
    worker.suspend()
    executor.cancel("deaf")
    last = ended(executor, "deaf")
    assert isinstance(last, Failed)
    assert last.failure is Failure.CANCELLED
    until(lambda: is_gone(encode) and is_gone(worker), "something still runs")


def test_a_killed_worker_is_lost_and_replaced(
    executor: Executor, store: BlobStore, tmp_path: Path, long_clip: Path
) -> None:
    worker = encoding(executor, task_for(store, long_clip, "unlucky"))
    (encode,) = worker.children()
    worker.kill()
    last = ended(executor, "unlucky")
    assert isinstance(last, Failed)
    assert last.failure is Failure.LOST
    assert last.reason.startswith("worker lost")
    until(lambda: is_gone(encode), "ffmpeg outlived its worker")
    executor.submit(Task("next", stored(store, make_clip(tmp_path / "next.mp4", seconds=1)), (MP4,)))
    assert result(executor, "next").encodes[0].file is not None


def test_ctrl_c_at_the_terminal_does_not_reach_a_worker(executor: Executor, store: BlobStore, tmp_path: Path) -> None:
    executor.submit(Task("first", stored(store, make_clip(tmp_path / "a.mp4", seconds=1))))
    assert result(executor, "first")
    (worker,) = [p for p in psutil.Process().children() if "vidarium.executor" in " ".join(p.cmdline())]
    worker.send_signal(signal.SIGINT)
    executor.submit(Task("second", stored(store, make_clip(tmp_path / "b.mp4", seconds=1))))
    assert result(executor, "second")
    assert worker.is_running()


def test_a_worker_gets_no_setting_of_the_server(
    executor: Executor, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDARIUM_DATABASE_URL", "postgresql://user:password@host/name")
    executor.submit(Task("any", stored(store, make_clip(tmp_path / "a.mp4", seconds=1))))
    assert result(executor, "any")
    (worker,) = [p for p in psutil.Process().children() if "vidarium.executor" in " ".join(p.cmdline())]
    assert "password" not in "".join(worker.environ().values())


def test_wake_ends_a_wait(executor: Executor) -> None:
    executor.wake()
    assert executor.events(timeout=PATIENCE * 10) == []


def test_stop_while_encoding_leaves_nothing(store: BlobStore, scratch: Path, long_clip: Path) -> None:
    executor = LocalExecutor(store.url, find_ffmpeg(None), scratch, workers=1, memory=MEMORY)
    worker = encoding(executor, task_for(store, long_clip, "long"))
    (encode,) = worker.children()
    executor.stop()
    assert is_gone(worker)
    assert is_gone(encode)
    assert executor.events(timeout=0) == []
    assert list(scratch.iterdir()) == []
    executor.stop()  # once more does no harm


def test_capacity_tasks_run_side_by_side(store: BlobStore, scratch: Path, long_clip: Path) -> None:
    executor = LocalExecutor(store.url, find_ffmpeg(None), scratch, workers=2, memory=MEMORY)
    try:
        assert executor.capacity == 2
        task = task_for(store, long_clip, "a")
        executor.submit(task)
        executor.submit(replace(task, id="b"))
        running: set[str] = set()
        collect(executor, lambda e: isinstance(e, Progress) and bool(running.add(e.task) or len(running) == 2))
    finally:
        executor.stop()


SERVER = """
import sys
from pathlib import Path
from vidarium.executor import Progress, Source, Task
from vidarium.executor.local import LocalExecutor
from vidarium.media.conversions import CONVERSIONS
from vidarium.media.ffmpeg import find_ffmpeg
url, scratch, digest, length = sys.argv[1:]
executor = LocalExecutor(url, find_ffmpeg(None), Path(scratch), 1, 8_000_000_000)
executor.submit(Task("t", Source(digest, int(length), "a.mp4"), tuple(CONVERSIONS.values())))
while True:
    if any(isinstance(event, Progress) for event in executor.events(1)):
        print("encoding", flush=True)
"""


def test_a_killed_server_leaves_no_process(store: BlobStore, scratch: Path, tmp_path: Path, long_clip: Path) -> None:
    task = task_for(store, long_clip, "t")
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    argv = [sys.executable, str(script), store.url, str(scratch), task.source.digest, str(task.source.length)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "encoding\n"
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) == 2  # a worker and its ffmpeg
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: all(is_gone(process) for process in family), "something outlived the server")
    # what the killed one left in the scratch goes at the next start
    LocalExecutor(store.url, find_ffmpeg(None), scratch, workers=1, memory=MEMORY).stop()
    assert list(scratch.iterdir()) == []


def test_a_worker_loads_neither_database_nor_web_server() -> None:
    code = "import sys, vidarium.executor.worker; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("sqlalchemy", "fastapi", "pydantic", "psycopg", "starlette", "lark"):
        assert f"'{heavy}'" not in loaded
