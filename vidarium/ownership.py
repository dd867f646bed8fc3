"""Who owns a blob, and what becomes of one that nobody owns (rows `blob` and `blob_use`).

The lock of a blob's row stands for its bytes. Whoever takes a blob into use holds it (shared) until the use is
committed; a collection holds it (alone) from before it looks for uses until the bytes and the row are gone. A
collection that dies in between leaves a row without bytes, so bytes are looked for whenever a blob gets its first use.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from vidarium.blobs import BLOBS, MARK, STAGING, UPLOADS, BlobStore, StoredObject
from vidarium.database.schema import blob, blob_use, installation, rendition, upload_batch, upload_file
from vidarium.errors import BlobMissing, StartError

_BATCH = 100
_STAGING_AGE = timedelta(hours=1)
"""What is being written is not touched, whatever the grace: an upload that pauses longer is not going on."""


def bind(engine: Engine, store: BlobStore) -> None:
    """Make sure that a database and a blob store belong together; the first time they meet, they do from then on.

    A collection with the wrong database would find every blob without owner. Raises StartError.
    """
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE installation IN EXCLUSIVE MODE"))
        mine = connection.scalar(select(installation.c.id))
        if mine is None:
            mine = connection.scalar(insert(installation).values(id=uuid.uuid4()).returning(installation.c.id))
        if (owner := store.owner(str(mine))) != str(mine):
            raise StartError(
                f"The blob store {store.url} belongs to the installation {owner}, the database to {mine}. Check"
                " --database-url and --blobs: they must be of one installation. Only if they are (a database that was"
                f" made anew, say), remove the object '{MARK}' from the store."
            )


def record(connection: Connection, store: BlobStore, digest: str, length: int) -> None:
    """Make a row of bytes just published, or renew it; it is kept at least until the transaction ends.

    Raises BlobMissing if a collection was faster: roll back, publish again, record again.
    """
    row = insert(blob).values(digest=digest, length=length)
    row = row.on_conflict_do_update(index_elements=[blob.c.digest], set_={"touched": func.now(), "length": length})
    connection.execute(row)
    _check_bytes(store, digest)


def set_uses(connection: Connection, store: BlobStore, document: uuid.UUID, digests: Collection[str]) -> None:
    """Make `digests` the blobs that a document owns, in the document's own transaction; its row must be there.

    Raises BlobMissing for a blob without bytes.
    """
    used = select(blob_use.c.digest).where(blob_use.c.document == document)
    owned = set(connection.scalars(used))
    added = sorted(set(digests) - owned)
    if added:
        _add_uses(connection, store, document, added)
    if dropped := owned - set(digests):
        gone = blob_use.c.document == document, blob_use.c.digest.in_(dropped)
        connection.execute(delete(blob_use).where(*gone))
        # The grace begins when the last user goes. Whoever holds the lock of a row now touches it, or drops it too.
        free = select(blob.c.digest).where(blob.c.digest.in_(dropped)).with_for_update(skip_locked=True, key_share=True)
        connection.execute(blob.update().where(blob.c.digest.in_(free)).values(touched=func.now()))


def _add_uses(connection: Connection, store: BlobStore, document: uuid.UUID, added: list[str]) -> None:
    """`added` is in order, so that two writers of the same blobs wait for one another instead of both."""
    rows = select(blob.c.digest).where(blob.c.digest.in_(added)).order_by(blob.c.digest)
    known = set(connection.scalars(rows.with_for_update(read=True, key_share=True)))
    for digest in added:
        if digest not in known:
            record(connection, store, digest, store.length(digest) or 0)
    in_use = set(connection.scalars(select(blob_use.c.digest).where(blob_use.c.digest.in_(known)).distinct()))
    for digest in known - in_use:
        _check_bytes(store, digest)
    connection.execute(insert(blob_use), [{"digest": digest, "document": document} for digest in added])


def _check_bytes(store: BlobStore, digest: str) -> None:
    if store.length(digest) is None:
        raise BlobMissing(f"The bytes of blob {digest} are not in the blob store.")


# --- Collection -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collected:
    """What a collection removed: blobs with a row, and objects of the store without one. `bytes` of both."""

    blobs: int = 0
    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.blobs + other.blobs, self.objects + other.objects, self.bytes + other.bytes)


@dataclass(frozen=True)
class _Collection:
    engine: Engine
    store: BlobStore
    before: datetime
    dry_run: bool


def collect(
    engine: Engine,
    store: BlobStore,
    grace_seconds: float,
    dry_run: bool = False,
    progress: Callable[[Collected], None] | None = None,
) -> Collected:
    """Remove the blobs that no document and no upload batch uses, and stray objects, older than the grace.

    May run beside servers and other collections. `progress` is called with the sum so far.
    """
    with engine.connect() as connection:
        now = connection.scalars(select(func.now())).one()
    work = _Collection(engine, store, now - timedelta(seconds=grace_seconds), dry_run)
    total = Collected()
    for removed in (_unused_rows, _stray_blobs, _stray_chunks, _old_staging):
        for step in removed(work):
            total += step
            if progress:
                progress(total)
    return total


def expire_batches(engine: Engine, store: BlobStore, idle_seconds: float) -> int:
    """Remove the upload batches that nobody touched for so long, with their chunks; how many."""
    idle = upload_batch.c.touched <= func.now() - timedelta(seconds=idle_seconds)
    oldest = select(upload_batch.c.id).where(idle).limit(1).with_for_update(skip_locked=True)
    count = 0
    while True:
        with engine.begin() as connection:
            batch = connection.scalars(oldest).one_or_none()
            if batch is None:
                return count
            for chunk in store.objects(f"{UPLOADS}{batch}/"):
                store.delete_stray(chunk.key)
            connection.execute(delete(upload_batch).where(upload_batch.c.id == batch))
        count += 1


def _used(digest: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(blob_use.c.digest == digest) | exists().where(upload_file.c.digest == digest)


def _unused_rows(work: _Collection) -> Iterator[Collected]:
    """Rows in order of digest, a few per transaction: what a dry run or a failure leaves is not met again."""
    last = ""
    while True:
        with work.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # it may walk all rows to find none
            found = select(blob.c.digest).where(blob.c.digest > last, blob.c.touched <= work.before)
            found = found.where(~_used(blob.c.digest)).order_by(blob.c.digest).limit(_BATCH)
            locked = list(connection.scalars(found.with_for_update(skip_locked=True)))
            if not locked:
                return
            last = locked[-1]
            removed = _remove_rows(work, connection, locked)
        yield removed


def _remove_rows(work: _Collection, connection: Connection, locked: list[str]) -> Collected:
    # Only now does nobody else get a use: what was committed while we waited for the locks is seen by a new statement.
    again = select(blob.c.digest, blob.c.length).where(blob.c.digest.in_(locked), blob.c.touched <= work.before)
    unused = {row.digest: row.length for row in connection.execute(again.where(~_used(blob.c.digest)))}
    if not work.dry_run:
        for digest in unused:
            work.store.delete(digest)
        # Skipping is harmless (a rendition's bytes are looked for before it is used again), waiting could deadlock.
        key = tuple_(rendition.c.source, rendition.c.recipe)
        of_these = select(rendition.c.source, rendition.c.recipe).where(rendition.c.digest.in_(unused))
        connection.execute(delete(rendition).where(key.in_(of_these.with_for_update(skip_locked=True))))
        connection.execute(delete(blob).where(blob.c.digest.in_(unused)))
    return Collected(blobs=len(unused), bytes=sum(unused.values()))


def _stray_blobs(work: _Collection) -> Iterator[Collected]:
    """Blobs of the store that have no row: publishing came to nothing."""
    found = (it for it in work.store.objects(BLOBS) if it.digest and it.modified <= work.before)
    while some := list(islice(found, 1000)):
        with work.engine.connect() as connection:
            digests = [it.digest for it in some]
            known = set(connection.scalars(select(blob.c.digest).where(blob.c.digest.in_(digests))))
        yield sum((_remove_stray(work, it) for it in some if it.digest not in known), Collected())


def _remove_stray(work: _Collection, stray: StoredObject) -> Collected:
    """Under the lock of a row that is made for it and removed again: a `record` of the same digest waits."""
    if work.dry_run:
        return Collected(objects=1, bytes=stray.length)
    with work.engine.begin() as connection:
        row = insert(blob).values(digest=stray.digest, length=stray.length).on_conflict_do_nothing()
        if not connection.execute(row.returning(blob.c.digest)).first():
            return Collected()
        work.store.delete_stray(stray.key)
        connection.execute(delete(blob).where(blob.c.digest == stray.digest))
    return Collected(objects=1, bytes=stray.length)


def _stray_chunks(work: _Collection) -> Iterator[Collected]:
    """Chunks whose batch is gone. A batch's id never comes back, so there is nothing to lock."""
    found = (it for it in work.store.objects(UPLOADS) if it.modified <= work.before)
    while some := list(islice(found, 1000)):
        with work.engine.connect() as connection:
            batches = {_batch(it) for it in some}
            living = set(connection.scalars(select(upload_batch.c.id).where(upload_batch.c.id.in_(batches))))
        yield sum((_delete(work, it) for it in some if _batch(it) not in living), Collected())


def _batch(chunk: StoredObject) -> str:
    return chunk.key.split("/")[1]


def _old_staging(work: _Collection) -> Iterator[Collected]:
    """What was being written when its server died."""
    with work.engine.connect() as connection:
        now = connection.scalars(select(func.now())).one()
    before = min(work.before, now - _STAGING_AGE)
    yield sum((_delete(work, it) for it in work.store.objects(STAGING) if it.modified <= before), Collected())


def _delete(work: _Collection, stray: StoredObject) -> Collected:
    if not work.dry_run:
        work.store.delete_stray(stray.key)
    return Collected(objects=1, bytes=stray.length)
