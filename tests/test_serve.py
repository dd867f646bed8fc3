"""Starting and stopping a server, where and as whom it may run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import clips
from tests.server import Api, Server, eventually


def test_a_second_server_on_a_home_says_so(home_folder: Path) -> None:
    with Server(home_folder / "twice") as server:
        second = server.run("serve", "--port", "0")
        assert second.returncode == 1
        assert "held by another server" in second.stderr
        assert str(server.process.pid) in second.stderr
        assert "Traceback" not in second.stderr
        Api(server).call("GET", "path/")


def test_sigterm_gives_running_work_back(home_folder: Path, tmp_path: Path) -> None:
    server = Server(home_folder / "term", {"automatic_conversions": "false"}).start()
    api = Api(server)
    uid = api.video(clips.make_clip(tmp_path / "long.mp4", seconds=60))["uid"]
    api.processed(uid)
    command = api.recompute()["commandId"]
    eventually(server.ffmpegs, within=60, what="an ffmpeg")
    database = _children(server, "postgres")
    assert server.stop() == 0
    assert server.ffmpegs() == []
    assert not any(process.is_running() for process in database)
    assert list((server.home / "scratch").iterdir()) == []
    assert "given back" in server.output
    server.start()
    api = Api(server)
    (item,) = eventually(lambda: api.outcomes(command, state="running"), within=60)
    assert item["attempt"] == 1
    api.call("PUT", f"bulk/{command}/abort")
    assert server.stop() == 0


def _children(server: Server, name: str) -> list[psutil.Process]:
    """The processes that work in the server's home, by name."""
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if name in (process.info["name"] or "") and str(server.home) in " ".join(process.info["cmdline"] or ())
    ]
    assert found
    return found


def test_killed_and_started_again(home_folder: Path) -> None:
    server = Server(home_folder / "killed").start()
    made = Api(server).create("kept", "Folder")
    server.kill()
    server.start()
    assert Api(server).document(made["uid"])["title"] == "kept"
    assert server.stop() == 0


def test_ctrl_c_stops_cleanly(home_folder: Path) -> None:
    server = Server(home_folder / "ctrl-c").start()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 0
    assert "stopped" in server.output


def test_a_home_below_a_closed_folder(home_folder: Path) -> None:
    """As root: PostgreSQL's user cannot reach such a home, and it works all the same."""
    closed = home_folder / "closed"
    closed.mkdir(mode=0o700)
    with Server(closed / "home") as server:
        Api(server).call("GET", "path/default-domain")
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_long_home_path(home_folder: Path) -> None:
    home = home_folder / ("x" * (149 - len(str(home_folder))))
    assert len(str(home)) == 150
    with Server(home) as server:
        Api(server).call("GET", "path/default-domain")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("NOSUCH", "1", "Unknown setting VIDARIUM_NOSUCH"),
        ("PORT", "many", "VIDARIUM_PORT"),
        ("DATABASE_URL", "mysql://x/y", "PostgreSQL"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x", "127.0.0.1"),
        ("FFMPEG", "/no/such/ffmpeg", "/no/such/ffmpeg"),
        ("HOST", "0.0.0.0", "default password"),
    ],
)
def test_a_wrong_setting_stops_the_start(home_folder: Path, setting: str, value: str, said: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VIDARIUM_")}
    port = () if setting == "PORT" else ("--port", "0")
    done = subprocess.run(
        [sys.executable, "-m", "vidarium", "serve", "--home", str(home_folder / "wrong"), *port],
        env=environment | {f"VIDARIUM_{setting}": value},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_and_gc(home_folder: Path) -> None:
    server = Server(home_folder / "doctor")
    healthy = server.run("doctor")
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    for word in ("PostgreSQL", "ffmpeg", "MP4 480p", "blob store", "free space"):
        assert word in healthy.stdout
    with server:
        # both work beside the running server of the home
        assert server.run("gc", "--dry-run").returncode == 0
        assert server.run("doctor").returncode == 0
