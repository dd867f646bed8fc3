"""kill -9 of the server at random moments: nothing is lost, nothing is done twice in effect, nothing stays behind."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.clips import make_clip
from tests.server import Api, Server, eventually
from tests.settings import LONG, SEED
from vidarium.media.conversions import CONVERSIONS

ROUNDS = 20 if LONG else 10
VIDEOS = 3


def test_killed_at_random_moments(home_folder: Path, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    server = Server(home_folder / "crash", {"automatic_conversions": "false", "workers": "2"}).start()
    try:
        uids = _library(Api(server), tmp_path)
        alive = sum(_round(server, rng, uids, with_ffmpeg=n % 2 == 0) for n in range(ROUNDS))
        assert alive >= ROUNDS // 2
    finally:
        server.stop()
    _owned_only(server)
    assert list((server.home / "scratch").iterdir()) == []


def _library(api: Api, folder: Path) -> list[str]:
    uids = []
    for n in range(VIDEOS):
        clip = make_clip(folder / f"c{n}.mp4", seconds=2, size=f"{320 + 32 * n}x240")
        uids.append(str(api.video(clip)["uid"]))
    for uid in uids:
        api.processed(uid)
    return uids


def _round(server: Server, rng: random.Random, uids: list[str], *, with_ffmpeg: bool) -> bool:
    """One kill; whether an ffmpeg was alive at that moment."""
    command = Api(server).recompute(query="SELECT * FROM Video", force="true")["commandId"]
    if with_ffmpeg:
        eventually(server.ffmpegs, within=60, what="an ffmpeg")
        time.sleep(rng.uniform(0, 0.3))
    else:
        time.sleep(rng.uniform(0, 1.5))
    encoding = bool(server.ffmpegs())
    server.kill()
    eventually(lambda: not server.ffmpegs(), within=10, what="every ffmpeg gone")
    server.start()
    api = Api(server)
    ended = api.finished(command)
    assert (ended["state"], ended["total"], ended["processed"]) == ("COMPLETED", VIDEOS, VIDEOS)
    assert (ended["errorCount"], ended["skipCount"]) == (0, 0)
    items = api.outcomes(command)
    assert [item["state"] for item in items] == ["done"] * VIDEOS
    assert all([entry["name"] for entry in item["conversions"]] == list(CONVERSIONS) for item in items)
    assert all(entry["state"] == "done" for item in items for entry in item["conversions"])
    for uid in uids:
        assert api.renditions(uid) == list(CONVERSIONS)
    _collect(server)
    assert server.ffmpegs() == []
    return encoding


def _collect(server: Server) -> None:
    """No blob without owner is left, none with an owner is gone, and no work file lies about."""
    assert server.run("gc", "--grace", "0").returncode == 0
    api = Api(server)
    for entry in api.call("GET", "path/default-domain/workspaces/@children", headers={"properties": "*"})["entries"]:
        for rendition in entry["properties"]["vid:transcodedVideos"]:
            answer = api.http.get(rendition["content"]["data"])
            assert answer.status_code == 200
            assert len(answer.content) == int(rendition["content"]["length"])
    assert [path for path in (server.home / "scratch").rglob("*") if not path.is_dir()] == []


def _owned_only(server: Server) -> None:
    """On a stopped server: a collection finds nothing more."""
    left = server.run("gc", "--grace", "0", "--dry-run")
    assert left.stdout.startswith("0 blobs and 0 stray objects"), left.stdout
