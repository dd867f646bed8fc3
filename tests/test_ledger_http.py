"""The ledger as users see it: bad media, abort, exclusivity, replaced files, one document's failure kept to itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import clips
from tests.server import Api, Server, eventually
from vidarium.database.embedded import Embedded
from vidarium.media.conversions import CONVERSIONS


@pytest.fixture(scope="module")
def server(home_folder: Path) -> Iterator[Server]:
    with Server(home_folder / "ledger", {"automatic_conversions": "false"}) as server:
        yield server


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    return Api(server)


def _recompute(api: Api, parent: str, **more: str) -> tuple[Any, dict[str, Any]]:
    """The status of a recompute of a folder, and its items by document name."""
    query = f"SELECT * FROM Document WHERE ecm:path STARTSWITH '{parent}'"
    command = api.recompute(query=query, **more)["commandId"]
    status = api.finished(command)
    return status, {item["path"].rsplit("/", 1)[1]: item for item in api.outcomes(command)}


def test_each_bad_file_ends_on_its_own_document(api: Api, tmp_path: Path) -> None:
    parent = api.create("bad", "Workspace")["path"]
    files = {
        "text.mp4": clips.make_text(tmp_path / "text.mp4"),
        "empty.mp4": clips.make_empty(tmp_path / "empty.mp4"),
        "truncated.mp4": clips.make_truncated(tmp_path / "truncated.mp4"),
        "audio.mp4": clips.make_audio_only(tmp_path / "audio.mp4"),
        "silent.mp4": clips.make_clip(tmp_path / "silent.mp4", seconds=1, audio=False),
        "phone.mp4": clips.make_rotated(tmp_path / "phone.mp4"),
        "good.mp4": clips.make_clip(tmp_path / "good.mp4", seconds=1),
    }
    uids = {name: api.video(path, name, parent)["uid"] for name, path in files.items()}
    api.create("nofile.mp4", parent=parent)
    api.create("folder", "Folder", parent=parent)
    status, items = _recompute(api, parent)
    assert (status["state"], status["total"], status["processed"]) == ("COMPLETED", 9, 9)
    assert status["error"] is True
    bad = {name for name, item in items.items() if item["state"] == "failed"}
    assert {"text.mp4", "empty.mp4", "audio.mp4"} <= bad <= {"text.mp4", "empty.mp4", "audio.mp4", "truncated.mp4"}
    assert status["errorCount"] == len(bad)
    assert status["skipCount"] == 2
    assert {items["nofile.mp4"]["state"], items["folder"]["state"]} == {"skipped"}
    first = next(name for name in items if name in bad)
    assert first in status["errorMessage"]
    for name in bad:
        assert [entry["state"] for entry in items[name]["conversions"]] == ["failed"] * 3
        assert all(len(entry["reason"]) > 5 for entry in items[name]["conversions"])
        assert api.renditions(uids[name]) == []
    assert "audio" in items["audio.mp4"]["error"]
    assert "empty" in items["empty.mp4"]["error"]
    for name in {"silent.mp4", "phone.mp4", "good.mp4"}:
        assert items[name]["state"] == "done", items[name]
        assert api.renditions(uids[name]) == list(CONVERSIONS)
    info = api.document(uids["phone.mp4"])["properties"]["vid:info"]
    assert info["height"] > info["width"]
    for entry in api.document(uids["phone.mp4"])["properties"]["vid:transcodedVideos"]:
        assert entry["info"]["height"] > entry["info"]["width"]

    again, items = _recompute(api, parent)
    assert again["errorCount"] == status["errorCount"]
    assert all("failed before" in entry["reason"] for entry in items["text.mp4"]["conversions"])


def test_a_damaged_file_has_renditions_or_a_reason(api: Api, tmp_path: Path) -> None:
    parent = api.create("truncated", "Workspace")["path"]
    uid = api.video(clips.make_truncated(tmp_path / "t.mp4"), parent=parent)["uid"]
    _, items = _recompute(api, parent)
    (item,) = items.values()
    if item["state"] == "failed":
        assert all(entry["reason"] for entry in item["conversions"])
    else:
        assert api.renditions(uid) == list(CONVERSIONS)


def test_abort_while_encoding(server: Server, api: Api, tmp_path: Path) -> None:
    parent = api.create("abort", "Workspace")["path"]
    clip = clips.make_clip(tmp_path / "long.mp4", seconds=120, size="640x360")
    uids = [api.video(clip, f"long{n}.mp4", parent)["uid"] for n in range(4)]
    for uid in uids:
        api.processed(uid)
    query = f"SELECT * FROM Video WHERE ecm:path STARTSWITH '{parent}'"
    command = api.recompute(query=query, force="true")["commandId"]
    eventually(server.ffmpegs, within=60, what="an ffmpeg")
    aborted = api.call("PUT", f"bulk/{command}/abort")
    assert (aborted["state"], aborted["processed"]) == ("ABORTED", 0)
    assert aborted["completed"] is not None
    eventually(lambda: not server.ffmpegs(), within=5, what="ffmpeg gone")
    items = eventually(lambda: found if len(found := api.outcomes(command, state="aborted")) == 4 else None, within=10)
    assert sum(item["started"] is None for item in items) >= 2
    assert all(item["conversions"] == [] for item in items)
    assert api.status(command)["state"] == "ABORTED"
    assert api.call("PUT", f"bulk/{command}/abort")["state"] == "ABORTED"
    assert [api.renditions(uid) for uid in uids] == [[]] * 4
    api.call("DELETE", f"path{parent}", status=204)


def test_a_finished_command_is_not_aborted(api: Api) -> None:
    command = api.recompute(query="SELECT * FROM Note")["commandId"]
    before = api.finished(command)
    assert api.call("PUT", f"bulk/{command}/abort") == before


def test_a_file_replaced_while_it_is_encoded(server: Server, api: Api, tmp_path: Path) -> None:
    old = clips.make_clip(tmp_path / "old.mp4", seconds=60, size="640x360")
    new = clips.make_clip(tmp_path / "new.mp4", seconds=1, size="320x240")
    uid = api.video(old)["uid"]
    api.processed(uid)
    command = api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"]
    eventually(server.ffmpegs, within=60, what="an ffmpeg")
    body = {"entity-type": "document", "properties": {"file:content": api.upload(new)}}
    changed = api.call("PUT", f"id/{uid}", json=body, headers={"properties": "*"})
    assert changed["properties"]["vid:transcodedVideos"] == []
    status = api.finished(command)
    assert (status["processed"], status["errorCount"]) == (1, 0)
    document = api.document(uid)["properties"]
    assert document["vid:info"]["width"] == 320
    assert [entry["name"] for entry in document["vid:transcodedVideos"]] == list(CONVERSIONS)
    assert {entry["info"]["width"] for entry in document["vid:transcodedVideos"]} == {320}
    assert document["vid:transcodedVideos"][0]["info"]["duration"] == pytest.approx(1, abs=0.2)


def test_twenty_blank_recomputes_on_two_servers(
    home_folder: Path, postgres: Embedded, fresh_url: str, tmp_path: Path
) -> None:
    shared = ("--database-url", fresh_url, "--blobs", str(home_folder / "twins-blobs"))
    settings = {"automatic_conversions": "false"}
    with (
        Server(home_folder / "twin-a", settings, shared) as a,
        Server(home_folder / "twin-b", settings, shared) as b,
    ):
        one, other = Api(a), Api(b)
        uid = one.video(clips.make_clip(tmp_path / "twin.mp4", seconds=20))["uid"]
        other.processed(uid)

        def submit(n: int) -> Any:
            return (one, other)[n % 2].http.post("management/videos/recompute")

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(submit, range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
        winner = next(answer.json()["commandId"] for answer in answers if answer.status_code == 200)
        said = f"Bulk Action: recomputeVideoConversion is exclusive, command: {winner} is already running"
        assert {answer.json()["message"] for answer in answers if answer.status_code == 409} == {said}
        named = one.recompute(query="SELECT * FROM Note")
        assert one.finished(winner)["processed"] == 1
        assert other.finished(named["commandId"])["state"] == "COMPLETED"
        assert other.recompute()["state"] == "SCHEDULED"


def test_recompute_waits_for_the_work_of_the_upload(home_folder: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "busy.mp4", seconds=10)
    with Server(home_folder / "busy", {"workers": "2"}) as server:
        api = Api(server)
        uid = api.video(clip)["uid"]
        command = api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"]
        assert api.finished(command)["errorCount"] == 0
        progress = api.call("GET", f"management/bulk/{command}/progress")
        assert progress["mediaTotal"] == pytest.approx(10, abs=0.1)  # unknown when the command was submitted
        assert progress["mediaDone"] == progress["mediaTotal"]
        (item,) = api.outcomes(command)
        states = {entry["name"]: entry["state"] for entry in item["conversions"]}
        assert states == {"MP4 480p": "reused", "WebM 480p": "reused", "Ogg 480p": "done"}
        assert api.renditions(uid) == list(CONVERSIONS)
