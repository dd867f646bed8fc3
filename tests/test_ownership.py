"""Who owns a blob; and that a collection takes what nobody owns, and nothing else, whatever runs beside it."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from vidarium import ownership
from vidarium.blobs import BlobStore, chunk_key
from vidarium.database.schema import blob, blob_use, document, rendition, upload_batch, upload_chunk, upload_file
from vidarium.errors import BlobMissing, StartError
from vidarium.ownership import Collected, collect, expire_batches, record, set_uses

DAY = 86_400


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(str(tmp_path / "blobs"))


def new_document(connection: Connection) -> uuid.UUID:
    made = uuid.uuid4()
    row = {"id": made, "name": made.hex, "path": f"/{made.hex}", "type": "File", "facets": [], "state": "project"}
    connection.execute(insert(document).values(**row, acl_scope=made))
    return made


def owned(engine: Engine, store: BlobStore, *digests: str) -> uuid.UUID:
    with engine.begin() as connection:
        made = new_document(connection)
        set_uses(connection, store, made, digests)
    return made


def recorded(engine: Engine, store: BlobStore, content: bytes) -> str:
    digest, length = store.put_bytes(content)
    with engine.begin() as connection:
        record(connection, store, digest, length)
    return digest


def age(engine: Engine, days: float) -> None:
    with engine.begin() as connection:
        connection.execute(update(blob).values(touched=func.now() - timedelta(days=days)))


def rows(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(blob.c.digest)))


def test_uses_follow_the_document(database: Engine, store: BlobStore) -> None:
    one, two, three = (recorded(database, store, name) for name in (b"1", b"2", b"3"))
    made = owned(database, store, one, two)
    with database.begin() as connection:
        set_uses(connection, store, made, {two, three})
        set_uses(connection, store, made, {two, three})
        assert set(connection.scalars(select(blob_use.c.digest))) == {two, three}
    with database.begin() as connection:
        connection.execute(delete(document))
        assert list(connection.scalars(select(blob_use.c.digest))) == []


def test_a_published_blob_needs_no_record_to_be_attached(database: Engine, store: BlobStore) -> None:
    digest, length = store.put_bytes(b"abc")
    owned(database, store, digest)
    with database.connect() as connection:
        assert connection.execute(select(blob.c.digest, blob.c.length)).one() == (digest, length)


def test_missing_bytes_are_noticed(database: Engine, store: BlobStore) -> None:
    nowhere = hashlib.sha256(b"nowhere").hexdigest()
    with pytest.raises(BlobMissing), database.begin() as connection:
        record(connection, store, nowhere, 7)
    with pytest.raises(BlobMissing), database.begin() as connection:
        set_uses(connection, store, new_document(connection), {nowhere})
    left = recorded(database, store, b"left by a collection that died")
    store.delete(left)
    with pytest.raises(BlobMissing), database.begin() as connection:
        set_uses(connection, store, new_document(connection), {left})
    assert rows(database) == {left}


def test_a_collection_takes_what_nobody_owns(database: Engine, store: BlobStore) -> None:
    used, unused = recorded(database, store, b"used"), recorded(database, store, b"unused")
    owned(database, store, used)
    with database.begin() as connection:
        result = {"source": used, "recipe": "r", "digest": unused, "encoder": "e", "seconds": 1.0}
        connection.execute(insert(rendition).values(**result))
    assert collect(database, store, DAY) == Collected()
    age(database, 2)
    assert collect(database, store, DAY, dry_run=True) == Collected(blobs=1, bytes=6)
    assert store.length(unused) == 6
    steps: list[Collected] = []
    assert collect(database, store, DAY, progress=steps.append) == Collected(blobs=1, bytes=6)
    assert steps[-1] == Collected(blobs=1, bytes=6)
    assert rows(database) == {used}
    assert (store.length(used), store.length(unused)) == (4, None)
    with database.connect() as connection:
        assert connection.execute(select(rendition.c.recipe)).all() == []


def test_the_grace_begins_when_the_last_user_goes(database: Engine, store: BlobStore) -> None:
    digest = recorded(database, store, b"abc")
    made = owned(database, store, digest)
    age(database, 2)
    with database.begin() as connection:
        set_uses(connection, store, made, ())
    assert collect(database, store, DAY) == Collected()
    assert collect(database, store, 0) == Collected(blobs=1, bytes=3)


def test_many_unused_rows_go_in_small_transactions(database: Engine, store: BlobStore) -> None:
    for number in range(250):
        recorded(database, store, b"%d" % number)
    steps: list[Collected] = []
    assert collect(database, store, 0, progress=steps.append).blobs == 250
    assert len([step for step in steps if step.blobs]) >= 3
    assert list(store.objects()) == []


def test_stray_objects_go_after_the_grace(database: Engine, store: BlobStore) -> None:
    assert store.folder
    fresh, _ = store.put_bytes(b"fresh")
    old, _ = store.put_bytes(b"old")
    paths = [store.folder / "staging/old", store.folder / "uploads/gone/0/0", store.folder / "blobs/not-ours.txt"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"xx")
    old_path = store.local_path(old)
    assert old_path is not None
    for path in (*paths, old_path):
        os.utime(path, (1000, 1000))
    assert collect(database, store, DAY, dry_run=True) == Collected(objects=3, bytes=7)
    assert collect(database, store, DAY) == Collected(objects=3, bytes=7)
    assert [path.exists() for path in paths] == [False, False, True]
    assert (store.length(fresh), store.length(old)) == (5, None)
    assert rows(database) == set()
    assert collect(database, store, 0) == Collected(objects=1, bytes=5)


def test_what_is_being_written_stays(database: Engine, store: BlobStore) -> None:
    assert store.folder
    writing = store.folder / "staging/now"
    writing.write_bytes(b"x")
    assert collect(database, store, 0) == Collected()
    assert writing.exists()


def add_batch(engine: Engine, store: BlobStore, batch: str, digest: str) -> None:
    chunk = chunk_key(batch, 1, 0)
    assert store.folder
    (store.folder / chunk).parent.mkdir(parents=True)
    (store.folder / chunk).write_bytes(b"chunk")
    file = {"batch": batch, "name": "a.mp4", "mime_type": "video/mp4", "length": 5}
    with engine.begin() as connection:
        connection.execute(insert(upload_batch).values(id=batch, owner="bob"))
        connection.execute(insert(upload_file).values(**file, index=0, digest=digest))
        connection.execute(insert(upload_file).values(**file, index=1, digest=None, chunk_count=2))
        connection.execute(insert(upload_chunk).values(batch=batch, index=1, chunk=0, key=chunk, length=5))


def test_an_upload_batch_owns_its_files_until_it_expires(database: Engine, store: BlobStore) -> None:
    first, second = recorded(database, store, b"first"), recorded(database, store, b"second")
    add_batch(database, store, "batchId-1", first)
    add_batch(database, store, "batchId-2", second)
    assert collect(database, store, 0) == Collected()
    with database.begin() as connection:
        old = upload_batch.c.id == "batchId-1"
        connection.execute(update(upload_batch).where(old).values(touched=func.now() - timedelta(days=2)))
    assert expire_batches(database, store, DAY) == 1
    assert [found.key for found in store.objects("uploads/")] == [chunk_key("batchId-2", 1, 0)]
    assert collect(database, store, 0).blobs == 1
    assert rows(database) == {second}
    assert expire_batches(database, store, 0) == 1
    assert expire_batches(database, store, 0) == 0
    assert list(store.objects("uploads/")) == []


def test_an_attach_in_progress_keeps_its_blob(database: Engine, store: BlobStore) -> None:
    """A collection beside an open transaction neither waits for it nor takes what it attaches."""
    digest = recorded(database, store, b"abc")
    with database.begin() as connection:
        set_uses(connection, store, new_document(connection), {digest})
        assert collect(database, store, 0) == Collected()
    assert collect(database, store, 0) == Collected()
    assert store.length(digest) == 3


def test_a_record_in_progress_keeps_its_blob(database: Engine, store: BlobStore) -> None:
    digest, length = store.put_bytes(b"abc")
    ended: list[Collected] = []
    collection = threading.Thread(target=lambda: ended.append(collect(database, store, 0)))
    with database.begin() as connection:
        record(connection, store, digest, length)
        collection.start()
        set_uses(connection, store, new_document(connection), {digest})
    collection.join(30)
    assert ended == [Collected()]
    assert store.length(digest) == 3


def test_a_use_committed_while_the_row_was_being_locked_counts(database: Engine, store: BlobStore) -> None:
    """The statement that locks a row may have looked for uses before one was committed; only the next one sees it."""
    digest = recorded(database, store, b"abc")
    owned(database, store, digest)
    with database.begin() as connection:
        now = connection.scalars(select(func.now())).one()
        connection.execute(select(blob.c.digest).with_for_update())
        work = ownership._Collection(database, store, now, False)
        assert ownership._remove_rows(work, connection, [digest]) == Collected()
    assert store.length(digest) == 3


LONG = os.environ.get("LONG") == "1"


def test_nothing_owned_is_ever_lost(database: Engine, store: BlobStore) -> None:
    """Uploads, attaches, detaches and collections without grace, on the same few blobs, all at once."""
    contents = [b"blob %d" % number for number in range(6)]
    failures: list[BaseException] = []
    stop = threading.Event()
    turns, collected, missed = 1500 if LONG else 150, [0], [0]

    def attach(chance: random.Random) -> None:
        with database.begin() as connection:
            made = new_document(connection)
        for _ in range(turns):
            wanted = chance.sample(contents, chance.randrange(4))
            published = [store.put_bytes(content) for content in wanted]
            try:
                if chance.random() < 0.5:
                    for digest, length in published:
                        with database.begin() as connection:
                            record(connection, store, digest, length)
                with database.begin() as connection:
                    connection.execute(select(document.c.id).where(document.c.id == made).with_for_update())
                    set_uses(connection, store, made, [digest for digest, _ in published])
            except BlobMissing:  # a collection was faster; the next turn publishes again
                missed[0] += 1
            with database.connect() as connection:
                mine = select(blob_use.c.digest).where(blob_use.c.document == made)
                lost = [digest for digest in connection.scalars(mine) if store.length(digest) is None]
            assert lost == []

    def take() -> None:
        while not stop.is_set():
            found = collect(database, store, 0)
            collected[0] += found.blobs + found.objects

    def guarded(work: object, *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)  # type: ignore[operator]
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    collections = [guarded(take) for _ in range(2)]
    attaches = [guarded(attach, random.Random(seed)) for seed in range(4)]
    for thread in attaches:
        thread.join()
    stop.set()
    for thread in collections:
        thread.join()
    assert failures == []
    assert collected[0] > 0
    with database.connect() as connection:
        used = set(connection.scalars(select(blob_use.c.digest)))
    assert {digest for digest in used if store.length(digest) is None} == set()
    collect(database, store, 0)
    assert rows(database) == used == {found.digest for found in store.objects("blobs/")}


def test_a_store_belongs_to_one_database(database: Engine, tmp_path: Path) -> None:
    mine, others = BlobStore.open(str(tmp_path / "mine")), BlobStore.open(str(tmp_path / "others"))
    others.owner("somebody else")
    ownership.bind(database, mine)
    ownership.bind(database, mine)
    with pytest.raises(StartError, match="belongs to the installation somebody else"):
        ownership.bind(database, others)
    ownership.collect(database, mine, 0)
    ownership.bind(database, mine)
