"""Where the values of a query are read, as SQL: columns of `document`, paths into its JSON, elements of its lists.

Expressions are written in one way only, so that an index on the same expression is used:

    string   ((properties #>> '{dc:title}') COLLATE "C")
    date     the same; dates are stored as text of fixed width
    number   CAST((computed #>> '{vid:info,duration}') AS NUMERIC)
    boolean  CAST((properties #>> '{webc:isWebContainer}') AS BOOLEAN)
    list     (properties #> '{dc:subjects}'), with the operators `?` and `?|`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Numeric,
    TableValuedAlias,
    Text,
    and_,
    case,
    cast,
    collate,
    column,
    exists,
    false,
    func,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from vidarium.database.schema import document
from vidarium.errors import QueryError
from vidarium.nxql import dates
from vidarium.nxql.fields import Property, Step, Variable, Wildcard

MAX_VARIABLES = 32
"""Wildcards that can be combined in one condition; each is a join."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_:\-]+")


@dataclass(frozen=True)
class Scope:
    """The row that a predicate is about. For a proxy `own` is the proxy and `target` what it shows (spec/nxql.md 10).

    `is_proxy` is a constant where the kind of row is known. `elements` holds the wildcards in use, outer ones first.
    """

    own: FromClause
    target: FromClause
    is_proxy: ColumnElement[bool]
    now: datetime
    elements: dict[Variable, TableValuedAlias] = field(default_factory=dict)

    @classmethod
    def live(cls, now: datetime) -> Scope:
        """Rows of `document` that are no proxies."""
        return cls(document, document, false(), now)

    @classmethod
    def proxies(cls, now: datetime) -> Scope:
        """Proxies, in a statement that joins what they show."""
        return cls(document, document.alias("target"), true(), now)

    @classmethod
    def both(cls, now: datetime) -> Scope:
        """All rows of `document`, in a statement that joins what a proxy shows, and to others themselves."""
        return cls(document, document.alias("target"), document.c.proxy_target.is_not(None), now)

    def inner(self) -> Scope:
        """The same row with no wildcards in use."""
        return replace(self, elements={})

    @property
    def moment(self) -> str:
        """Now, in the form of a stored date."""
        return dates.stored_form(self.now)

    def element(self, variable: Variable) -> ColumnElement[Any]:
        """The JSON of the element a wildcard stands for; JSON null if the list is empty or missing."""
        if variable not in self.elements:
            if len(self.elements) >= MAX_VARIABLES:
                raise QueryError(f"More than {MAX_VARIABLES} wildcards are combined in one condition.")
            self.elements[variable] = _elements(func.coalesce(self._filled(variable[:-1]), _json("[null]")))
        return self.elements[variable].c.value

    def _filled(self, steps: tuple[Step, ...]) -> ColumnElement[Any]:
        """A list with elements; null in the place of an empty one or of something else."""
        found = self._list(steps)
        if steps == ("ecm:acl",):  # never empty, and too long to be written twice
            return found
        return case((func.jsonb_typeof(found) == "array", func.nullif(found, _json("[]"))))

    def _list(self, steps: tuple[Step, ...]) -> ColumnElement[Any]:
        base, path = self._base(steps)
        return base.op("#>", return_type=JSONB())(_path(path)) if path else base

    def _base(self, steps: tuple[Step, ...]) -> tuple[ColumnElement[Any], tuple[Step, ...]]:
        """The JSON to start from, and the way from there: after the last wildcard, else from a column."""
        for count in range(len(steps), 0, -1):
            if isinstance(steps[count - 1], Wildcard):
                return self.element(steps[:count]), steps[count:]
        if steps[0] == "ecm:acl":
            return _aces(self.target, self.moment), steps[1:]
        is_computed = Property("", steps, "").is_computed
        return (self.target.c.computed if is_computed else self.target.c.properties), steps

    def text(self, found: Property) -> ColumnElement[Any]:
        """A scalar as text, with no collation said: for IS NULL and casts."""
        base, path = self._base(found.steps)
        return base.op("#>>", return_type=Text())(_path(path))

    def list(self, found: Property) -> ColumnElement[Any]:
        """A whole list, as JSON; null when missing."""
        return self._list(found.steps)

    def scalar(self, found: Property) -> ColumnElement[Any]:
        """A scalar in its type."""
        return typed(self.text(found), found.kind)


def typed(text: ColumnElement[Any], kind: str) -> ColumnElement[Any]:
    """Text out of JSON as a value of a kind; strings and dates in code-point order."""
    if kind in {"long", "double"}:
        return cast(text, Numeric)
    return cast(text, Boolean) if kind == "boolean" else collate(text, "C")


def any_element(whole: ColumnElement[Any], kind: str, test: Any) -> ColumnElement[bool]:
    """Whether some element of a list passes a test; never null. `test`: from the element to a condition."""
    filled = case((func.jsonb_typeof(whole) == "array", whole), else_=_json("[]"))
    rows = _elements(filled)
    value = typed(rows.c.value.op("#>>", return_type=Text())(_path(())), kind)
    return exists(select(literal_column("1")).select_from(rows).where(test(value)).correlate_except(rows))


def some_combination(condition: ColumnElement[bool], scope: Scope) -> ColumnElement[bool]:
    """Whether some combination of elements makes a condition over the scope's wildcards true."""
    rows = tuple(scope.elements.values())
    return exists(select(literal_column("1")).select_from(*rows).where(condition).correlate_except(*rows))


def _aces(row: FromClause, moment: str) -> ColumnElement[Any]:
    """The ACEs set on a document itself as one list, all ACLs in evaluation order (spec/nxql.md 10.5)."""
    filled = case((func.jsonb_typeof(row.c.acl) == "object", row.c.acl), else_=_json("{}"))
    acls = func.jsonb_each(filled).table_valued(column("key", Text()), column("value", JSONB()), joins_implicitly=True)
    aces = _elements(acls.c.value)
    ace = aces.c.value
    begin, end = (ace.op("->>", return_type=Text())(literal_column(name)) for name in ("'begin'", "'end'"))
    status = case(
        (and_(begin.is_(None), end.is_(None)), null()),
        (collate(begin, "C") > moment, 0),
        (collate(end, "C") < moment, 2),
        else_=1,
    )
    facts = {"grant": ace.op("->")(literal_column("'granted'")), "name": acls.c.key, "status": status}
    pairs = [part for name, value in facts.items() for part in (literal_column(f"'{name}'"), value)]
    pairs += [literal_column("'pos'"), aces.c.ordinality - 1]
    whole = ace.op("||")(func.jsonb_build_object(*pairs))
    order = (acls.c.key != "local", acls.c.key, aces.c.ordinality)
    rows = select(func.jsonb_agg(aggregate_order_by(whole, *order), type_=JSONB())).select_from(acls, aces)
    return rows.correlate_except(acls, aces).scalar_subquery()


def _elements(whole: ColumnElement[Any]) -> TableValuedAlias:
    rows = func.jsonb_array_elements(whole)
    return rows.table_valued(column("value", JSONB()), with_ordinality="ordinality", joins_implicitly=True)


def _path(steps: tuple[Step, ...]) -> ColumnElement[Any]:
    """A path of names from our own table of properties, written into the statement so that indexes match."""
    names = [str(step) for step in steps]
    assert all(_PLAIN_NAME.fullmatch(name) for name in names)
    return literal_column("'{" + ",".join(names) + "}'")


def _json(text: str) -> ColumnElement[Any]:
    return literal_column(f"'{text}'::jsonb", JSONB())


NO_ELEMENTS = (_json("[]"), _json("null"))
"""The values of a list, besides a missing one, that hold nothing."""
