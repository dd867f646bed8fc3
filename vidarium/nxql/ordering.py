"""ORDER BY of a search for documents (spec/nxql.md 11)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.sql.elements import False_, True_

from vidarium.database.schema import document
from vidarium.errors import QueryError
from vidarium.nxql import ast, fulltext
from vidarium.nxql.fields import Fulltext, Property, System, resolve
from vidarium.nxql.operands import as_text, value
from vidarium.nxql.scope import Scope
from vidarium.nxql.system import OWN


def order_by(query: ast.Query, now: datetime, *, has_proxies: bool) -> list[ColumnElement[Any]]:
    """The keys of an order, nulls last in both directions. Without ORDER BY: the full-text score, if there is one."""
    keys = query.order_by
    if not keys and not query.is_distinct and len(fulltext_tests(query)) == 1:
        keys = (ast.Order(ast.Reference("ecm:fulltextScore", 0), descending=True),)
    return [directed(key, found) for key in keys if not is_constant(found := _key(key, query, now, has_proxies))]


def directed(key: ast.Order, found: ColumnElement[Any]) -> ColumnElement[Any]:
    """A key with its direction; documents without a path come first in descending order of paths."""
    if not key.descending:
        return found.asc().nulls_last()
    return found.desc().nulls_first() if key.reference.name == "ecm:path" else found.desc().nulls_last()


def is_constant(found: ColumnElement[Any]) -> bool:
    """Whether a key is the same for all documents; PostgreSQL refuses to sort by such."""
    return isinstance(found, True_ | False_)


def _key(key: ast.Order, query: ast.Query, now: datetime, has_proxies: bool) -> ColumnElement[Any]:
    """What to sort by. A proxy sorts by what it shows."""
    reference = key.reference
    found = resolve(reference)
    if isinstance(found, Property) and any(found.variables):
        raise QueryError("For SELECT * the ORDER BY columns cannot use wildcard indexes")
    own = sort_key(reference, query, Scope.live(now))
    proxies = Scope.proxies(now)
    shown = sort_key(reference, query, proxies)
    if not has_proxies or reference.name in OWN or is_constant(shown):
        return own
    target = proxies.target
    other = select(shown).select_from(target).where(target.c.id == document.c.proxy_target).correlate_except(target)
    return case((document.c.proxy_target.is_(None), own), else_=other.scalar_subquery())


def sort_key(reference: ast.Reference, query: ast.Query, scope: Scope) -> ColumnElement[Any]:
    """The value to sort by. Raises QueryError for what has no order."""
    found = resolve(reference)
    if isinstance(found, Property) and found.is_list:
        raise QueryError(f"Cannot use collection {found.name} in ORDER BY clause")
    if isinstance(found, Fulltext) or found.name in {"ecm:ancestorId", "ecm:mixinType", "ecm:isProxy"}:
        raise QueryError(f"Cannot order by column: {reference.name}")
    if found.name == "ecm:path":
        return scope.own.c.path
    if found.name == "ecm:fulltextScore":
        return score(query, scope)
    if isinstance(found, System) and found.kind == "id":
        return as_text(value(reference, scope))
    return value(reference, scope).sql


def score(query: ast.Query, scope: Scope) -> ColumnElement[Any]:
    """How well a document matches the one full-text predicate of a query."""
    tests = fulltext_tests(query)
    if not tests:
        raise QueryError("ecm:fulltextScore cannot be used without ecm:fulltext")
    if len(tests) > 1:
        raise QueryError("Cannot use ecm:fulltextScore with more than one fulltext match expression")
    return fulltext.score(*tests[0], scope)


def fulltext_tests(query: ast.Query) -> list[tuple[ast.Test, Fulltext]]:
    """Every full-text predicate of a query."""
    found: list[tuple[ast.Test, Fulltext]] = []
    waiting: list[ast.Predicate] = [] if query.where is None else [query.where]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Not | ast.And | ast.Or):
            waiting += (node.part,) if isinstance(node, ast.Not) else node.parts
            continue
        left = ast.children(node)[0]
        meant = resolve(left) if isinstance(left, ast.Reference) else None
        if isinstance(meant, Fulltext):
            found.append((node, meant))
    return found
