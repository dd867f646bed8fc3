"""Upload batches on a real database and a real folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from vidarium.blobs import BlobStore
from vidarium.database.schema import upload_chunk
from vidarium.documents import UploadedFile
from vidarium.errors import BadRequest, Conflict, NoSpace, NotFound, TooLarge
from vidarium.permissions import Principal
from vidarium.rest.ranges import is_mime_type
from vidarium.rest.upload import file_name
from vidarium.uploads import Arrival, Chunk, UploadEntry, Uploads, guess_type

ANN, BOB = Principal("ann"), Principal("bob")
ROOT = Principal("root", frozenset({"administrators"}))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(str(tmp_path / "blobs"))


@pytest.fixture
def uploads(database: Engine, store: BlobStore) -> Uploads:
    return Uploads(database, store)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ConnectionResetError


def send(uploads: Uploads, arrival: Arrival, content: bytes, principal: Principal = ANN) -> UploadEntry:
    return asyncio.run(uploads.receive(principal, arrival, pieces(content[:7], content[7:])))


def chunk(batch: str, number: int, count: int = 3, length: int = 30) -> Arrival:
    return Arrival(batch, 0, "film.mp4", "video/mp4", None, Chunk(number, count, length))


def stored_keys(store: BlobStore) -> set[str]:
    return {found.key.split("/")[0] for found in store.objects()}


def test_a_plain_file_is_whole_at_once(uploads: Uploads, database: Engine, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    content = b"x" * 100
    entry = send(uploads, Arrival(batch, 3, "film.mp4", "video/mp4", 100), content)
    digest = hashlib.sha256(content).hexdigest()
    assert entry == UploadEntry(3, "film.mp4", "video/mp4", 100, digest=digest)
    assert uploads.entries(ANN, batch) == [entry]
    assert b"".join(store.read(digest)) == content
    with database.connect() as connection:
        assert uploads.resolve(connection, UploadedFile(batch, 3), ANN) == {
            "name": "film.mp4",
            "mime-type": "video/mp4",
            "encoding": None,
            "digestAlgorithm": "SHA-256",
            "digest": digest,
            "length": 100,
        }
        assert uploads.resolve(connection, UploadedFile(batch, 4), ANN) is None
        assert uploads.resolve(connection, UploadedFile("none", 3), ANN) is None
        assert uploads.resolve(connection, UploadedFile(batch, 10**18), ANN) is None


def test_a_plain_file_is_replaced(uploads: Uploads) -> None:
    batch = uploads.create(ANN)
    send(uploads, Arrival(batch, 0, "a", "text/plain"), b"one")
    send(uploads, Arrival(batch, 0, "b", "text/plain"), b"other")
    assert [(entry.name, entry.length) for entry in uploads.entries(ANN, batch)] == [("b", 5)]


def test_an_empty_file_is_a_file(uploads: Uploads) -> None:
    batch = uploads.create(ANN)
    assert send(uploads, Arrival(batch, 0, "a", "text/plain"), b"").length == 0
    empty = send(uploads, Arrival(batch, 1, "b", "text/plain", 0, Chunk(0, 1, 0)), b"")
    assert (empty.has_all_chunks, empty.digest) == (True, hashlib.sha256(b"").hexdigest())


def test_chunks_come_in_any_order(uploads: Uploads, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    content = bytes(range(30))
    for number, seen in ((2, (2,)), (0, (0, 2))):
        entry = send(uploads, chunk(batch, number), content[number * 10 : number * 10 + 10])
        assert (entry.chunks, entry.has_all_chunks, entry.digest, entry.length) == (seen, False, None, 30)
        assert "blobs" not in stored_keys(store)
    last = send(uploads, chunk(batch, 1), content[10:20])
    assert (last.chunks, last.has_all_chunks) == ((0, 1, 2), True)
    assert b"".join(store.read(last.digest or "")) == content
    assert stored_keys(store) == {"blobs"}


def test_chunks_come_in_parallel_and_twice(uploads: Uploads, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    count = 12
    content = bytes(count * 10)

    async def both() -> list[object]:
        arrivals = [chunk(batch, number, count, len(content)) for number in range(count)] * 2
        calls = [uploads.receive(ANN, arrival, pieces(bytes(10))) for arrival in arrivals]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    answers = asyncio.run(both())
    assert sum(isinstance(answer, UploadEntry) for answer in answers) == count
    assert sum(isinstance(answer, Conflict) for answer in answers) == count
    entry = uploads.entry(ANN, batch, 0)
    assert entry.digest == hashlib.sha256(content).hexdigest()
    assert stored_keys(store) == {"blobs"}


def test_a_chunk_twice_is_refused_and_spoils_nothing(uploads: Uploads) -> None:
    batch = uploads.create(ANN)
    send(uploads, chunk(batch, 0, 2, 20), b"a" * 10)
    with pytest.raises(Conflict):
        send(uploads, chunk(batch, 0, 2, 20), b"b" * 10)
    whole = send(uploads, chunk(batch, 1, 2, 20), b"c" * 10)
    assert whole.digest == hashlib.sha256(b"a" * 10 + b"c" * 10).hexdigest()
    with pytest.raises(Conflict):
        send(uploads, chunk(batch, 1, 2, 20), b"d" * 10)


@pytest.mark.parametrize("number", [3, 4])
def test_a_chunk_past_the_count_is_refused(uploads: Uploads, number: int) -> None:
    batch = uploads.create(ANN)
    with pytest.raises(BadRequest):
        send(uploads, chunk(batch, number), b"x")


def test_a_wrong_file_size_is_told_not_stored(uploads: Uploads) -> None:
    batch = uploads.create(ANN)
    with pytest.raises(BadRequest, match="30"):
        send(uploads, chunk(batch, 0, 1, 30), b"x")
    assert uploads.entry(ANN, batch, 0).digest is None


def test_an_aborted_body_leaves_nothing(uploads: Uploads, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    for arrival in (Arrival(batch, 0, "a", "text/plain"), chunk(batch, 0)):
        with pytest.raises(ConnectionResetError):
            asyncio.run(uploads.receive(ANN, arrival, broken(b"x" * 3_000_000)))
    assert stored_keys(store) == set()
    assert [entry.chunks for entry in uploads.entries(ANN, batch)] == [()]


def test_others_do_not_see_a_batch(uploads: Uploads, database: Engine) -> None:
    batch = uploads.create(ANN)
    send(uploads, Arrival(batch, 0, "a", "text/plain"), b"x")
    with pytest.raises(NotFound):
        uploads.entries(BOB, batch)
    with pytest.raises(NotFound):
        uploads.drop(BOB, batch)
    with pytest.raises(NotFound):
        send(uploads, Arrival(batch, 0, "a", "text/plain"), b"y", BOB)
    assert uploads.prepare(BOB, [UploadedFile(batch, 0)]) == frozenset()
    with database.connect() as connection:
        assert uploads.resolve(connection, UploadedFile(batch, 0), BOB) is None
    assert len(uploads.entries(ROOT, batch)) == 1


def test_a_file_that_is_not_whole_cannot_be_used(uploads: Uploads) -> None:
    batch = uploads.create(ANN)
    send(uploads, chunk(batch, 0), b"x" * 10)
    with pytest.raises(Conflict, match="1 of 3"):
        uploads.prepare(ANN, [UploadedFile(batch, 0)])


def test_what_a_stopped_server_left_in_chunks_is_assembled_for_use(uploads: Uploads, database: Engine) -> None:
    batch = uploads.create(ANN)
    send(uploads, chunk(batch, 0, 2, 20), b"a" * 10)

    class Stopped(Uploads):
        def _assemble(self, *_: object) -> None:
            raise KeyboardInterrupt

    stopped = Stopped(database, uploads._store)
    with pytest.raises(KeyboardInterrupt):
        send(stopped, chunk(batch, 1, 2, 20), b"b" * 10)
    assert uploads.entry(ANN, batch, 0).digest is None
    assert uploads.prepare(ANN, [UploadedFile(batch, 0), UploadedFile("none", 0)]) == {batch}
    assert uploads.entry(ANN, batch, 0).digest == hashlib.sha256(b"a" * 10 + b"b" * 10).hexdigest()


def test_dropping_removes_rows_and_chunks(uploads: Uploads, database: Engine, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    send(uploads, chunk(batch, 0), b"x" * 10)
    uploads.drop_file(ANN, batch, 0)
    with pytest.raises(NotFound):
        uploads.drop_file(ANN, batch, 0)
    send(uploads, chunk(batch, 0), b"x" * 10)
    uploads.drop(ANN, batch)
    with pytest.raises(NotFound):
        uploads.entries(ANN, batch)
    with database.connect() as connection:
        assert connection.execute(select(upload_chunk)).all() == []
    assert stored_keys(store) == set()


def test_a_plain_file_takes_the_place_of_chunks(uploads: Uploads, store: BlobStore) -> None:
    batch = uploads.create(ANN)
    send(uploads, chunk(batch, 0), b"x" * 10)
    send(uploads, Arrival(batch, 0, "a", "text/plain"), b"whole")
    assert stored_keys(store) == {"blobs"}
    assert uploads.entry(ANN, batch, 0).chunk_count is None
    assert send(uploads, chunk(batch, 0), b"x" * 10).chunks == (0,)


def test_limits(database: Engine, store: BlobStore) -> None:
    small = Uploads(database, store, limit=20)
    batch = small.create(ANN)
    for arrival in (
        Arrival(batch, 0, "a", "text/plain", length=21),
        Arrival(batch, 0, "a", "text/plain"),
        chunk(batch, 0, 1, 21),
    ):
        with pytest.raises(TooLarge):
            send(small, arrival, b"x" * 21)
    send(small, chunk(batch, 1, 3, 20), b"x" * 15)
    with pytest.raises(TooLarge):
        send(small, chunk(batch, 0, 3, 20), b"x" * 15)
    assert {found.key.split("/")[0] for found in store.objects()} == {"uploads"}
    full = Uploads(database, store, reserve=2**62)
    with pytest.raises(NoSpace):
        send(full, replace(Arrival(batch, 1, "a", "text/plain"), length=1), b"x")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a%20b+c.mp4", "a b c.mp4"),
        ("%E6%97%A5.mp4", "\u65e5.mp4"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5Cfilms%5Ca.mp4", "a.mp4"),
        ("", "file"),
        ("a%2F", "file"),
    ],
)
def test_names_are_base_names(sent: str, name: str) -> None:
    assert file_name(sent) == name


@pytest.mark.parametrize("sent", ["a%00.mp4", "a%0D%0A.mp4", "%7F"])
def test_names_with_control_characters_are_refused(sent: str) -> None:
    with pytest.raises(BadRequest):
        file_name(sent)


def test_types_are_guessed() -> None:
    names = ("a.pdf", "a.bmp", "a.MKV", "a.ogv", "a", "a.no-such")
    assert [guess_type(name) for name in names] == [
        *("application/pdf", "image/bmp", "video/x-matroska", "video/ogg"),
        *("application/octet-stream", "application/octet-stream"),
    ]
    assert is_mime_type("video/mp4")
    assert not is_mime_type("pdf")
    assert not is_mime_type("a/b\r\nX: y")
