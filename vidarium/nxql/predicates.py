"""Predicates → SQL conditions: one function for each node (spec/nxql.md 9)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, any_, collate, literal, or_
from sqlalchemy.dialects.postgresql import ARRAY

from vidarium.errors import QueryError
from vidarium.nxql import ast, fulltext, system
from vidarium.nxql.fields import Field, Fulltext, Property, System, resolve
from vidarium.nxql.logic import Condition, all_of, any_of, none_of
from vidarium.nxql.operands import (
    BOOLEAN_NEEDS,
    Value,
    array,
    as_text,
    checked_day,
    comparable,
    family,
    list_misused,
    to_day,
    value,
)
from vidarium.nxql.scope import NO_ELEMENTS, Scope, any_element

_COMPARISONS: Mapping[str, Callable[[Any, Any], Condition]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_RULES: Mapping[str, Callable[[ast.Test, Scope, str], Condition]] = {
    "flag": system.flag,
    "path": system.path,
    "ancestor": system.ancestor,
    "mixin": system.mixin,
}
"""What decides a test on a system property of that kind."""


@singledispatch
def sql(node: ast.Predicate, scope: Scope) -> Condition:
    """The condition of a predicate, for one combination of the elements that its wildcards stand for."""
    raise TypeError(type(node))


@sql.register
def _(node: ast.And, scope: Scope) -> Condition:
    return all_of([sql(part, scope) for part in node.parts])


@sql.register
def _(node: ast.Or, scope: Scope) -> Condition:
    return any_of([sql(part, scope) for part in node.parts])


@sql.register
def _(node: ast.Not, scope: Scope) -> Condition:
    return none_of(sql(node.part, scope))


@sql.register
def _(node: ast.Comparison, scope: Scope) -> Condition:
    """Nulls give unknown. On whole lists: `=` some element, `<>` no element (spec/nxql.md 6)."""
    node = _property_first(node)
    found = resolve(node.left) if isinstance(node.left, ast.Reference) else None
    if isinstance(node.left, ast.Reference) and _has_rule(found):
        return _ruled(node, node.left, scope)
    if isinstance(found, Property) and found.is_list:
        return _list_comparison(node, found, scope)
    return _compare(node, value(node.left, scope), scope)


def _compare(node: ast.Comparison, left: Value, scope: Scope) -> Condition:
    if left.kind == "boolean":
        return _boolean(node, left)
    if left.kind == "id" and isinstance(node.right, ast.String) and node.operator in {"=", "<>"}:
        same = system.same_id(left.sql, [node.right.text])
        return same if node.operator == "=" else none_of(same)
    right = value(checked_day(node.left, node.right), scope)
    return _COMPARISONS[node.operator](*comparable(left, right, str(node.left)))


def _boolean(node: ast.Comparison, left: Value) -> Condition:
    match node:
        case ast.Comparison(_, "=" | "<>" as sign, ast.Integer(0 | 1 as number)):
            return left.sql if (sign == "=") == (number == 1) else none_of(left.sql)
    raise QueryError(BOOLEAN_NEEDS)


def _property_first(node: ast.Comparison) -> ast.Comparison:
    """`5 < a` as `a > 5`; what has a rule of its own, or is a whole list, goes to the left too."""
    if not isinstance(node.right, ast.Reference):
        return node
    right = resolve(node.right)
    if isinstance(right, Fulltext):
        raise QueryError(f"{right.name} must be used as left-hand operand")
    is_left_plain = not isinstance(node.left, ast.Reference) or not _is_peculiar(resolve(node.left))
    if isinstance(node.left, ast.Literal) or (_is_peculiar(right) and is_left_plain):
        return ast.Comparison(node.right, _FLIPPED[node.operator], node.left)
    return node


def _is_peculiar(found: Field) -> bool:
    return _has_rule(found) or (isinstance(found, Property) and (found.is_list or found.kind == "boolean"))


def _has_rule(found: Field | None) -> bool:
    return isinstance(found, Fulltext) or (isinstance(found, System) and found.kind in _RULES)


def _ruled(node: ast.Test, reference: ast.Reference, scope: Scope) -> Condition:
    found = resolve(reference)
    if reference.to_day:
        raise QueryError(f"Cannot cast to DATE: {reference.name}")
    if isinstance(found, Fulltext):
        return fulltext.fulltext(node, scope, found)
    assert isinstance(found, System)
    return _RULES[found.kind](node, scope, found.name)


# --- Whole lists -----------------------------------------------------------------------------------------------------


def _list_comparison(node: ast.Comparison, found: Property, scope: Scope) -> Condition:
    if node.operator not in {"=", "<>"}:
        raise list_misused(found)
    if isinstance(node.right, ast.String) and found.kind == "string":
        some = _list_has(found, "?", literal(node.right.text, Text), scope)
    else:
        some = _some_element(node, found, scope)
    return some if node.operator == "=" else none_of(some)


def _list_has(found: Property, sign: str, wanted: ColumnElement[Any], scope: Scope) -> Condition:
    """Never null, and in a form that an index on the list serves."""
    whole = scope.list(found)
    return all_of((whole.is_not(None), whole.op(sign, is_comparison=True)(wanted)))


def _some_element(node: ast.Comparison, found: Property, scope: Scope) -> Condition:
    right = value(checked_day(node.left, node.right), scope)
    return _any(node.left, found, scope, lambda left: operator.eq(*comparable(left, right, found.name)))


def _any(
    reference: ast.Operand, found: Property, scope: Scope, test: Callable[[Value], ColumnElement[Any]]
) -> Condition:
    """Whether some element of a whole list, as a value, passes a test."""
    is_day = isinstance(reference, ast.Reference) and reference.to_day
    if is_day and found.kind != "date":
        raise QueryError(f"Cannot cast to DATE: {found.name}")

    def passes(element: ColumnElement[Any]) -> ColumnElement[Any]:
        return test(Value(to_day(element) if is_day else element, family(found.kind)))

    return any_element(scope.list(found), found.kind, passes)


def _on_each(
    node: ast.In | ast.Like | ast.StartsWith, scope: Scope, test: Callable[[Value], ColumnElement[Any]]
) -> Condition:
    """A test that scalars and whole lists share."""
    found = resolve(node.reference)
    if isinstance(found, Property) and found.is_list:
        return _any(node.reference, found, scope, test)
    return test(value(node.reference, scope))


# --- The other tests -------------------------------------------------------------------------------------------------


@sql.register
def _(node: ast.In, scope: Scope) -> Condition:
    found = resolve(node.reference)
    if _has_rule(found):
        return _ruled(node, node.reference, scope)
    values = tuple(checked_day(node.reference, one) for one in node.values)
    texts = [one.text for one in values if isinstance(one, ast.String)]
    if isinstance(found, Property) and found.is_list and found.kind == "string" and len(texts) == len(values):
        return _list_has(found, "?|", literal(texts, ARRAY(Text)), scope)
    return _on_each(node, scope, lambda left: _is_one_of(left, values, str(node.reference), scope))


def _is_one_of(left: Value, values: tuple[ast.Operand, ...], name: str, scope: Scope) -> Condition:
    rights = [value(one, scope) for one in values]
    for right in rights:
        comparable(left, right, name)
    if left.kind == "id":
        return system.same_id(left.sql, [one.text for one in values if isinstance(one, ast.String)])
    return left.sql == any_(array(values, left.kind))


@sql.register
def _(node: ast.Between, scope: Scope) -> Condition:
    found = resolve(node.reference)
    if _has_rule(found):
        return _ruled(node, node.reference, scope)
    left = value(node.reference, scope)
    low, high = (value(checked_day(node.reference, one), scope) for one in (node.low, node.high))
    from_low, start = comparable(left, low, str(node.reference))
    to_high, end = comparable(left, high, str(node.reference))
    return and_(from_low >= start, to_high <= end)


@sql.register
def _(node: ast.Like, scope: Scope) -> Condition:
    """PostgreSQL's LIKE is NXQL's, but for a lone backslash at the end, which counts as nothing (spec/nxql.md 19)."""
    if _has_rule(resolve(node.reference)):
        return _ruled(node, node.reference, scope)
    pattern = _complete(node.pattern)

    def test(left: Value) -> ColumnElement[Any]:
        text = _text(left, str(node.reference))
        return collate(text, "default").ilike(pattern) if node.fold_case else text.like(pattern)

    return _on_each(node, scope, test)


def _complete(pattern: str) -> str:
    backslashes = len(pattern) - len(pattern.rstrip("\\"))
    return pattern[:-1] if backslashes % 2 else pattern


def _text(left: Value, name: str) -> ColumnElement[Any]:
    comparable(left, Value(literal("", Text), "string"), name)
    return as_text(left)


@sql.register
def _(node: ast.StartsWith, scope: Scope) -> Condition:
    """`ecm:path`: strictly below; any other property: itself or below (spec/nxql.md 9.5, 9.6)."""
    if _has_rule(resolve(node.reference)):
        return _ruled(node, node.reference, scope)
    place = node.prefix.removesuffix("/")

    def test(left: Value) -> ColumnElement[Any]:
        text = _text(left, str(node.reference))
        return or_(text == place, and_(text >= f"{place}/", text < f"{place}0"))  # "0" follows "/"

    return _on_each(node, scope, test)


@sql.register
def _(node: ast.IsNull, scope: Scope) -> Condition:
    """Never unknown. A whole list is null when it is empty (spec/nxql.md 19)."""
    found = resolve(node.reference)
    if _has_rule(found):
        return _ruled(node, node.reference, scope)
    if isinstance(found, Property) and found.is_list:
        whole = scope.list(found)
        return or_(whole.is_(None), whole.in_(NO_ELEMENTS))
    if isinstance(found, Property) and not node.reference.to_day:
        return scope.text(found).is_(None)
    return value(node.reference, scope).sql.is_(None)
