"""The bytes of blobs: content-addressed by SHA-256, in a folder or an object store.

    blobs/ab/cd/<digest>                 a blob, whole from the moment it is there
    uploads/<batch>/<file>/<chunk>       a chunk of an upload
    staging/…                            what is being written
    installation                         whose store this is

Knows no database: who owns a blob is in `ownership.py`. Worker processes import this module.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store, from_url

from vidarium.errors import BlobMissing, NotFound, StartError

if TYPE_CHECKING:
    from obstore import AsyncWritableFile
    from obstore.store import ObjectStore

BLOBS, STAGING, UPLOADS = "blobs/", "staging/", "uploads/"
MARK = "installation"

_BLOCK = 1 << 20  # bytes hashed and written at a time
_PART = 32 << 20  # bytes; stores allow 10,000 parts in an upload
_COPY_LIMIT = 5 * 1000**3  # bytes; S3 copies no larger object in one request
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_KEY = re.compile(r"uploads/[A-Za-z0-9_-]{1,100}/\d{1,10}/\d{1,10}")


@dataclass(frozen=True)
class StoredObject:
    """An object as listed; `modified` is the store's clock."""

    key: str
    length: int
    modified: datetime

    @property
    def digest(self) -> str | None:
        """The digest, if it is a blob."""
        name = self.key.rpartition("/")[2]
        return name if _DIGEST.fullmatch(name) and self.key == blob_key(name) else None


def blob_key(digest: str) -> str:
    """Where a blob lies. Raises NotFound for what is no SHA-256 in hex."""
    if not _DIGEST.fullmatch(digest):
        raise NotFound(f"No blob has the digest {digest!r}.")
    return f"{BLOBS}{digest[:2]}/{digest[2:4]}/{digest}"


def chunk_key(batch: str, index: int, chunk: int) -> str:
    """Where a chunk of an upload lies. Raises NotFound for a batch id that cannot be one."""
    return _checked(f"{UPLOADS}{batch}/{index}/{chunk}")


def _checked(key: str) -> str:
    if not _CHUNK_KEY.fullmatch(key):
        raise NotFound(f"No chunk has the key {key!r}.")
    return key


class BlobStore:
    """A blob store; safe to use from several threads, and picklable. An open one holds no file and no lock.

    Raises BlobMissing where bytes are asked for that are not there.
    """

    def __init__(self, url: str, store: ObjectStore, folder: Path | None = None) -> None:
        self.url = url
        self.folder = folder
        self._store = store

    @classmethod
    def open(cls, url: str) -> BlobStore:
        """The store at a URL (`s3://bucket/prefix`), or in a folder, which is created.

        Credentials and regions of an object store come from its usual variables, such as AWS_ACCESS_KEY_ID.
        Raises StartError if it cannot be used.
        """
        scheme, separator, rest = url.partition("://")
        try:
            if separator and scheme != "file":
                store = from_url(url, client_options={"timeout": timedelta(days=1)})  # of a whole body, not of a wait
                if not isinstance(store, S3Store | GCSStore | AzureStore):
                    raise StartError(f"Blobs cannot be kept in {url}: give a folder, s3://, gs:// or az://.")
                return cls(url, store)
            folder = Path(rest if separator else url).expanduser().resolve()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in (BLOBS, STAGING, UPLOADS):
                (folder / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StartError(f"The blob store {url} cannot be used: {error.strerror}: {error.filename}.") from None
        except (BaseError, ValueError) as error:
            raise StartError(f"The blob store {url} cannot be used: {str(error).splitlines()[0]}") from None
        return cls(str(folder), LocalStore(folder), folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return BlobStore.open, (self.url,)

    def owner(self, mine: str) -> str:
        """Whose store this is; `mine` if it was nobody's until now."""
        try:
            obstore.put(self._store, MARK, mine.encode(), mode="create")
        except AlreadyExistsError:
            return b"".join(self._read(MARK)).decode("utf-8", "replace")
        return mine

    # --- Reading

    def local_path(self, digest: str) -> Path | None:
        """The blob's own file, to be read only; None if the store is no folder or lacks the blob."""
        key = blob_key(digest)
        path = self.folder / key if self.folder else None
        return path if path and path.is_file() else None

    def length(self, digest: str) -> int | None:
        """Bytes of a blob; None if it is not there."""
        return self._length(blob_key(digest))

    def _length(self, key: str) -> int | None:
        if self.folder:
            try:
                return (self.folder / key).stat().st_size
            except FileNotFoundError:
                return None
        try:
            return obstore.head(self._store, key)["size"]
        except FileNotFoundError:
            return None

    def read(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `end` (None: to the end), in pieces of about a megabyte."""
        return self._read(blob_key(digest), start, end)

    def _read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if end is not None and start >= end:
            return
        try:
            found = obstore.get(self._store, key, options=_range(start, end))
        except FileNotFoundError:
            raise BlobMissing(f"{key} is not in the blob store.") from None
        yield from map(bytes, found.stream(_BLOCK))

    async def stream(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """As `read`, for a response body: waits without a thread, and never reads ahead of its reader by much."""
        if end is not None and start >= end:
            return
        try:
            found = await obstore.get_async(self._store, blob_key(digest), options=_range(start, end))
        except FileNotFoundError:
            raise BlobMissing(f"{digest} is not in the blob store.") from None
        async for piece in found.stream(_BLOCK):
            yield bytes(piece)

    def fetch(self, digest: str, target: Path) -> None:
        """Copy a blob into a file."""
        if self.folder:
            try:
                shutil.copyfile(self.folder / blob_key(digest), target)
            except FileNotFoundError:
                if self.length(digest) is not None:
                    raise
                raise BlobMissing(f"{digest} is not in the blob store.") from None
            return
        with target.open("wb") as file:
            file.writelines(self.read(digest))

    # --- Writing

    def stage(self, key: str | None = None) -> Stage:
        """A writer for a body that arrives in pieces: a blob, or the chunk of an upload with that key."""
        return Stage(self, None if key is None else _checked(key))

    def put_bytes(self, content: bytes) -> tuple[str, int]:
        """Store a small blob; (digest, length)."""
        return self._put([content])

    def put_file(self, path: Path) -> tuple[str, int]:
        """Store a copy of a file, which nobody may change meanwhile; (digest, length)."""
        if self.folder:
            with path.open("rb") as file:
                return self._put(iter(lambda: file.read(_BLOCK), b""))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        length = path.stat().st_size
        if self.length(digest) != length:
            obstore.put(self._store, blob_key(digest), path, chunk_size=_PART, max_concurrency=2)
        return digest, length

    def assemble(self, keys: Iterable[str]) -> tuple[str, int]:
        """One blob from the chunks with these keys, in order; (digest, length). The chunks stay."""
        return self._put(piece for key in keys for piece in self._read(_checked(key)))

    def _put(self, pieces: Iterable[bytes]) -> tuple[str, int]:
        """Store what arrives in pieces of about a block."""
        name, content = _new_staging_key(), hashlib.sha256()
        length = 0
        try:
            with self._writer(name) as file:
                for piece in pieces:
                    content.update(piece)
                    length += file.write(piece)
            digest = content.hexdigest()
            self._publish(name, blob_key(digest), length)
        finally:
            self._delete(name)
        return digest, length

    def _writer(self, key: str) -> IO[bytes] | Any:
        if self.folder:
            return _create(self.folder / key)
        return obstore.open_writer(self._store, key, buffer_size=_PART, max_concurrency=2)

    def _publish(self, staged: str, key: str, length: int) -> None:
        """Make a copy of a staged object visible under `key`, at once and whole; for a folder, on disk.

        What is there already is replaced by the same bytes: it becomes new to a collection that goes by age.
        """
        if self.folder:
            _publish_file(self.folder / staged, self.folder / key)
        elif length <= _COPY_LIMIT:
            obstore.copy(self._store, staged, key)
        else:
            with obstore.open_writer(self._store, key, buffer_size=_PART, max_concurrency=2) as file:
                for piece in self._read(staged):
                    file.write(piece)

    # --- Removing, listing

    def delete(self, digest: str) -> None:
        """Remove a blob, if it is there. Only a collection may (`ownership.collect`)."""
        self._delete(blob_key(digest))

    def delete_chunk(self, key: str) -> None:
        """Remove the chunk of an upload, if it is there."""
        self._delete(_checked(key))

    def delete_stray(self, key: str) -> None:
        """Remove an object that `objects` listed."""
        self._delete(key)

    def _delete(self, key: str) -> None:
        if self.folder:
            (self.folder / key).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below a prefix (`BLOBS`, `uploads/<batch>/`, …), in no order."""
        for found in obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=1000):
            for meta in found:
                yield StoredObject(meta["path"], meta["size"], meta["last_modified"])

    def free_bytes(self) -> int | None:
        """Free space of a folder's disk; None for an object store."""
        return shutil.disk_usage(self.folder).free if self.folder else None


class Stage:
    """Writes a body that arrives in pieces, in constant memory; what is hashed and written is so outside of the loop.

        async with store.stage() as stage:
            async for piece in body:
                await stage.write(piece)
            digest, length = await stage.finish()

    Nothing is visible before `finish`, and nothing is left behind without it. Until the block ends, `finish` may be
    called again: it publishes the same bytes once more, for `ownership.record` that met a collection.
    """

    def __init__(self, store: BlobStore, key: str | None) -> None:
        self.length = 0
        self._store = store
        self._key = key
        self._name = _new_staging_key()
        self._content = hashlib.sha256()
        self._block = bytearray()
        self._file: IO[bytes] | None = None
        self._writer: AsyncWritableFile | None = None
        self._whole = self._gone = False
        self._alone = threading.Lock()

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def write(self, piece: bytes) -> None:
        """Add bytes."""
        self._block += piece
        self.length += len(piece)
        if len(self._block) >= _BLOCK:
            await self._flush()

    async def finish(self) -> tuple[str, int]:
        """Publish what was written; (digest, length)."""
        if not self._whole:
            await self._flush()
            if self._writer:
                await self._writer.close()
            self._whole = True
        digest = self._content.hexdigest()
        await asyncio.to_thread(self._publish, self._key or blob_key(digest))
        return digest, self.length

    async def abort(self) -> None:
        """Forget what was written; what was published stays."""
        self._block.clear()
        self._writer = None  # without its close, an object store shows nothing
        # an upload that broke off is cancelled, and must not leave its file behind for that
        await asyncio.shield(asyncio.to_thread(self._discard))

    async def _flush(self) -> None:
        block, self._block = bytes(self._block), bytearray()
        await asyncio.to_thread(self._take, block)
        if not self._store.folder:
            self._writer = self._writer or obstore.open_writer_async(
                self._store._store, self._name, buffer_size=_PART, max_concurrency=2
            )
            await self._writer.write(block)

    def _take(self, block: bytes) -> None:
        with self._alone:  # a cancelled write may still run when abort comes
            self._content.update(block)
            if self._store.folder and not self._gone:
                self._file = self._file or _create(self._store.folder / self._name)
                self._file.write(block)

    def _publish(self, key: str) -> None:
        with self._alone:
            if self._file:
                self._file.flush()
            self._store._publish(self._name, key, self.length)

    def _discard(self) -> None:
        with self._alone:
            self._gone = True
            if self._file:
                self._file.close()
            self._store._delete(self._name)


def _range(start: int, end: int | None) -> Any:
    if end is not None:
        return {"range": (start, end)}
    return {"range": {"offset": start}} if start else None


def _new_staging_key() -> str:
    return f"{STAGING}{uuid.uuid4()}"


def _create(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _publish_file(staged: Path, target: Path) -> None:
    """The bytes are on disk before the name is, and the name before this returns."""
    _sync(staged)
    _make_folders(target.parent)
    link = staged.with_name(f"{staged.name}.link")
    try:
        os.link(staged, link)
    except OSError:  # a file system without links
        shutil.copyfile(staged, link)
        _sync(link)
    link.replace(target)
    _sync(target.parent)


def _make_folders(folder: Path) -> None:
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
