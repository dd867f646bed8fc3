"""The tokens of NXQL (spec/nxql.md 2): the longest match wins, and keywords exist in fixed spellings only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from lark import Token
from lark.lexer import Lexer

from vidarium.errors import QueryError

_PLAIN = (
    "SELECT FROM WHERE AS NOT AND OR IS NULL LIKE DISTINCT ALL BETWEEN IN ASC DESC DATE HAVING LIMIT OFFSET"
    " TYPE LOCATION"
)

KEYWORDS = {spelling: f"_{word}" for word in _PLAIN.split() for spelling in (word, word.capitalize(), word.lower())} | {
    spelling: f"_{word}"
    for word, spellings in {
        "ILIKE": "ILIKE ILike ilike",
        "TIMESTAMP": "TIMESTAMP TimeStamp Timestamp timestamp",
        "STARTSWITH": "STARTSWITH StartsWith Startswith startswith",
    }.items()
    for spelling in spellings.split()
}
"""Every accepted spelling of a keyword, with its token; Lark leaves out of the tree what begins with `_`."""

_SIGNS = {"(": "_OPEN", ")": "_CLOSE", ",": "_COMMA", "+": "PLUS", "-": "MINUS", "*": "TIMES", "/": "DIVIDED"}

_TWO_WORDS = re.compile(r"(?:ORDER BY|Order By|order by)|(?:GROUP BY|Group By|group by)")
_TAIL = r"[A-Za-z0-9_:.\-]*"
_START = r"(?:[^\W\d]|[$¢£¤¥€‿⁀⁔])"
_INDEX = r"(?:\*?(?:0|[1-9][0-9]*)|\*)"
_NAME = re.compile(rf"{_START}{_TAIL}(?P<path>(?:/(?:{_START}{_TAIL}(?:\[{_INDEX}\])?|{_INDEX}))*)")
_NUMBER = re.compile(r"[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"0|[1-9][0-9]*")
_SIGN = re.compile(r"!=|<>|<=|>=|[=<>(),+\-*/]")
_WORD = r"[^\s(),]+"


def _hint_part(word: str, arguments: str) -> str:
    spellings = "|".join((word, word.capitalize(), word.lower()))
    return rf"\s*(?:(?:{spellings})\s*\(\s*{arguments}\s*\))?"


_HINT = re.compile(
    r"/\*\+[Ee][Ss]:"
    + _hint_part("INDEX", rf"{_WORD}(?:\s*,\s*{_WORD})*")
    + _hint_part("ANALYZER", _WORD)
    + _hint_part("OPERATOR", _WORD)
    + r"\s*\*/"
)
"""A hint for another search engine: read and forgotten (spec/nxql.md 2.8)."""

_STRING_PART = re.compile(r"""[^'"\\\r\n]+""")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


class NxqlLexer(Lexer):
    """Tokens one by one, so that the first problem of the text is the one reported."""

    def __init__(self, configuration: Any) -> None:
        """Lark passes its configuration; the tokens of NXQL need none."""

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        """The tokens of a text; raises QueryError at a character that no token may hold."""
        text: str = lexer_state
        offset = 0
        while (token := _next(text, offset)) is not None:
            yield token
            offset = token.end_pos or len(text)


def check_characters(text: str) -> None:
    """Refuse what no database can store: NUL, and halves of surrogate pairs."""
    found = re.search("[\0\ud800-\udfff]", text)
    if found:
        raise illegal(ascii(found[0])[1:-1], found.start())


def illegal(character: str, offset: int) -> QueryError:
    """A character that cannot stand where it stands."""
    return QueryError(f"Lexical Error: Illegal character <{character}> at offset {offset}", offset)


def _next(text: str, offset: int) -> Token | None:
    """The token at or after an offset; None at the end of the text."""
    while text[offset : offset + 1] in {" ", "\t", "\f", "\r", "\n"}:
        offset += 1
    if offset == len(text):
        return None
    for read in _READERS:
        if token := read(text, offset):
            return token
    if text[offset] in "'\"":
        return _string(text, offset)
    raise illegal(text[offset], offset)


def _token(kind: str, value: str, start: int, end: int) -> Token:
    return Token(kind, value, start_pos=start, end_pos=end)


def _two_words(text: str, offset: int) -> Token | None:
    found = _TWO_WORDS.match(text, offset)
    return found and _token("_" + found[0].upper().replace(" ", "_"), found[0], offset, found.end())


def _name(text: str, offset: int) -> Token | None:
    found = _NAME.match(text, offset)
    if found is None or unicodedata.category(text[offset]) == "No":  # "½" is no letter
        return None
    kind = "PATH" if found["path"] else KEYWORDS.get(found[0], "NAME")
    return _token(kind, found[0], offset, found.end())


def _number(text: str, offset: int) -> Token | None:
    found = _NUMBER.match(text, offset)
    if found is None:
        return None
    kind = "INTEGER" if _INTEGER.fullmatch(found[0]) else "DOUBLE"
    return _token(kind, found[0], offset, found.end())


def _hint(text: str, offset: int) -> Token | None:
    found = _HINT.match(text, offset)
    return found and _token("_HINT", found[0], offset, found.end())


def _sign(text: str, offset: int) -> Token | None:
    found = _SIGN.match(text, offset)
    return found and _token(_SIGNS.get(found[0], "COMPARISON"), found[0], offset, found.end())


def _string(text: str, start: int) -> Token | None:
    """A string, unescaped; None if the text ends inside it: the reference then sees no token (spec/nxql.md 2.5)."""
    delimiter, offset, value = text[start], start + 1, ""
    while offset < len(text):
        one = text[offset]
        if one == delimiter:
            return _token("STRING", value, start, offset + 1)
        if one in "\r\n":
            raise illegal(one, offset)
        following = text[offset + 1 : offset + 2]
        if one == "\\" and following not in {"\r", "\n"}:
            value += following if following == delimiter else _ESCAPES.get(following, f"\\{following}")
            offset += 2
        elif found := _STRING_PART.match(text, offset):
            value += found[0]
            offset = found.end()
        else:
            value += one
            offset += 1
    return None


_READERS: tuple[Callable[[str, int], Token | None], ...] = (_two_words, _name, _number, _hint, _sign)
