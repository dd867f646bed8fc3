"""The library: its verbs, as one principal. Every permission is checked here, and every write is one transaction."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, any_, literal

from vidarium import ownership, repository
from vidarium.blobs import BlobStore
from vidarium.bulk import Command, NewCommand
from vidarium.bulk.ledger import Ledger
from vidarium.database.schema import CODE_POINTS, document
from vidarium.documents import (
    COMPUTED_PROPERTIES,
    PROPERTIES,
    SCHEMAS,
    TYPES,
    UNCHANGED,
    Ace,
    BlobOf,
    Complex,
    Document,
    ListOf,
    Ref,
    TextBlob,
    UploadedFile,
    at_xpath,
    blobs_in,
    now_text,
)
from vidarium.errors import BadRequest, Conflict, Forbidden, NotFound
from vidarium.permissions import CONTAINS, EVERYTHING, MEMBERS, Principal, allows
from vidarium.renditions import EMPTY
from vidarium.uploads import Uploads

NAME_CHARACTERS = 24
"""Names are cut to this length (spec/rest.md 4.5)."""

ROOT = Ref(path="/", text="/")


@dataclass(frozen=True)
class Page:
    """One page of documents: `total` counts all, `index` from 0."""

    entries: list[Document]
    total: int
    size: int
    index: int


@dataclass(frozen=True)
class Libraries:
    """What every library of this server shares."""

    engine: Engine
    store: BlobStore
    uploads: Uploads
    ledger: Ledger

    def of(self, principal: Principal) -> Library:
        """The library as one principal sees it."""
        return Library(self, principal)


@dataclass(frozen=True)
class Library:
    """The verbs. They raise NotFound for what is missing or hidden, Forbidden for what is seen but not allowed."""

    shared: Libraries
    principal: Principal

    # --- Reading

    def get(self, ref: Ref) -> Document:
        """One document."""
        with self.shared.engine.connect() as connection:
            return self._readable(connection, ref)

    def children(self, ref: Ref, *, size: int, index: int) -> Page:
        """A page of a folder's children, by title; versions, trashed and hidden ones are left out."""
        title = document.c.properties["dc:title"].astext.collate("C")
        with self.shared.engine.connect() as connection:
            parent = self._readable(connection, ref)
            hidden = repository.visible(repository.visible_scopes(connection, self.principal, now_text()))
            where = [
                document.c.parent == parent.id,
                ~document.c.is_trashed,
                ~(literal("HiddenInNavigation", CODE_POINTS) == any_(document.c.facets)),
                *hidden,
            ]
            entries, total = repository.find(connection, where, [title], size, size * index)
        return Page(entries, total, size, index)

    def blob(self, ref: Ref, xpath: str | None) -> Mapping[str, Any]:
        """The stored blob value at an xpath (None: the main one); raises NotFound if there is none."""
        found = at_xpath(self.get(ref), xpath or "file:content")
        if not (isinstance(found, Mapping) and found.get("digest")):
            raise NotFound(f"Invalid xpath: {xpath}" if xpath else "No Blob found")
        return found

    def aces(self, ref: Ref) -> list[tuple[str, list[Ace]]]:
        """The ACLs that count for a document: its own by name, then all inherited ones as `inherited`."""
        with self.shared.engine.connect() as connection:
            found = self._readable(connection, ref)
            above = repository.aces_above(connection, found)
        own = [(name, list(entries)) for name, entries in found.acl.items() if entries]
        inherited = repository.evaluation_order(acl for owner, acl in above if owner != found.id)
        return [*own, ("inherited", list(inherited))]

    def permissions(self, found: Document) -> list[str]:
        """The names of the permissions that the principal has on a document."""
        with self.shared.engine.connect() as connection:
            above = [acl for _, acl in repository.aces_above(connection, found)]
        names = {EVERYTHING, "ReadWrite", "ReadRemove", *CONTAINS}.union(*CONTAINS.values())
        now = now_text()
        return sorted(name for name in names if allows(repository.evaluation_order(above), self.principal, name, now))

    # --- Writing

    def create(self, parent: Ref, kind: str, name: str, properties: Mapping[str, Any]) -> Document:
        """A new document below a parent. A taken name gets the time appended (spec/rest.md 4.5)."""
        if kind not in TYPES or kind in {"Document", "Root"}:
            raise BadRequest(f"No such document type: {kind}")
        with self.shared.engine.begin() as connection:
            folder = self._readable(connection, parent)
            self._require(connection, folder, "AddChildren")
            if folder.path is None:
                raise BadRequest("A version cannot have children.")
            new = self._new(folder, kind, name)
            resolved = self._resolved(connection, new, properties)
            new = _with(replace(new, properties={**new.properties, **self._authorship(new)}), resolved)
            placed = self._placed(connection, new, folder)
            self._own_blobs(connection, placed)
            if placed.is_video and placed.file:
                self._process(connection, placed)
        return placed

    def update(self, ref: Ref, properties: Mapping[str, Any], *, token: str | None = None) -> Document:
        """Write the given properties; the others stay. `token`: the client's change token, checked if given.

        A token with an older system half comes from before the last background work: what the client echoes of
        computed properties is older than what is stored, and is left out.
        """
        with self.shared.engine.begin() as connection:
            found = self._locked(connection, ref)
            self._require(connection, found, "WriteProperties")
            if found.lock_owner not in (None, self.principal.name) and not self.principal.is_administrator:
                raise Conflict(f"Document is locked by {found.lock_owner}")
            echoes = _is_behind(found, token)
            given = {k: v for k, v in properties.items() if not (echoes and k in COMPUTED_PROPERTIES)}
            resolved = self._resolved(connection, found, given)
            changed = _with(found, resolved)
            changed = replace(changed, properties={**changed.properties, **self._authorship(changed)})
            new_file = found.is_video and _is_new_file(found, changed, given)
            if new_file:
                changed = replace(changed, computed={**changed.computed, **EMPTY})
            saved = repository.save(connection, changed, by_user=True)
            self._own_blobs(connection, saved)
            if new_file and saved.file:
                self._process(connection, saved)
        return saved

    def delete(self, ref: Ref) -> None:
        """Delete a document for good, with everything below it."""
        with self.shared.engine.begin() as connection:
            found = self._locked(connection, ref)
            self._require(connection, found, "Remove")
            if found.parent is None and not found.is_version:
                raise BadRequest("The root cannot be deleted.")
            repository.delete_tree(connection, found)

    def set_aces(self, ref: Ref, name: str, aces: tuple[Ace, ...]) -> None:
        """Replace one ACL of a document."""
        with self.shared.engine.begin() as connection:
            found = self._locked(connection, ref)
            self._require(connection, found, "WriteSecurity")
            repository.save_acl(connection, found, {**found.acl, name: aces})

    def submit(self, new: NewCommand) -> Command:
        """Submit a bulk command."""
        return self.shared.ledger.submit(new)

    # --- Permissions

    def _readable(self, connection: Connection, ref: Ref) -> Document:
        found = repository.load(connection, ref)
        return self._seen(connection, ref, found)

    def _locked(self, connection: Connection, ref: Ref) -> Document:
        found = repository.load(connection, ref, lock=True)
        return self._seen(connection, ref, found)

    def _seen(self, connection: Connection, ref: Ref, found: Document | None) -> Document:
        if found is None or not self._may(connection, found, "Browse"):
            raise NotFound(ref.text)
        self._require(connection, found, "ReadProperties", "Read")
        return found

    def _require(self, connection: Connection, found: Document, permission: str, name: str = "") -> None:
        if not self._may(connection, found, permission):
            raise Forbidden(f"Privilege '{name or permission}' is not granted to '{self.principal.name}'")

    def _may(self, connection: Connection, found: Document, permission: str) -> bool:
        if self.principal.is_administrator:
            return True
        above = [acl for _, acl in repository.aces_above(connection, found)]
        return allows(repository.evaluation_order(above), self.principal, permission, now_text())

    # --- Values

    def _new(self, folder: Document, kind: str, name: str) -> Document:
        """A document that is not stored yet, with its initial life-cycle state and empty computed properties."""
        versioned = "uid" in TYPES[kind].all_schemas
        now = now_text()
        return Document(
            id=uuid.uuid4(),
            parent=folder.id,
            name=segment(name),
            path=None,
            type=kind,
            facets=TYPES[kind].facets,
            state="project",
            properties={"dc:created": now, "dc:creator": self.principal.name}
            | ({"uid:major_version": 0, "uid:minor_version": 0} if versioned else {}),
            computed={},
            acl_scope=folder.acl_scope,
        )

    def _authorship(self, found: Document) -> dict[str, Any]:
        contributors = list(found.properties.get("dc:contributors") or [])
        if self.principal.name not in contributors:
            contributors.append(self.principal.name)
        return {
            "dc:modified": now_text(),
            "dc:lastContributor": self.principal.name,
            "dc:contributors": contributors,
        }

    def _placed(self, connection: Connection, new: Document, folder: Document) -> Document:
        """Insert a document under a free name."""
        base = (folder.path or "").rstrip("/")
        name = new.name
        while True:
            placed = replace(new, name=name, path=f"{base}/{name}")
            if repository.insert_document(connection, placed):
                return placed
            name = f"{new.name}.{time.time_ns() // 1_000_000}"

    def _resolved(self, connection: Connection, target: Document, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values with every blob in stored form; properties of schemas it does not have are left out."""
        own = {name for schema in target.schemas for name, _ in SCHEMAS[schema].property_names()}
        resolved = {
            name: self._resolve(connection, target, value, PROPERTIES[name])
            for name, value in given.items()
            if name in own
        }
        return {name: value for name, value in resolved.items() if value is not UNCHANGED}

    def _resolve(self, connection: Connection, target: Document, value: Any, kind: Any) -> Any:
        match value, kind:
            case UploadedFile(), _:
                return self.shared.uploads.resolve(connection, value, self.principal) or UNCHANGED
            case BlobOf(), _:
                return self._same_blob(connection, target, value)
            case TextBlob(), _:
                return self._text_blob(connection, value)
            case list(), ListOf(element=element):
                entries = [self._resolve(connection, target, entry, element) for entry in value]
                return [entry for entry in entries if entry is not UNCHANGED]
            case dict(), Complex(members=members, is_blob=False):
                found = {k: self._resolve(connection, target, v, members[k]) for k, v in value.items()}
                return {k: None if v is UNCHANGED else v for k, v in found.items()}
        return value

    def _same_blob(self, connection: Connection, target: Document, value: BlobOf) -> Any:
        owner = target if value.document == target.id else self._readable(connection, Ref(id=value.document))
        found = at_xpath(owner, value.xpath)
        if not (isinstance(found, Mapping) and found.get("digest")):
            raise BadRequest(f"No blob at {value.xpath} of {value.document}")
        return dict(found)

    def _text_blob(self, connection: Connection, value: TextBlob) -> dict[str, Any]:
        digest, length = self.shared.store.put_bytes(value.text.encode(value.encoding))
        ownership.record(connection, self.shared.store, digest, length)
        return {
            "name": value.name,
            "mime-type": value.mime_type,
            "encoding": value.encoding,
            "digestAlgorithm": "SHA-256",
            "digest": digest,
            "length": length,
        }

    def _own_blobs(self, connection: Connection, saved: Document) -> None:
        digests = {blob["digest"] for blob in blobs_in([saved.properties, saved.computed])}
        ownership.set_uses(connection, self.shared.store, saved.id, digests)

    def _process(self, connection: Connection, saved: Document) -> None:
        """The file's work is part of this transaction: it is never lost, and never started for nothing."""
        self.shared.ledger.submit_upload(connection, "processVideo", saved.id, {})


def segment(name: str) -> str:
    """The path segment of a document's name (spec/rest.md 4.5)."""
    cut = re.sub(r"[/\\]", "-", name.strip()[:NAME_CHARACTERS].strip())
    return cut if cut.strip(" -.,;?!:/\\'\"") else str(uuid.uuid4())


def seed(shared: Libraries) -> None:
    """The tree of a new installation (spec/rest.md 13); an old one is left as it is."""
    principal = Principal("Administrator", frozenset({"administrators"}))
    library = shared.of(principal)
    with shared.engine.begin() as connection:
        if repository.load(connection, ROOT) is not None:
            return
        key = uuid.uuid4()
        acl = {"local": (Ace("Administrator", EVERYTHING), Ace(MEMBERS, "Read"))}
        root = Document(key, None, "", "/", "Root", TYPES["Root"].facets, "project", {}, {}, acl=acl, acl_scope=key)
        if not repository.insert_document(connection, root):
            return
    library.create(ROOT, "Domain", "default-domain", {"dc:title": "Domain"})
    domain = Ref(path="/default-domain")
    for kind, name in (("WorkspaceRoot", "Workspaces"), ("SectionRoot", "Sections"), ("TemplateRoot", "Templates")):
        library.create(domain, kind, name.lower(), {"dc:title": name})


def _with(target: Document, values: Mapping[str, Any]) -> Document:
    """A document with some properties changed; None unsets one."""

    def put(present: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**present, **mine}.items() if value is not None}

    computed = {name: value for name, value in values.items() if name in COMPUTED_PROPERTIES}
    others = {name: value for name, value in values.items() if name not in COMPUTED_PROPERTIES}
    return replace(target, properties=put(target.properties, others), computed=put(target.computed, computed))


def _is_behind(found: Document, token: str | None) -> bool:
    """Whether a client's token is from before background work; raises Conflict if a user has written meanwhile."""
    if token is None:
        return False
    match = re.fullmatch(r"(\d{1,18})-(\d{1,18})", token)
    if match is None or int(match[2]) != found.user_token:
        raise Conflict(f"{found.id}, Invalid change token")
    return int(match[1]) < found.system_token


def _is_new_file(found: Document, changed: Document, given: Mapping[str, Any]) -> bool:
    """Whether the main file was set anew (even to the same bytes) or removed."""
    if isinstance(given.get("file:content"), UploadedFile | TextBlob) and changed.file:
        return True
    return (found.file or {}).get("digest") != (changed.file or {}).get("digest")
