"""Who sees and may do what: ACLs with inheritance, through the library."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from vidarium import library as libraries
from vidarium.blobs import BlobStore
from vidarium.bulk.ledger import Ledger
from vidarium.database.schema import document
from vidarium.documents import Ace, Ref
from vidarium.errors import Forbidden, NotFound
from vidarium.library import Libraries
from vidarium.permissions import EVERYONE, EVERYTHING, SYSTEM, Principal, allows
from vidarium.uploads import Uploads

ANN = Principal("ann", frozenset({"members"}))
HOME = Ref(path="/default-domain/workspaces")


@pytest.fixture
def shared(database: Engine, tmp_path: Path) -> Libraries:
    store = BlobStore.open(str(tmp_path / "blobs"))
    shared = Libraries(database, store, Uploads(database, store), Ledger(database, {}))
    libraries.seed(shared)
    return shared


def test_a_block_hides_a_folder_with_all_below(shared: Libraries) -> None:
    admin, ann = shared.of(SYSTEM), shared.of(ANN)
    folder = admin.create(HOME, "Folder", "secret", {})
    inside = admin.create(Ref(id=folder.id), "File", "inside", {})
    assert ann.get(Ref(id=inside.id)).id == inside.id
    assert ann.children(HOME, size=10, index=0).total == 1
    admin.set_aces(Ref(id=folder.id), "local", (Ace(EVERYONE, EVERYTHING, granted=False),))
    for hidden in (folder, inside):
        with pytest.raises(NotFound):
            ann.get(Ref(id=hidden.id))
        assert admin.get(Ref(id=hidden.id)).acl_scope == folder.id
    assert ann.children(HOME, size=10, index=0).total == 0
    assert admin.children(HOME, size=10, index=0).total == 1
    admin.set_aces(Ref(id=folder.id), "local", ())
    assert ann.get(Ref(id=inside.id)).acl_scope == admin.get(Ref(path="/")).id


def test_reading_is_not_writing(shared: Libraries) -> None:
    admin, ann = shared.of(SYSTEM), shared.of(ANN)
    made = admin.create(HOME, "File", "plain", {})
    for forbidden in (
        lambda: ann.update(Ref(id=made.id), {"dc:title": "x"}),
        lambda: ann.delete(Ref(id=made.id)),
        lambda: ann.create(HOME, "File", "mine", {}),
        lambda: ann.set_aces(Ref(id=made.id), "local", ()),
    ):
        with pytest.raises(Forbidden, match="is not granted to 'ann'"):
            forbidden()
    admin.set_aces(HOME, "local", (Ace("ann", "ReadWrite"),))
    assert ann.update(Ref(id=made.id), {"dc:title": "x"}).title == "x"
    assert ann.create(HOME, "File", "mine", {}).properties["dc:creator"] == "ann"


def test_only_documents_with_aces_are_scopes(shared: Libraries) -> None:
    with shared.engine.connect() as connection:
        count = connection.scalar(select(func.count()).select_from(document).where(document.c.acl.is_not(None)))
    assert count == 1


def test_the_first_ace_that_is_about_it_decides() -> None:
    now = "2024-01-15T12:00:00.000Z"
    deny, grant = Ace("members", "Read", granted=False), Ace("ann", "ReadWrite")
    assert allows([grant, deny], ANN, "Browse", now)
    assert not allows([deny, grant], ANN, "Browse", now)
    assert allows([deny, grant], ANN, "WriteProperties", now)
    assert not allows([], ANN, "Browse", now)
    assert not allows([Ace("ann", "Read", end="2024-01-15T11:59:59.999Z")], ANN, "Browse", now)
    assert not allows([Ace("ann", "Read", begin="2024-01-16T00:00:00.000Z")], ANN, "Browse", now)
