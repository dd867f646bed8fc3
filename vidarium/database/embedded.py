"""The embedded PostgreSQL of a home: made, started or adopted, stopped.

Whoever can enter the folder of its socket is let in as the owner of the database, without a password. That folder and
the data belong to one system user and are closed to all others; there is no TCP port.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import structlog
from sqlalchemy import URL

from vidarium.database.installation import Account, Installation, account_of, bundled
from vidarium.errors import StartError
from vidarium.home import Home

NAME = "vidarium"
"""The database, and the role that owns it."""

_PORT = "5432"  # names the socket's file, nothing else
_SOCKET_PATH = 103  # bytes: 107 on Linux, 103 on macOS
_START_SECONDS = 300  # of recovery after a crash, at most
_STOP_SECONDS = 60

SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",  # disks without a moving head
    "wal_compression": "on",
    "max_parallel_workers_per_gather": "0",  # the cores belong to the encodes,
    "max_parallel_maintenance_workers": "0",  # and a container's /dev/shm is small
    "log_min_messages": "fatal",  # an error of a statement is the server's to log
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Written into `postgresql.conf` of a new database; whoever runs a large library changes them there."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a database lies, whose it is, and the programs for it."""

    data: Path
    account: Account
    programs: Installation

    @property
    def log(self) -> Path:
        return self.data.with_name("postgres.log")


class Embedded:
    """A running PostgreSQL. `url` is for `database.connect`."""

    def __init__(self, place: Place, process: psutil.Process, sockets: Path) -> None:
        self.url = _url(sockets)
        self.place = place
        self.process = process
        self._sockets = sockets

    @classmethod
    def start(cls, home: Home) -> Embedded:
        """The home's database: created if need be, adopted if a killed server left it running, else started.

        Raises StartError if it cannot run here, or is of another major version.
        """
        place = _place(home)
        if not place.data.exists():
            _create(place)
        if place.data != home.postgres.resolve():
            home.postgres.symlink_to(place.data)
        _check_version(place)
        process, sockets = _running(place, _socket_folder(home, place))
        with psycopg.connect(_conninfo(sockets), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
                connection.execute(f"CREATE DATABASE {NAME}")
        return cls(place, process, sockets)

    @staticmethod
    def url_beside(home: Home) -> str:
        """The URL of the database that the server of a held home runs."""
        return _url(_socket_folder(home, _place(home)))

    def stop(self) -> None:
        """End it: what is open is rolled back, what is committed is on disk."""
        for order, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                self.process.send_signal(order)
                self.process.wait(seconds)
            if not _alive(self.process):
                break
        with suppress(OSError):
            self._sockets.rmdir()


def _url(sockets: Path) -> str:
    address = URL.create(
        "postgresql+psycopg", username=NAME, database=NAME, query={"host": str(sockets), "port": _PORT}
    )
    return address.render_as_string()


def _conninfo(sockets: Path) -> str:
    return psycopg.conninfo.make_conninfo(
        host=str(sockets), port=_PORT, user=NAME, dbname="postgres", connect_timeout=10
    )


# --- Where ------------------------------------------------------------------------------------------------------------


def _place(home: Home) -> Place:
    """Under the home; or, where the user of PostgreSQL cannot reach that, outside, with a link in the home."""
    if home.postgres.is_symlink() and not home.postgres.exists():
        raise StartError(
            f"The database of this home is gone: {home.postgres} points to {home.postgres.readlink()}."
            " Put it back, or remove the link to begin with an empty one."
        )
    data = home.postgres.resolve()
    account = account_of(data)
    closed = account.blocked(data.parent)
    if closed and not data.exists():
        data = _outside(home) / "postgres"
        account = account_of(data)
        log.warning("the database lies outside the home", folder=str(data), user=account.name, closed=str(closed))
        closed = account.blocked(data.parent)
    if closed:
        raise StartError(
            f"PostgreSQL runs as the user {account.name}, who cannot enter {closed} on the way to its data, {data}."
            f" Allow that with: chmod o+x {closed}"
        )
    programs = bundled()[0]
    if not programs.works_for(account):
        programs = programs.copied_to(data.parent)
    return Place(data, account, programs)


def _outside(home: Home) -> Path:
    """A folder for the data of a home that is closed to others. Its name cannot be guessed, so nobody else took it."""
    temporary = Path(tempfile.gettempdir()).resolve()
    base = temporary if home.folder.is_relative_to(temporary) else Path("/var/lib")
    folder = base / f"{NAME}-{home.server_id}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder


def _socket_folder(home: Home, place: Place) -> Path:
    """A folder with a short name that cannot be guessed, for this database only; it may not exist yet."""
    name = hashlib.sha256(f"{home.server_id} {place.data}".encode()).hexdigest()[:24]
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        folder = Path(base).resolve() / f"{NAME}-{name}"
        fits = len(os.fsencode(folder / f".s.PGSQL.{_PORT}")) <= _SOCKET_PATH
        if fits and os.access(base, os.W_OK | os.X_OK) and place.account.blocked(folder.parent) is None:
            return folder
    raise StartError("There is no folder for the database's socket: neither TMPDIR nor /tmp can be used.")


def _open_sockets(folder: Path, account: Account) -> None:
    try:
        account.own(folder)
    except FileExistsError:
        found = folder.lstat()
        if not folder.is_dir() or folder.is_symlink() or found.st_uid != account.uid or found.st_mode & 0o077:
            raise StartError(f"{folder} is not a private folder of {account.name}. Remove it.") from None


# --- Create -----------------------------------------------------------------------------------------------------------


def _create(place: Place) -> None:
    """Make an empty database beside its place, then move it there: a killed start leaves nothing half made."""
    part = place.data.with_name("postgres.part")
    for characters in ("C.UTF-8", "C"):  # the second where the system does not have the first
        shutil.rmtree(part, ignore_errors=True)
        place.account.own(part)
        made = place.account.run(*_initdb(place.programs, part, characters))
        if made.returncode == 0:
            part.rename(place.data)
            return
    shutil.rmtree(part, ignore_errors=True)
    raise StartError(f"The database could not be created in {place.data}: {made.stdout.strip()[-2000:]}")


def _initdb(programs: Installation, data: Path, characters: str) -> tuple[str | Path, ...]:
    return (
        programs.program("initdb"),
        f"--pgdata={data}",
        f"--username={NAME}",
        "--auth=trust",  # see the module's text
        "--encoding=UTF8",
        "--locale=C",
        f"--lc-ctype={characters}",  # full text asks it what is a letter
        "--locale-provider=builtin",  # the same order and case on every machine
        "--builtin-locale=C.UTF-8",
        *(f"--set={name}={value}" for name, value in SETTINGS.items()),
    )


def _check_version(place: Place) -> None:
    version = (place.data / "PG_VERSION").read_text().strip()
    if version != str(place.programs.major):
        steps = "\n".join(f"    {step}" for step in moving_steps(place, version))
        raise StartError(
            f"The database in {place.data} is of PostgreSQL {version}; this server brings {place.programs.major}."
            f" These commands move it, where the first line says where the programs of {version} are:\n{steps}"
        )


def moving_steps(place: Place, version: str) -> tuple[str, ...]:
    """The shell commands that move a database of another major version into one of ours; the old data stays beside."""
    theirs = [installation for installation in bundled() if str(installation.major) == version]
    old = theirs[0].bin if theirs else Path(f"/usr/lib/postgresql/{version}/bin")
    data, kept, new = (shlex.quote(str(it)) for it in (place.data, f"{place.data}.{version}", place.programs.bin))
    run = f"runuser -u {place.account.name} -- " if place.account.is_other else ""
    sockets = '-o "-c listen_addresses= -k $SOCKETS"'
    return (
        f"OLD={shlex.quote(str(old))}; NEW={new}; DATA={data}; KEPT={kept}; cd /; set -e",
        'SOCKETS=$(mktemp -d); chmod 711 "$SOCKETS"; mkdir "$SOCKETS/s"; SOCKETS="$SOCKETS/s"',
        *([f'chown {place.account.name} "$SOCKETS"'] if run else []),
        f'{run}"$OLD/pg_ctl" -D "$DATA" -m fast stop || true',
        'mv "$DATA" "$KEPT"',
        f'{run}"$OLD/pg_ctl" -w -D "$KEPT" -l "$KEPT/move.log" {sockets} start',
        f'{run}"$NEW/pg_dump" -h "$SOCKETS" -U {NAME} -Fc -f "$KEPT/move.dump" {NAME}',
        f'{run}"$OLD/pg_ctl" -w -D "$KEPT" stop',
        *([f'mkdir -m 700 "$DATA"; chown {place.account.name} "$DATA"'] if run else []),
        run + shlex.join(map(str, _initdb(place.programs, place.data, "C.UTF-8"))),
        f'{run}"$NEW/pg_ctl" -w -D "$DATA" -l "$KEPT/move.log" {sockets} start',
        f'{run}"$NEW/createdb" -h "$SOCKETS" -U {NAME} {NAME}',
        f'{run}"$NEW/pg_restore" -h "$SOCKETS" -U {NAME} --exit-on-error -d {NAME} "$KEPT/move.dump"',
        f'{run}"$NEW/pg_ctl" -w -D "$DATA" stop',
        'rmdir "$SOCKETS" "${SOCKETS%/s}"',
    )


# --- Run --------------------------------------------------------------------------------------------------------------


def _running(place: Place, sockets: Path) -> tuple[psutil.Process, Path]:
    """The postmaster that answers, and the folder of its socket."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        found = _left_behind(place.data, sockets)
        before = place.log.stat().st_size if place.log.exists() else 0
        process, folder = found or (_launch(place, sockets), sockets)
        if _answers(process, folder, deadline):
            return process, folder
        if found:
            continue  # it was about to end
        said = place.log.read_text(errors="replace")[before:]
        if "still in use" not in said or time.monotonic() > deadline:
            with suppress(OSError):
                sockets.rmdir()
            raise StartError(f"The database in {place.data} does not start: {said.strip()[-2000:]}")
        time.sleep(0.2)  # what is left of a killed one ends by itself


def _left_behind(data: Path, sockets: Path) -> tuple[psutil.Process, Path] | None:
    """The postmaster that already runs on `data`. Its pid file is removed if the pid is of some other program now."""
    file = data / "postmaster.pid"
    try:
        lines = file.read_text().splitlines()  # pid, data, start, port, socket folder, …
        process = psutil.Process(int(lines[0]))
        if process.name() == "postgres" and Path(process.cwd()) == data and _alive(process):
            return process, Path(lines[4]) if len(lines) > 4 and lines[4] else sockets
        if _alive(process):
            file.unlink()  # PostgreSQL would take the other program for itself and refuse
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        pass
    return None


def _launch(place: Place, sockets: Path) -> psutil.Process:
    _open_sockets(sockets, place.account)
    fixed = {
        "listen_addresses": "",
        "port": _PORT,
        "unix_socket_directories": f'"{sockets}"',
        "unix_socket_permissions": "0700",
    }
    argv = [str(place.programs.program("postgres")), "-D", str(place.data)]
    for name, value in fixed.items():
        argv += ["-c", f"{name}={value}"]
    with os.fdopen(os.open(place.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
        return psutil.Popen(argv, stdout=output, stderr=subprocess.STDOUT, **place.account.process)


def _answers(process: psutil.Process, sockets: Path, deadline: float) -> bool:
    """Wait until it takes connections; False if it ended instead."""
    while _alive(process):
        try:
            psycopg.connect(_conninfo(sockets)).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise StartError(f"The database does not answer (process {process.pid}): {error}") from None
            time.sleep(0.05)
        else:
            return True
    return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
