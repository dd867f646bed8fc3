"""NXQL text → tree. The grammar is on one page, `grammar.lark`; surprises of the language are in spec/nxql.md 4."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from importlib import resources
from itertools import chain

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import UnexpectedToken

from vidarium.errors import QueryError
from vidarium.nxql import ast, dates
from vidarium.nxql.lexer import NxqlLexer, check_characters

MAX_NODES = 20_000
"""Predicates and operands in a query. Each literal is a parameter, and PostgreSQL takes 65 535 of them."""

MAX_DEPTH = 100
"""Predicates and operands inside each other: the compiler and SQLAlchemy recurse."""

_MAX_INTEGER = 2**63 - 1

_PATH_ORDER = re.compile(r"(?P<before>\s)order\s+by\s+ecm:path(?P<descending>\s+desc)?\s*\Z", re.IGNORECASE)


def parse(text: str) -> ast.Query:
    """The tree of a query.

    Raises QueryError, in the reference's words (spec/nxql.md 16), at the first problem.
    """
    check_characters(text)
    try:
        tree = _parser().parse(_with_plain_path_order(text))
    except UnexpectedToken as error:
        raise _syntax_error(error.token, text) from None
    except UnexpectedInput as error:
        raise QueryError(f"Syntax error: {error}") from None
    assert isinstance(tree, ast.Query)
    _check_size(tree)
    return tree


def _with_plain_path_order(text: str) -> str:
    """Here, and only here, ORDER BY may be written in any letters and with any white space (spec/nxql.md 11)."""
    return _PATH_ORDER.sub(
        lambda found: f"{found['before']}ORDER BY ecm:path{' DESC' if found['descending'] else ''}", text
    )


def _syntax_error(token: Token, text: str) -> QueryError:
    if token.type == "$END":
        return QueryError("Syntax error: Invalid token <null> at offset -1", len(text))
    return QueryError(f"Syntax error: Invalid token <{token}> at offset {token.start_pos}", token.start_pos)


def _check_size(query: ast.Query) -> None:
    """Refuse what would exhaust a stack or the database's parameters; without recursion itself."""
    waiting: list[tuple[ast.Operand | ast.Predicate, int]] = [(node, 1) for node in _roots(query)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise QueryError(f"The query is nested more than {MAX_DEPTH} levels deep.")
        if count > MAX_NODES:
            raise QueryError(f"The query has more than {MAX_NODES} conditions and values.")
        waiting += [(child, depth + 1) for child in ast.children(node)]


def _roots(query: ast.Query) -> Iterator[ast.Operand | ast.Predicate]:
    where = () if query.where is None else (query.where,)
    return chain(query.items, where, (order.reference for order in query.order_by))


@functools.cache
def _parser() -> Lark:
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, start="query", parser="lalr", lexer=NxqlLexer, transformer=_Tree())


_Select = tuple[tuple[ast.Item, ...], bool]


@v_args(inline=True)
class _Tree(Transformer[Token, ast.Query]):
    """One function for each rule of the grammar: what the parser found → the node."""

    def query(
        self,
        select: _Select,
        types: tuple[str, ...],
        where: ast.Predicate | None,
        order_by: tuple[ast.Order, ...] | None,
        *_limits: object,
    ) -> ast.Query:
        items, is_distinct = select
        return ast.Query(items, is_distinct, types, where, order_by or ())

    def select(self, items: tuple[ast.Item, ...]) -> _Select:
        return items, False

    def select_distinct(self, items: tuple[ast.Item, ...]) -> _Select:
        return items, True

    def items(self, *items: ast.Item | Token) -> tuple[ast.Item, ...]:
        """`*, x` means `x`."""
        return tuple(item for item in items if not isinstance(item, Token))

    def item(self, operand: ast.Item, _alias: Token | None = None) -> ast.Item:
        return operand

    def types(self, *names: str) -> tuple[str, ...]:
        return names

    def source(self, name: Token, _alias: Token | None = None) -> str:
        return str(name)

    def order_by(self, *keys: ast.Order) -> tuple[ast.Order, ...]:
        return keys

    def order(self, reference: ast.Reference) -> ast.Order:
        return ast.Order(reference, descending=False)

    def order_descending(self, reference: ast.Reference) -> ast.Order:
        return ast.Order(reference, descending=True)

    def limit(self, *_numbers: Token) -> None:
        """Parsed and forgotten."""

    # --- Predicates

    def or_(self, *parts: ast.Predicate) -> ast.Predicate:
        return ast.Or(parts)

    def and_(self, *parts: ast.Predicate) -> ast.Predicate:
        return ast.And(parts)

    def not_(self, part: ast.Predicate) -> ast.Predicate:
        """Two negations in a row are none, in three-valued logic too."""
        return part.part if isinstance(part, ast.Not) else ast.Not(part)

    def comparison(self, left: ast.Operand, operator: Token, right: ast.Operand) -> ast.Predicate:
        return ast.Comparison(left, "<>" if operator == "!=" else str(operator), right)

    def literals(self, *values: ast.Literal) -> tuple[ast.Literal, ...]:
        return values

    def in_(self, reference: ast.Reference, values: tuple[ast.Literal, ...]) -> ast.Predicate:
        return ast.In(reference, values)

    def not_in(self, reference: ast.Reference, values: tuple[ast.Literal, ...]) -> ast.Predicate:
        return ast.Not(ast.In(reference, values))

    def between(self, reference: ast.Reference, low: ast.Literal, high: ast.Literal) -> ast.Predicate:
        return ast.Between(reference, low, high)

    def not_between(self, reference: ast.Reference, low: ast.Literal, high: ast.Literal) -> ast.Predicate:
        return ast.Not(ast.Between(reference, low, high))

    def like(self, reference: ast.Reference, pattern: Token) -> ast.Predicate:
        return ast.Like(reference, str(pattern), fold_case=False)

    def not_like(self, reference: ast.Reference, pattern: Token) -> ast.Predicate:
        return ast.Not(ast.Like(reference, str(pattern), fold_case=False))

    def ilike(self, reference: ast.Reference, pattern: Token) -> ast.Predicate:
        return ast.Like(reference, str(pattern), fold_case=True)

    def not_ilike(self, reference: ast.Reference, pattern: Token) -> ast.Predicate:
        return ast.Not(ast.Like(reference, str(pattern), fold_case=True))

    def is_null(self, reference: ast.Reference) -> ast.Predicate:
        return ast.IsNull(reference)

    def is_not_null(self, reference: ast.Reference) -> ast.Predicate:
        return ast.Not(ast.IsNull(reference))

    def starts_with(self, reference: ast.Reference, prefix: Token) -> ast.Predicate:
        return ast.StartsWith(reference, str(prefix))

    # --- Operands

    def arithmetic(self, left: ast.Operand, operator: Token, right: ast.Operand) -> ast.Operand:
        return ast.Arithmetic(left, str(operator), right)

    def parenthesised(self, inner: ast.Operand) -> ast.Operand:
        return inner

    def call(self, name: Token, *arguments: ast.Operand) -> ast.Operand:
        return ast.Call(str(name), arguments)

    def reference(self, name: Token) -> ast.Reference:
        return ast.Reference(str(name), name.start_pos or 0)

    def day(self, name: Token) -> ast.Reference:
        return ast.Reference(str(name), name.start_pos or 0, to_day=True)

    def string(self, text: Token) -> ast.Literal:
        return ast.String(str(text))

    def integer(self, *signed: Token) -> ast.Literal:
        *minus, digits = signed
        if len(digits) > 19 or int(digits) > _MAX_INTEGER:
            raise QueryError(f'java.lang.NumberFormatException: For input string: "{digits}"', digits.start_pos)
        return ast.Integer(-int(digits) if minus else int(digits))

    def double(self, *signed: Token) -> ast.Literal:
        *minus, digits = signed
        value = float(digits)
        if not math.isfinite(value):
            raise QueryError(f'java.lang.NumberFormatException: For input string: "{digits}"', digits.start_pos)
        return ast.Double(-value if minus else value)

    def date(self, text: Token) -> ast.Literal:
        return ast.Moment(dates.instant(str(text)), is_day=True)

    def timestamp(self, text: Token) -> ast.Literal:
        return ast.Moment(dates.instant(str(text)), is_day=False)
