"""Writers merge: a user's write and background work never undo each other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import clips
from tests.server import Api, Server
from vidarium.media.conversions import CONVERSIONS


@pytest.fixture(scope="module")
def api(home_folder: Path) -> Iterator[Api]:
    with Server(home_folder / "races", {"automatic_conversions": "false", "workers": "2"}) as server:
        yield Api(server)


@pytest.fixture
def uid(api: Api, tmp_path: Path) -> str:
    uid = str(api.video(clips.make_clip(tmp_path / "race.mp4", seconds=1))["uid"])
    api.processed(uid)
    return uid


def _put(api: Api, entity: Any, *, status: int = 200) -> Any:
    return api.call("PUT", f"id/{entity['uid']}", json=entity, status=status, headers={"properties": "*"})


def test_an_echoed_entity_does_not_undo_background_work(api: Api, uid: str) -> None:
    entity = api.document(uid)
    assert entity["properties"]["vid:transcodedVideos"] == []
    command = api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"]
    api.finished(command)
    entity["properties"]["dc:description"] = "written by somebody who read it before"
    written = _put(api, entity)
    assert written["properties"]["dc:description"] == "written by somebody who read it before"
    assert [entry["name"] for entry in written["properties"]["vid:transcodedVideos"]] == list(CONVERSIONS)
    assert written["properties"]["vid:info"]["duration"] > 0
    assert written["properties"]["vid:storyboard"] == api.document(uid)["properties"]["vid:storyboard"]


def test_an_entity_that_is_up_to_date_may_change_renditions(api: Api, uid: str) -> None:
    api.finished(api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"])
    entity = api.document(uid)
    kept = entity["properties"]["vid:transcodedVideos"][1:]
    entity["properties"]["vid:transcodedVideos"] = kept
    _put(api, entity)
    assert api.renditions(uid) == list(CONVERSIONS)[1:]
    content = api.document(uid)["properties"]["vid:transcodedVideos"][0]["content"]
    assert len(api.http.get(content["data"]).content) == int(content["length"])


def test_a_stale_user_token_is_refused(api: Api, uid: str) -> None:
    entity = api.document(uid)
    entity["properties"]["dc:title"] = "first"
    _put(api, entity)
    entity["properties"]["dc:title"] = "second"
    error = _put(api, entity, status=409)
    assert error["message"] == f"{uid}, Invalid change token"
    assert api.document(uid)["title"] == "first"


def test_background_work_does_not_touch_the_users_token_or_the_modification_date(api: Api, uid: str) -> None:
    before = api.document(uid)
    api.finished(api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"])
    after = api.document(uid)
    assert after["changeToken"].split("-")[1] == before["changeToken"].split("-")[1]
    assert int(after["changeToken"].split("-")[0]) > int(before["changeToken"].split("-")[0])
    assert after["properties"]["dc:modified"] == before["properties"]["dc:modified"]


def test_writers_of_one_document_at_once_all_count(api: Api, uid: str) -> None:
    """Conversions one by one in commands of their own, and a user who writes all the time."""
    query = f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'"
    commands = [api.recompute(query=query, conversionNames=name)["commandId"] for name in CONVERSIONS]

    def write(n: int) -> None:
        body = {"entity-type": "document", "properties": {"dc:description": f"note {n}"}}
        api.call("PUT", f"id/{uid}", json=body)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(60)))
    for command in commands:
        assert api.finished(command)["errorCount"] == 0
    document = api.document(uid)
    assert sorted(api.renditions(uid)) == sorted(CONVERSIONS)
    assert document["properties"]["dc:description"].startswith("note ")
    assert int(document["changeToken"].split("-")[1]) == 60


def test_two_users_of_one_token_exactly_one_wins(api: Api, uid: str) -> None:
    entity = api.document(uid)

    def write(n: int) -> int:
        body = {**entity, "properties": {"dc:title": f"writer {n}"}}
        return api.http.put(f"id/{uid}", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(write, range(8)))
    assert answers == [200] + [409] * 7
