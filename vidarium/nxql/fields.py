"""What a name in a query stands for: a property, a system property, or a full-text index (spec/nxql.md 5, 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vidarium.documents import (
    BOOLEAN,
    COMPUTED_PROPERTIES,
    DATE,
    LONG,
    PROPERTIES,
    SCHEMAS,
    STRING,
    Complex,
    FieldType,
    ListOf,
    Scalar,
)
from vidarium.errors import QueryError
from vidarium.nxql import ast


@dataclass(frozen=True)
class Wildcard:
    """`*` or `*n` in a path. Uses with the same key, under the same prefix, stand for the same element."""

    key: str


Step = str | int | Wildcard
"""A member of an object, an element of a list, or any element."""

Variable = tuple[Step, ...]
"""What a wildcard ranges over: a path, from the property's stored name to the wildcard (spec/nxql.md 6)."""


@dataclass(frozen=True)
class Property:
    """A scalar inside a document's properties, or a whole list of scalars.

    `steps` begins with the stored name (`vid:info`); it is `ecm:acl` for entries of the document's own ACLs.
    """

    name: str
    steps: tuple[Step, ...]
    kind: str
    is_list: bool = False

    @property
    def is_computed(self) -> bool:
        return self.steps[0] in COMPUTED_PROPERTIES

    @property
    def variables(self) -> Iterator[Variable]:
        """Its wildcards, outer ones first."""
        for count, step in enumerate(self.steps, start=1):
            if isinstance(step, Wildcard):
                yield self.steps[:count]


@dataclass(frozen=True)
class System:
    """One of the properties that every document has; `kind` is also `id`."""

    name: str
    kind: str


@dataclass(frozen=True)
class Fulltext:
    """`ecm:fulltext` with the property it is narrowed to, if any. `is_index`: whether an index answers it."""

    name: str
    property: Property | None = None
    is_index: bool = True


Field = Property | System | Fulltext

SYSTEM: Mapping[str, str] = {
    "ecm:uuid": "id",
    "ecm:name": "string",
    "ecm:parentId": "id",
    "ecm:pos": "long",
    "ecm:path": "path",
    "ecm:ancestorId": "ancestor",
    "ecm:primaryType": "string",
    "ecm:mixinType": "mixin",
    "ecm:isProxy": "flag",
    "ecm:isVersion": "flag",
    "ecm:isCheckedInVersion": "flag",
    "ecm:isCheckedIn": "flag",
    "ecm:isLatestVersion": "flag",
    "ecm:isLatestMajorVersion": "flag",
    "ecm:versionLabel": "string",
    "ecm:versionDescription": "string",
    "ecm:versionCreated": "date",
    "ecm:versionVersionableId": "id",
    "ecm:proxyTargetId": "id",
    "ecm:proxyVersionableId": "id",
    "ecm:currentLifeCycleState": "string",
    "ecm:isTrashed": "flag",
    "ecm:lockOwner": "string",
    "ecm:lockCreated": "date",
    "ecm:isRecord": "flag",
    "ecm:hasLegalHold": "flag",
    "ecm:isFlexibleRecord": "boolean",
    "ecm:retainUntil": "date",
    "ecm:fulltextScore": "score",
    "ecm:fulltextJobId": "string",
}
"""Kind by name (spec/nxql.md 10). `path`, `ancestor`, `mixin` and `flag` (never null) have rules of their own."""

ACES = ListOf(
    Complex(
        {
            "principal": STRING,
            "permission": STRING,
            "grant": BOOLEAN,
            "name": STRING,
            "pos": LONG,
            "creator": STRING,
            "begin": DATE,
            "end": DATE,
            "status": LONG,
        }
    )
)
"""`ecm:acl` as a list (spec/nxql.md 10.5)."""

_FULLTEXT_INDEXES = {"title": "dc:title", "description": "dc:description"}


def _names() -> Iterator[tuple[str, tuple[str, FieldType]]]:
    for schema in SCHEMAS.values():
        for stored, kind in schema.property_names():
            yield stored, (stored, kind)
            if not schema.prefix:
                yield stored.partition(":")[2], (stored, kind)


_STORED = dict(_names())
"""Stored name and type by every way to write a property: `dc:title`; `file:content` and `content`."""

_INDEX = re.compile(r"(?:[^\[\]]*\[)?(?:(?P<index>\d+)|\*(?P<number>\d*))\]?", re.ASCII)


def resolve(reference: ast.Reference) -> Field:
    """What a reference stands for. Raises QueryError in the reference's words for what does not exist."""
    name = reference.name
    if not name.startswith("ecm:"):
        return _property(reference)
    if name in SYSTEM:
        return System(name, SYSTEM[name])
    if name == "ecm:tag" or name.startswith("ecm:tag/"):
        return _tag(reference)
    if name.startswith("ecm:acl/"):
        return _acl(reference)
    if name.startswith("ecm:fulltext"):
        return _fulltext(reference)
    raise _unknown(name)


def _property(reference: ast.Reference) -> Property:
    first, *rest = reference.name.split("/")
    stored, kind = _STORED.get(first, (first, None))
    if kind is None:
        raise _no_property(reference.name)
    return _walk(reference, (stored, kind), rest)


def _walk(reference: ast.Reference, start: tuple[str, FieldType], names: list[str]) -> Property:
    stored, kind = start
    steps: list[Step] = [stored]
    for name in names:
        step, below = _step(kind, name, reference.offset)
        if below is None:
            raise _no_property(reference.name)
        steps.append(step)
        kind = below
    is_list = isinstance(kind, ListOf)
    leaf = kind.element if isinstance(kind, ListOf) else kind
    if not isinstance(leaf, Scalar):
        raise _no_property(reference.name)
    return Property(str(reference), tuple(steps), leaf.kind, is_list)


def _step(kind: FieldType, name: str, offset: int) -> tuple[Step, FieldType | None]:
    """One step down, and the type found there; None if there is nothing of that name."""
    if isinstance(kind, Complex):
        return name, kind.members.get(name)
    found = _INDEX.fullmatch(name)
    if not isinstance(kind, ListOf) or found is None:
        return name, None
    if found["index"] is not None:
        return int(found["index"][:10]), kind.element  # longer than any list can be: null, as past its end
    return Wildcard(found["number"] or f"@{offset}"), kind.element


def _tag(reference: ast.Reference) -> Property:
    """All bare uses are the same tag: `ecm:tag` is `ecm:tag/*1` (spec/nxql.md 10.4)."""
    wildcard = reference.name.partition("/")[2] or "*1"
    if not re.fullmatch(r"\*\d*", wildcard, re.ASCII):
        raise _unknown(reference.name)
    return _walk(reference, ("nxtag:tags", PROPERTIES["nxtag:tags"]), [wildcard, "label"])


def _acl(reference: ast.Reference) -> Property:
    try:
        return _walk(reference, ("ecm:acl", ACES), reference.name.split("/")[1:])
    except QueryError:
        raise _unknown(reference.name) from None


def _fulltext(reference: ast.Reference) -> Fulltext:
    name = reference.name
    rest = name.removeprefix("ecm:fulltext")
    if not rest:
        return Fulltext(name)
    if rest.startswith("_"):
        indexed = _FULLTEXT_INDEXES.get(rest[1:])
        if indexed is None:
            raise QueryError(f"No such fulltext index: {rest[1:]}", reference.offset)
        return Fulltext(name, _property(ast.Reference(indexed, reference.offset)))
    if rest.startswith(".") and not rest.startswith(".ecm:"):
        narrowed = _property(ast.Reference(rest[1:], reference.offset))
        return Fulltext(name, narrowed, is_index=narrowed.name in _FULLTEXT_INDEXES.values())
    raise _unknown(name)


def _no_property(name: str) -> QueryError:
    return QueryError(f"No such property: {name}")


def _unknown(name: str) -> QueryError:
    return QueryError(f"Unknown field: {name}")
