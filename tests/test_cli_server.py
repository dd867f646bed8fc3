"""The command line client against a real server: what it does there, what it prints, how it ends."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import imageio_ffmpeg
import pytest
from server import Api, Server

from vidarium.cli.client import Client
from vidarium.cli.discovery import look_at
from vidarium.cli.journal import Journal
from vidarium.cli.sending import SMALLEST_CHUNK, Interrupted, Sender, Sent
from vidarium.cli.target import Target

WORKSPACES = "/default-domain/workspaces"
PASSWORD = "Administrator"


def make_clip(path, seconds=2, size="320x180"):
    picture = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}")
    sound = ("-f", "lavfi", "-i", f"sine=duration={seconds}")
    encode = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    argv = (imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *picture, *sound, *encode, str(path))
    subprocess.run(argv, check=True)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def server(home_folder):
    with Server(home_folder / "cli", {"automatic_conversions": "false"}) as running:
        yield running


@pytest.fixture(scope="module")
def api(server):
    return Api(server)


@pytest.fixture
def vidarium(server, tmp_path):
    """Runs a command to its end."""

    def run(*arguments, **environment):
        return subprocess.run(
            command_line(*arguments),
            env=client_environment(tmp_path, server.url) | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=240,
        )

    return run


def command_line(*arguments):
    return [sys.executable, "-m", "vidarium", *map(str, arguments)]


def client_environment(tmp_path, url):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUXEO_", "VIDARIUM_"))}
    return inherited | {"NUXEO_URL": url, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def children(api, path):
    return api.call("GET", f"path{path}/@children", params={"pageSize": 100}, headers={"properties": "*"})["entries"]


def by_title(api, path):
    return {each["properties"]["dc:title"]: each for each in children(api, path)}


def ended(run, status):
    assert run.returncode == status, f"{run.stdout}\n{run.stderr}"
    assert "Traceback" not in run.stderr
    assert f":{PASSWORD}" not in run.stdout + run.stderr
    return run.stdout


# --- import


def test_import_makes_folders_and_sends_nothing_twice(vidarium, api, clip, tmp_path):
    library = tmp_path / "library"
    (library / "sub").mkdir(parents=True)
    names = (
        "a very long name of a video, part one.mp4",
        "a very long name of a video, part two.mp4",
        "sub/.@odd [x].mp4",
    )
    for name in names:
        shutil.copy(clip, library / name)
    to = f"{WORKSPACES}/a long workspace name, made by an import/below"

    out = ended(vidarium("import", library, "--to", to), 0)
    assert "3 sent, 0 already there, 0 failed." in out
    [workspace] = [each for each in by_title(api, WORKSPACES).values() if each["title"].startswith("a long workspace")]
    assert workspace["type"] == "Workspace"
    [below] = children(api, workspace["path"])
    found = by_title(api, below["path"])
    assert set(found) == {names[0], names[1], "sub"}
    assert found[names[0]]["type"] == "Video"
    assert found[names[0]]["properties"]["file:content"]["digest"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert found[names[0]]["properties"]["file:content"]["name"] == names[0]
    assert found["sub"]["type"] == "Folder"
    assert [each["properties"]["dc:title"] for each in children(api, found["sub"]["path"])] == [".@odd [x].mp4"]

    out = ended(vidarium("import", library, "--to", to), 0)
    assert "0 sent, 3 already there, 0 failed." in out
    assert len(children(api, below["path"])) == 3


def test_import_sends_other_bytes_of_the_same_name(vidarium, api, clip, tmp_path):
    file = tmp_path / "same.mp4"
    shutil.copy(clip, file)
    ended(vidarium("import", file, "--to", f"{WORKSPACES}/same"), 0)
    file.write_bytes(clip.read_bytes() + b"\0")
    assert "1 sent" in ended(vidarium("import", file, "--to", f"{WORKSPACES}/same"), 0)
    assert len(children(api, f"{WORKSPACES}/same")) == 2


def test_import_says_what_failed_and_sends_the_rest(vidarium, api, clip, tmp_path):
    shutil.copy(clip, tmp_path / "good.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nowhere")
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(clip, odd)
    out = ended(vidarium("import", tmp_path, "--to", f"{WORKSPACES}/partly"), 1)
    assert "dead.mp4: is a link to nothing" in out
    assert "2 sent, 0 already there, 1 failed." in out
    assert "called 'caf\ufffd.mp4' on the server" in out
    assert set(by_title(api, f"{WORKSPACES}/partly")) == {"good.mp4", "caf\ufffd.mp4"}


def test_empty_file_is_imported(vidarium, api, tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "1 sent" in ended(vidarium("import", tmp_path, "--to", f"{WORKSPACES}/empty"), 0)
    [document] = children(api, f"{WORKSPACES}/empty")
    assert document["properties"]["file:content"]["length"] == "0"


def test_interrupted_upload_goes_on_with_the_chunks_that_are_missing(server, api, tmp_path):
    path = tmp_path / "big.mp4"
    path.write_bytes(os.urandom(SMALLEST_CHUNK) * 2 + b"the end")
    file, journal = look_at(path, ()), Journal(tmp_path / "cache", server.url, "Administrator")
    with Client(server.url, "Administrator", PASSWORD) as client:
        target, stop, counted = Target(client, f"{WORKSPACES}/chunks"), threading.Event(), []

        def stop_in_second_chunk(count):
            counted.append(count)
            if sum(counted) > SMALLEST_CHUNK:
                stop.set()

        with pytest.raises(Interrupted):
            Sender(client, target, journal, stop).send(file, stop_in_second_chunk)
        begun = journal.find(file)
        assert api.call("GET", f"upload/{begun.batch}/0", status=202)["uploadedChunkIds"] == [0]

        counted.clear()
        assert Sender(client, target, journal, threading.Event()).send(file, counted.append) is Sent.SENT
    assert counted[0] == SMALLEST_CHUNK  # in one step: it was there
    assert sum(counted) == file.length
    assert journal.find(file) is None
    [document] = children(api, f"{WORKSPACES}/chunks")
    assert document["properties"]["file:content"]["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_batch_that_is_gone_is_begun_anew(server, api, tmp_path):
    path = tmp_path / "big.mp4"
    path.write_bytes(b"x" * (SMALLEST_CHUNK + 1))
    file, journal = look_at(path, ()), Journal(tmp_path / "cache", server.url, "Administrator")
    with Client(server.url, "Administrator", PASSWORD) as client:
        target, stop = Target(client, f"{WORKSPACES}/gone"), threading.Event()
        with pytest.raises(Interrupted):
            Sender(client, target, journal, stop).send(file, lambda count: stop.set())
        api.call("DELETE", f"upload/{journal.find(file).batch}", status=204)
        assert Sender(client, target, journal, threading.Event()).send(file, lambda count: None) is Sent.SENT
    assert len(children(api, f"{WORKSPACES}/gone")) == 1


# --- recompute and status


def test_recompute_and_status(vidarium, api, clip):
    uid = api.video(clip, name="one.mp4")["uid"]
    query = f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'"
    out = ended(vidarium("recompute", "--query", query, "--conversion", "MP4 480p", "--watch"), 0)
    assert "COMPLETED: 1/1 documents" in out
    assert api.renditions(uid) == ["MP4 480p"]
    command = out.split()[1]
    assert "COMPLETED: 1/1 documents" in ended(vidarium("status", command), 0)
    assert "COMPLETED" in ended(vidarium("status", command, "--watch", "--failed"), 0)


def test_failures_are_listed_with_their_reason(vidarium, api, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is no video\n" * 100)
    document = api.video(broken)
    query = f"SELECT * FROM Document WHERE ecm:uuid = '{document['uid']}'"
    out = ended(vidarium("recompute", "--query", query, "--watch"), 1)
    assert "First error: " in out
    out = ended(vidarium("status", out.split()[1], "--failed"), 1)
    assert f"{document['path']} ({document['uid']})" in out
    assert "MP4 480p: " in out


def test_recompute_of_a_query_that_cannot_be_read_fails(vidarium):
    assert "COMPLETED" in ended(vidarium("recompute", "--query", "SELECT nonsense", "--watch"), 1)


def test_ctrl_c_stops_the_watching_only(server, api, tmp_path):
    uid = api.video(make_clip(tmp_path / "long.mp4", seconds=30, size="1920x1080"))["uid"]
    query = f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'"
    watching = subprocess.Popen(
        command_line("recompute", "--query", query, "--watch"),
        env=client_environment(tmp_path, server.url) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    command = watching.stdout.readline().split()[1]
    assert watching.stdout.readline()  # the first line of progress
    watching.send_signal(signal.SIGINT)
    out, _ = watching.communicate(timeout=30)
    state = api.status(command)["state"]
    api.call("PUT", f"bulk/{command}/abort")
    assert state not in {"COMPLETED", "ABORTED"}
    assert f"vidarium status {command} --watch" in out
    assert watching.returncode == 130


def test_an_aborted_command_counts_as_failed(vidarium, api, tmp_path):
    uid = api.video(make_clip(tmp_path / "long.mp4", seconds=30, size="1920x1080"))["uid"]
    command = api.recompute(query=f"SELECT * FROM Document WHERE ecm:uuid = '{uid}'")["commandId"]
    api.call("PUT", f"bulk/{command}/abort")
    assert "ABORTED" in ended(vidarium("status", command, "--watch"), 1)


# --- refusals


def test_refusals_are_one_sentence_and_status_3(vidarium):
    unknown = vidarium("status", "00000000-0000-0000-0000-000000000000")
    ended(unknown, 3)
    assert "00000000-0000-0000-0000-000000000000" in unknown.stderr
    wrong = vidarium("recompute", "--user", "Administrator:not-the-password")
    ended(wrong, 3)
    assert "does not accept the user 'Administrator'" in wrong.stderr
    assert "not-the-password" not in wrong.stderr + wrong.stdout
    unsupported = vidarium("recompute", "--conversion", "MP5 480p")
    ended(unsupported, 3)
    assert "MP5 480p" in unsupported.stderr


def test_nobody_listens(vidarium, tmp_path, clip):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for arguments in (("recompute",), ("status", "x", "--watch"), ("import", clip, "--to", "/default-domain")):
        run = vidarium(*arguments, "--url", f"http://127.0.0.1:{port}/nuxeo")
        ended(run, 3)
        assert f"No answer from http://127.0.0.1:{port}/nuxeo" in run.stderr


def test_wrong_usage_is_status_2(vidarium):
    ended(vidarium("status"), 2)
    ended(vidarium("recompute", "--url", "ftp://x"), 2)
    ended(vidarium("recompute", "--user", "ann"), 2)
    ended(vidarium("import", "x.mp4"), 2)


# --- demo


def test_demo_with_a_video(clip, tmp_path, home_folder):
    temporary = home_folder / "demo"  # other users may search it, as the database of root needs
    temporary.mkdir()
    run = subprocess.run(
        command_line("demo", clip),
        env=client_environment(tmp_path, "") | {"TMPDIR": str(temporary), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    out = ended(run, 0)
    for word in ("MP4 480p", "WebM 480p", "Ogg 480p", "h264", "vp9", "theora", "320x180"):
        assert word in out
    assert list(temporary.iterdir()) == []


def test_demo_with_what_is_no_video(tmp_path):
    (tmp_path / "x.mp4").write_text("nothing")
    for argument, said in ((tmp_path / "x.mp4", "no media file"), (tmp_path / "missing.mp4", "No such file")):
        run = subprocess.run(command_line("demo", argument), capture_output=True, text=True, timeout=60)
        assert run.returncode != 0
        assert said in run.stderr
        assert "Traceback" not in run.stderr
