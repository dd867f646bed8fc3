"""Upload batches: files that wait to be attached to a document. State is rows; bytes lie in the blob store.

A plain file is hashed on the way in. Chunks are kept one by one, under names of their own, and assembled and hashed
once, when the last has come. A file is visible only when whole (spec/rest.md 8).
"""

from __future__ import annotations

import asyncio
import mimetypes
import posixpath
import secrets
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from vidarium import ownership
from vidarium.blobs import BlobStore, Stage, chunk_key
from vidarium.database.schema import upload_batch, upload_chunk, upload_file
from vidarium.documents import UploadedFile
from vidarium.errors import BadRequest, BlobMissing, Conflict, NoSpace, NotFound, TooLarge
from vidarium.permissions import Principal

MAX_CHUNKS = 1_000_000

_KEYS_PER_CHUNK = 10_000
_MAX_INDEX = 2**31 - 1  # the column's

_VIDEO_TYPES: Mapping[str, str] = {
    ".3gp": "video/3gpp",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".m2ts": "video/mp2t",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".mxf": "application/mxf",
    ".ogg": "video/ogg",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".vob": "video/mpeg",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
}
"""What a video library meets, the same on every machine; the standard library's table lacks half of it."""


@dataclass(frozen=True)
class Chunk:
    """Which part of a file a body is: from 0, out of `count`; `file_length` is the declared length of all."""

    index: int
    count: int
    file_length: int


@dataclass(frozen=True)
class Arrival:
    """What a request says about the body it brings. `length`: bytes of this body, if announced."""

    batch: str
    index: int
    name: str
    mime_type: str
    length: int | None = None
    chunk: Chunk | None = None


@dataclass(frozen=True)
class UploadEntry:
    """A file of a batch. `chunk_count` is None for a plain one; `digest` is None until the file is whole."""

    index: int
    name: str
    mime_type: str
    length: int
    chunk_count: int | None = None
    chunks: tuple[int, ...] = ()
    digest: str | None = None

    @property
    def has_all_chunks(self) -> bool:
        return self.chunk_count is None or len(self.chunks) == self.chunk_count


class Uploads:
    """The batches of one installation. A batch is its owner's; administrators see all.

    `limit`: bytes of the largest file, None for none. `reserve`: bytes of disk that stay free.
    """

    def __init__(self, engine: Engine, store: BlobStore, *, limit: int | None = None, reserve: int = 0) -> None:
        self._engine = engine
        self._store = store
        self._limit = limit
        self._reserve = reserve

    # --- Batches

    def create(self, principal: Principal) -> str:
        """Open a batch; its id."""
        batch = f"batchId-{uuid.uuid4()}"
        with self._engine.begin() as connection:
            connection.execute(insert(upload_batch).values(id=batch, owner=principal.name))
        return batch

    def entries(self, principal: Principal, batch: str) -> list[UploadEntry]:
        """The files of a batch by index; raises NotFound."""
        with self._engine.begin() as connection:
            _touch(connection, principal, batch)
            return _entries(connection, batch)

    def entry(self, principal: Principal, batch: str, index: int) -> UploadEntry:
        """One file; raises NotFound."""
        found = [entry for entry in self.entries(principal, batch) if entry.index == index]
        if not found:
            raise NotFound(f"{batch}/{index}")
        return found[0]

    def drop(self, principal: Principal, batch: str) -> None:
        """Remove a batch with everything that was sent for it; raises NotFound."""
        with self._engine.begin() as connection:
            _touch(connection, principal, batch)
            keys = _keys(connection, batch)
            connection.execute(delete(upload_batch).where(upload_batch.c.id == batch))
        self._delete_chunks(keys)

    def drop_file(self, principal: Principal, batch: str, index: int) -> None:
        """Remove one file of a batch; raises NotFound."""
        with self._engine.begin() as connection:
            _touch(connection, principal, batch)
            keys = _keys(connection, batch, index)
            if not _remove_file(connection, batch, index):
                raise NotFound(f"{batch}/{index}")
        self._delete_chunks(keys)

    # --- Use

    def prepare(self, principal: Principal, files: Iterable[UploadedFile]) -> frozenset[str]:
        """Make files ready to be attached, and name the batches among theirs that the principal has.

        Assembles what a stopped server has left in chunks, so that `resolve` never does long work. Unknown files are
        passed over (spec/rest.md 4.7). Raises Conflict for a file whose chunks have not all come.
        """
        batches = set()
        for file in files:
            try:
                entry = self.entry(principal, file.batch, file.index)
            except NotFound:
                continue
            batches.add(file.batch)
            if entry.digest is None:
                self._require_chunks(file, entry)
                self._assemble(principal, file.batch, file.index)
        return frozenset(batches)

    def resolve(self, connection: Connection, file: UploadedFile, principal: Principal) -> dict[str, Any] | None:
        """The stored blob value of a file, inside the caller's transaction; None if the principal has no such file."""
        if not 0 <= file.index <= _MAX_INDEX:
            return None
        query = select(upload_file).join(upload_batch).where(*_owned(principal, file.batch))
        row = connection.execute(query.where(upload_file.c.index == file.index)).one_or_none()
        if row is None or row.digest is None:
            return None
        return {
            "name": row.name,
            "mime-type": row.mime_type,
            "encoding": None,
            "digestAlgorithm": "SHA-256",
            "digest": row.digest,
            "length": row.length,
        }

    def _require_chunks(self, file: UploadedFile, entry: UploadEntry) -> None:
        if not entry.has_all_chunks:
            raise Conflict(
                f"File {file.index} of {file.batch} is not whole: {len(entry.chunks)} of {entry.chunk_count} chunks"
            )

    # --- Receiving

    async def receive(self, principal: Principal, arrival: Arrival, body: AsyncIterator[bytes]) -> UploadEntry:
        """Take in a file or a chunk; the entry as it then is.

        Raises NotFound, Conflict for a chunk that is already there, TooLarge, NoSpace, BadRequest.
        """
        await asyncio.to_thread(self._admit, principal, arrival)
        if arrival.chunk is None:
            return await self._receive_file(principal, arrival, body)
        if await self._receive_chunk(principal, arrival, body):
            await asyncio.to_thread(self._assemble, principal, arrival.batch, arrival.index)
        return await asyncio.to_thread(self.entry, principal, arrival.batch, arrival.index)

    async def _receive_file(self, principal: Principal, arrival: Arrival, body: AsyncIterator[bytes]) -> UploadEntry:
        async with self._store.stage() as stage:
            await self._write(stage, body)
            blob = await stage.finish()
            try:
                return await asyncio.to_thread(self._save_file, principal, arrival, blob)
            except BlobMissing:  # the same bytes were there, and were being collected
                return await asyncio.to_thread(self._save_file, principal, arrival, await stage.finish())

    async def _receive_chunk(self, principal: Principal, arrival: Arrival, body: AsyncIterator[bytes]) -> bool:
        """Whether it was the last one that was missing."""
        key = _new_key(arrival)
        async with self._store.stage(key) as stage:
            await self._write(stage, body)
            _, length = await stage.finish()
        return await asyncio.to_thread(self._save_chunk, principal, arrival, key, length)

    async def _write(self, stage: Stage, body: AsyncIterator[bytes]) -> None:
        async for part in body:
            self._require_length(stage.length + len(part))
            await stage.write(part)

    def _admit(self, principal: Principal, arrival: Arrival) -> None:
        """Refuse at once what would be refused at the end; note a chunked file when its first chunk comes."""
        chunk = arrival.chunk
        self._require_length(max(arrival.length or 0, chunk.file_length if chunk else 0))
        self._require_space(arrival.length or 0)
        if chunk is not None and not chunk.index < chunk.count <= MAX_CHUNKS:
            raise BadRequest(f"There is no chunk {chunk.index} of {chunk.count}")
        keys: list[str] = []
        with self._engine.begin() as connection:
            _touch(connection, principal, arrival.batch)
            if chunk is not None:
                keys = self._expect(connection, arrival, chunk)
        self._delete_chunks(keys)

    def _expect(self, connection: Connection, arrival: Arrival, chunk: Chunk) -> list[str]:
        """Make room for a chunk's file; the keys of chunks that a replaced file leaves."""
        row = _file(connection, arrival.batch, arrival.index)
        keys: list[str] = []
        if row is not None and row.chunk_count is None:
            keys = _keys(connection, arrival.batch, arrival.index)
            _remove_file(connection, arrival.batch, arrival.index)
            row = None
        if row is None:
            self._require_space(2 * chunk.file_length)  # the chunks, and then the file
            _add_file(connection, arrival, chunk.file_length, chunk_count=chunk.count)
        elif row.digest is not None or _has_chunk(connection, arrival, chunk):
            raise Conflict(f"Chunk {chunk.index} is already there")
        elif chunk.index >= row.chunk_count:
            raise BadRequest(f"There is no chunk {chunk.index} of {row.chunk_count}")
        return keys

    def _save_file(self, principal: Principal, arrival: Arrival, blob: tuple[str, int]) -> UploadEntry:
        digest, length = blob
        with self._engine.begin() as connection:
            _touch(connection, principal, arrival.batch)
            keys = _keys(connection, arrival.batch, arrival.index)
            _remove_file(connection, arrival.batch, arrival.index)
            ownership.record(connection, self._store, digest, length)
            _add_file(connection, arrival, length, digest=digest)
        self._delete_chunks(keys)
        return UploadEntry(arrival.index, arrival.name, arrival.mime_type, length, digest=digest)

    def _save_chunk(self, principal: Principal, arrival: Arrival, key: str, length: int) -> bool:
        """Note a chunk whose bytes are there; whether it was the last one that was missing."""
        try:
            with self._engine.begin() as connection:
                return self._note_chunk(connection, principal, arrival, (key, length))
        except (NotFound, Conflict, TooLarge):
            self._delete_unnoted(arrival, key)
            raise

    def _delete_unnoted(self, arrival: Arrival, key: str) -> None:
        with self._engine.connect() as connection:
            noted = _keys(connection, arrival.batch, arrival.index)
        if key not in noted:
            self._delete_chunks([key])

    def _note_chunk(
        self, connection: Connection, principal: Principal, arrival: Arrival, stored: tuple[str, int]
    ) -> bool:
        _touch(connection, principal, arrival.batch)
        row = _file(connection, arrival.batch, arrival.index)
        chunk = arrival.chunk
        if row is None or row.chunk_count is None or chunk is None:
            raise NotFound(f"{arrival.batch}/{arrival.index}")
        key, length = stored
        values = {"batch": arrival.batch, "index": arrival.index, "chunk": chunk.index, "key": key, "length": length}
        new = upsert(upload_chunk).values(values).on_conflict_do_nothing().returning(upload_chunk.c.chunk)
        if row.digest is not None or connection.execute(new).one_or_none() is None:
            raise Conflict(f"Chunk {chunk.index} is already there")
        where = _chunks_of(arrival.batch, arrival.index)
        count, size = connection.execute(select(func.count(), func.sum(upload_chunk.c.length)).where(*where)).one()
        self._require_length(int(size))
        return bool(count == row.chunk_count)

    def _assemble(self, principal: Principal, batch: str, index: int) -> None:
        """Put the chunks of a file together, outside of any transaction; harmless if somebody else does the same."""
        with self._engine.connect() as connection:
            row = _file(connection, batch, index)
            chunks = _chunk_rows(connection, batch, index)
        if row is None or row.digest is not None:
            return
        size = sum(chunk.length for chunk in chunks)
        if size != row.length:
            raise BadRequest(f"The chunks have {size} bytes, but X-File-Size said {row.length}")
        self._require_space(size)
        keys = [chunk.key for chunk in chunks]
        try:
            blob = self._store.assemble(keys)
            replaced = self._replace_chunks(principal, (batch, index), keys, blob)
        except BlobMissing:
            if self._is_assembled(batch, index):
                return
            raise  # collected in this moment: the chunks are still there for the next who asks
        if replaced:
            self._delete_chunks(keys)

    def _replace_chunks(
        self, principal: Principal, file: tuple[str, int], keys: list[str], blob: tuple[str, int]
    ) -> bool:
        """In one transaction the chunks go and the digest comes; False if these chunks are no longer the file's."""
        batch, index = file
        with self._engine.begin() as connection:
            _touch(connection, principal, batch)
            if _keys(connection, batch, index) != keys:
                return False
            ownership.record(connection, self._store, *blob)
            connection.execute(delete(upload_chunk).where(*_chunks_of(batch, index)))
            connection.execute(update(upload_file).where(*_is_file(batch, index)).values(digest=blob[0]))
        return True

    def _is_assembled(self, batch: str, index: int) -> bool:
        with self._engine.connect() as connection:
            row = _file(connection, batch, index)
            return row is not None and row.digest is not None

    # --- Limits

    def _require_length(self, length: int) -> None:
        if self._limit is not None and length > self._limit:
            raise TooLarge(f"The file is larger than {self._limit} bytes.")

    def _require_space(self, length: int) -> None:
        free = self._store.free_bytes()
        if free is not None and free < length + self._reserve:
            raise NoSpace(f"{length} bytes do not fit: {free} are free, of which {self._reserve} stay free.")

    def _delete_chunks(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._store.delete_chunk(key)


# --- Rows


def _owned(principal: Principal, batch: str) -> list[Any]:
    owner = [] if principal.is_administrator else [upload_batch.c.owner == principal.name]
    return [upload_batch.c.id == batch, *owner]


def _touch(connection: Connection, principal: Principal, batch: str) -> None:
    """Keep a batch from expiring, and lock it for the transaction; raises NotFound."""
    touched = update(upload_batch).where(*_owned(principal, batch)).values(touched=func.now())
    if connection.execute(touched).rowcount == 0:
        raise NotFound(batch)


def _is_file(batch: str, index: int) -> list[Any]:
    return [upload_file.c.batch == batch, upload_file.c.index == index]


def _chunks_of(batch: str, index: int) -> list[Any]:
    return [upload_chunk.c.batch == batch, upload_chunk.c.index == index]


def _file(connection: Connection, batch: str, index: int) -> Row[Any] | None:
    return connection.execute(select(upload_file).where(*_is_file(batch, index))).one_or_none()


def _add_file(
    connection: Connection,
    arrival: Arrival,
    length: int,
    *,
    digest: str | None = None,
    chunk_count: int | None = None,
) -> None:
    row = {"batch": arrival.batch, "index": arrival.index, "name": arrival.name, "mime_type": arrival.mime_type}
    state = {"length": length, "digest": digest, "chunk_count": chunk_count}
    connection.execute(insert(upload_file).values(row | state))


def _remove_file(connection: Connection, batch: str, index: int) -> bool:
    return connection.execute(delete(upload_file).where(*_is_file(batch, index))).rowcount > 0


def _has_chunk(connection: Connection, arrival: Arrival, chunk: Chunk) -> bool:
    where = [*_chunks_of(arrival.batch, arrival.index), upload_chunk.c.chunk == chunk.index]
    return connection.execute(select(upload_chunk.c.chunk).where(*where)).one_or_none() is not None


def _chunk_rows(connection: Connection, batch: str, index: int | None = None) -> list[Row[Any]]:
    where = [upload_chunk.c.batch == batch] if index is None else _chunks_of(batch, index)
    order = (upload_chunk.c.index, upload_chunk.c.chunk)
    return list(connection.execute(select(upload_chunk).where(*where).order_by(*order)))


def _keys(connection: Connection, batch: str, index: int | None = None) -> list[str]:
    return [row.key for row in _chunk_rows(connection, batch, index)]


def _entries(connection: Connection, batch: str) -> list[UploadEntry]:
    files = connection.execute(select(upload_file).where(upload_file.c.batch == batch).order_by(upload_file.c.index))
    chunks: dict[int, list[int]] = {}
    for row in _chunk_rows(connection, batch):
        chunks.setdefault(row._mapping["index"], []).append(row.chunk)
    return [_entry(row, tuple(chunks.get(row._mapping["index"], ()))) for row in files]


def _entry(row: Row[Any], chunks: tuple[int, ...]) -> UploadEntry:
    index = row._mapping["index"]  # the attribute is the method of a tuple
    assembled = row.chunk_count is not None and row.digest is not None
    present = tuple(range(row.chunk_count)) if assembled else chunks
    return UploadEntry(index, row.name, row.mime_type, row.length, row.chunk_count, present, row.digest)


def _new_key(arrival: Arrival) -> str:
    """Where a chunk will lie. Two requests that bring the same chunk do not meet, so the one refused spoils nothing."""
    number = arrival.chunk.index if arrival.chunk else 0
    return chunk_key(arrival.batch, arrival.index, number * _KEYS_PER_CHUNK + secrets.randbelow(_KEYS_PER_CHUNK))


def guess_type(name: str) -> str:
    """The MIME type for a file's extension; unknown: application/octet-stream."""
    extension = posixpath.splitext(name)[1].lower()
    return _VIDEO_TYPES.get(extension) or mimetypes.guess_type(f"x{extension}")[0] or "application/octet-stream"
