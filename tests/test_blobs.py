"""The blob store: a folder, and obstore's store in memory for what holds of any object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from vidarium.blobs import BLOBS, STAGING, BlobStore, chunk_key
from vidarium.errors import BlobMissing, NotFound, StartError

MEGABYTE = 1 << 20


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return BlobStore.open(str(tmp_path / "blobs"))
    return BlobStore("memory:///", MemoryStore())


def content(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keys(store: BlobStore) -> list[str]:
    return sorted(found.key for found in store.objects())


async def staged(store: BlobStore, data: bytes, key: str | None = None, piece: int = 100_000) -> tuple[str, int]:
    async with store.stage(key) as stage:
        for start in range(0, len(data), piece):
            await stage.write(data[start : start + piece])
        return await stage.finish()


async def streamed(store: BlobStore, name: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.stream(name, start, end)])


@pytest.mark.parametrize("length", [0, 1, MEGABYTE - 1, MEGABYTE, 3 * MEGABYTE + 7])
def test_what_is_put_is_read(store: BlobStore, tmp_path: Path, length: int) -> None:
    data = content(length)
    file = tmp_path / "file"
    file.write_bytes(data)
    expected = (digest(data), length)
    assert store.put_file(file) == expected
    assert store.put_file(file) == expected
    assert store.put_bytes(data) == expected
    assert asyncio.run(staged(store, data)) == expected
    assert keys(store) == [f"blobs/{expected[0][:2]}/{expected[0][2:4]}/{expected[0]}"]
    assert store.length(expected[0]) == length
    assert b"".join(store.read(expected[0])) == data
    assert asyncio.run(streamed(store, expected[0])) == data
    store.fetch(expected[0], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    local = store.local_path(expected[0])
    assert (local is not None) == (store.folder is not None)
    assert local is None or local.read_bytes() == data


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 5), (MEGABYTE - 3, MEGABYTE + 9), (2 * MEGABYTE, None)])
def test_ranges(store: BlobStore, start: int, end: int | None) -> None:
    data = content(2 * MEGABYTE + 11)
    name, _ = store.put_bytes(data)
    assert b"".join(store.read(name, start, end)) == data[start:end]
    assert asyncio.run(streamed(store, name, start, end)) == data[start:end]


def test_a_missing_blob(store: BlobStore, tmp_path: Path) -> None:
    name = digest(b"nowhere")
    assert store.length(name) is None
    assert store.local_path(name) is None
    store.delete(name)
    with pytest.raises(BlobMissing):
        store.fetch(name, tmp_path / "copy")
    with pytest.raises(BlobMissing):
        list(store.read(name))
    with pytest.raises(BlobMissing):
        asyncio.run(streamed(store, name))


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 63 + "/"])
def test_what_is_no_digest_is_refused(store: BlobStore, bad: str) -> None:
    for ask in (store.length, store.delete, store.local_path, lambda it: list(store.read(it))):
        with pytest.raises(NotFound):
            ask(bad)


@pytest.mark.parametrize("batch", ["", ".", "..", "a/b", "a\0", "a" * 101, "é"])
def test_what_is_no_batch_is_refused(store: BlobStore, batch: str) -> None:
    with pytest.raises(NotFound):
        chunk_key(batch, 0, 0)
    with pytest.raises(NotFound):
        store.stage(f"uploads/{batch}/0/0")
    with pytest.raises(NotFound):
        store.delete_chunk(f"uploads/{batch}/0/0")


def test_nothing_is_visible_before_finish_and_nothing_stays_after_abort(store: BlobStore) -> None:
    data = content(3 * MEGABYTE)

    async def broken() -> None:
        async with store.stage() as stage:
            await stage.write(data)
            assert [key for key in keys(store) if key.startswith(BLOBS)] == []
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(broken())
    assert keys(store) == []


def test_a_cancelled_upload_leaves_nothing(store: BlobStore) -> None:
    async def endless() -> None:
        async with store.stage() as stage:
            while True:
                await stage.write(content(MEGABYTE))
                started.set()

    async def main() -> None:
        task = asyncio.create_task(endless())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.get_running_loop().shutdown_default_executor()

    started = asyncio.Event()
    asyncio.run(main())
    assert keys(store) == []


def test_finish_publishes_again_what_a_collection_took(store: BlobStore) -> None:
    data = content(MEGABYTE + 1)

    async def twice() -> None:
        async with store.stage() as stage:
            await stage.write(data)
            name, _ = await stage.finish()
            store.delete(name)
            assert await stage.finish() == (name, len(data))
            assert await streamed(store, name) == data

    asyncio.run(twice())
    assert len(keys(store)) == 1


def test_chunks_become_a_blob(store: BlobStore) -> None:
    data = content(5 * MEGABYTE + 3)
    parts = [data[:MEGABYTE], data[MEGABYTE : 4 * MEGABYTE], b"", data[4 * MEGABYTE :]]
    names = [chunk_key("batchId-1", 0, number) for number in range(len(parts))]

    async def upload() -> None:
        await asyncio.gather(*(staged(store, part, name) for part, name in zip(parts, names, strict=True)))

    asyncio.run(upload())
    assert keys(store) == names
    assert store.assemble(names) == (digest(data), len(data))
    for name in names:
        store.delete_chunk(name)
    assert len(keys(store)) == 1
    with pytest.raises(BlobMissing):
        store.assemble(names)
    assert len(keys(store)) == 1


def test_it_travels_to_other_processes_by_its_url(tmp_path: Path) -> None:
    store = BlobStore.open(str(tmp_path))
    name, _ = store.put_bytes(b"abc")
    other: BlobStore = pickle.loads(pickle.dumps(store))
    assert b"".join(other.read(name)) == b"abc"
    assert other.url == store.url


def test_a_folder_is_private_and_a_collection_knows_the_age(tmp_path: Path) -> None:
    store = BlobStore.open(f"file://{tmp_path}/new/place")
    name, _ = store.put_bytes(b"abc")
    path = store.local_path(name)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    os.utime(path, (1000, 1000))
    assert [found.modified.timestamp() for found in store.objects(BLOBS)] == [1000]
    store.put_bytes(b"abc")
    assert [found.modified.timestamp() for found in store.objects(BLOBS)] != [1000]
    assert [found.digest for found in store.objects()] == [name]
    assert list(store.objects(STAGING)) == []
    assert store.free_bytes() is not None


@pytest.mark.parametrize("url", ["nope://bucket", "http://localhost/x", "memory:///", "/dev/null/x"])
def test_what_cannot_be_used_stops_the_start(url: str) -> None:
    with pytest.raises(StartError, match=r"blob|Blob"):
        BlobStore.open(url)


def test_memory_is_constant(tmp_path: Path) -> None:
    script = """
import asyncio, resource, sys
from vidarium.blobs import BlobStore
store = BlobStore.open(sys.argv[1])
piece = bytes(range(256)) * 4096
async def main():
    async with store.stage() as stage:
        for _ in range(int(sys.argv[2])):
            await stage.write(piece)
        digest, length = await stage.finish()
    read = 0
    async for piece_read in store.stream(digest):
        read += len(piece_read)
    assert read == length, (read, length)
asyncio.run(main())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = []
    for megabytes in (16, 300):
        argv = [sys.executable, "-c", script, str(tmp_path / "store"), str(megabytes)]
        peaks.append(int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout) * unit)
    assert peaks[1] - peaks[0] < 60 * MEGABYTE, peaks


def test_importing_it_brings_no_server(tmp_path: Path) -> None:
    script = "import sys, vidarium.blobs; print([m for m in ('sqlalchemy', 'fastapi', 'psycopg') if m in sys.modules])"
    argv = [sys.executable, "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == "[]"
