"""NXQL against its definition: every combination of elements tried one by one, in three-valued logic (spec/nxql.md 6).

The compiler moves negations and choices of elements around so that indexes can be used; this shows that it may.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import database_url
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, text

from vidarium.database import connect
from vidarium.database.embedded import Embedded
from vidarium.database.schema import document
from vidarium.nxql import ast
from vidarium.nxql.compiler import compile_query
from vidarium.nxql.parser import parse

Json = Any
Steps = tuple[str, ...]
Chosen = dict[Steps, Json]
"""The element that each wildcard stands for, by the path to it."""


def video(rights: str | None, subjects: list[str], videos: list[Json], width: int | None) -> Json:
    """A document's properties; unset ones are missing, as they are stored."""
    found = {"dc:rights": rights, "dc:subjects": subjects, "vid:transcodedVideos": videos, "vid:info": {"width": width}}
    return {name: value for name, value in found.items() if value is not None}


def version(name: str | None, width: int | None, codecs: list[str | None]) -> Json:
    streams = [{"codec": codec} for codec in codecs]
    return {"name": name, "info": {"width": width, "streams": streams}}


DOCUMENTS = [
    video(None, [], [], None),
    video("a", ["a"], [version("a", 1, ["a"])], 1),
    video("b", ["a", "b"], [version("a", 1, ["a", "b"]), version("b", 2, [])], 2),
    video("c", ["b", "c"], [version("b", 1, ["c"]), version(None, 2, [None]), version("a", None, ["a"])], 1),
    video("a", ["c"], [version(None, None, [])], None),
    video("", ["a", "b", "c"], [version("c", 2, ["b", "c"]), version("a", 2, ["a"])], 3),
    video("b", [], [version("b", 3, ["b", None])], 2),
    video(None, ["a/b", "b"], [version("a/b", 1, ["a/b"])], 2),
]


@pytest.fixture(scope="module")
def engine(postgres: Embedded, admin: Engine, template: str) -> Iterator[Engine]:
    name = f"test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine = connect(database_url(postgres, name), query_timeout=30)
    with engine.begin() as connection:
        connection.execute(insert(document), [values(number) for number in range(len(DOCUMENTS))])
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def values(number: int) -> dict[str, Any]:
    found = DOCUMENTS[number]
    return {
        "id": uuid.UUID(int=number),
        "name": str(number),
        "path": f"/{number}",
        "type": "Video",
        "facets": ["Video"],
        "state": "project",
        "acl_scope": uuid.UUID(int=0),
        "properties": {name: value for name, value in found.items() if name.startswith("dc:")},
        "computed": {name: value for name, value in found.items() if name.startswith("vid:")},
    }


# --- The definition


def matches(predicate: ast.Predicate, found: Json) -> bool:
    """Whether some combination of elements makes a predicate true."""
    wildcards = [steps for reference in ast.references(predicate) for steps in wildcards_in(reference)]
    return any(truth(predicate, found, chosen) is True for chosen in combinations(found, wildcards, {}))


def combinations(found: Json, wildcards: list[Steps], chosen: Chosen) -> Iterator[Chosen]:
    """Every choice of elements; an empty or missing list offers the one choice of None."""
    if not wildcards:
        yield chosen
        return
    first, *rest = wildcards
    options = [chosen[first]] if first in chosen else walk(found, first[:-1], chosen) or [None]
    for option in options:
        yield from combinations(found, rest, {**chosen, first: option})


def path(reference: ast.Reference) -> Steps:
    """The steps of a reference; a wildcard without a number is like no other."""
    steps = (re.sub(r".*\[(.*)\]", r"\1", step) for step in reference.name.split("/"))
    return tuple(f"*@{reference.offset}" if step == "*" else step for step in steps)


def wildcards_in(reference: ast.Reference) -> list[Steps]:
    steps = path(reference)
    return [steps[: count + 1] for count, step in enumerate(steps) if step.startswith("*")]


def walk(found: Json, steps: Steps, chosen: Chosen) -> Json:
    for count, step in enumerate(steps):
        if step.startswith("*"):
            found = chosen[steps[: count + 1]]
        elif isinstance(found, list):
            found = found[int(step)] if int(step) < len(found) else None
        else:
            found = (found or {}).get(step)
    return found


def truth(node: ast.Predicate, found: Json, chosen: Chosen) -> bool | None:
    match node:
        case ast.Not(part):
            inside = truth(part, found, chosen)
            return None if inside is None else not inside
        case ast.And(parts):
            inside_all = [truth(part, found, chosen) for part in parts]
            return False if False in inside_all else None if None in inside_all else True
        case ast.Or(parts):
            inside_any = [truth(part, found, chosen) for part in parts]
            return True if True in inside_any else None if None in inside_any else False
    reference = ast.references(node)[0]
    value = walk(found, path(reference), chosen)
    if reference.name == "dc:subjects":
        some = any(test(positive(node), element) for element in value or [])
        return not some if positive(node) != node else some
    return test(node, value)


def positive(node: ast.Predicate) -> ast.Predicate:
    return ast.Comparison(node.left, "=", node.right) if isinstance(node, ast.Comparison) else node


def test(node: ast.Predicate, value: Json) -> bool | None:
    """A test on one value; null is unknown to all but IS NULL."""
    if isinstance(node, ast.IsNull):
        return value is None
    if value is None:
        return None
    match node:
        case ast.Comparison(_, "=", ast.String(other) | ast.Integer(other)):
            return bool(value == other)
        case ast.Comparison(_, "<>", ast.String(other) | ast.Integer(other)):
            return bool(value != other)
        case ast.Comparison(_, "<", ast.String(other) | ast.Integer(other)):
            return bool(value < other)
        case ast.In(_, options):
            return any(value == option.text for option in options if isinstance(option, ast.String))
        case ast.Between(_, ast.Integer(low), ast.Integer(high)):
            return bool(low <= value <= high)
        case ast.Like(_, pattern):
            return re.fullmatch(pattern.replace("%", ".*"), value) is not None
        case ast.StartsWith(_, prefix):
            return bool(value == prefix or value.startswith(f"{prefix}/"))
    raise AssertionError(node)


test.__test__ = False  # type: ignore[attr-defined]  # not one for pytest

# --- Queries

TEXTS = [
    "dc:rights", "dc:subjects/0", "dc:subjects/1", "dc:subjects/*", "dc:subjects/*1", "dc:subjects/item[*2]",
    "vid:transcodedVideos/0/name", "vid:transcodedVideos/*/name", "vid:transcodedVideos/*1/name",
    "vid:transcodedVideos/*1/info/streams/*1/codec", "vid:transcodedVideos/*1/info/streams/*/codec",
    "vid:transcodedVideos/*2/info/streams/*1/codec", "vid:transcodedVideos/*/info/streams/0/codec",
]  # fmt: skip
NUMBERS = ["vid:info/width", "vid:transcodedVideos/*1/info/width", "vid:transcodedVideos/*/info/width"]

word = st.sampled_from(["'a'", "'b'", "'c'", "'a/b'", "''"])
number = st.integers(0, 3).map(str)
tests = st.one_of(
    st.tuples(st.sampled_from([*TEXTS, "dc:subjects"]), st.sampled_from(["=", "<>", "LIKE", "STARTSWITH"]), word),
    st.tuples(st.sampled_from(TEXTS), st.sampled_from(["<", "NOT LIKE"]), word),
    st.tuples(st.sampled_from([*TEXTS, "dc:subjects"]), st.sampled_from(["IN", "NOT IN"]), st.just("('a', 'c')")),
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["=", "<>", "<"]), number),
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["BETWEEN", "NOT BETWEEN"]), st.just("1 AND 2")),
    st.tuples(st.sampled_from([*TEXTS, *NUMBERS]), st.sampled_from(["IS NULL", "IS NOT NULL"])),
).map(" ".join)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        parts.map(" AND ".join).map("({})".format),
        parts.map(" OR ".join).map("({})".format),
        inner.map("NOT ({})".format),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.recursive(tests, grown, max_leaves=6))
def test_a_query_finds_what_its_definition_says(engine: Engine, where: str) -> None:
    query = parse(f"SELECT * FROM Video WHERE {where}")
    assert query.where is not None
    expected = [number for number, found in enumerate(DOCUMENTS) if matches(query.where, found)]
    statement = compile_query(query, now=datetime.now(UTC)).select
    with engine.connect() as connection:
        assert sorted(one.int for one in connection.scalars(statement)) == expected
