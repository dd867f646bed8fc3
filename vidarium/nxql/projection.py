"""SELECT of something else than documents: rows of columns, or aggregates (spec/nxql.md 7)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, FromClause, Row, Select, false, func, select, union_all

from vidarium.database.schema import document
from vidarium.errors import QueryError
from vidarium.nxql import ast
from vidarium.nxql.fields import Fulltext, Property, System, Wildcard, resolve
from vidarium.nxql.logic import Condition, all_of, is_never
from vidarium.nxql.operands import Value, as_text, value
from vidarium.nxql.ordering import directed, is_constant, score, sort_key
from vidarium.nxql.scope import NO_ELEMENTS, Scope

Where = Callable[[Scope], Condition]
"""The condition of a query in one row's scope, all wildcards of the query in use."""

_NOT_SELECTED = frozenset({"path", "ancestor", "mixin"})

_AGGREGATES: Mapping[str, frozenset[str]] = {
    "COUNT": frozenset({"string", "number", "date", "boolean", "id"}),
    "AVG": frozenset({"number"}),
    "SUM": frozenset({"number"}),
    "MIN": frozenset({"string", "number", "date", "id"}),
    "MAX": frozenset({"string", "number", "date", "id"}),
}
"""What each aggregate takes."""


@dataclass(frozen=True)
class Column:
    """A selected column: its name in the result as the reference gives it, and its value in some row."""

    name: str
    value: Value


@dataclass(frozen=True)
class Projection:
    """The rows of a query that selects columns."""

    query: ast.Query
    where: Where
    now: datetime
    columns: tuple[Column, ...]

    def rows(self, visible: Sequence[Condition]) -> Select[Any] | CompoundSelect[Any]:
        """All rows in order, narrowed by conditions on `document`; each is to be read with `entry`."""
        if _has_aggregates(self.query):
            return _aggregated(self.query, self.where, self.now, visible)
        return _plain_rows(self.query, self.where, Scope.both(self.now), visible)

    def entry(self, row: Row[Any]) -> dict[str, Any]:
        """A row as plain values by column name: text (ids and dates too), int, float, bool or None."""
        return {column.name: _plain(cell, column.value) for column, cell in zip(self.columns, row, strict=True)}

    def documents(self, visible: Sequence[Condition] | None) -> Condition:
        """Whether a document's id is in the first column. `visible` hides rows; without it QueryError is raised."""
        if self.columns[0].value.kind != "id" or _has_aggregates(self.query):
            return false()
        if visible is None:
            raise QueryError("Only * or ecm:uuid can be selected here.")
        rows = _plain_rows(self.query, self.where, Scope.both(self.now), visible).order_by(None).subquery()
        return document.c.id.in_(select(rows.c.c0).correlate(None))


def project(query: ast.Query, where: Where, now: datetime) -> Projection:
    """The rows of a query. Raises QueryError for columns that cannot be selected, or sorted by."""
    if _has_aggregates(query) and (query.order_by or not all(isinstance(item, ast.Call) for item in query.items)):
        raise QueryError("Aggregates cannot be mixed with columns or ORDER BY.")
    scope = Scope.both(now)
    columns = tuple(_columns(query, scope))
    projection = Projection(query, where, now, columns)
    projection.rows(())  # what is wrong with the query comes out now
    return projection


def _has_aggregates(query: ast.Query) -> bool:
    return any(isinstance(item, ast.Call) for item in query.items)


def _columns(query: ast.Query, scope: Scope) -> Iterator[Column]:
    """The selected columns; an item that is repeated counts once."""
    found: dict[str, Column] = {}
    for item in query.items:
        column = _column(item, query, scope)
        found.setdefault(column.name, column)
    yield from found.values()


def _column(item: ast.Item, query: ast.Query, scope: Scope) -> Column:
    if isinstance(item, ast.Reference):
        return Column(str(item), _selected(item, query, scope))
    if isinstance(item, ast.Call):
        return _aggregate(item, query, scope)
    raise QueryError("A literal cannot be selected.")


def _selected(reference: ast.Reference, query: ast.Query, scope: Scope) -> Value:
    found = resolve(reference)
    if isinstance(found, Property) and found.is_list:
        raise QueryError(f"Cannot use collection {found.name} in SELECT clause")
    is_hidden = isinstance(found, System) and (found.kind in _NOT_SELECTED or found.name == "ecm:isProxy")
    if isinstance(found, Fulltext) or is_hidden:
        raise QueryError(f"Cannot select on column: {reference.name}")
    if found.name == "ecm:fulltextScore":
        return Value(score(query, scope), "number")
    return value(reference, scope)


def _aggregate(call: ast.Call, query: ast.Query, scope: Scope) -> Column:
    name = call.name.upper()
    if name not in _AGGREGATES or len(call.arguments) != 1 or not isinstance(call.arguments[0], ast.Reference):
        raise QueryError(f"Function not supported in SELECT clause: {call.name}")
    of = _selected(call.arguments[0], query, scope)
    if of.kind not in _AGGREGATES[name]:
        raise QueryError(f"{name} does not take {call.arguments[0]}")
    argument = as_text(of) if name in {"MIN", "MAX"} else of.sql
    found: ColumnElement[Any] = getattr(func, name.lower())(argument)
    is_whole = name == "COUNT" or (of.is_whole and name != "AVG")
    kind = "number" if name == "COUNT" else "string" if of.kind == "id" else of.kind
    return Column(f"{name}({call.arguments[0]})", Value(found, kind, is_whole))


def _plain(cell: Any, of: Value) -> Any:
    if cell is None or isinstance(cell, bool):
        return cell
    if of.kind == "number":
        return int(cell) if of.is_whole and cell == int(cell) else float(cell)
    return str(cell) if isinstance(cell, uuid.UUID | Decimal) else cell


# --- Rows ------------------------------------------------------------------------------------------------------------


def _plain_rows(query: ast.Query, where: Where, scope: Scope, visible: Sequence[Condition]) -> Select[Any]:
    condition = where(scope)
    columns = {column.name: column.value.sql.label(f"c{n}") for n, column in enumerate(_columns(query, scope))}
    order = _order(query, scope, columns)
    lists = list(_listed(query))
    filled = [_has_elements(found, scope) for found in lists if not _is_tested(found, query)]
    if lists and not query.is_distinct:
        positions = [scope.elements[found.steps].c.ordinality for found in lists]
        order += [document.c.id, *positions]
    rows = (
        select(*columns.values())
        .select_from(_with_target(scope.target), *scope.elements.values())
        .where(condition, *filled, *visible)
        .order_by(*order)
        .correlate(None)
    )
    return rows.distinct() if query.is_distinct else rows


def _with_target(target: FromClause) -> FromClause:
    return document.join(target, target.c.id == func.coalesce(document.c.proxy_target, document.c.id))


def _order(query: ast.Query, scope: Scope, columns: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """The keys of ORDER BY. With DISTINCT they must be selected, and are named as the database wants it."""
    names = [str(key.reference) for key in query.order_by]
    if "ecm:path" in names:
        raise QueryError("Cannot order by column: ecm:path")
    keys = [(key, sort_key(key.reference, query, scope)) for key in query.order_by]
    missing = ", ".join(name for name in names if name not in columns)
    if query.is_distinct and missing:
        text = "For SELECT DISTINCT the ORDER BY columns must be in the SELECT list, missing:"
        raise QueryError(f"{text} [{missing}]")
    return [
        directed(key, columns[str(key.reference)] if query.is_distinct else found)
        for key, found in keys
        if not is_constant(found)
    ]


def _listed(query: ast.Query) -> Iterator[Property]:
    """Selected elements of lists of scalars: their wildcard is the last step."""
    for item in query.items:
        found = resolve(item) if isinstance(item, ast.Reference) else None
        if isinstance(found, Property) and isinstance(found.steps[-1], Wildcard):
            yield found


def _is_tested(found: Property, query: ast.Query) -> bool:
    """Whether the same reference is in WHERE: then an empty list gives a row with null, else none."""
    inside = () if query.where is None else ast.references(query.where)
    return any(found.name == reference.name for reference in inside)


def _has_elements(found: Property, scope: Scope) -> Condition:
    whole = scope.list(Property(found.name, found.steps[:-1], found.kind, is_list=True))
    return all_of((whole.is_not(None), whole.not_in(NO_ELEMENTS)))


# --- Aggregates ------------------------------------------------------------------------------------------------------


def _aggregated(
    query: ast.Query, where: Where, now: datetime, visible: Sequence[Condition]
) -> Select[Any] | CompoundSelect[Any]:
    """One row for documents and one for proxies, unless the query rules out the one or the other."""
    is_proxy = document.c.proxy_target.is_not(None)
    live, proxies = Scope.live(now), Scope.proxies(now)
    kinds: list[tuple[Scope, FromClause, Condition]] = [
        (live, document, ~is_proxy),
        (proxies, _with_target(proxies.target), is_proxy),
    ]
    parts = [(source, all_of((kind, where(scope))), scope) for scope, source, kind in kinds]
    possible = [part for part in parts if not is_never(part[1])]
    rows = [_aggregate_rows(query, scope, source, (condition, *visible)) for source, condition, scope in possible]
    if len(rows) > 1:
        return union_all(*rows)
    return rows[0] if rows else _aggregate_rows(query, live, document, (false(),)).limit(0)


def _aggregate_rows(query: ast.Query, scope: Scope, source: FromClause, where: Sequence[Condition]) -> Select[Any]:
    columns = [column.value.sql.label(f"c{n}") for n, column in enumerate(_columns(query, scope))]
    return select(*columns).select_from(source, *scope.elements.values()).where(*where).correlate(None)
