"""Documents, downloads, uploads and errors over HTTP, on a real server in a thread."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog
import uvicorn
from sqlalchemy import Engine

from vidarium import library
from vidarium.blobs import BlobStore
from vidarium.bulk.ledger import Ledger
from vidarium.config import Settings
from vidarium.documents import Ace, Ref
from vidarium.library import Libraries
from vidarium.permissions import Principal
from vidarium.rest import Context, build
from vidarium.uploads import Uploads
from vidarium.users import Users

SECRET = "correct horse battery"
ADMINISTRATOR = ("Administrator", SECRET)
ANN = ("ann", "ann's own")
HOME = "path/default-domain/workspaces"
BODY_LIMIT = 200_000


class Site:
    """A server on a loopback port, its parts, and clients for it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        store = BlobStore.open(str(folder))
        self.users, self.uploads, self.store = Users(engine), Uploads(engine, store), store
        self.libraries = Libraries(engine, store, self.uploads, Ledger(engine, {}))
        self.users.seed()
        library.seed(self.libraries)
        settings = Settings(body_limit=BODY_LIMIT)
        parts = (settings, self.libraries, self.users, self.uploads, store, self.libraries.ledger)
        config = uvicorn.Config(build(Context(*parts)), log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.port}/nuxeo"

    def client(self, user: tuple[str, str] | None = ADMINISTRATOR) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api/v1/", auth=user, timeout=30)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()


@pytest.fixture
def fresh_site(database: Engine, tmp_path: Path) -> Iterator[Site]:
    site = Site(database, tmp_path / "blobs")
    yield site
    site.close()


@pytest.fixture
def site(fresh_site: Site) -> Site:
    """A server whose default password was changed, with a user `ann`."""
    fresh_site.users.change_password("Administrator", SECRET)
    fresh_site.users.create("ann", ANN[1], {}, ())
    return fresh_site


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


def created(http: httpx.Client, name: str, kind: str = "File", **properties: Any) -> Any:
    body = {"entity-type": "document", "type": kind, "name": name, "properties": properties}
    answer = http.post(HOME, json=body, headers={"properties": "*"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def uploaded(http: httpx.Client, content: bytes, name: str = "a.txt", **headers: str) -> dict[str, str]:
    batch = http.post("upload").json()["batchId"]
    answer = http.post(f"upload/{batch}/0", content=content, headers={"X-File-Name": quote(name), **headers})
    assert answer.status_code == 201, answer.text
    return {"upload-batch": batch, "upload-fileId": "0"}


def refused(answer: httpx.Response, status: int, message: str | None = ...) -> None:  # type: ignore[assignment]
    """The answer is the exception entity of this status, its three fields in their order."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json; nuxeo-entity=exception"
    entity = answer.json()
    assert list(entity) == ["entity-type", "status", "message"]
    assert (entity["entity-type"], entity["status"]) == ("exception", status)
    if message is not ...:
        assert entity["message"] == message


# --- Documents


def test_a_document_lives(http: httpx.Client) -> None:
    made = created(http, "a", **{"dc:title": "A", "no:such": 1})
    assert (made["path"], made["title"], made["properties"]["dc:creator"]) == (
        "/default-domain/workspaces/a",
        "A",
        "Administrator",
    )
    for place in (f"{HOME}/a", f"id/{made['uid']}", f"repo/default/{HOME}/a", f"{HOME}//a/"):
        answer = http.get(place)
        assert answer.headers["content-type"] == "application/json; nuxeo-entity=document"
        assert answer.json()["uid"] == made["uid"]
        assert "properties" not in answer.json()
    changed = http.put(f"id/{made['uid']}", json={"properties": {"dc:title": "B"}})
    assert (changed.status_code, changed.json()["title"]) == (200, "B")
    assert http.delete(f"{HOME}/a").status_code == 204
    refused(http.get(f"{HOME}/a"), 404, "/default-domain/workspaces/a")
    refused(http.get(f"id/{made['uid']}"), 404, made["uid"])


def test_the_root_has_one_child(http: httpx.Client) -> None:
    for place in ("path", "path/", "path//"):
        assert http.get(place).json()["type"] == "Root"
    children = http.get("path//@children").json()
    assert [child["path"] for child in children["entries"]] == ["/default-domain"]
    assert (children["resultsCount"], children["isNextPageAvailable"]) == (1, False)


ODD_NAMES = ("@a", "a@b", "a%b", "50% off?", "[x]#;$:&=+", "\u65e5\u672c\u00e9", "a\nb", "%2F", "a/b", "...", "-")


def test_names_of_any_character_are_found(http: httpx.Client) -> None:
    for name in ODD_NAMES:
        made = created(http, name)
        place = f"{HOME}/{quote(made['path'].rpartition('/')[2], safe='')}"
        assert http.get(place).json()["uid"] == made["uid"], name
        assert http.get(f"{place}/@children").json()["entries"] == []


def test_odd_and_unknown_names_are_not_found(http: httpx.Client) -> None:
    body = {"type": "File", "name": "x"}
    for place in ("path/no", "path/%00", "path/%ff", f"id/{uuid.uuid4()}", "id/x"):
        for method in ("GET", "DELETE"):
            refused(http.request(method, place), 404)
        for method in ("PUT", "POST"):
            refused(http.request(method, place, json=body), 404)
    refused(http.get("path/x/@children"), 404, "/x")


def test_children_come_in_pages_by_title(http: httpx.Client) -> None:
    for name in ("c", "a", "b"):
        created(http, name, **{"dc:title": name})
    pages = [http.get(f"{HOME}/@children", params={"pageSize": 1, "currentPageIndex": i}).json() for i in range(4)]
    assert [[entry["title"] for entry in page["entries"]] for page in pages] == [["a"], ["b"], ["c"], []]
    assert [page["isNextPageAvailable"] for page in pages] == [True, True, True, False]
    assert {page["resultsCount"] for page in pages} == {-2}
    refused(http.get(f"{HOME}/@children", params={"pageSize": "x"}), 400)
    refused(http.get(f"{HOME}/@children", params={"currentPageIndex": -1}), 400)


def test_names_are_required_cut_and_made_unique(http: httpx.Client) -> None:
    long = created(http, "x" * 40)
    assert long["path"].rpartition("/")[2] == "x" * 24
    assert created(http, "x" * 24)["path"].startswith(f"/default-domain/workspaces/{'x' * 24}.")
    for body in ({}, {"type": "File"}, {"name": "a"}, {"type": " ", "name": "a"}, {"type": "File", "name": 5}):
        refused(http.post(HOME, json=body), 400, "type or name property is missing")
    refused(http.post(HOME, json={"type": "Nothing", "name": "a"}), 400)


def test_values_of_the_wrong_type_are_refused(http: httpx.Client) -> None:
    made = created(http, "a")
    sent = {"properties": {"dc:created": "yesterday"}}
    refused(http.put(f"id/{made['uid']}", json=sent), 400, "Unable to deserialize property: dc:created")
    for body in (b"", b"[]", b"{", b'{"properties":{"dc:title":"\\u0000"}}', b'{"properties":{"dc:title":"\\ud800"}}'):
        refused(http.put(f"id/{made['uid']}", content=body), 400)
    refused(http.put(f"id/{made['uid']}", json={"properties": []}), 400)
    refused(http.put(f"id/{made['uid']}", json={"entity-type": "user"}), 400)


def test_a_stale_token_is_a_conflict_only_with_the_uid(http: httpx.Client) -> None:
    made = created(http, "a")
    place = f"id/{made['uid']}"
    assert http.put(place, json={"properties": {"dc:title": "B"}}).status_code == 200
    stale = {"changeToken": made["changeToken"], "properties": {"dc:title": "C"}}
    refused(http.put(place, json=stale | {"uid": made["uid"]}), 409, f"{made['uid']}, Invalid change token")
    assert http.put(place, json=stale).json()["title"] == "C"
    refused(http.put(place, json={"uid": str(uuid.uuid4())}), 404)
    refused(http.put(place, json={"uid": created(http, "b")["uid"]}), 400)


def test_an_echoed_entity_changes_nothing_else(http: httpx.Client) -> None:
    made = created(http, "a", **{"file:content": uploaded(http, b"hello"), "dc:subjects": ["x"]})
    entity = http.get(f"id/{made['uid']}", headers={"properties": "*", "enrichers-document": "acls"}).json()
    entity["properties"]["dc:title"] = "New"
    answer = http.put(f"id/{made['uid']}", json=entity, headers={"X-NXDocumentProperties": "*"}).json()
    kept = {"dc:modified", "dc:title", "file:content"}
    assert {k: v for k, v in answer["properties"].items() if k not in kept} == {
        k: v for k, v in entity["properties"].items() if k not in kept
    }
    assert answer["properties"]["file:content"]["digest"] == hashlib.sha256(b"hello").hexdigest()
    assert answer["title"] == "New"
    again = http.put(f"id/{made['uid']}", json=answer)
    assert again.status_code == 200


# --- Who may


def test_without_credentials_or_with_wrong_ones_nothing_is_told(site: Site) -> None:
    with site.client(None) as nobody:
        for headers, challenged in (({}, True), ({"Cookie": "a=b"}, False), ({"X-Authentication-Token": "x"}, False)):
            answer = nobody.get(HOME, headers=headers)
            refused(answer, 401)
            assert ("www-authenticate" in answer.headers) is challenged
        for header in ("Basic !", "Basic " + "QQ==", "Bearer x"):
            refused(nobody.get(HOME, headers={"Authorization": header}), 401)
    for user in (("Administrator", "wrong"), ("no\0body", "x"), ("nobody", "x"), ("", "x"), ("system", "x")):
        with site.client(user) as wrong:
            refused(wrong.get(HOME), 401)


def test_a_reader_may_read_and_not_write(site: Site, http: httpx.Client) -> None:
    made = created(http, "a")
    with site.client(ANN) as ann:
        assert ann.get(f"{HOME}/a").status_code == 200
        body = {"type": "File", "name": "x"}
        refused(ann.post(HOME, json=body), 403, "Privilege 'AddChildren' is not granted to 'ann'")
        refused(ann.put(f"{HOME}/a", json={"properties": {"dc:title": "x"}}), 403)
        refused(ann.delete(f"{HOME}/a"), 403)
        refused(ann.post("management/videos/recompute", data={}), 403, None)
        assert ann.post("automation/login").json() == {
            "entity-type": "login",
            "username": "ann",
            "isAdministrator": False,
            "groups": ["members"],
        }
    root = Principal("Administrator", frozenset({"administrators"}))
    denied = (Ace("ann", "Everything", granted=False),)
    site.libraries.of(root).set_aces(Ref(path=made["path"], text=""), "local", denied)
    with site.client(ANN) as ann:
        refused(ann.get(f"{HOME}/a"), 404, made["path"])
        assert ann.get(f"{HOME}/@children").json()["entries"] == []


def test_acls_are_shown_in_both_shapes(http: httpx.Client) -> None:
    root = http.get("path/", headers={"enrichers-document": "acls, permissions"}).json()["contextParameters"]
    assert [ace["id"] for ace in root["acls"][0]["aces"]] == [
        "Administrator:Everything:true:::",
        "members:Read:true:::",
    ]
    assert {"Read", "Write", "ReadWrite", "Everything", "WriteSecurity"} <= set(root["permissions"])
    below = http.get(f"{HOME}/@acl").json()
    assert [(acl["name"], len(acl["ace"])) for acl in below["acl"]] == [("inherited", 2)]


def test_the_default_password_is_for_this_machine_only(fresh_site: Site) -> None:
    with fresh_site.client(("Administrator", "Administrator")) as http:
        assert http.get(HOME).status_code == 200
        for headers in ({"Host": "example.org"}, {"X-Forwarded-For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}):
            refused(http.get(HOME, headers=headers), 403)
        assert http.get(f"{fresh_site.url}/runningstatus", headers={"Host": "example.org"}).status_code == 200
        fresh_site.users.change_password("Administrator", SECRET)
        assert http.get(HOME, headers={"Host": "example.org"}, auth=ADMINISTRATOR).status_code == 200


# --- Routing and limits


def test_what_is_not_routed_is_the_exception_entity(http: httpx.Client, site: Site) -> None:
    refused(http.get("nowhere/x"), 404, "Type not found: nowhere")
    refused(http.get(f"{HOME}/@nothing"), 404, "Type not found: nothing")
    refused(http.post(f"{HOME}/@nothing/x", json={}), 404)
    refused(http.get("repo/other/path/"), 404)
    refused(http.get("path/", headers={"X-NXRepository": "other"}), 404)
    assert http.get("me", headers={"X-NXRepository": "other"}).status_code == 200
    refused(http.patch(HOME), 405)
    refused(http.put("capabilities"), 405)
    refused(http.get(f"{site.url}/"), 404)
    refused(http.get(HOME, params={"x": "a\0"}), 400)
    refused(http.get(f"http://127.0.0.1:{site.port}/"), 404)


def test_bodies_over_the_limit_are_refused_announced_or_not(http: httpx.Client) -> None:
    body = b'{"properties":{"dc:title":"' + b"x" * BODY_LIMIT + b'"}}'
    refused(http.put(HOME, content=body), 413)
    refused(http.put(HOME, content=iter([body[:BODY_LIMIT], body[BODY_LIMIT:]])), 413)
    refused(http.post("management/videos/recompute", content=b"query=" + b"x" * BODY_LIMIT), 413)


def test_the_server_tells_about_itself(site: Site, http: httpx.Client) -> None:
    with site.client(None) as nobody:
        assert nobody.get(f"{site.url}/runningstatus").json() == {"runtimeStatus": True}
        refused(nobody.get(f"{site.url}/json/cmis"), 401)
    assert http.get(f"{site.url}/json/cmis").json()["default"]["productVersion"].startswith("2023.")
    assert http.get("capabilities").json()["cluster"]["enabled"] is False
    for prefix in ("api/v1", "site/api/v1", "site"):
        url = f"{site.url}/{prefix}/automation/Log"
        assert http.post(url, json={"params": {"level": "info", "message": "hi"}}).status_code == 204
        refused(http.post(url, content=b""), 400)
    paths = http.get(f"{site.url}/openapi.json").json()["paths"]
    assert {"/nuxeo/api/v1/path/{path}/@children", "/nuxeo/api/v1/id/{uid}/@children"} <= set(paths)


def test_the_log_has_one_line_per_request_and_no_secret(site: Site, http: httpx.Client) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = http.get(HOME, params={"token": "s3cret"})
        http.put(HOME, json={"properties": {"dc:title": 5}})
        with site.client(("ann", "wr0ng-pass")) as wrong:
            wrong.get(HOME)
        deadline = time.monotonic() + 10
        while len(lines) < 3 and time.monotonic() < deadline:
            http.get(f"{site.url}/runningstatus")
    first = lines[0]
    assert (first["method"], first["path"], first["status"], first["user"]) == (
        "GET",
        f"/nuxeo/api/v1/{HOME}",
        200,
        "Administrator",
    )
    assert first["request"] == answer.headers["x-request-id"]
    assert [line["status"] for line in lines[:3]] == [200, 400, 401]
    assert not any(secret in str(lines) for secret in (SECRET, "s3cret", "wr0ng-pass", "Basic"))


# --- Files


CONTENT = bytes(range(256)) * 20_000  # about 5 MB: more than one piece of any stream


def test_a_file_goes_in_and_out(http: httpx.Client) -> None:
    made = created(http, "a", **{"file:content": uploaded(http, CONTENT, "\u65e5\u672c.mp4")})
    blob = made["properties"]["file:content"]
    assert (blob["name"], blob["mime-type"], blob["length"]) == ("\u65e5\u672c.mp4", "video/mp4", str(len(CONTENT)))
    for url in (blob["data"], blob["blobUrl"], f"id/{made['uid']}/@blob", f"{HOME}/a/@blob/file:content"):
        answer = http.get(url)
        assert answer.content == CONTENT, url
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%E6%97%A5%E6%9C%AC.mp4"
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["content-length"] == str(len(CONTENT))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox")
    assert http.get(blob["data"], params={"inline": "true"}).headers["content-disposition"].startswith("inline")
    assert http.get(f"{HOME}/a/@rendition/mainBlob").content == CONTENT
    for missing in ("@blob/files:files/0/file", "@blob/no:such", "@rendition/none", "@rendition/thumbnail"):
        refused(http.get(f"{HOME}/a/{missing}"), 404)
    refused(http.get(blob["data"], auth=("nobody", "x")), 401)


def test_parts_of_a_file(http: httpx.Client) -> None:
    made = created(http, "a", **{"file:content": uploaded(http, CONTENT)})
    url, end = made["properties"]["file:content"]["data"], len(CONTENT)
    etag = http.head(url).headers["etag"]
    for asked, start, stop in (("0-0", 0, 1), ("1000000-2999999", 1_000_000, 3_000_000), ("-10", end - 10, end)):
        answer = http.get(url, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, CONTENT[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{end}"
    past = http.get(url, headers={"Range": f"bytes={end}-"})
    assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{end}")
    assert http.get(url, headers={"Range": "bytes=0-1,4-5"}).content == CONTENT
    assert http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).content == CONTENT
    assert http.get(url, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    same = http.get(url, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    head = http.head(url, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(end))


def test_an_empty_file_and_one_whose_bytes_are_lost(site: Site, http: httpx.Client) -> None:
    empty = created(http, "a", **{"file:content": uploaded(http, b"")})
    url = empty["properties"]["file:content"]["data"]
    assert (http.get(url).status_code, http.get(url).content) == (200, b"")
    assert http.get(url, headers={"Range": "bytes=0-"}).status_code == 416
    lost = created(http, "b", **{"file:content": uploaded(http, b"lost")})["properties"]["file:content"]
    site.store.delete(lost["digest"])
    refused(http.get(lost["data"]), 404)


def test_texts_and_copies_are_files_too(http: httpx.Client) -> None:
    text = created(http, "a", **{"file:content": {"name": "a.txt", "data": "h\u00e9"}})
    blob = text["properties"]["file:content"]
    assert http.get(blob["data"]).content == "h\u00e9".encode()
    copy = created(http, "b", **{"files:files": [{"file": {"data": blob["data"]}}]})
    assert http.get(f"id/{copy['uid']}/@blob/blobholder:1").content == "h\u00e9".encode()
    other = {"file:content": {"data": "http://example.org/x"}}
    kept = http.put(f"id/{text['uid']}", json={"properties": other}, headers={"properties": "*"}).json()
    assert kept["properties"]["file:content"]["digest"] == blob["digest"]
    gone = http.put(f"id/{text['uid']}", json={"properties": {"file:content": None}}, headers={"properties": "*"})
    assert gone.json()["properties"]["file:content"] is None
    refused(http.put(f"id/{text['uid']}", json={"properties": {"file:content": {"data": blob["data"]}}}), 400)
    note = created(http, "n", kind="Note", **{"note:note": "<b>x</b>", "note:mime_type": "text/html"})
    answer = http.get(f"id/{note['uid']}/@blob")
    assert (answer.text, answer.headers["content-type"]) == ("<b>x</b>", "text/html;charset=UTF-8")


# --- Uploads


def test_a_batch_lives_until_it_is_used(http: httpx.Client) -> None:
    file = uploaded(http, b"hello")
    batch = file["upload-batch"]
    assert batch.startswith("batchId-")
    assert http.get(f"upload/{batch}").json() == [{"name": "a.txt", "size": 5, "uploadType": "normal"}]
    created_kept = {"type": "File", "name": "a", "properties": {"file:content": file}}
    assert http.post(HOME, json=created_kept, headers={"X-Batch-No-Drop": "true"}).status_code == 201
    refused(http.post(f"{HOME}/none", json=created_kept), 404)
    assert http.get(f"upload/{batch}").status_code == 200
    assert http.post(HOME, json=created_kept).status_code == 201
    gone = http.get(f"upload/{batch}")
    assert (gone.status_code, gone.content) == (404, b"")
    unchanged = http.post(HOME, json=created_kept, headers={"properties": "file"})
    assert (unchanged.status_code, unchanged.json()["properties"]["file:content"]) == (201, None)


def test_uploads_answer_as_clients_expect(http: httpx.Client) -> None:
    batch = http.post("upload/").json()["batchId"]
    assert (http.get(f"upload/{batch}").status_code, http.get(f"upload/{batch}").content) == (204, b"")
    answer = http.post(f"upload/{batch}/0", content=b"abc", headers={"X-File-Name": "a.pdf", "X-File-Type": "pdf"})
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert answer.json() == {
        "uploaded": "true",
        "batchId": batch,
        "fileIdx": "0",
        "uploadType": "normal",
        "uploadedSize": "3",
    }
    unannounced = http.post(f"upload/{batch}/1", content=iter([b"a", b"b"]), headers={"X-File-Name": "b"})
    assert unannounced.json()["uploadedSize"] == "-1"
    assert http.get(f"upload/{batch}/1").json() == {"name": "b", "size": 2, "uploadType": "normal"}
    entries = http.get(f"upload/{batch}/info").json()
    assert (entries["provider"], entries["batchId"], len(entries["fileEntries"])) == ("default", batch, 2)
    assert http.get("upload/handlers").json() == {"handlers": [{"name": "default"}]}
    assert http.get("upload/handlers/default").json() == {"name": "default"}
    new = http.post("upload/new/default")
    assert (new.status_code, new.json()["fileEntries"]) == (200, [])
    for place in ("upload/handlers/x", f"upload/{batch}/7", "upload/none", "upload/none/0"):
        assert (http.get(place).status_code, http.get(place).content) == (404, b"")
    assert http.post("upload/new/x").status_code == 404
    word = http.post(f"upload/{batch}/x", content=b"")
    assert (word.status_code, word.text) == (400, "fileIdx request path parameter must be a number")
    refused(
        http.post(f"upload/{batch}/2", files={"a": b"x"}), 400, 'Content-Type: "multipart/form-data" is not supported'
    )
    refused(http.post(f"upload/{batch}/2", content=b"", headers={"X-File-Name": "a%00"}), 400)
    refused(http.post(f"upload/{batch}/0/complete", json={}), 409)
    assert http.post("upload/none/0/complete", json={}).status_code == 404
    assert http.post(f"upload/{batch}/refreshToken").status_code == 501
    refused(http.post(f"upload/{batch}/execute/Blob.Attach", json={}), 404)
    assert http.delete(f"upload/{batch}/1").status_code == 204
    assert http.delete(f"upload/{batch}").status_code == 204
    assert http.delete(f"upload/{batch}").status_code == 404


def test_chunks_make_a_file(http: httpx.Client) -> None:
    batch = http.post("upload").json()["batchId"]
    size, count = len(CONTENT) // 4, 4

    def send(number: int) -> httpx.Response:
        headers = {
            "X-Upload-Type": "chunked",
            "X-Upload-Chunk-Index": str(number),
            "X-Upload-Chunk-Count": str(count),
            "X-File-Size": str(len(CONTENT)),
            "X-File-Name": "film.mp4",
        }
        part = CONTENT[number * size : number * size + size]
        return http.post(f"upload/{batch}/0", content=part, headers=headers)

    first = send(2)
    assert first.status_code == 202
    assert first.json() == {
        "uploaded": "true",
        "batchId": batch,
        "fileIdx": "0",
        "uploadType": "chunked",
        "uploadedSize": str(size),
        "uploadedChunkIds": [2],
        "chunkCount": 4,
    }
    refused(send(2), 409)
    assert [send(0).status_code, send(3).status_code] == [202, 202]
    assert http.get(f"upload/{batch}/0").status_code == 202
    body = {"type": "File", "name": "a", "properties": {"file:content": {"upload-batch": batch, "upload-fileId": 0}}}
    refused(http.post(HOME, json=body), 409)
    assert send(1).status_code == 201
    assert http.get(f"upload/{batch}/0").json() == {
        "name": "film.mp4",
        "size": len(CONTENT),
        "uploadType": "chunked",
        "uploadedChunkIds": [0, 1, 2, 3],
        "chunkCount": 4,
    }
    made = http.post(HOME, json=body, headers={"properties": "file"}).json()
    assert http.get(made["properties"]["file:content"]["data"]).content == CONTENT
    refused(http.post(f"upload/{batch}/0", content=b"", headers={"X-Upload-Type": "chunked"}), 400)


def test_a_batch_is_its_owners(site: Site, http: httpx.Client) -> None:
    batch = uploaded(http, b"mine")["upload-batch"]
    with site.client(ANN) as ann:
        for method, place in (("GET", ""), ("GET", "/0"), ("GET", "/info"), ("DELETE", ""), ("POST", "/1")):
            assert ann.request(method, f"upload/{batch}{place}").status_code == 404
        theirs = ann.post("upload").json()["batchId"]
    assert http.get(f"upload/{theirs}").status_code == 204


def test_an_upload_that_breaks_off_leaves_nothing(site: Site, http: httpx.Client) -> None:
    batch = http.post("upload").json()["batchId"]
    token = httpx.BasicAuth(*ADMINISTRATOR)._auth_header
    head = f"POST /nuxeo/api/v1/upload/{batch}/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"
    with socket.create_connection(("127.0.0.1", site.port)) as connection:
        connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n".encode() + bytes(4_000_000))
        deadline = time.monotonic() + 30
        while not list(site.store.objects("staging/")):
            assert time.monotonic() < deadline, "nothing is being written"
    while list(site.store.objects()):
        assert time.monotonic() < deadline, "the broken upload left something"
    assert http.get(f"upload/{batch}").status_code == 204
