"""Operands → typed SQL values, and what two of them have in common (spec/nxql.md 9.2, 9.3, 9.8)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import singledispatch
from typing import Any

from sqlalchemy import ColumnElement, Numeric, Text, cast, collate, func, literal
from sqlalchemy.dialects.postgresql import ARRAY

from vidarium.errors import QueryError
from vidarium.nxql import ast, dates
from vidarium.nxql.fields import Property, System, resolve
from vidarium.nxql.scope import Scope
from vidarium.nxql.system import COLUMNS

_KINDS = {"string": "a string", "number": "a number", "date": "a date", "boolean": "0 or 1", "id": "an id"}

BOOLEAN_NEEDS = "Boolean expressions require literal 0 or 1 as right argument"


@dataclass(frozen=True)
class Value:
    """A scalar: `kind` is `string`, `number`, `date`, `boolean` or `id`; `is_whole` tells long from double."""

    sql: ColumnElement[Any]
    kind: str
    is_whole: bool = False


@singledispatch
def value(node: ast.Operand, scope: Scope) -> Value:
    """The SQL of an operand. Raises QueryError for what cannot stand in a condition."""
    raise TypeError(type(node))


@value.register
def _(node: ast.String, scope: Scope) -> Value:
    return Value(literal(node.text, Text), "string")


@value.register
def _(node: ast.Integer, scope: Scope) -> Value:
    return Value(literal(Decimal(node.value), Numeric), "number", is_whole=True)


@value.register
def _(node: ast.Double, scope: Scope) -> Value:
    return Value(literal(Decimal(repr(node.value)), Numeric), "number")


@value.register
def _(node: ast.Moment, scope: Scope) -> Value:
    return Value(literal(dates.stored_form(node.instant), Text), "date")


@value.register
def _(node: ast.Reference, scope: Scope) -> Value:
    found = resolve(node)
    if isinstance(found, Property):
        if found.is_list:
            raise list_misused(found)
        read = Value(scope.scalar(found), family(found.kind), found.kind == "long")
    elif isinstance(found, System):
        read = _system(found, scope)
    else:
        raise QueryError("ecm:fulltext must be used as left-hand operand")
    return _day(node, read) if node.to_day else read


def _system(found: System, scope: Scope) -> Value:
    column = COLUMNS.get(found.name)
    if column is None:
        raise QueryError(f"Can only use column in SELECT or ORDER BY: {found.name}")
    read = column(scope)
    if found.kind in {"string", "date"}:
        return Value(collate(cast(read, Text), "C") if _has_other_order(read) else read, found.kind)
    return Value(cast(read, Numeric) if found.kind == "long" else read, family(found.kind), found.kind == "long")


def _has_other_order(read: ColumnElement[Any]) -> bool:
    return getattr(read.type, "collation", None) != "C"


def family(kind: str) -> str:
    """The kind of the values of a property's kind."""
    return {"long": "number", "double": "number", "flag": "boolean"}.get(kind, kind)


def _day(node: ast.Reference, read: Value) -> Value:
    """The midnight, UTC, at which the day of a date begins."""
    if read.kind != "date":
        raise QueryError(f"Cannot cast to DATE: {node.name}")
    return Value(to_day(read.sql), "date")


def to_day(date: ColumnElement[Any]) -> ColumnElement[Any]:
    """A stored date, moved to the beginning of its day."""
    return collate(func.left(date, 10, type_=Text()).concat("T00:00:00.000Z"), "C")


@value.register
def _(node: ast.Call, scope: Scope) -> Value:
    """`NOW()` and `NOW('period')`; there is no other function in conditions."""
    match node.arguments:
        case () if node.name.upper() == "NOW":
            moment = scope.now
        case (ast.String(period),) if node.name.upper() == "NOW":
            moment = dates.shifted(scope.now, period)
        case _:
            raise QueryError(f"Function not supported in WHERE clause: {node.name}")
    return Value(literal(dates.stored_form(moment), Text), "date")


@value.register
def _(node: ast.Arithmetic, scope: Scope) -> Value:
    """Exact numbers: nothing overflows, whole by whole truncates, and a division by zero is null."""
    left, right = value(node.left, scope), value(node.right, scope)
    for side in (left, right):
        if side.kind != "number":
            raise QueryError(f"Cannot calculate with {_KINDS[side.kind]}")
    is_whole = left.is_whole and right.is_whole
    if node.operator == "/":
        divisor = func.nullif(right.sql, 0)
        return Value(func.div(left.sql, divisor) if is_whole else cast(left.sql / divisor, Numeric), "number", is_whole)
    return Value(_CALCULATIONS[node.operator](left.sql, right.sql), "number", is_whole)


_CALCULATIONS: Mapping[str, Callable[[Any, Any], ColumnElement[Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


# --- Two values ------------------------------------------------------------------------------------------------------


def checked_day(reference: ast.Operand, other: ast.Operand) -> ast.Operand:
    """What stands beside `DATE(reference)`: a DATE literal counts as its day, and TIMESTAMP is refused."""
    if not (isinstance(reference, ast.Reference) and reference.to_day and isinstance(other, ast.Moment)):
        return other
    if not other.is_day:
        text = dates.stored_form(other.instant)
        raise QueryError(f"DATE() cast must be used with DATE literal, not TIMESTAMP: TIMESTAMP '{text}'")
    return ast.Moment(dates.start_of_day(other.instant), is_day=True)


def comparable(left: Value, right: Value, name: str) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Both sides in one type. Raises QueryError where the kinds differ: nothing is converted silently."""
    if "boolean" in {left.kind, right.kind}:
        raise QueryError(BOOLEAN_NEEDS)
    if left.kind == right.kind == "id":
        return left.sql, right.sql
    if {left.kind, right.kind} <= {"string", "id"}:
        return as_text(left), as_text(right)
    if left.kind != right.kind:
        hint = " (a date is written TIMESTAMP '2024-01-15T10:30:00Z')" if left.kind == "date" else ""
        raise QueryError(f"Cannot compare {name}, which is {_KINDS[left.kind]}, with {_KINDS[right.kind]}{hint}")
    return left.sql, right.sql


def as_text(one: Value) -> ColumnElement[Any]:
    """A string or an id as text, in code-point order."""
    return collate(cast(one.sql, Text), "C") if one.kind == "id" else one.sql


def array(values: tuple[ast.Operand, ...], kind: str) -> ColumnElement[Any]:
    """Literals of one kind as one parameter."""
    return literal([_plain(one) for one in values], ARRAY(Numeric if kind == "number" else Text))


def _plain(one: ast.Operand) -> Decimal | str:
    match one:
        case ast.Integer(number):
            return Decimal(number)
        case ast.Double(number):
            return Decimal(repr(number))
        case ast.Moment(instant):
            return dates.stored_form(instant)
        case ast.String(text):
            return text
    raise TypeError(type(one))


def list_misused(found: Property) -> QueryError:
    """For an operator that whole lists do not have."""
    return QueryError(f"Can only use collection {found.name} with =, <>, IN or NOT IN clause")
