"""AND, OR and NOT of SQL conditions, with constants folded: a branch that can never be true leaves the statement."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.sql.elements import False_, True_

Condition = ColumnElement[bool]


def all_of(parts: Iterable[Condition]) -> Condition:
    """All of them; none at all is true."""
    kept = [part for part in parts if not isinstance(part, True_)]
    if any(isinstance(part, False_) for part in kept):
        return false()
    return kept[0] if len(kept) == 1 else and_(*kept) if kept else true()


def any_of(parts: Iterable[Condition]) -> Condition:
    """At least one of them; none at all is false."""
    kept = [part for part in parts if not isinstance(part, False_)]
    if any(isinstance(part, True_) for part in kept):
        return true()
    return kept[0] if len(kept) == 1 else or_(*kept) if kept else false()


def none_of(part: Condition) -> Condition:
    """Not it; unknown stays unknown."""
    if isinstance(part, True_ | False_):
        return false() if isinstance(part, True_) else true()
    return ~part


def is_never(part: Condition) -> bool:
    """Whether it is the constant false."""
    return isinstance(part, False_)
