"""What an interrupted import left half sent: which upload batch holds the first chunks of which file.

One small file per unfinished upload, so that several imports at once need no lock. The server is the truth about what
has arrived; a lost journal only costs sending those chunks again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vidarium.cli.discovery import LocalFile

KEPT_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Upload:
    """An upload batch that was opened for a file, and the chunk size chosen for it (bytes)."""

    batch: str
    chunk_size: int


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/vidarium/uploads`, else below `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if os.path.isabs(cache) else Path("~/.cache").expanduser()
    return base / "vidarium" / "uploads"


class Journal:
    """The unfinished uploads to one server as one user. A cache folder that cannot be written is done without."""

    def __init__(self, folder: Path, url: str, user: str) -> None:
        self._folder = folder
        self._account = (url, user)

    def find(self, file: LocalFile) -> Upload | None:
        """The unfinished upload of this very file: same path, size and time of change."""
        try:
            stored = json.loads(self._entry(file).read_text())
            return Upload(str(stored["batch"]), int(stored["chunk_size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, file: LocalFile, upload: Upload) -> None:
        """Note an upload before its first chunk is sent."""
        entry = self._entry(file)
        draft = entry.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text(json.dumps(asdict(upload)))
            draft.replace(entry)

    def forget(self, file: LocalFile) -> None:
        """Its document exists now, or its batch is gone."""
        with contextlib.suppress(OSError):
            self._entry(file).unlink(missing_ok=True)

    def prune(self) -> None:
        """Drop entries so old that their batches are long gone from any server."""
        with contextlib.suppress(OSError):
            for entry in self._folder.iterdir():
                if entry.stat().st_mtime < time.time() - KEPT_SECONDS:
                    entry.unlink()

    def _entry(self, file: LocalFile) -> Path:
        parts = (*self._account, os.path.abspath(file.path), str(file.length), str(file.modified_ns))
        return self._folder / hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
