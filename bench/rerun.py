"""How fast an unchanged library is gone through again: nothing is encoded, no worker is started.

    python bench/rerun.py [DOCUMENTS]

Prints documents per second of a recompute in which every rendition is known already.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.clips import make_clip
from tests.server import Api, Server


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="vidarium-bench-") as folder:
        Path(folder).chmod(0o711)
        with Server(Path(folder) / "home") as server:
            api = Api(server)
            clip = make_clip(Path(folder) / "clip.mp4", seconds=1)
            first = api.video(clip)
            _finish(api)
            content = api.document(first["uid"])["properties"]["file:content"]

            def copy(n: int) -> None:
                api.create(f"copy{n}", **{"file:content": content})

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(copy, range(count)))
            _finish(api, within=600)
            started = time.monotonic()
            command = api.recompute(query="SELECT * FROM Video")["commandId"]
            status = api.finished(command, within=600)
            elapsed = time.monotonic() - started
            assert status["processed"] == status["total"] == count + 1
            print(f"rerun of {count + 1} unchanged documents: {(count + 1) / elapsed:,.0f} documents/s")


def _finish(api: Api, within: float = 120) -> None:
    """Wait for the work of the uploads, by a recompute that waits for it."""
    api.finished(api.recompute(query="SELECT * FROM Video")["commandId"], within=within)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
