"""The embedded PostgreSQL: as root and as an ordinary user, in any home, after any end. Real processes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import text

from vidarium.database import connect, migrate
from vidarium.database.embedded import Embedded, moving_steps
from vidarium.database.installation import Account, Installation, account_of, bundled
from vidarium.errors import StartError
from vidarium.home import Home

ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Searchable by other users, short, and gone afterwards with all that was made for it."""
    made = Path(tempfile.mkdtemp(prefix="vidarium-test-")).resolve()
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def started() -> Iterator[list[Embedded]]:
    """What a test starts is stopped, whatever becomes of the test."""
    servers: list[Embedded] = []
    yield servers
    for server in servers:
        server.stop()
        if "-test-" not in str(server.place.data):  # it had to go outside of the test's folder
            shutil.rmtree(server.place.data.parent, ignore_errors=True)


def asked(server: Embedded, statement: str) -> str:
    engine = connect(server.url, query_timeout=10)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        answer = str(result.scalar_one()) if result.returns_rows else ""
    engine.dispose()
    return answer


def test_it_starts_answers_and_stops(folder: Path, started: list[Embedded]) -> None:
    with Home.open(folder / "home") as home:
        server = Embedded.start(home)
        started.append(server)
        assert asked(server, "SELECT current_database()") == "vidarium"
        assert asked(server, "SHOW listen_addresses") == ""
        assert asked(server, "SHOW fsync") + asked(server, "SHOW synchronous_commit") == "onon"
        assert asked(server, "SELECT lower('ÄÖ')") == "äö"
        assert asked(server, "SELECT to_tsvector('simple', '«Été»')") == "'été':1"
        assert not [it for it in server.process.net_connections() if it.status == psutil.CONN_LISTEN]
        sockets = Path(asked(server, "SHOW unix_socket_directories").strip('"'))
        for private in (sockets, server.place.data):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert private.stat().st_uid == server.process.uids().real != 0
        server.stop()
        server.stop()
        assert not server.process.is_running()
        assert not sockets.exists()
        second = Embedded.start(home)
        started.append(second)
        assert asked(second, "SELECT 1") == "1"


def test_a_long_home_and_two_homes_at_once(folder: Path, started: list[Embedded]) -> None:
    long = folder / ("with 'odd' names & blanks " * 6)[:150].strip()
    for place in (long, folder / "other"):
        with Home.open(place) as home:
            started.append(Embedded.start(home))
            asked(started[-1], "CREATE TABLE mark AS SELECT 1")
    assert started[0].url != started[1].url


@pytest.mark.skipif(not ROOT, reason="only root runs the database as another user")
def test_root_with_a_home_below_a_closed_folder(folder: Path, started: list[Embedded]) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for _ in range(2):
        with Home.open(closed / "home") as home:
            server = Embedded.start(home)
            started.append(server)
            assert home.postgres.is_symlink()
            migrate(engine := connect(server.url, query_timeout=10))
            engine.dispose()
            server.stop()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert server.place.data == (closed / "home" / "postgres").resolve()
    home.postgres.unlink()
    home.postgres.symlink_to(folder / "nowhere")
    with Home.open(closed / "home") as home, pytest.raises(StartError, match="nowhere"):
        Embedded.start(home)


@pytest.mark.skipif(not ROOT, reason="only root runs the database as another user")
def test_data_that_became_unreachable_says_which_folder_stops_it(folder: Path, started: list[Embedded]) -> None:
    middle = folder / "middle"
    with Home.open(middle / "home") as home:
        started.append(Embedded.start(home))
        started[-1].stop()
        middle.chmod(0o700)
        with pytest.raises(StartError, match=rf"cannot enter {middle} .*chmod o\+x {middle}"):
            Embedded.start(home)


@pytest.mark.skipif(not ROOT, reason="only root runs the database as another user")
def test_programs_that_others_cannot_reach_are_copied(folder: Path) -> None:
    account = account_of(folder / "postgres")
    installed = bundled()[0]
    hidden = folder / "hidden"
    shutil.copytree(installed.folder, hidden / installed.package.name / installed.folder.name)
    libraries = installed.package.with_name(f"{installed.package.name}.libs")
    shutil.copytree(libraries, hidden / libraries.name)
    hidden.chmod(0o700)
    closed = Installation(hidden / installed.package.name, installed.major)
    assert installed.works_for(account)
    assert not closed.works_for(account)
    copy = closed.copied_to(folder)
    assert copy.works_for(account)
    assert closed.copied_to(folder) == copy
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o700


def as_user(name: str, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python as another user; what it imports is read before, since that user may not reach it."""
    user = pwd.getpwnam(name)
    prologue = f"""
import encodings.idna, os, sys, psycopg, psutil, sqlalchemy, stringprep, tempfile
import sqlalchemy.dialects.postgresql.psycopg
from pathlib import Path
from vidarium.database import connect
from vidarium.database.embedded import Embedded
from vidarium.errors import StartError
from vidarium.home import Home
os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid}); os.chdir("/")
"""
    argv = [sys.executable, "-c", prologue + script, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(not ROOT, reason="only root can become an ordinary user")
def test_an_ordinary_user_beside_another(folder: Path, started: list[Embedded]) -> None:
    script = """
with Home.open(Path(sys.argv[1])) as home:
    server = Embedded.start(home)
    with connect(server.url, query_timeout=10).connect() as connection:
        print(connection.exec_driver_sql("SELECT 'it works'").scalar_one(), server.process.uids().real)
    server.stop()
"""
    with Home.open(folder / "root") as home:
        started.append(Embedded.start(home))
        for name in ("daemon", "nobody"):
            place = folder / name
            place.mkdir()
            os.chown(place, pwd.getpwnam(name).pw_uid, -1)
            ran = as_user(name, script, place / "home")
            assert ran.stdout == f"it works {pwd.getpwnam(name).pw_uid}\n", ran.stderr
        sockets = asked(started[0], "SHOW unix_socket_directories").strip('"')
        other = as_user("daemon", "psycopg.connect(host=sys.argv[1], user='vidarium', dbname='vidarium')", sockets)
        assert "Permission denied" in other.stderr


@pytest.mark.skipif(not ROOT, reason="only root can become an ordinary user")
def test_data_of_another_user_is_refused(folder: Path) -> None:
    place = folder / "home"
    place.mkdir()
    os.chown(place, pwd.getpwnam("daemon").pw_uid, -1)
    (place / "postgres").mkdir()
    ran = as_user("daemon", "Embedded.start(Home.open(Path(sys.argv[1])))", place)
    assert "belongs to user root" in ran.stderr


KILLED = """
import os, signal, sys
from pathlib import Path
from vidarium.database.embedded import Embedded
from vidarium.home import Home
home = Home.open(Path(sys.argv[1]))
server = Embedded.start(home)
print(server.process.pid, flush=True)
sys.stdin.read()
"""


def killed_server(folder: Path) -> psutil.Process:
    """The postmaster that a server leaves behind when it is killed."""
    argv = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        postmaster = psutil.Process(int(server.stdout.readline()))
        server.kill()
    return postmaster


def test_a_postmaster_left_behind_is_adopted(folder: Path, started: list[Embedded]) -> None:
    left = killed_server(folder / "home")
    assert left.is_running()
    with Home.open(folder / "home") as home:
        server = Embedded.start(home)
        started.append(server)
        assert server.process == left
        assert asked(server, "SELECT 1") == "1"
        server.stop()
        assert not left.is_running()


def test_a_killed_postmaster_is_replaced(folder: Path, started: list[Embedded]) -> None:
    with Home.open(folder / "home") as home:
        first = Embedded.start(home)
        asked(first, "CREATE TABLE mark AS SELECT 7 AS n")
        first.process.kill()
        first.process.wait(30)
        second = Embedded.start(home)
        started.append(second)
        assert second.process.pid != first.process.pid
        assert asked(second, "SELECT n FROM mark") == "7"


def test_a_postmaster_about_to_end_is_waited_for(folder: Path, started: list[Embedded]) -> None:
    left = killed_server(folder / "home")
    left.send_signal(signal.SIGINT)
    with Home.open(folder / "home") as home:
        server = Embedded.start(home)
        started.append(server)
        assert server.process != left
        assert asked(server, "SELECT 1") == "1"


def test_a_pid_file_whose_pid_is_another_program_now(folder: Path, started: list[Embedded]) -> None:
    with Home.open(folder / "home") as home:
        first = Embedded.start(home)
        file = first.place.data / "postmaster.pid"
        text_before = file.read_text()
        first.stop()
        account = first.place.account
        with subprocess.Popen(["sleep", "300"], **account.process) as stranger:
            file.write_text("\n".join([str(stranger.pid), *text_before.splitlines()[1:]]))
            shutil.chown(file, account.uid, account.gid)
            server = Embedded.start(home)
            started.append(server)
            assert asked(server, "SELECT 1") == "1"
            assert stranger.poll() is None
            stranger.kill()


def test_a_start_that_was_killed_in_the_middle_of_creating(folder: Path, started: list[Embedded]) -> None:
    with Home.open(folder / "home") as home:
        part = home.folder / "postgres.part"
        part.mkdir()
        (part / "PG_VERSION").write_text("18\n")
        started.append(Embedded.start(home))
        assert not part.exists()


def test_a_database_that_cannot_start_says_why(folder: Path) -> None:
    with Home.open(folder / "home") as home:
        server = Embedded.start(home)
        server.stop()
        with (server.place.data / "postgresql.conf").open("a") as file:
            file.write("no_such_setting = 1\n")
        with pytest.raises(StartError, match="no_such_setting"):
            Embedded.start(home)


def test_a_failed_creation_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Home.open(folder / "home") as home:
        monkeypatch.setattr("vidarium.database.embedded.SETTINGS", {"shared_buffers": "nonsense"})
        with pytest.raises(StartError, match=r"(?s)could not be created.*nonsense"):
            Embedded.start(home)
        assert not home.postgres.exists()


def older() -> Installation:
    versions = bundled()
    if len(versions) < 2:
        pytest.skip("the wheel holds one version of PostgreSQL only")
    return versions[-1]


def test_data_of_another_version_stops_the_start_and_the_commands_move_it(
    folder: Path, started: list[Embedded]
) -> None:
    old = older()
    with Home.open(folder / "a home") as home:
        data = home.folder / "postgres"
        account: Account = account_of(data)
        account.own(data)
        account.run(old.program("initdb"), "-D", data, "-U", "vidarium", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses= -k '{data}'"
        account.run(old.program("pg_ctl"), "-w", "-D", data, "-l", data / "log", "-o", options, "start")
        argv = [old.program("psql"), "-h", data, "-U", "vidarium"]
        account.run(*argv, "-d", "postgres", "-c", "CREATE DATABASE vidarium")
        account.run(*argv, "-d", "vidarium", "-c", "CREATE TABLE mark AS SELECT 7 AS n")
        with pytest.raises(StartError, match=f"is of PostgreSQL {old.major}") as refused:
            Embedded.start(home)
        commands = [line.strip() for line in str(refused.value).splitlines()[1:]]
        moved = subprocess.run(["sh", "-c", "\n".join(commands)], capture_output=True, text=True, check=False)
        assert moved.returncode == 0, moved.stderr
        server = Embedded.start(home)
        started.append(server)
        assert asked(server, "SELECT n FROM mark") == "7"
        assert asked(server, "SHOW shared_buffers") == "256MB"
        assert commands == list(moving_steps(server.place, str(old.major)))


def test_a_home_has_one_server(folder: Path) -> None:
    with Home.open(folder / "home") as home:
        script = "import sys; from pathlib import Path; from vidarium.home import Home; Home.open(Path(sys.argv[1]))"
        argv = [sys.executable, "-c", script, str(folder / "home")]
        ran = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert f"held by another server, process {os.getpid()}" in ran.stderr
        first = home.server_id
    with Home.open(folder / "home") as again:
        assert again.server_id == first
        for private in (again.scratch, again.blobs):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        for private in (again.folder / "lock", again.folder / "server-id"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_home_that_cannot_be_used(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(StartError, match="cannot be used"):
        Home.open(folder / "file" / "home")
    with pytest.raises(StartError, match="cannot be used"):
        Home.open(folder / "file")
    (folder / "server-id").write_text("nonsense")
    with pytest.raises(StartError, match="server-id"):
        Home.open(folder)


def test_no_terminal_ends_it(folder: Path, started: list[Embedded]) -> None:
    with Home.open(folder / "home") as home:
        server = Embedded.start(home)
        started.append(server)
        assert os.getsid(server.process.pid) == server.process.pid != os.getsid(0)


def test_the_url_is_one_of_psycopg(postgres: Embedded) -> None:
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
