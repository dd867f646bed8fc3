"""Tree → SQL: a condition and an order on the table `document` (spec/nxql.md 6).

A query is about two kinds of rows: documents, and proxies, which show another document. Its condition is compiled once
for each, and the second is left out where the query rules proxies out. Wildcards become EXISTS over the elements of
their lists, so that a document is found once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, any_, exists, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from vidarium.database.schema import document
from vidarium.documents import subtypes
from vidarium.errors import QueryError
from vidarium.nxql import ast
from vidarium.nxql.fields import Fulltext, Property, Variable, resolve
from vidarium.nxql.logic import Condition, all_of, any_of, is_never
from vidarium.nxql.ordering import order_by
from vidarium.nxql.predicates import sql
from vidarium.nxql.projection import Projection, project
from vidarium.nxql.scope import Scope, some_combination
from vidarium.nxql.system import OWN

_Group = list[ast.Predicate]
"""Conditions that share wildcards, or one that shares none."""


@dataclass(frozen=True)
class Compiled:
    """A query on the plain table `document`, for the caller to narrow, order, page and count.

    `where` holds for each document of the answer, once. `order_by` may be empty; ties are the caller's to break.
    `projection` is there unless the query is `SELECT *` or `SELECT ecm:uuid`: the rows of a row-set query.
    No part of it hides what a principal may not see.
    """

    where: Condition
    order_by: list[ColumnElement[Any]] = field(default_factory=list)
    projection: Projection | None = None

    @property
    def select(self) -> Select[Any]:
        """The ids of the documents, each once."""
        return select(document.c.id).where(self.where).order_by(*self.order_by)


def compile_query(query: ast.Query, *, now: datetime, visible: Sequence[Condition] | None = None) -> Compiled:
    """The SQL of a query; `now` is what `NOW()` means. Values are bound parameters.

    A search for documents that selects something else takes the first column as the ids of the documents to return,
    each once (spec/nxql.md 7). Since their ids come from other rows, it needs `visible`, the conditions on `document`
    that hide what the principal may not see. `projection.rows` takes the same conditions.

    Raises QueryError in the reference's words (spec/nxql.md 16).
    """
    types = _concrete(query.types)
    _check_references(query)
    if not query.selects_documents:
        return _of_rows(query, types, now, visible)
    where, has_proxies = _documents(query, types, now)
    return Compiled(where, order_by(query, now, has_proxies=has_proxies))


def _concrete(names: Sequence[str]) -> list[str]:
    """The types named in FROM with their subtypes; the root of the repository is never found (spec/nxql.md 8)."""
    found: set[str] = set()
    for name in names:
        members = subtypes("Document" if name.lower() == "document" else name)
        if not members:
            raise QueryError(f"Unknown type: {name}")
        found |= members
    return sorted(found - {"Root"})


def _check_references(query: ast.Query) -> None:
    """Unknown names come before any other problem: SELECT, then WHERE, then ORDER BY."""
    for node in (*query.items, query.where, *(key.reference for key in query.order_by)):
        for reference in () if node is None else ast.references(node):
            resolve(reference)


# --- Documents -------------------------------------------------------------------------------------------------------


def _documents(query: ast.Query, types: list[str], now: datetime) -> tuple[Condition, bool]:
    """The condition, and whether a proxy can meet it. What both kinds of rows share is said once, for the indexes."""
    shared, others = _groups(query)
    live, proxies = Scope.live(now), Scope.proxies(now)
    both = [_hold_together(group, live) for group in shared]
    own, shown = (
        all_of([of_types(types, scope), *(_hold_together(group, scope) for group in others)])
        for scope in (live, proxies)
    )
    is_proxy = document.c.proxy_target.is_not(None)
    if is_never(shown):
        return all_of([~is_proxy, own, *both]), False
    target = proxies.target
    through = exists(
        select(literal_column("1"))
        .select_from(target)
        .where(target.c.id == document.c.proxy_target, shown)
        .correlate_except(target)
    )
    return all_of([*both, any_of([all_of([~is_proxy, own]), all_of([is_proxy, through])])]), True


def _groups(query: ast.Query) -> tuple[list[_Group], list[_Group]]:
    """What must all hold: first what is about the row itself, proxy or not; then what a proxy answers differently."""
    where = None if query.where is None else without_not(query.where)
    parts = where.parts if isinstance(where, ast.And) else () if where is None else (where,)
    shared: list[_Group] = []
    others: list[_Group] = []
    for group in _related(parts):
        is_shared = all(reference.name in OWN for part in group for reference in ast.references(part))
        (shared if is_shared else others).append(group)
    return shared, others


def of_types(types: list[str], scope: Scope) -> Condition:
    """Whether a row, or what it shows, is of one of some concrete types."""
    return any_of([scope.target.c.type == any_(literal(types, ARRAY(Text)))] if types else [])


# --- Wildcards -------------------------------------------------------------------------------------------------------


def without_not(node: ast.Predicate, *, negated: bool = False) -> ast.Predicate:
    """The same predicate with NOT on tests only; De Morgan's laws hold in three-valued logic."""
    match node:
        case ast.Not(part):
            return without_not(part, negated=not negated)
        case ast.And(parts) | ast.Or(parts):
            inside = tuple(without_not(part, negated=negated) for part in parts)
            return ast.And(inside) if isinstance(node, ast.And) != negated else ast.Or(inside)
    return ast.Not(node) if negated else node


def holds(node: ast.Predicate, scope: Scope) -> Condition:
    """Whether some combination of elements makes a predicate (from `without_not`) true.

    The choice is made as far inside as it can be, so that unrelated wildcards are not multiplied and indexes serve what
    has none: some(a OR b) = some(a) OR some(b); some(a AND b) = some(a) AND some(b) if they share no wildcard.
    """
    if not _variables(node):
        return sql(node, scope.inner())
    match node:
        case ast.Or(parts):
            return any_of([holds(part, scope) for part in parts])
        case ast.And(parts):
            return all_of([_hold_together(group, scope) for group in _related(parts)])
    return _hold_at_once((node,), scope)


def _hold_together(parts: Sequence[ast.Predicate], scope: Scope) -> Condition:
    return holds(parts[0], scope) if len(parts) == 1 else _hold_at_once(parts, scope)


def _hold_at_once(parts: Sequence[ast.Predicate], scope: Scope) -> Condition:
    inner = scope.inner()
    condition = all_of([sql(part, inner) for part in parts])
    return some_combination(condition, inner)


def _related(parts: Sequence[ast.Predicate]) -> list[_Group]:
    """Parts in groups; those that share a wildcard, even by way of a third, are in one."""
    groups: dict[int, _Group] = {}
    home: dict[Variable, int] = {}
    for number, part in enumerate(parts):
        used = _variables(part)
        joined = {home[one] for one in used if one in home}
        key = min(joined, default=number)
        groups.setdefault(key, []).append(part)
        for other in joined - {key}:
            groups[key] += groups.pop(other)
            home.update({one: key for one, place in home.items() if place == other})
        home.update(dict.fromkeys(used, key))
    return list(groups.values())


def _variables(node: ast.Predicate) -> set[Variable]:
    found: set[Variable] = set()
    for reference in ast.references(node):
        meant = resolve(reference)
        read = meant.property if isinstance(meant, Fulltext) else meant
        if isinstance(read, Property):
            found |= set(read.variables)
    return found


# --- Rows ------------------------------------------------------------------------------------------------------------


def _of_rows(query: ast.Query, types: list[str], now: datetime, visible: Sequence[Condition] | None) -> Compiled:
    def where(scope: Scope) -> Condition:
        inside = () if query.where is None else (sql(query.where, scope),)
        return all_of((of_types(types, scope), *inside))

    projection = project(query, where, now)
    if projection.columns[0].name != "ecm:uuid":
        return Compiled(projection.documents(visible), [], projection)
    documents, has_proxies = _documents(query, types, now)
    order = [] if _sorts_by_elements(query) else order_by(query, now, has_proxies=has_proxies)
    return Compiled(documents, order, projection)


def _sorts_by_elements(query: ast.Query) -> bool:
    fields = (resolve(key.reference) for key in query.order_by)
    return any(isinstance(found, Property) and any(found.variables) for found in fields)
