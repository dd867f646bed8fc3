"""Documents ↔ rows. Functions of a connection; the caller owns the transaction and has checked the permission."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from vidarium.database.schema import document
from vidarium.documents import PROPERTIES, Ace, Document, ListOf, Ref, Scalar
from vidarium.permissions import Principal, allows

Acl = Mapping[str, tuple[Ace, ...]]

FULLTEXT_CHARACTERS = 100_000
"""How much text of a document is indexed: a tsvector is limited to 1 MB."""

_SAME_NAME = [field.name for field in fields(Document) if field.name not in {"facets", "acl"}]
"""The members of Document that are columns of the same name and type."""


# --- Reading


def from_row(row: Row[Any]) -> Document:
    """The document of a row of the whole table."""
    same = {name: getattr(row, name) for name in _SAME_NAME}
    return Document(**same, facets=tuple(row.facets), acl=_acl(row.acl))


def load(connection: Connection, ref: Ref, *, lock: bool = False) -> Document | None:
    """One document, or None. `lock` keeps other writers out until the transaction ends."""
    query = select(document).where(_is(ref))
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else from_row(row)


def _is(ref: Ref) -> ColumnElement[bool]:
    return document.c.id == ref.id if ref.id is not None else document.c.path == ref.path


def load_all(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Document]:
    """Documents in the order of their ids; missing ones are left out."""
    rows = connection.execute(select(document).where(document.c.id == any_(_array(ids))))
    found = {row.id: from_row(row) for row in rows}
    return [found[key] for key in ids if key in found]


def below(path: str) -> ColumnElement[bool]:
    """Strictly below a path. A range, not LIKE: names may hold % and _, and "0" follows "/" in code-point order."""
    prefix = path.rstrip("/")
    return and_(document.c.path >= f"{prefix}/", document.c.path < f"{prefix}0", document.c.path != "/")


def aces_above(connection: Connection, found: Document) -> list[tuple[uuid.UUID, Acl]]:
    """The ACLs that count for a document, in evaluation order: its own first, then each ancestor's that has any."""
    path = found.path
    if path is None:
        path = connection.scalar(select(document.c.path).where(document.c.id == found.version_series))
    rows = connection.execute(
        select(document.c.id, document.c.acl)
        .where(document.c.path.in_(_lineage(path or "/")), document.c.acl.is_not(None))
        .order_by(func.length(document.c.path).desc())
    )
    return [(row.id, _acl(row.acl)) for row in rows]


def evaluation_order(acls: Iterable[Acl]) -> Iterator[Ace]:
    """All ACEs of ACLs, nearest document first; inside a document `local` first."""
    for acl in acls:
        for name in sorted(acl, key=lambda name: (name != "local", name)):
            yield from acl[name]


def visible_scopes(connection: Connection, principal: Principal, now: str) -> list[uuid.UUID] | None:
    """The values of `acl_scope` that a principal may browse at a moment; None: all of them (administrators)."""
    if principal.is_administrator:
        return None
    rows = connection.execute(
        select(document.c.id, document.c.path, document.c.acl).where(
            document.c.acl.is_not(None), document.c.path.is_not(None)
        )
    ).all()
    acls = {row.path: _acl(row.acl) for row in rows}

    def may_browse(path: str) -> bool:
        above = [acls[step] for step in reversed(_lineage(path)) if step in acls]
        return allows(evaluation_order(above), principal, "Browse", now)

    return [row.id for row in rows if may_browse(row.path)]


def visible(scopes: list[uuid.UUID] | None) -> list[ColumnElement[bool]]:
    """The condition that hides what a principal may not see, from `visible_scopes`."""
    return [] if scopes is None else [document.c.acl_scope == any_(_array(scopes))]


def find(
    connection: Connection, where: Sequence[ColumnElement[bool]], order: Sequence[Any], size: int, offset: int
) -> tuple[list[Document], int]:
    """One page of the documents that match, and how many there are in all."""
    total = connection.scalar(select(func.count()).select_from(document).where(*where)) or 0
    rows = connection.execute(select(document).where(*where).order_by(*order, document.c.id).limit(size).offset(offset))
    return [from_row(row) for row in rows], total


# --- Writing


def insert_document(connection: Connection, new: Document) -> bool:
    """Insert a document; False if its parent already has a child of that name."""
    row = {name: getattr(new, name) for name in _SAME_NAME}
    row |= {"facets": list(new.facets), "acl": _acl_json(new.acl), "fulltext": _fulltext(new)}
    done = connection.execute(insert(document).values(row).on_conflict_do_nothing().returning(document.c.id))
    return done.one_or_none() is not None


def save(connection: Connection, changed: Document, *, by_user: bool) -> Document:
    """Write the properties of a locked document; bumps the change token: the user's half only for a user's write."""
    saved = replace(
        changed, system_token=changed.system_token + 1, user_token=changed.user_token + (1 if by_user else 0)
    )
    names = ("properties", "computed", "system_token", "user_token")
    values = {name: getattr(saved, name) for name in names} | {"fulltext": _fulltext(saved)}
    connection.execute(update(document).where(document.c.id == saved.id).values(values))
    return saved


def delete_tree(connection: Connection, top: Document) -> None:
    """Delete a document, everything below it, and their versions. Their blob uses go with the rows."""
    inside = document.c.id == top.id if top.path is None else or_(document.c.path == top.path, below(top.path))
    gone = select(document.c.id).where(inside)
    connection.execute(delete(document).where(document.c.version_series.in_(gone)))
    connection.execute(delete(document).where(inside))


def save_acl(connection: Connection, changed: Document, acl: Acl) -> None:
    """Replace a document's own ACLs. Other documents are touched only if a scope appears or disappears."""
    aces = {name: entries for name, entries in acl.items() if entries}
    connection.execute(update(document).where(document.c.id == changed.id).values(acl=_acl_json(aces)))
    has_scope = changed.acl_scope == changed.id
    if bool(aces) == has_scope or changed.path is None:
        return
    old = changed.id if has_scope else changed.acl_scope
    new = changed.id
    if has_scope:
        above = select(document.c.acl_scope).where(document.c.id == changed.parent)
        new = connection.scalar(above) or changed.id
    inside = or_(document.c.path == changed.path, below(changed.path))
    family = or_(inside, document.c.version_series.in_(select(document.c.id).where(inside)))
    connection.execute(update(document).where(family, document.c.acl_scope == old).values(acl_scope=new))


# --- Values


def _array(ids: Sequence[uuid.UUID]) -> ColumnElement[Any]:
    return literal(list(ids), ARRAY(Uuid))


def _lineage(path: str) -> list[str]:
    """`/a/b` → `/`, `/a`, `/a/b`."""
    names = [name for name in path.split("/") if name]
    return ["/"] + ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


def _acl(stored: Mapping[str, Any] | None) -> Acl:
    return {name: tuple(Ace(**entry) for entry in entries) for name, entries in (stored or {}).items()}


def _acl_json(acl: Acl) -> dict[str, Any] | None:
    return {name: [asdict(ace) for ace in entries] for name, entries in acl.items()} or None


def _fulltext(found: Document) -> ColumnElement[Any]:
    words = " ".join(_texts(found.properties))[:FULLTEXT_CHARACTERS]
    return func.to_tsvector("english", words)


def _texts(properties: Mapping[str, Any]) -> Iterator[str]:
    """Every string a user may search for: string properties and lists of them."""
    for name, value in properties.items():
        kind = PROPERTIES.get(name)
        if isinstance(value, str) and isinstance(kind, Scalar) and kind.kind == "string":
            yield value
        elif isinstance(value, list) and isinstance(kind, ListOf):
            yield from (entry for entry in value if isinstance(entry, str))
