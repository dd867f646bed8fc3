"""Which files an import sends: video files under the given paths, and what cannot be sent, in words."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidarium.cli.progress import clean

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gxf", ".m1v", ".m2t", ".m2ts", ".m2v",
    ".m4v", ".mj2", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt",
    ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on
APPLE_DOUBLE = "._"


@dataclass(frozen=True)
class LocalFile:
    """A regular file to send. `folders`: the titles of its folders below the target. `length` in bytes."""

    path: Path
    folders: tuple[str, ...]
    length: int
    modified_ns: int

    @property
    def title(self) -> str:
        """Its name as the server gets it."""
        return wire_name(self.path.name)


@dataclass(frozen=True)
class Problem:
    """Something that is not sent. `fatal`: it counts as a failure; else it was left out on purpose."""

    path: Path
    reason: str
    fatal: bool = True


def wire_name(name: str) -> str:
    """A local name as JSON and headers can carry it: bytes that are no UTF-8 and control characters are replaced."""
    return clean(name)


def discover(paths: list[Path]) -> Iterator[LocalFile | Problem]:
    """Every file to send. What lies in a given folder goes to the target, its subfolders become folders there.

    A file that is named itself is taken whatever its extension.
    """
    for path in paths:
        if path.is_dir():
            yield from _folder(path, (), frozenset())
        else:
            yield look_at(path, ())


def _folder(path: Path, folders: tuple[str, ...], above: frozenset[tuple[int, int]]) -> Iterator[LocalFile | Problem]:
    """`above`: device and inode of every folder on the way down. A link back to one of them would never end."""
    try:
        info = path.stat()
        entries = sorted(os.scandir(path), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        yield Problem(path, f"cannot be read: {error.strerror}")
        return
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        yield Problem(path, "links back to a folder above it: not followed", fatal=False)
        return
    for entry in entries:
        if os.path.isdir(entry):  # unlike the entry's own method it never raises
            yield from _folder(path / entry.name, (*folders, wire_name(entry.name)), above | {identity})
        elif os.path.splitext(entry.name)[1].lower() in VIDEO_EXTENSIONS:
            yield look_at(path / entry.name, folders)


def look_at(path: Path, folders: tuple[str, ...]) -> LocalFile | Problem:
    """One file as it is now. Only regular files: a named pipe would be waited for without end."""
    try:
        info = path.stat()
    except OSError as error:
        what = "is a link to nothing" if path.is_symlink() else f"cannot be read: {error.strerror}"
        return Problem(path, what)
    if not stat.S_ISREG(info.st_mode):
        return Problem(path, "is no regular file: left out", fatal=False)
    if path.name.startswith(APPLE_DOUBLE):
        return Problem(path, "is a companion file of macOS, no video: left out", fatal=False)
    if not os.access(path, os.R_OK):
        return Problem(path, "cannot be read: Permission denied")
    return LocalFile(path, folders, info.st_size, info.st_mtime_ns)
