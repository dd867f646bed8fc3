"""Full-text conditions: the query's words → PostgreSQL's tsquery (spec/nxql.md 13)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, collate, false, func, literal, null
from sqlalchemy.types import Double

from vidarium.errors import QueryError
from vidarium.nxql import ast
from vidarium.nxql.fields import Fulltext, Property
from vidarium.nxql.logic import Condition, all_of
from vidarium.nxql.scope import Scope, any_element

LANGUAGE = "english"
"""The text-search configuration that `document.fulltext` is built with."""

MAX_TERMS = 500
MAX_WORD = 500
"""Characters; a lexeme is limited to 2046 bytes."""

_IGNORED = "a an and are as at be by for from how in is it of on or that the this to was what when who with"


@dataclass(frozen=True)
class Term:
    """A word, the beginning of a word, or a phrase (words separated by spaces)."""

    text: str
    is_negative: bool = False
    is_prefix: bool = False


Group = tuple[Term, ...]
"""Terms that must all hold; the groups of a query are alternatives."""


def read(text: str) -> list[Group]:
    """The groups of a query; those with negative terms only are dropped. Raises QueryError for what is malformed."""
    groups: list[list[Term]] = [[]]
    words = text.split()
    if words and words[0].upper() == "OR":
        raise _invalid("standalone OR", text)
    previous = ""
    for word in _with_phrases(words, text):
        if word.upper() == "OR":
            if previous == "OR":
                raise _invalid("OR OR", text)
            groups.append([])
            previous = "OR"
            continue
        previous = word
        term = _term(word, text)
        if any(character.isalnum() for character in term.text):
            groups[-1].append(term)
    if previous == "OR":
        raise _invalid("final OR", text)
    _check_size(groups, text)
    return [tuple(group) for group in groups if any(not term.is_negative for term in group)]


def _with_phrases(words: list[str], text: str) -> Iterator[str]:
    """The words, where those of a phrase are joined again, quotes included."""
    phrase: list[str] = []
    for word in words:
        opens = not phrase and word.lstrip("+-").startswith('"')
        if not phrase and not opens:
            if '"' in word:
                raise _invalid("double quotes in word", text)
            yield word
            continue
        phrase.append(word)
        inner = word.lstrip("+-")[1:] if opens else word
        if inner.endswith('"'):
            yield " ".join(phrase)
            phrase = []
        if '"' in inner.removesuffix('"'):
            raise _invalid("double quotes in word", text)
    if phrase:
        raise _invalid("unterminated phrase", text)


def _term(word: str, text: str) -> Term:
    if word in {"-", "+"}:
        raise _invalid(f"standalone {word}", text)
    is_negative = word.startswith("-")
    bare = word[1:] if word[0] in "+-" else word
    if bare.startswith('"'):
        return Term(" ".join(bare.strip('"').split()), is_negative)
    is_prefix = bare.endswith(("*", "%"))
    return Term(bare.rstrip("*%") if is_prefix else bare, is_negative, is_prefix)


def _check_size(groups: list[list[Term]], text: str) -> None:
    if sum(len(group) for group in groups) > MAX_TERMS:
        raise _invalid(f"more than {MAX_TERMS} terms", text[:100])
    if any(len(word) > MAX_WORD for group in groups for term in group for word in term.text.split()):
        raise _invalid(f"a word of more than {MAX_WORD} characters", text[:100])


def _invalid(reason: str, text: str) -> QueryError:
    return QueryError(f"Invalid fulltext query ({reason}): {text}")


def tsquery(groups: list[Group]) -> ColumnElement[str]:
    """PostgreSQL's form of a query; the text is one parameter."""
    alternatives = ("(" + " & ".join(_lexemes(term) for term in group) + ")" for group in groups)
    return func.to_tsquery(LANGUAGE, literal(" | ".join(alternatives), Text))


def _lexemes(term: Term) -> str:
    mark = ":*" if term.is_prefix else ""
    words = (word for word in term.text.split() if any(character.isalnum() for character in word))
    quoted = " <-> ".join("'" + word.replace("\\", "\\\\").replace("'", "''") + f"'{mark}" for word in words)
    return f"!({quoted})" if term.is_negative else f"({quoted})"


def fulltext(node: ast.Test, scope: Scope, field: Fulltext) -> Condition:
    """The condition of one full-text predicate; never unknown where an index answers it."""
    text = _text(node, field)
    groups = read(text)
    if not groups:
        return false()
    if field.property is not None and not field.is_index:
        return _contains(field.property, text, scope)
    vector = _vector(field, scope)
    return all_of((vector.is_not(None), vector.op("@@", is_comparison=True)(tsquery(groups))))


def score(node: ast.Test, field: Fulltext, scope: Scope) -> ColumnElement[Any]:
    """How well a document matches a predicate; null where no index answers it."""
    groups = read(_text(node, field))
    if not groups or not field.is_index:
        return cast(null(), Double)
    return func.ts_rank(_vector(field, scope), tsquery(groups), type_=Double())


def _text(node: ast.Test, field: Fulltext) -> str:
    match node:
        case ast.Comparison(_, "=", ast.String(text)) | ast.Like(_, text, False):
            return text
        case ast.Comparison(_, "=", _):
            raise QueryError(f"{field.name} requires literal string as right argument")
    raise QueryError(f"{field.name} requires = or LIKE operator")


def _vector(field: Fulltext, scope: Scope) -> ColumnElement[Any]:
    if field.property is None:
        found: ColumnElement[Any] = scope.target.c.fulltext
        return found
    return func.to_tsvector(LANGUAGE, func.coalesce(scope.text(field.property), ""))


def _contains(found: Property, text: str, scope: Scope) -> Condition:
    """A property without an index: its text holds the words in order, in any case."""
    if found.kind != "string":
        raise QueryError(f"No such property: {found.name}")
    words = [_singular(word) for word in text.split() if len(word) > 2 and word.lower() not in _IGNORED.split()]
    escaped = (word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for word in words)
    pattern = "%" + "".join(f"{word}%" for word in escaped)
    if found.is_list:
        return any_element(scope.list(found), "string", lambda value: collate(value, "default").ilike(pattern))
    return collate(scope.text(found), "default").ilike(pattern)


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
