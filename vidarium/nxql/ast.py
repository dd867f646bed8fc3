"""The tree of an NXQL query: plain data. What a name or a type means is decided by the compiler (spec/nxql.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# --- Operands --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class String:
    """A string literal, unescaped."""

    text: str


@dataclass(frozen=True)
class Integer:
    """A 64-bit integer literal."""

    value: int


@dataclass(frozen=True)
class Double:
    """A literal with a dot, an exponent or a leading zero; finite."""

    value: float


@dataclass(frozen=True)
class Moment:
    """`DATE '…'` (is_day) or `TIMESTAMP '…'`: an instant, in UTC."""

    instant: datetime
    is_day: bool


Literal = String | Integer | Double | Moment


@dataclass(frozen=True)
class Reference:
    """A property as written, or `DATE(property)`. The offset tells two uses of the same wildcard apart."""

    name: str
    offset: int
    to_day: bool = False

    def __str__(self) -> str:
        return f"DATE({self.name})" if self.to_day else self.name


@dataclass(frozen=True)
class Call:
    """A function: `NOW()` in WHERE, an aggregate in SELECT."""

    name: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True)
class Arithmetic:
    """One of `+ - * /`; the grammar has no precedence, so a chain leans to the left (spec/nxql.md 4.1)."""

    left: Operand
    operator: str
    right: Operand


Operand = String | Integer | Double | Moment | Reference | Call | Arithmetic

# --- Predicates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """`left operator right`; the operator is one of `= <> < <= > >=` (`!=` is read as `<>`)."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True)
class In:
    """`reference IN (literal, …)`; NOT IN is a Not around it."""

    reference: Reference
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Between:
    """`reference BETWEEN low AND high`, both inclusive."""

    reference: Reference
    low: Literal
    high: Literal


@dataclass(frozen=True)
class Like:
    """`reference LIKE pattern`; `fold_case` for ILIKE."""

    reference: Reference
    pattern: str
    fold_case: bool


@dataclass(frozen=True)
class IsNull:
    """`reference IS NULL`."""

    reference: Reference


@dataclass(frozen=True)
class StartsWith:
    """`reference STARTSWITH prefix`."""

    reference: Reference
    prefix: str


Test = Comparison | In | Between | Like | IsNull | StartsWith
"""A predicate without predicates inside."""


@dataclass(frozen=True)
class Not:
    """Three-valued negation."""

    part: Predicate


@dataclass(frozen=True)
class And:
    """Two predicates or more."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Or:
    """Two predicates or more."""

    parts: tuple[Predicate, ...]


Predicate = Comparison | In | Between | Like | IsNull | StartsWith | Not | And | Or

# --- The statement ---------------------------------------------------------------------------------------------------

Item = Reference | Call | String | Integer | Double | Moment
"""What may be selected; a literal parses, and the compiler refuses it."""


@dataclass(frozen=True)
class Order:
    """One key of ORDER BY."""

    reference: Reference
    descending: bool


@dataclass(frozen=True)
class Query:
    """A whole statement. No items: `SELECT *`. LIMIT and OFFSET are parsed and forgotten (spec/nxql.md 4.9)."""

    items: tuple[Item, ...]
    is_distinct: bool
    types: tuple[str, ...]
    where: Predicate | None
    order_by: tuple[Order, ...]

    @property
    def selects_documents(self) -> bool:
        """Whether it is `SELECT *` or `SELECT ecm:uuid`, which mean the same (spec/nxql.md 7)."""
        return all(isinstance(item, Reference) and str(item) == "ecm:uuid" for item in self.items)


def children(node: object) -> tuple[Operand | Predicate, ...]:
    """The nodes directly inside a predicate or an operand, in the order of the text."""
    match node:
        case And(parts) | Or(parts):
            return parts
        case Not(part):
            return (part,)
        case Comparison(left, _, right) | Arithmetic(left, _, right):
            return (left, right)
        case In(reference, values):
            return (reference, *values)
        case Between(reference, low, high):
            return (reference, low, high)
        case Like(reference) | IsNull(reference) | StartsWith(reference):
            return (reference,)
        case Call(_, arguments):
            return arguments
    return ()


def references(node: Operand | Predicate) -> tuple[Reference, ...]:
    """Every reference inside a node, in the order of the text."""
    found: list[Reference] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Reference):
            found.append(one)
        waiting += reversed(children(one))
    return tuple(found)
