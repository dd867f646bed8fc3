"""System properties: where each is read, and the rules of those that are no plain columns (spec/nxql.md 10)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Text,
    Uuid,
    any_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from vidarium.database.schema import document
from vidarium.documents import FACET_SCHEMAS, TYPE_ONLY_FACETS, TYPES
from vidarium.errors import QueryError
from vidarium.nxql import ast
from vidarium.nxql.logic import Condition, all_of, any_of, none_of
from vidarium.nxql.scope import Scope

# --- Columns ---------------------------------------------------------------------------------------------------------


def _of_version(name: str) -> Callable[[Scope], ColumnElement[Any]]:
    """A column that counts on versions only, and on proxies to them."""
    return lambda scope: case((scope.target.c.is_version, scope.target.c[name]))


def _proxied_series(scope: Scope) -> ColumnElement[Any]:
    return case((scope.is_proxy, func.coalesce(scope.target.c.version_series, scope.target.c.id)))


def _live_and_checked_in(scope: Scope) -> ColumnElement[bool]:
    return all_of((none_of(scope.is_proxy), none_of(scope.own.c.is_version), scope.own.c.is_checked_in))


COLUMNS: Mapping[str, Callable[[Scope], ColumnElement[Any]]] = {
    "ecm:uuid": lambda scope: scope.own.c.id,
    "ecm:name": lambda scope: scope.own.c.name,
    "ecm:parentId": lambda scope: scope.own.c.parent,
    "ecm:pos": lambda scope: scope.own.c.position,
    "ecm:primaryType": lambda scope: scope.target.c.type,
    "ecm:isProxy": lambda scope: scope.is_proxy,
    "ecm:isVersion": lambda scope: scope.own.c.is_version,
    "ecm:isCheckedInVersion": lambda scope: scope.own.c.is_version,
    "ecm:isCheckedIn": _live_and_checked_in,
    "ecm:isLatestVersion": lambda scope: scope.target.c.is_latest_version,
    "ecm:isLatestMajorVersion": lambda scope: scope.target.c.is_latest_major_version,
    "ecm:versionLabel": _of_version("version_label"),
    "ecm:versionDescription": _of_version("version_description"),
    "ecm:versionCreated": _of_version("version_created"),
    "ecm:versionVersionableId": lambda scope: scope.target.c.version_series,
    "ecm:proxyTargetId": lambda scope: scope.own.c.proxy_target,
    "ecm:proxyVersionableId": _proxied_series,
    "ecm:currentLifeCycleState": lambda scope: scope.target.c.state,
    "ecm:isTrashed": lambda scope: scope.own.c.is_trashed,
    "ecm:lockOwner": lambda scope: scope.target.c.lock_owner,
    "ecm:lockCreated": lambda scope: scope.target.c.lock_created,
    "ecm:isRecord": lambda _scope: false(),
    "ecm:hasLegalHold": lambda _scope: false(),
    "ecm:isFlexibleRecord": lambda _scope: cast(null(), Boolean),
    "ecm:retainUntil": lambda _scope: cast(null(), Text),
    "ecm:fulltextJobId": lambda _scope: cast(null(), Text),
}
"""The value of a system property; `ecm:path`, `ecm:ancestorId`, `ecm:mixinType` and the score are not among them."""

OWN = frozenset(
    {
        "ecm:uuid",
        "ecm:name",
        "ecm:parentId",
        "ecm:pos",
        "ecm:path",
        "ecm:ancestorId",
        "ecm:isVersion",
        "ecm:isCheckedInVersion",
        "ecm:isTrashed",
        "ecm:proxyTargetId",
    }
)
"""What is read from the row itself, the same way whether it is a proxy or not."""


def identifier(text: str) -> uuid.UUID | None:
    """A document's id as a value; None for text that cannot be one."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


# --- Rules -----------------------------------------------------------------------------------------------------------


def flag(node: ast.Test, scope: Scope, name: str) -> Condition:
    """A boolean that is never null, compared with 0 or 1 (spec/nxql.md 10.3)."""
    match node:
        case ast.Comparison(_, "=" | "<>" as operator, ast.Integer(0 | 1 as number)):
            found = COLUMNS[name](scope)
            return found if (operator == "=") == (number == 1) else none_of(found)
        case ast.Comparison(_, "=" | "<>", _):
            raise QueryError(f"{name} requires literal 0 or 1 as right argument")
    raise QueryError(f"{name} requires = or <> operator")


def path(node: ast.Test, scope: Scope, _name: str) -> Condition:
    """The document at a path, or those strictly below it; never unknown (spec/nxql.md 9.5, 10.1)."""
    match node:
        case ast.StartsWith(_, prefix):
            return _below(prefix, scope)
        case ast.Comparison(_, "=" | "<>" as operator, ast.String(text)):
            return _is_at(operator, text, scope)
        case ast.Comparison(_, "=" | "<>", _):
            raise QueryError("ecm:path requires literal path as right argument")
    raise QueryError("ecm:path requires = or <> operator")


def _below(prefix: str, scope: Scope) -> Condition:
    """A range, since names may hold % and _; "0" follows "/" in code-point order. What is missing has nothing below."""
    place = _trimmed(prefix)
    own = scope.own.c.path
    if not place.startswith("/"):
        return false()
    if place == "/":
        return all_of((own.is_not(None), own != "/"))
    return all_of((own.is_not(None), own >= f"{place}/", own < f"{place}0"))


def _is_at(operator: str, text: str, scope: Scope) -> Condition:
    """Both `=` and `<>` are false if there is nothing at the path."""
    place = _trimmed(text)
    own = scope.own.c.path
    if operator == "=":
        return all_of((own.is_not(None), own == place))
    other = document.alias()
    return all_of((own.is_distinct_from(place), exists(select(other.c.id).where(other.c.path == place))))


def _trimmed(text: str) -> str:
    return text[:-1] if text.endswith("/") and text != "/" else text


def ancestor(node: ast.Test, scope: Scope, name: str) -> Condition:
    """Strictly below a document, or everything else; never unknown (spec/nxql.md 10.1)."""
    match node:
        case ast.Comparison(_, "=" | "<>" as operator, ast.String(text)):
            below = _below_id(text, scope)
            return below if operator == "=" else none_of(below)
        case ast.Comparison(_, "=" | "<>", _):
            raise QueryError(f"{name} requires literal id as right argument")
    raise QueryError(f"{name} requires = or <> operator")


def _below_id(text: str, scope: Scope) -> Condition:
    found = identifier(text)
    if found is None:
        return false()
    above = document.alias()
    own = scope.own.c.path
    place = select(func.rtrim(above.c.path, "/")).where(above.c.id == found, above.c.path.is_not(None))
    start, end = (select(func.concat(place.scalar_subquery(), mark)).scalar_subquery() for mark in "/0")
    return all_of((own.is_not(None), place.exists(), own > start, own < end))


def mixin(node: ast.Test, scope: Scope, name: str) -> Condition:
    """Whether a document has a facet; never unknown (spec/nxql.md 10.2)."""
    match node:
        case ast.Comparison(_, "=" | "<>" as operator, ast.String(facet)):
            has = _has_facet(facet, scope)
            return has if operator == "=" else none_of(has)
        case ast.Comparison(_, "=" | "<>" as operator, _):
            raise QueryError(f"{name} {operator} requires literal string as right argument")
        case ast.In(_, values):
            facets = [value.text for value in values if isinstance(value, ast.String)]
            if len(facets) < len(values):
                raise QueryError(f"{name} IN requires string literals")
            return any_of(_has_facet(facet, scope) for facet in facets)
        case ast.Comparison(_, operator, _):
            raise QueryError(f"{name} unknown operator: {operator}")
    raise QueryError(f"{name} unknown operator: {_OPERATORS[type(node)]}")


_OPERATORS = {ast.Between: "BETWEEN", ast.Like: "LIKE", ast.IsNull: "IS NULL", ast.StartsWith: "STARTSWITH"}


_FACETS = frozenset(facet for kind in TYPES.values() for facet in kind.facets) | FACET_SCHEMAS.keys()


def _has_facet(facet: str, scope: Scope) -> Condition:
    if facet == "Immutable":
        return false()
    if facet in TYPE_ONLY_FACETS:
        declaring = sorted(kind.name for kind in TYPES.values() if facet in kind.facets)
        return scope.target.c.type == any_(literal(declaring, ARRAY(Text))) if declaring else false()
    if facet in _FACETS:  # a name of ours, written into the statement so that partial indexes on facets match
        return scope.target.c.facets.contains(literal_column(f"ARRAY['{facet}']"))
    return scope.target.c.facets.contains([facet])


def same_id(column: ColumnElement[Any], texts: list[str]) -> Condition:
    """Whether an id is one of some texts. Texts that are no ids match nothing, yet a missing id stays unknown."""
    ids = [found for text in texts if (found := identifier(text))]
    if len(ids) == 1:
        return column == literal(ids[0], Uuid)
    if ids:
        return column == any_(literal(ids, ARRAY(Uuid)))
    return cast(column, Text) == any_(literal(texts, ARRAY(Text)))
