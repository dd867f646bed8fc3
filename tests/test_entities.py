"""Entities out, values in: the wire's rules as pure functions."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidarium.documents import PROPERTIES, TYPES, UNCHANGED, Ace, BlobOf, Document, TextBlob, UploadedFile
from vidarium.errors import BadRequest, NotFound, TooLarge, Unauthorized
from vidarium.rest.access import is_loopback
from vidarium.rest.authentication import credentials
from vidarium.rest.entities import Paging, acls_adapter_json, acls_enricher_json, document_json, page_json
from vidarium.rest.errors import STATUSES, error_response, status_of
from vidarium.rest.forms import json_object, parse_form
from vidarium.rest.links import Links, blob_location, blob_xpath, own_blob
from vidarium.rest.ranges import Span, Unsatisfiable, content_type, disposition, matches, requested_span
from vidarium.rest.rendering import Rendering, rendering_of
from vidarium.rest.urls import canonical
from vidarium.rest.values import stored_properties

BASE = "http://localhost:8080/nuxeo"
KEY = uuid.UUID("6d1c9c0e-55b4-4f0f-9c2b-2f5f0a2f7a11")
BLOB = {
    "name": "holiday.mp4",
    "mime-type": "video/mp4",
    "encoding": None,
    "digestAlgorithm": "SHA-256",
    "digest": "ab" * 32,
    "length": 1048576,
}


def video(**given: Any) -> Document:
    fields: dict[str, Any] = {
        "id": KEY,
        "parent": uuid.uuid4(),
        "name": "holiday.mp4",
        "path": "/a/holiday.mp4",
        "type": "Video",
        "facets": TYPES["Video"].facets,
        "state": "project",
        "properties": {"dc:title": "Holiday", "dc:modified": "2023-11-23T18:30:05.120Z", "file:content": BLOB},
        "computed": {
            "vid:info": {"duration": 12, "width": 1280, "height": 720},
            "vid:transcodedVideos": [{"name": "MP4 480p", "content": BLOB, "info": {"duration": 12.5}}],
        },
        "system_token": 4,
        "user_token": 1,
    }
    return Document(**fields | given)


# --- Documents


def test_the_entity_has_the_fields_in_their_order() -> None:
    assert list(document_json(video(), Rendering(BASE))) == [
        *("entity-type", "repository", "uid", "path", "type", "state", "parentRef", "isCheckedOut", "isRecord"),
        *("retainUntil", "hasLegalHold", "isUnderRetentionOrLegalHold", "isVersion", "isProxy", "changeToken"),
        *("isTrashed", "title", "lastModified", "facets", "schemas"),
    ]


def test_properties_are_complete_and_typed() -> None:
    properties = document_json(video(), Rendering(BASE, frozenset({"*"})))["properties"]
    assert set(properties) == {
        name for name in PROPERTIES if name.split(":")[0] in {"common", "dc", "uid", "files", "file", "vid", "picture"}
    } | {"nxtag:tags"}
    assert properties["dc:subjects"] == []
    assert properties["dc:description"] is None
    assert properties["picture:info"] == dict.fromkeys(("width", "height", "depth", "format", "colorSpace"))
    assert json.dumps(properties["vid:info"]["duration"]) == "12.0"
    assert json.dumps(properties["vid:info"]["width"]) == "1280"
    content = properties["file:content"]
    assert content["length"] == "1048576"
    assert content["data"] == f"{BASE}/nxfile/default/{KEY}/file:content/holiday.mp4?changeToken=4-1"
    assert content["blobUrl"] == content["data"].partition("?")[0]
    assert "/vid:transcodedVideos/0/content/" in properties["vid:transcodedVideos"][0]["content"]["data"]


def test_only_the_schemas_asked_for_are_shown() -> None:
    shown = document_json(video(), Rendering(BASE, frozenset({"video"})))["properties"]
    assert {name.split(":")[0] for name in shown} == {"vid"}


def test_lock_version_and_context_are_shown_on_request_only() -> None:
    fetch = {"document": frozenset({"lock", "versionLabel"})}
    locked = video(lock_owner="ann", lock_created="2023-11-23T18:30:05.120Z")
    assert "lockOwner" not in document_json(locked, Rendering(BASE))
    shown = document_json(locked, Rendering(BASE, fetch=fetch), {"permissions": ["Read"]})
    assert (shown["lockOwner"], shown["versionLabel"]) == ("ann", "")
    assert shown["contextParameters"] == {"permissions": ["Read"]}
    assert "lockOwner" not in document_json(video(), Rendering(BASE, fetch=fetch))


def test_a_root_has_the_root_as_parent() -> None:
    assert document_json(video(parent=None, path="/", type="Root"), Rendering(BASE))["parentRef"] == "/"


@pytest.mark.parametrize(
    "name",
    ["properties", "X-NXproperties", "X-NXDocumentProperties", "PROPERTIES"],
)
def test_properties_are_asked_for_in_many_spellings(name: str) -> None:
    assert rendering_of(BASE, [(name, "dublincore, video")]).properties == {"dublincore", "video"}


@pytest.mark.parametrize(
    "name", ["enrichers.document", "enrichers-document", "X-NXenrichers.document", "X-NXContext-Category"]
)
def test_enrichers_are_asked_for_in_many_spellings(name: str) -> None:
    found = rendering_of(BASE, [(name, "acls,permissions"), (name, "thumbnail"), ("accept", "x")])
    assert found.enrichers == {"document": {"acls", "permissions", "thumbnail"}}


# --- Lists


@pytest.mark.parametrize(("index", "entries", "more"), [(0, 1, True), (1, 1, True), (2, 1, True), (3, 0, False)])
def test_children_promise_a_next_page_while_pages_are_full(index: int, entries: int, more: bool) -> None:
    page = page_json("documents", [{}] * entries, Paging(3, 1, index, limit=1))
    assert (page["resultsCount"], page["totalSize"], page["numberOfPages"]) == (-2, -2, 0)
    assert (page["isNextPageAvailable"], page["isLastPageAvailable"]) == (more, False)


@pytest.mark.parametrize(("index", "more"), [(0, True), (1, True), (2, False)])
def test_exact_counts_know_the_last_page(index: int, more: bool) -> None:
    page = page_json("documents", [{}], Paging(3, 1, index))
    assert (page["resultsCount"], page["numberOfPages"]) == (3, 3)
    assert page["isNextPageAvailable"] is page["isLastPageAvailable"] is more


def test_everything_on_one_page() -> None:
    page = page_json("documents", [{}] * 3, Paging(3, 0))
    assert (page["pageSize"], page["numberOfPages"], page["isNextPageAvailable"]) == (0, 1, False)


# --- Access control


def test_aces_have_ids_and_both_shapes() -> None:
    now = "2023-11-23T00:00:00.000Z"
    local = [Ace("Administrator", "Everything"), Ace("members", "Write", True, "ann", begin="2024-01-01T00:00:00.000Z")]
    acls = [("local", local), ("inherited", [])]
    adapter = acls_adapter_json(acls, now)
    assert [entry["name"] for entry in adapter["acl"]] == ["local"]
    assert [ace["id"] for ace in adapter["acl"][0]["ace"]] == [
        "Administrator:Everything:true:::",
        "members:Write:true:ann:1704067200000:",
    ]
    assert [ace["status"] for ace in adapter["acl"][0]["ace"]] == ["effective", "pending"]
    assert acls_enricher_json(acls, now)[0]["aces"][0]["externalUser"] is False


# --- Values


def stored(name: str, value: Any) -> Any:
    return stored_properties({name: value}, BASE)[name]


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("dc:title", "x", "x"),
        ("dc:title", "", ""),
        ("dc:created", "2023-11-23T19:30:05.12+01:00", "2023-11-23T18:30:05.120Z"),
        ("dc:created", "", None),
        ("dc:created", "0999-01-01T00:00:00Z", "0999-01-01T00:00:00.000Z"),
        ("dc:subjects", ["a", "b"], ["a", "b"]),
        ("dc:subjects", None, None),
        ("uid:major_version", "7", 7),
        ("uid:major_version", 7.0, 7),
        ("uid:major_version", "", None),
        ("webc:isWebContainer", "TRUE", True),
        ("vid:info", {"duration": 3, "width": "640", "unknown": 1}, {"duration": 3.0, "width": 640}),
        ("vid:info", {"duration": "1.5e2"}, {"duration": 150.0}),
        ("file:content", None, None),
        ("file:content", {"upload-batch": "b", "upload-fileId": "3"}, UploadedFile("b", 3)),
        ("file:content", {"upload-batch": "b", "upload-fileId": 3}, UploadedFile("b", 3)),
        ("file:content", {"data": "http://elsewhere/nuxeo/nxfile/default/x"}, UNCHANGED),
        ("file:content", {"name": "x", "digest": "y"}, UNCHANGED),
        ("file:content", {"data": "hi", "name": "a.txt"}, TextBlob("a.txt", "text/plain", "UTF-8", "hi")),
        ("files:files", [{"file": {"content": "hi"}}], [{"file": TextBlob("", "text/plain", "UTF-8", "hi")}]),
    ],
)
def test_values_are_stored(name: str, sent: Any, kept: Any) -> None:
    assert stored(name, sent) == kept


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("dc:title", 5),
        ("dc:title", {}),
        ("dc:created", "yesterday"),
        ("dc:created", 5),
        ("dc:created", "0001-01-01T00:00:00+10:00"),
        ("dc:subjects", "a"),
        ("dc:subjects", [None]),
        ("dc:subjects", [["a"]]),
        ("uid:major_version", True),
        ("uid:major_version", 2**63),
        ("uid:major_version", "9" * 19),
        ("uid:major_version", 1.5),
        ("uid:major_version", "1_0"),
        ("vid:info", {"duration": "nan"}),
        ("vid:info", {"duration": 10**400}),
        ("vid:info", {"duration": 1e999}),
        ("vid:info", []),
        ("file:content", "text"),
        ("file:content", {"upload-batch": "b"}),
        ("file:content", {"upload-batch": "b", "upload-fileId": True}),
        ("file:content", {"data": 5}),
        ("file:content", {"data": f"{BASE}/ui/"}),
        ("file:content", {"data": "x", "encoding": "no-such"}),
        ("file:content", {"data": "\u4f60", "encoding": "latin-1"}),
        ("files:files", [{"file": 5}]),
    ],
)
def test_values_of_the_wrong_type_are_refused(name: str, sent: Any) -> None:
    with pytest.raises(BadRequest, match=r"Unable to deserialize property: |Not the URL"):
        stored(name, sent)


def test_unknown_names_are_left_out() -> None:
    assert stored_properties({"no:such": 1, "dc:title": "x"}, BASE) == {"dc:title": "x"}


def test_an_echoed_entity_comes_back_without_loss() -> None:
    sent = document_json(video(), Rendering(BASE, frozenset({"*"})))["properties"]
    kept = stored_properties(sent, BASE)
    assert kept["file:content"] == BlobOf(KEY, "file:content")
    assert kept["vid:transcodedVideos"][0]["content"] == BlobOf(KEY, "vid:transcodedVideos/0/content")
    assert kept["vid:info"] == {"duration": 12.0, "width": 1280, "height": 720, "streams": []}


# --- Links


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1))
def test_a_download_url_leads_back_to_its_blob(name: str) -> None:
    url = Links(BASE, KEY, "4-1").current_blob("files:files/0/file", name)
    assert own_blob(url, BASE) == (KEY, "files:files/0/file")


@pytest.mark.parametrize(
    ("segments", "xpath"),
    [
        ([str(KEY)], None),
        ([str(KEY), "film.mp4"], None),
        ([str(KEY), "file:content"], "file:content"),
        ([str(KEY), "file:content", "film.mp4"], "file:content"),
        ([str(KEY), "vid:transcodedVideos", "0", "content", "x"], "vid:transcodedVideos/0/content"),
        ([str(KEY), "blobholder:0", "x"], None),
    ],
)
def test_download_urls_are_read(segments: list[str], xpath: str | None) -> None:
    assert blob_location(segments) == (KEY, xpath)


def test_blobholders_are_files_in_order() -> None:
    assert [blob_xpath(x) for x in ("", "blobholder:0", "blobholder:2", "note:note")] == [
        *(None, None),
        *("files:files/1/file", "note:note"),
    ]
    with pytest.raises(NotFound):
        blob_xpath("blobholder:x")


# --- URLs


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/nuxeo/api/v1/path", "/nuxeo/api/v1/path/"),
        ("/nuxeo/api/v1/path/", "/nuxeo/api/v1/path/"),
        ("/nuxeo/api/v1/path//@children", "/nuxeo/api/v1/path//@children"),
        ("/nuxeo/site/api/v1/repo/default/path/a//b/", "/nuxeo/api/v1/path/a/b"),
        ("/nuxeo/api/v1/path/a%20b/%40c/@blob/file:content", "/nuxeo/api/v1/path/a%20b/%40c/@blob/file:content"),
        ("/nuxeo/api/v1/path/a%2Fb%25", "/nuxeo/api/v1/path/a%2Fb%25"),
        ("/nuxeo/api/v1/path/a[b]", "/nuxeo/api/v1/path/a%5Bb%5D"),
        ("/nuxeo/api/v1/id/x//@rendition/MP4%20480p", "/nuxeo/api/v1/id/x/@rendition/MP4 480p"),
        ("/nuxeo/site/automation/Log", "/nuxeo/api/v1/automation/Log"),
        ("/nuxeo/api/v1/upload/", "/nuxeo/api/v1/upload"),
        ("/nuxeo/api/v1/user/%C3%A9%40x", "/nuxeo/api/v1/user/é@x"),
        ("/nuxeo//runningstatus", "/nuxeo/runningstatus"),
        ("/nuxeo/nxfile/default/x/file:content/a%2Fb", "/nuxeo/nxfile/default/x/file%3Acontent/a%2Fb"),
        ("/elsewhere//x/", "/elsewhere/x"),
    ],
)
def test_urls_have_one_spelling_for_routes(raw: str, path: str) -> None:
    assert canonical(raw) == path


@pytest.mark.parametrize("raw", ["/nuxeo/api/v1/repo/other/path/a", "/nuxeo/api/v1/path/%00", "/nuxeo/api/v1/path/%ff"])
def test_what_names_nothing_is_not_found(raw: str) -> None:
    with pytest.raises(NotFound):
        canonical(raw)


def test_a_header_with_an_unknown_repository_counts_for_documents_only() -> None:
    assert canonical("/nuxeo/api/v1/me", "other") == "/nuxeo/api/v1/me"
    assert canonical("/nuxeo/api/v1/repo/default/path/a", "other") == "/nuxeo/api/v1/path/a"
    with pytest.raises(NotFound):
        canonical("/nuxeo/api/v1/path/a", "other")


# --- Bodies


def test_a_raw_form_body_is_read() -> None:
    body = (
        b"query=SELECT * FROM Document WHERE ecm:path='/a%5C%27b' AND x = 1&conversionNames=MP4 480p&conversionNames=&x"
    )
    assert parse_form(body) == [
        ("query", "SELECT * FROM Document WHERE ecm:path='/a\\'b' AND x = 1"),
        ("conversionNames", "MP4 480p"),
        ("conversionNames", ""),
        ("x", ""),
    ]


@given(st.binary().filter(lambda body: b"\0" not in body and b"%00" not in body))
def test_any_form_body_is_fields(body: bytes) -> None:
    assert all("\0" not in name + value for name, value in parse_form(body))


def test_a_form_with_nul_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse_form(b"query=%00")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"{", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":"\\u0000"}', b'{"\\ud800":1}', b'"\xff"'),
        b'{"a":[{"b":"\\udfff"}]}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_cannot_be_stored_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        json_object(body)


def test_escaped_pairs_are_characters() -> None:
    assert json_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


# --- Errors, credentials, hosts


def test_every_error_has_its_status_and_one_shape() -> None:
    assert {kind.__name__: int(status) for kind, status in STATUSES.items()} == {
        "BadRequest": 400,
        "Unauthorized": 401,
        "Forbidden": 403,
        "NotFound": 404,
        "Conflict": 409,
        "TooLarge": 413,
        "BlobMissing": 503,
        "NoSpace": 507,
    }
    assert status_of(TooLarge("x")) == 413
    assert status_of(ZeroDivisionError()) == 500
    answer = error_response(NotFound("/a"))
    assert json.loads(answer.body) == {"entity-type": "exception", "status": 404, "message": "/a"}
    assert list(json.loads(error_response(ValueError("secret")).body).values())[1:] == [500, "Internal Server Error"]


@pytest.mark.parametrize("token", ["!", "YQ", "/w=="])
def test_unreadable_credentials_are_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        credentials(token)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.3.2.1:80", "[::1]:8080", "[::1]"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "example.org", "127.0.0.1.example.org", "localhost.example.org:80", "10.0.0.1"])
def test_other_hosts(host: str) -> None:
    assert not is_loopback(host)


# --- Ranges


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-3", Span(0, 4)),
        ("bytes=4-", Span(4, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-30", Span(0, 10)),
        ("bytes=8-80", Span(8, 10)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
    ],
)
def test_ranges(header: str | None, span: Span | None) -> None:
    assert requested_span(header, 10) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_ranges_past_the_end(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_span(header, 10)


def test_entity_tags() -> None:
    assert matches('W/"a", "b"', '"b"')
    assert matches("*", '"b"')
    assert not matches('"a"', '"b"')
    assert not matches(None, '"b"')


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.mp4", "attachment; filename=a.mp4"),
        ("a b.mp4", "attachment; filename*=UTF-8''a%20b.mp4"),
        ("\u65e5\u672c.mp4", "attachment; filename*=UTF-8''%E6%97%A5%E6%9C%AC.mp4"),
        ('a"\r\nX: y', "attachment; filename*=UTF-8''a%22%0D%0AX%3A%20y"),
    ],
)
def test_dispositions(name: str, value: str) -> None:
    assert disposition(name, inline=False) == value


def test_content_types() -> None:
    assert content_type("text/plain", "UTF-8") == "text/plain;charset=UTF-8"
    assert content_type("video/mp4", None) == "video/mp4"
    assert content_type("text/html\r\nX: y") == content_type(None) == "application/octet-stream"
