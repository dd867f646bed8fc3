"""The main job over HTTP: upload videos, recompute their renditions, read what became of each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.clips import make_clip
from tests.server import Api, Server
from vidarium.media.conversions import CONVERSIONS

MEDIA = Path(__file__).parents[2] / "shared" / "media"

STATUS_FIELDS = [
    "entity-type",
    "commandId",
    "state",
    "processed",
    "skipCount",
    "error",
    "errorCount",
    "total",
    "action",
    "username",
    "submitted",
    "scrollStart",
    "scrollEnd",
    "processingStart",
    "processingEnd",
    "completed",
    "processingMillis",
]


@pytest.fixture(scope="module")
def api(home_folder: Path) -> Iterator[Api]:
    """A server whose uploads start no conversions, so that a recompute finds work."""
    with Server(home_folder / "main-job", {"automatic_conversions": "false"}) as server:
        yield Api(server)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    sizes = ("640x360", "320x240", "854x480")
    return [make_clip(folder / f"clip{n}.mp4", seconds=1, size=size) for n, size in enumerate(sizes)]


def workspace(api: Api, name: str) -> str:
    return str(api.create(name, "Workspace")["path"])


def test_the_sample_of_the_endpoint_end_to_end(api: Api, clips: list[Path]) -> None:
    parent = workspace(api, "sample")
    uids = [api.video(clip, parent=parent)["uid"] for clip in clips]
    for uid in uids:
        api.processed(uid)
    body = 'query=SELECT * FROM Document WHERE ecm:mixinType = "Video"'  # as `curl -d` sends it: raw
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = api.http.post("management/videos/recompute", content=body, headers=kind)
    assert answer.status_code == 200
    status = answer.json()
    assert list(status) == STATUS_FIELDS
    assert (status["entity-type"], status["state"], status["username"]) == ("bulkStatus", "SCHEDULED", "system")
    assert status["action"] == "recomputeVideoConversion"
    ended = api.finished(status["commandId"])
    assert (ended["state"], ended["total"], ended["processed"]) == ("COMPLETED", 3, 3)
    assert (ended["error"], ended["errorCount"], ended["skipCount"]) == (False, 0, 0)
    assert datetime.fromisoformat(ended["completed"]) <= datetime.now().astimezone()
    for uid in uids:
        assert api.renditions(uid) == list(CONVERSIONS)
    assert _states(api, status["commandId"]) == {"done"}

    again = api.recompute(query='SELECT * FROM Document WHERE ecm:mixinType = "Video"')["commandId"]
    assert api.finished(again)["processed"] == 3
    assert _states(api, again) == {"reused"}

    forced = api.recompute(query='SELECT * FROM Document WHERE ecm:mixinType = "Video"', force="true")["commandId"]
    assert api.finished(forced)["processed"] == 3
    assert _states(api, forced) == {"done"}


def _states(api: Api, command: str) -> set[str]:
    entries = [entry for item in api.outcomes(command) for entry in item["conversions"]]
    assert len(entries) == 9
    assert all(entry["bytes"] > 0 for entry in entries)
    return {entry["state"] for entry in entries}


class TestReferenceCases:
    """R1 to R6 of spec/video-bulk.md E.1."""

    @pytest.fixture
    def video(self, api: Api, clips: list[Path], request: pytest.FixtureRequest) -> Iterator[str]:
        parent = workspace(api, request.node.name[:24])
        uid = api.video(clips[0], parent=parent)["uid"]
        api.processed(uid)
        assert api.renditions(uid) == []
        yield uid
        api.call("DELETE", f"path{parent}", status=204)

    def test_r1_invalid_query(self, api: Api, video: str) -> None:
        status = api.recompute(query="SELECT * FROM nowhere")
        assert status["state"] == "SCHEDULED"
        ended = api.finished(status["commandId"])
        assert (ended["state"], ended["processed"], ended["total"]) == ("COMPLETED", 0, 0)
        assert (ended["error"], ended["errorCount"]) == (True, 1)
        assert ended["errorMessage"] == "Invalid query"
        assert api.renditions(video) == []

    def test_r2_no_parameters(self, api: Api, video: str) -> None:
        status = api.call("POST", "management/videos/recompute/")
        assert status["state"] == "SCHEDULED"
        ended = api.finished(status["commandId"])
        assert (ended["state"], ended["processed"], ended["total"]) == ("COMPLETED", 1, 1)
        assert (ended["error"], ended["errorCount"]) == (False, 0)
        assert api.renditions(video) == list(CONVERSIONS)

    def test_r3_query_and_name(self, api: Api, video: str) -> None:
        query = f"SELECT * FROM Document WHERE ecm:mixinType = 'Video' AND ecm:uuid = '{video}'"
        ended = api.finished(api.recompute(query=query, conversionNames="WebM 480p")["commandId"])
        assert (ended["processed"], ended["total"], ended["error"]) == (1, 1, False)
        assert api.renditions(video) == ["WebM 480p"]

    def test_r4_unknown_conversion(self, api: Api, video: str) -> None:
        error = api.recompute(conversionNames=["foo 480p", "MP4 480p", "bar"], status=400)
        assert error == {
            "entity-type": "exception",
            "status": 400,
            "message": "The conversions: [foo 480p, bar] are not supported.",
        }
        assert api.renditions(video) == []

    def test_r5_request_order(self, api: Api, video: str) -> None:
        names = ["WebM 480p", "MP4 480p"]
        ended = api.finished(api.recompute(conversionNames=names)["commandId"])
        assert (ended["processed"], ended["error"]) == (1, False)
        assert api.renditions(video) == names

    def test_r6_default_query_no_longer_matches(self, api: Api, video: str) -> None:
        api.finished(api.recompute()["commandId"])
        ended = api.finished(api.recompute(conversionNames="Ogg 480p")["commandId"])
        assert (ended["state"], ended["total"]) == ("COMPLETED", 0)
        assert api.renditions(video) == list(CONVERSIONS)

    def test_a_replaced_rendition_keeps_its_place(self, api: Api, video: str) -> None:
        query = f"SELECT * FROM Document WHERE ecm:uuid = '{video}'"
        api.finished(api.recompute(query=query)["commandId"])
        api.finished(api.recompute(query=query, conversionNames="MP4 480p", force="true")["commandId"])
        assert api.renditions(video) == list(CONVERSIONS)


@pytest.mark.parametrize(
    ("name", "duration", "size"),
    [
        ("bigbuckbunny.mp4", 5.3, (854, 480)),
        ("vtest.avi", 79.5, (640, 480)),
        ("sample.mpg", 8.4, (320, 200)),
    ],
)
def test_real_clips(api: Api, name: str, duration: float, size: tuple[int, int]) -> None:
    if not (MEDIA / name).exists():
        pytest.skip(f"{name} is not on this machine: the real clips lie in ../shared/media")
    uid = api.video(MEDIA / name)["uid"]
    api.processed(uid)
    query = f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'"
    ended = api.finished(api.recompute(query=query)["commandId"], within=280)
    assert (ended["error"], ended.get("errorMessage")) == (False, None)
    document = api.document(uid)["properties"]
    assert document["vid:info"]["duration"] == pytest.approx(duration, abs=0.2)
    assert [entry["name"] for entry in document["vid:transcodedVideos"]] == list(CONVERSIONS)
    for entry in document["vid:transcodedVideos"]:
        conversion = CONVERSIONS[entry["name"]]
        assert (entry["info"]["width"], entry["info"]["height"]) == size
        probed = _probe(api, entry["content"]["data"])
        assert probed["codec"] == conversion.video.name
        assert probed["size"] == size
        assert probed["duration"] == pytest.approx(duration, abs=0.3)


def _probe(api: Api, url: str) -> dict[str, Any]:
    """What a player sees of a downloaded rendition, every frame decoded."""
    answer = httpx.get(url, auth=api.http.auth, timeout=60)
    assert answer.status_code == 200
    with tempfile.NamedTemporaryFile() as file:
        file.write(answer.content)
        file.flush()
        with av.open(file.name) as container:
            stream = container.streams.video[0]
            frames = [frame.time or 0.0 for frame in container.decode(stream)]
            rate = float(stream.average_rate or 25)
            return {
                "codec": stream.codec_context.name,
                "size": (stream.width, stream.height),
                "duration": frames[-1] - frames[0] + 1 / rate,
            }
