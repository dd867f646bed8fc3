"""A big file goes in and out in constant memory, and is visible only when it is whole."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.server import Api, Server, eventually
from tests.settings import LONG

MEGABYTE = 1 << 20
SIZE = (5_000 if LONG else 400) * MEGABYTE
GROWTH = 150 * MEGABYTE
"""What a server's memory may grow by while a file passes; far less than the file."""


class Peak:
    """The highest memory of a process while the block runs, sampled all the time."""

    def __init__(self, process: int) -> None:
        self._process = psutil.Process(process)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.bytes = self._process.memory_info().rss

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        assert self.bytes - self.before < GROWTH, f"grew by {(self.bytes - self.before) // MEGABYTE} MB"


@pytest.fixture(scope="module")
def api(home_folder: Path) -> Iterator[Api]:
    with Server(home_folder / "big", {"free_space": "0"}) as server:
        yield Api(server)


def _blocks(size: int) -> Iterator[bytes]:
    """Bytes that differ from block to block, so that a lost or doubled one is seen."""
    for number in range(size // MEGABYTE):
        yield number.to_bytes(8, "big") * (MEGABYTE // 8)


def _digest(size: int) -> str:
    found = hashlib.sha256()
    for block in _blocks(size):
        found.update(block)
    return found.hexdigest()


@pytest.mark.timeout(900)
def test_a_big_file_in_and_out(api: Api) -> None:
    assert api.server.process
    batch = api.call("POST", "upload", status=201)["batchId"]
    with Peak(api.server.process.pid):
        headers = {"X-File-Name": "big.bin", "X-File-Type": "application/octet-stream", "Content-Length": str(SIZE)}
        api.call("POST", f"upload/{batch}/0", status=201, content=_blocks(SIZE), headers=headers, timeout=600)
    value = {"upload-batch": batch, "upload-fileId": "0"}
    content = api.create("big", "File", **{"file:content": value})["properties"]["file:content"]
    assert (int(content["length"]), content["digest"]) == (SIZE, _digest(SIZE))
    with Peak(api.server.process.pid), api.http.stream("GET", content["data"], timeout=600) as answer:
        received = hashlib.sha256()
        for block in answer.iter_bytes(MEGABYTE):
            received.update(block)
    assert received.hexdigest() == content["digest"]


@pytest.mark.timeout(900)
def test_a_big_file_in_chunks(api: Api) -> None:
    assert api.server.process
    size, chunk = 200 * MEGABYTE, 20 * MEGABYTE
    data = b"".join(_blocks(size))
    batch = api.call("POST", "upload", status=201)["batchId"]
    common = {"X-File-Name": "big.bin", "X-File-Size": str(size), "X-Upload-Type": "chunked"}
    with Peak(api.server.process.pid):
        for number in reversed(range(10)):  # any order will do
            headers = common | {"X-Upload-Chunk-Index": str(number), "X-Upload-Chunk-Count": "10"}
            part = data[number * chunk : (number + 1) * chunk]
            api.call("POST", f"upload/{batch}/0", status=202 if number else 201, content=part, headers=headers)
    value = {"upload-batch": batch, "upload-fileId": "0"}
    content = api.create("chunked", "File", **{"file:content": value})["properties"]["file:content"]
    assert (int(content["length"]), content["digest"]) == (size, _digest(size))


def test_half_a_file_is_no_file(api: Api) -> None:
    batch = api.call("POST", "upload", status=201)["batchId"]

    def broken() -> Iterator[bytes]:
        yield b"x" * MEGABYTE
        raise ConnectionError("the client goes away")

    with pytest.raises(ConnectionError):
        api.http.post(f"upload/{batch}/0", content=broken(), headers={"X-File-Name": "half.bin"})
    api.call("GET", f"upload/{batch}", status=204)
    staging = api.server.home / "blobs" / "staging"
    eventually(lambda: not any(path.is_file() for path in staging.rglob("*")), within=10, what="nothing left of it")
