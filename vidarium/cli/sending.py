"""Sending one file: as a whole, or in chunks that an interruption does not lose; then making its document."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO
from urllib.parse import quote

from vidarium.cli.client import PIECE, Client, Refused, Unreachable
from vidarium.cli.discovery import LocalFile
from vidarium.cli.journal import Journal, Upload
from vidarium.cli.target import CONFLICT, NOT_FOUND, SCHEMAS, Child, Target, child
from vidarium.errors import VidariumError

MIB = 1024 * 1024
SMALLEST_CHUNK, LARGEST_CHUNK, CHUNKS = 16 * MIB, 64 * MIB, 1024
WAITS = (0.5, 1, 2, 4, 8, 16)  # seconds between attempts: a server that restarts is back by then


class Sent(StrEnum):
    """What became of a file."""

    SENT = "sent"
    THERE = "already there"


class FileChanged(VidariumError):
    """The local file is not what it was when the import began."""


class Interrupted(VidariumError):
    """The import was told to stop."""


@dataclass(frozen=True)
class Sender:
    """Sends files to a target. `moved` is called with the bytes of each piece on its way; negative: taken back."""

    client: Client
    target: Target
    journal: Journal
    stop: threading.Event

    def send(self, file: LocalFile, moved: Callable[[int], None]) -> Sent:
        """Send a file and make its document, unless it is there. What may pass is tried again for half a minute.

        Raises Unreachable, Refused, FileChanged, Interrupted, OSError (the local file).
        """
        for wait in (*WAITS, None):
            counted = Count(moved)
            try:
                return self._attempt(file, counted)
            except (Unreachable, Refused) as error:
                if wait is None or (isinstance(error, Refused) and not (error.passing or error.status == CONFLICT)):
                    raise
            counted.take_back()
            if self.stop.wait(wait):
                raise Interrupted("interrupted")
            self._reread(file)
        raise AssertionError("the last attempt returns or raises")

    def _reread(self, file: LocalFile) -> None:
        try:
            self.target.reread(file.folders)
        except (Unreachable, Refused):
            return  # the next attempt finds out

    def _attempt(self, file: LocalFile, moved: Callable[[int], None]) -> Sent:
        if self.target.holds(file):
            return Sent.THERE
        with file.path.open("rb") as source:
            size = chunk_size(file.length)
            batch, digest = (
                self._whole(file, source, moved) if file.length <= size else self._chunks(file, source, moved)
            )
        made = self._document(file, batch)
        self.journal.forget(file)
        self._check(made, file, digest)
        self.target.folder(file.folders).add(made)
        return Sent.SENT

    def _whole(self, file: LocalFile, source: BinaryIO, moved: Callable[[int], None]) -> tuple[str, str]:
        batch = self._batch()
        content = exactly(source, file.length)
        check_unchanged(file, source)
        self._post(f"upload/{batch}/0", content, {"X-File-Name": quote(file.title, safe="")}, moved)
        return batch, hashlib.sha256(content).hexdigest()

    def _chunks(self, file: LocalFile, source: BinaryIO, moved: Callable[[int], None]) -> tuple[str, str]:
        """Every chunk is read and hashed, but only those the server lacks are sent."""
        upload, present = self._resume(file)
        count = -(-file.length // upload.chunk_size)
        digest = hashlib.sha256()
        for index in range(count):
            content = exactly(source, min(upload.chunk_size, file.length - index * upload.chunk_size))
            check_unchanged(file, source)
            digest.update(content)
            if index in present:
                moved(len(content))
                continue
            headers = {
                "X-Upload-Type": "chunked",
                "X-Upload-Chunk-Index": str(index),
                "X-Upload-Chunk-Count": str(count),
                "X-File-Size": str(file.length),
                "X-File-Name": quote(file.title, safe=""),
            }
            self._post(f"upload/{upload.batch}/0", content, headers, moved)
        return upload.batch, digest.hexdigest()

    def _resume(self, file: LocalFile) -> tuple[Upload, frozenset[int]]:
        """The batch to go on with and the chunks it has; a new one if none was begun or it is gone."""
        if begun := self.journal.find(file):
            try:
                info = self.client.get(f"upload/{begun.batch}/0")
            except Refused as refused:
                if refused.status != NOT_FOUND:
                    raise
            else:
                if fits(info, file, begun.chunk_size):
                    return begun, frozenset(info["uploadedChunkIds"])
        fresh = Upload(self._batch(), chunk_size(file.length))
        self.journal.remember(file, fresh)
        return fresh, frozenset()

    def _batch(self) -> str:
        return str(self.client.post("upload/")["batchId"])

    def _post(self, path: str, content: bytes, headers: dict[str, str], moved: Callable[[int], None]) -> None:
        sizes = {"Content-Length": str(len(content)), "Content-Type": "application/octet-stream"}
        self.client.send_bytes(path, self._pieces(content, moved), headers | sizes)

    def _pieces(self, content: bytes, moved: Callable[[int], None]) -> Iterator[bytes]:
        for start in range(0, len(content), PIECE):
            if self.stop.is_set():
                raise Interrupted("interrupted")
            piece = content[start : start + PIECE]
            yield piece
            moved(len(piece))

    def _document(self, file: LocalFile, batch: str) -> Child:
        properties: dict[str, Any] = {
            "dc:title": file.title,
            "file:content": {"upload-batch": batch, "upload-fileId": "0"},
        }
        body = {"entity-type": "document", "type": "Video", "name": file.title, "properties": properties}
        return child(self.client.post(f"id/{self.target.folder(file.folders).uid}", body, SCHEMAS))

    def _check(self, made: Child, file: LocalFile, digest: str) -> None:
        """The document must hold the bytes that were sent; a batch that is gone leaves it silently without."""
        right = made.length == file.length and (made.algorithm != "SHA-256" or made.digest == digest)
        if not right:
            self.client.delete(f"id/{made.uid}")
            raise Refused(CONFLICT, "The server made the document without the file that was sent.")


class Count:
    """Counts the bytes of one attempt, so that a failed one can be taken back."""

    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._total = 0

    def __call__(self, count: int) -> None:
        self._total += count
        self._moved(count)

    def take_back(self) -> None:
        self(-self._total)


def chunk_size(length: int) -> int:
    """Bytes per chunk: 16 MiB, more for files of over 1024 chunks, at most 64 MiB since a chunk is held in memory."""
    needed = -(-length // CHUNKS)
    return min(max(SMALLEST_CHUNK, -(-needed // MIB) * MIB), LARGEST_CHUNK)


def fits(info: Any, file: LocalFile, size: int) -> bool:
    """Whether a file info of a batch (spec/rest.md 8.1) is of this file, cut into chunks of this size."""
    count = -(-file.length // size)
    return isinstance(info, dict) and info.get("size") == file.length and info.get("chunkCount") == count


def exactly(source: BinaryIO, count: int) -> bytes:
    """The next `count` bytes; FileChanged if the file ends before."""
    content = source.read(count)
    if len(content) < count:
        raise FileChanged("the file became shorter while it was sent")
    return content


def check_unchanged(file: LocalFile, source: BinaryIO) -> None:
    """FileChanged unless size and time are still those the import began with."""
    info = os.fstat(source.fileno())
    if (info.st_size, info.st_mtime_ns) != (file.length, file.modified_ns):
        raise FileChanged("the file changed while it was sent; send it again when it is complete")
