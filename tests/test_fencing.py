"""Results that come too late change nothing: the file was replaced, the claim was taken over, the command aborted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from vidarium import library as libraries
from vidarium.actions.process_video import ProcessVideo
from vidarium.actions.recompute_video_conversion import RecomputeVideoConversion
from vidarium.blobs import BlobStore
from vidarium.bulk import Again, Claim, Ended, ItemState, NewCommand, Work, items
from vidarium.bulk.ledger import Ledger
from vidarium.bulk.scroll import next_scroll, scroll
from vidarium.documents import Document, Ref, TextBlob
from vidarium.executor import Encode, Rendered, StoredFile
from vidarium.library import Libraries, Library
from vidarium.media.conversions import CONVERSIONS
from vidarium.media.probe import StreamInfo, VideoInfo
from vidarium.permissions import SYSTEM
from vidarium.renditions import Renditions
from vidarium.uploads import Uploads

SERVER, OTHER = uuid.uuid4(), uuid.uuid4()
INFO = VideoInfo(1.0, 320, 240, "mp4", 25.0, (StreamInfo("Stream #0:0: Video: h264", "Video", "h264", 1.0),))


class Bench:
    """A library and its ledger, without anything that works on it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.store = BlobStore.open(str(folder))
        renditions = Renditions(self.store, lambda: None, 0)
        self.recompute = RecomputeVideoConversion(renditions, {})
        upload = ProcessVideo(renditions, automatic=False)
        self.ledger = Ledger(engine, {self.recompute.name: self.recompute, upload.name: upload})
        shared = Libraries(engine, self.store, Uploads(engine, self.store), self.ledger)
        libraries.seed(shared)
        self.library: Library = shared.of(SYSTEM)
        with engine.begin() as connection:
            items.beat(connection, SERVER, "one")
            items.beat(connection, OTHER, "other")

    def video(self, text: str) -> Document:
        place = Ref(path="/default-domain/workspaces")
        made = self.library.create(place, "Video", "v.mp4", {"file:content": file(text)})
        (claim,) = self.claim()
        self.settle(claim, lambda: Ended(ItemState.DONE))
        return made

    def claim(self, server: uuid.UUID = SERVER) -> list[Claim]:
        with self.engine.begin() as connection:
            return items.claim(connection, server, 10)

    def settle(self, claim: Claim, decide: Callable[[], Ended | Again]) -> None:
        with self.engine.begin() as connection:
            items.settle(connection, claim, decide())

    def submit(self) -> tuple[str, Claim, Work]:
        """A recompute whose one item this server has claimed and planned."""
        command = self.ledger.submit(
            NewCommand("recomputeVideoConversion", "SELECT * FROM Video", "system", {"conversionNames": ["MP4 480p"]})
        )
        found = next_scroll(self.engine, SERVER, 30)
        assert found
        scroll(self.engine, found, lambda connection, user: [], 60)
        (claim,) = self.claim()
        with self.engine.begin() as connection:
            work = self.recompute.plan(connection, claim)
        assert isinstance(work, Work)
        return str(command.id), claim, work

    def result(self, text: str) -> Rendered:
        digest, length = self.store.put_bytes(text.encode())
        stored = StoredFile(digest, length, "v.mp4", "video/mp4")
        return Rendered(INFO, (Encode(CONVERSIONS["MP4 480p"], stored, INFO),), encoder="test")

    def record(self, claim: Claim, work: Work, text: str = "a rendition") -> Ended | Again:
        with self.engine.begin() as connection:
            verdict = self.recompute.record(connection, claim, work, self.result(text))
            items.settle(connection, claim, verdict)
        return verdict

    def renditions(self, document: Document) -> list[str]:
        computed = self.library.get(Ref(id=document.id)).computed
        return [entry["name"] for entry in computed.get("vid:transcodedVideos") or []]


def file(text: str) -> TextBlob:
    return TextBlob("v.mp4", "video/mp4", "utf-8", text)


@pytest.fixture
def bench(database: Engine, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "blobs")


def test_a_result_in_time_is_kept_and_counted(bench: Bench) -> None:
    video = bench.video("first")
    command, claim, work = bench.submit()
    assert isinstance(bench.record(claim, work), Ended)
    assert bench.renditions(video) == ["MP4 480p"]
    status = bench.ledger.get(command)
    assert (status.state, status.total, status.processed, status.errors) == ("COMPLETED", 1, 1, 0)


def test_a_result_for_a_replaced_file_is_dropped_and_the_item_planned_anew(bench: Bench) -> None:
    video = bench.video("first")
    command, claim, work = bench.submit()
    bench.library.update(Ref(id=video.id), {"file:content": file("second")})
    assert isinstance(bench.record(claim, work), Again)
    assert bench.renditions(video) == []
    status = bench.ledger.get(command)
    assert (status.state, status.processed) == ("RUNNING", 0)
    (upload,) = bench.claim()  # the new file's own work goes first
    assert upload.action == "processVideo"
    bench.settle(upload, lambda: Ended(ItemState.DONE))
    (again,) = bench.claim()
    assert (again.action, again.attempt) == ("recomputeVideoConversion", 1)
    with bench.engine.begin() as connection:
        new = bench.recompute.plan(connection, again)
    assert isinstance(new, Work)
    assert new.task.source.digest != work.task.source.digest


def test_a_zombie_overwrites_nothing(bench: Bench) -> None:
    video = bench.video("first")
    command, claim, work = bench.submit()
    with bench.engine.begin() as connection:
        assert items.take_over(connection, OTHER, -1, starting=False) == 1
    (taken,) = bench.claim(OTHER)
    assert taken.attempt == 1  # the loss of a server is no attempt
    with pytest.raises(items.Stale):
        bench.record(claim, work, "of the zombie")
    assert bench.renditions(video) == []
    with bench.engine.begin() as connection:
        planned = bench.recompute.plan(connection, taken)
    assert isinstance(planned, Work)
    bench.record(taken, planned)
    status = bench.ledger.get(command)
    assert (status.state, status.processed, bench.renditions(video)) == ("COMPLETED", 1, ["MP4 480p"])


def test_a_result_after_an_abort_is_dropped(bench: Bench) -> None:
    video = bench.video("first")
    command, claim, work = bench.submit()
    assert bench.ledger.abort(command).state == "ABORTED"
    with pytest.raises(items.Stale):
        bench.record(claim, work)
    assert bench.renditions(video) == []
    assert bench.ledger.get(command).processed == 0


def test_an_item_that_loses_ten_servers_fails(bench: Bench) -> None:
    bench.video("first")
    command, _, _ = bench.submit()
    for _ in range(items.MAX_LOST):
        with bench.engine.begin() as connection:
            items.take_over(connection, OTHER, -1, starting=False)
        assert bench.claim()
    with bench.engine.begin() as connection:
        items.take_over(connection, OTHER, -1, starting=False)
    status = bench.ledger.get(command)
    assert (status.state, status.errors) == ("COMPLETED", 1)
    assert "worker lost" in (status.error_message or "")
