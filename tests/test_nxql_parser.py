"""NXQL text → tree: what is accepted, what it means, and the words and the place of what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vidarium.errors import QueryError
from vidarium.nxql import ast, dates
from vidarium.nxql.parser import MAX_DEPTH, parse

A = ast.Reference("a", 22)
ONE, TWO = ast.Integer(1), ast.Integer(2)


def where(text: str) -> ast.Predicate | None:
    return parse(f"SELECT * FROM D WHERE {text}").where


def ref(name: str, text: str) -> ast.Reference:
    """A reference at the place where its name is found first."""
    return ast.Reference(name, 22 + text.index(name))


def is_one(name: str, text: str) -> ast.Comparison:
    return ast.Comparison(ref(name, text), "=", ONE)


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("'x'", ast.String("x")),
        ('"it\'s"', ast.String("it's")),
        (r"'it\'s'", ast.String("it's")),
        (r"'\t\n\r\\'", ast.String("\t\n\r\\")),
        (r"'\%\\%\_\q\"'", ast.String(r"\%\%\_\q\"")),
        ("'日本 é'", ast.String("日本 é")),
        ("0", ast.Integer(0)),
        ("- 5", ast.Integer(-5)),
        ("9223372036854775807", ast.Integer(2**63 - 1)),
        ("007", ast.Double(7.0)),
        ("1.", ast.Double(1.0)),
        ("-.5e+2", ast.Double(-50.0)),
        ("1E-3", ast.Double(0.001)),
        ("DATE '2024-01-15'", ast.Moment(datetime(2024, 1, 15, tzinfo=UTC), is_day=True)),
        ("TimeStamp '2024'", ast.Moment(datetime(2024, 1, 1, tzinfo=UTC), is_day=False)),
    ],
)
def test_literals(text: str, literal: ast.Literal) -> None:
    assert where(f"a = {text}") == ast.Comparison(A, "=", literal)


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("a != 1", ast.Comparison(A, "<>", ONE)),
        ("1 <= a", ast.Comparison(ONE, "<=", ref("a", "1 <= a"))),
        ("a IN('x',\"y\")", ast.In(A, (ast.String("x"), ast.String("y")))),
        ("a not in (1, 2)", ast.Not(ast.In(A, (ONE, TWO)))),
        ("a BETWEEN 1 AND 2", ast.Between(A, ONE, TWO)),
        ("a NOT BETWEEN 1 AND 2", ast.Not(ast.Between(A, ONE, TWO))),
        ("a LIKE 'x%'", ast.Like(A, "x%", fold_case=False)),
        ("a NOT ILike 'x%'", ast.Not(ast.Like(A, "x%", fold_case=True))),
        ("a IS NULL", ast.IsNull(A)),
        ("a is not null", ast.Not(ast.IsNull(A))),
        ("a STARTSWITH '/x'", ast.StartsWith(A, "/x")),
        ("NOT NOT a = 1", is_one("a", "NOT NOT a = 1")),
        ("((a = 1))", is_one("a", "((a = 1))")),
        ("DATE(a) IS NULL", ast.IsNull(ast.Reference("a", 27, to_day=True))),
        ("NOW('-P1D') < a", ast.Comparison(ast.Call("NOW", (ast.String("-P1D"),)), "<", ast.Reference("a", 36))),
        ("/*+Es: INDEX(x.y, z^) Operator(o) */ a = 1", ast.Comparison(ast.Reference("a", 59), "=", ONE)),
        ("/*+es:*/a = 1", ast.Comparison(ast.Reference("a", 30), "=", ONE)),
        ("a = 1 '", is_one("a", "a")),
    ],
)
def test_predicates(text: str, predicate: ast.Predicate) -> None:
    assert where(text) == predicate


def test_not_binds_tighter_than_and_and_and_tighter_than_or() -> None:
    text = "NOT a = 1 AND b = 1 OR c = 1"
    both = ast.And((ast.Not(is_one("a", text)), is_one("b", text)))
    assert where(text) == ast.Or((both, is_one("c", text)))


def test_arithmetic_has_no_precedence() -> None:
    summed = ast.Arithmetic(A, "+", ONE)
    assert where("a + 1 * 2 = 1") == ast.Comparison(ast.Arithmetic(summed, "*", TWO), "=", ONE)
    inside = ast.Arithmetic(ast.Reference("a", 23), "+", ONE)
    assert where("(a + 1) * 2 = 1") == ast.Comparison(ast.Arithmetic(inside, "*", TWO), "=", ONE)


@pytest.mark.parametrize(
    "name",
    [
        "dc:title",
        "file:content/mime-type",
        "width-1",
        "a/2",
        "a/*",
        "a/*1/b",
        "a/item[0]/b",
        "a/x[*2]",
        "é",
        "$id",
        "_a.b",
    ],
)
def test_names(name: str) -> None:
    assert where(f"{name} = 1") == ast.Comparison(ast.Reference(name, 22), "=", ONE)


@pytest.mark.parametrize("text", ["a / b = 1", "a /b = 1", "a/ b = 1"])
def test_a_slash_with_space_divides(text: str) -> None:
    found = where(text)
    assert isinstance(found, ast.Comparison)
    assert isinstance(found.left, ast.Arithmetic)
    assert found.left.operator == "/"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("select * from D", ast.Query((), False, ("D",), None, ())),
        ("Select Distinct a, b AS x From Type D, E AS e", ast.Query(
            (ast.Reference("a", 16), ast.Reference("b", 19)), True, ("D", "E"), None, ())),
        ("SELECT *, a FROM D", ast.Query((ast.Reference("a", 10),), False, ("D",), None, ())),
        ("SELECT COUNT(a) FROM D LIMIT 1 OFFSET 2 LIMIT 3", ast.Query(
            (ast.Call("COUNT", (ast.Reference("a", 13),)),), False, ("D",), None, ())),
        ("SELECT * FROM D ORDER BY a, b DESC, DATE(c) asc", ast.Query((), False, ("D",), None, (
            ast.Order(ast.Reference("a", 25), descending=False),
            ast.Order(ast.Reference("b", 28), descending=True),
            ast.Order(ast.Reference("c", 41, to_day=True), descending=False)))),
        ("SELECT * FROM D oRDer \n by ecm:path desc ", ast.Query((), False, ("D",), None, (
            ast.Order(ast.Reference("ecm:path", 25), descending=True),))),
    ],
)  # fmt: skip
def test_statements(text: str, query: ast.Query) -> None:
    assert parse(text) == query


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("", "Syntax error: Invalid token <null> at offset -1", 0),
        ("SELECT * FROM D WHERE a =", "Syntax error: Invalid token <null> at offset -1", 25),
        ("SELECT * FROM D WHERE a = 'x", "Syntax error: Invalid token <null> at offset -1", 28),
        ("SELECT * FROM D;", "Lexical Error: Illegal character <;> at offset 15", 15),
        ("SELECT * FROM D WHERE a = :x", "Lexical Error: Illegal character <:> at offset 26", 26),
        ("SELECT * FROM D WHERE a = ?", "Lexical Error: Illegal character <?> at offset 26", 26),
        ("SELECT * FROM D WHERE a[0]/b = 1", "Lexical Error: Illegal character <[> at offset 23", 23),
        ("SELECT * FROM D WHERE a = 'x\ny'", "Lexical Error: Illegal character <\n> at offset 28", 28),
        ("SELECT * FROM D WHERE a = 'x\\\ny'", "Lexical Error: Illegal character <\n> at offset 29", 29),
        ("SELECT * FROM D WHERE a = 'x\0'", r"Lexical Error: Illegal character <\x00> at offset 28", 28),
        ("SELECT * FROM D WHERE a = '\ud800'", r"Lexical Error: Illegal character <\ud800> at offset 27", 27),
        ("SELECT * FROM D WHERE a = 'It''s'", "Syntax error: Invalid token <s> at offset 30", 30),
        ("SELECT * FROM D WHERE (a) = 1", "Syntax error: Invalid token <)> at offset 24", 24),
        ("SELECT * FROM D WHERE a", "Syntax error: Invalid token <null> at offset -1", 23),
        ("SELECT * FROM D WHERE a = 1 < 2", "Syntax error: Invalid token <<> at offset 28", 28),
        ("SELECT * FROM D WHERE 2 * (a + 1) = 1", "Syntax error: Invalid token <(> at offset 26", 26),
        ("SELECT * FROM D WHERE a = +1", "Syntax error: Invalid token <+> at offset 26", 26),
        ("SELECT * FROM D wHERE a = 1", "Syntax error: Invalid token <wHERE> at offset 16", 16),
        ("SELECT * FROM D ORDER  BY a", "Syntax error: Invalid token <ORDER> at offset 16", 16),
        ("SELECT * FROM D GROUP BY a", "Syntax error: Invalid token <GROUP BY> at offset 16", 16),
        ("SELECT * FROM D ORDER BY a,", "Syntax error: Invalid token <null> at offset -1", 27),
        ("SELECT * FROM D OFFSET 1", "Syntax error: Invalid token <OFFSET> at offset 16", 16),
        ("SELECT * FROM D LIMIT 1, 2", "Syntax error: Invalid token <,> at offset 23", 23),
        ("SELECT a, * FROM D", "Syntax error: Invalid token <*> at offset 10", 10),
        ("SELECT a + 1 FROM D", "Syntax error: Invalid token <+> at offset 9", 9),
        ("SELECT COUNT(*) FROM D", "Syntax error: Invalid token <*> at offset 13", 13),
        ("SELECT * FROM D WHERE dc:é = 1", "Syntax error: Invalid token <é> at offset 25", 25),
        ("SELECT * FROM D WHERE a LIKE b", "Syntax error: Invalid token <b> at offset 29", 29),
        ("SELECT * FROM D WHERE a IN (b)", "Syntax error: Invalid token <b> at offset 28", 28),
        ("SELECT * FROM D WHERE a IN ()", "Syntax error: Invalid token <)> at offset 28", 28),
        ("SELECT * FROM D WHERE a NOT STARTSWITH 'x'", "Syntax error: Invalid token <STARTSWITH> at offset 28", 28),
        ("SELECT * FROM D WHERE a = DATE '2024-13-01'",
         "java.time.DateTimeException: Could not parse '2024-13-01'", None),
        ("SELECT * FROM D WHERE a = 9223372036854775808",
         'java.lang.NumberFormatException: For input string: "9223372036854775808"', 26),
        ("SELECT * FROM D WHERE a = 1e999", 'java.lang.NumberFormatException: For input string: "1e999"', 26),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str, offset: int | None) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert (str(caught.value), caught.value.offset) == (message, offset)


@pytest.mark.parametrize("spelling", ["LIKE", "Like", "like", "ILIKE", "ILike", "ilike"])
def test_keywords_have_some_spellings(spelling: str) -> None:
    assert isinstance(where(f"a {spelling} 'x'"), ast.Like)


@pytest.mark.parametrize("spelling", ["LIke", "liKE", "Ilike", "iLike", "IliKE"])
def test_keywords_have_no_others(spelling: str) -> None:
    with pytest.raises(QueryError, match=f"Invalid token <{spelling}> at offset 24"):
        where(f"a {spelling} 'x'")


@pytest.mark.parametrize(
    "text",
    [
        "(a = 1 OR (" * MAX_DEPTH + "a = 1" + "))" * MAX_DEPTH,
        "NOT (a = 1 AND " * MAX_DEPTH + "a = 1" + ")" * MAX_DEPTH,
        "a" + " + 1" * MAX_DEPTH + " = 1",
        "F(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH + " = 1",
        "a = 1 OR " * 10_000 + "a = 1",
    ],
)
def test_too_deep_or_too_much(text: str) -> None:
    with pytest.raises(QueryError, match=r"nested more than|has more than"):
        where(text)


def test_parentheses_and_pairs_of_not_cost_nothing() -> None:
    assert where("(" * 5000 + "a = 1" + ")" * 5000) == is_one("a", "(" * 5000 + "a")
    assert where("NOT " * 5000 + "a = 1") == is_one("a", "NOT " * 5000 + "a")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2024", "2024-01-01T00:00:00.000Z"),
        ("2024-05", "2024-05-01T00:00:00.000Z"),
        ("2024-05-06T07", "2024-05-06T07:00:00.000Z"),
        ("2024-05-06 07:08", "2024-05-06T07:08:00.000Z"),
        ("2024-05-06T07:08:09.120", "2024-05-06T07:08:09.120Z"),
        ("2024-05-06T07:08:09.1209Z", "2024-05-06T07:08:09.120Z"),
        ("2024-05-06t07:08:09z", "2024-05-06T07:08:09.000Z"),
        ("2024-05-06T00:30+02:00", "2024-05-05T22:30:00.000Z"),
        ("2024-05-06T00:30-01:30", "2024-05-06T02:00:00.000Z"),
        ("2024-05-06T00:30:00+02:00[Europe/Paris]", "2024-05-05T22:30:00.000Z"),
        ("2024-02-30", "2024-02-29T00:00:00.000Z"),
        ("2024-02-29T24:00:00", "2024-03-01T00:00:00.000Z"),
        ("0800-01-01", "0800-01-01T00:00:00.000Z"),
    ],
)
def test_dates(text: str, stored: str) -> None:
    assert dates.stored_form(dates.instant(text)) == stored


@pytest.mark.parametrize(
    "text",
    [
        "", "now", " 2024", "2024-1-5", "20240105", "2024-13", "2024-00-10", "2024-01-32", "2024-01-01T25",
        "2024-01-01T24:00:01", "2024-01-01T10:60", "2024-01-01T10:00:60", "2024-01-01T10:00:00.1", "2024-01-01t10:00",
        "2024-01-01T10:00+0100", "2024-01-01T10:00+19:00", "0000-01-01", "9999-12-31T24:00", "٢٠٢٤",
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(QueryError, match="Could not parse"):
        dates.instant(text)


@pytest.mark.parametrize(
    ("period", "stored"),
    [
        ("P1D", "2024-03-01T12:00:00.000Z"),
        ("-P1D", "2024-02-28T12:00:00.000Z"),
        ("P-1D", "2024-02-28T12:00:00.000Z"),
        ("-P-1D", "2024-03-01T12:00:00.000Z"),
        ("+p1y", "2025-02-28T12:00:00.000Z"),
        ("P-1M1D", "2024-01-30T12:00:00.000Z"),
        ("PT1H30M", "2024-02-29T13:30:00.000Z"),
        ("P1DT-1.5S", "2024-03-01T11:59:58.500Z"),
        ("-PT-0.5S", "2024-02-29T12:00:00.500Z"),
    ],
)
def test_periods(period: str, stored: str) -> None:
    now = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert dates.stored_form(dates.shifted(now, period)) == stored


@pytest.mark.parametrize("period", ["", "P", "PT", "P1DT", "1D", "P1W", "P1", "P 1D", "P9999Y", "P999999999999D"])
def test_what_is_no_period(period: str) -> None:
    with pytest.raises(QueryError, match=f"java.lang.IllegalArgumentException: Invalid period: {period}$"):
        dates.shifted(datetime(2024, 2, 29, tzinfo=UTC), period)
