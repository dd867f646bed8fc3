"""A real server: `vidarium serve` as a process of its own, and a client for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psutil

T = TypeVar("T")

ADMINISTRATOR = ("Administrator", "Administrator")
START_SECONDS = 120


def eventually(look: Callable[[], T], *, within: float = 120, what: str = "") -> T:
    """The first true answer of `look`; fails with the last answer when the time is up."""
    deadline = time.monotonic() + within
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {what or look} (last answer: {answer!r})"
        time.sleep(0.05)


@dataclass
class Server:
    """A server process on a home. `settings` are environment variables without their prefix."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    log: Path | None = None

    def start(self) -> Server:
        self.log = self.home.parent / f"{self.home.name}.log"
        mark = self.log.stat().st_size if self.log.exists() else 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIDARIUM_")}
        environment |= {f"VIDARIUM_{name.upper()}": value for name, value in self.settings.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vidarium", "serve", "--home", str(self.home), "--port", "0", *self.arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.url = eventually(lambda: self._ready(mark), within=START_SECONDS, what=f"ready, see {self.log}")
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `vidarium` on this home."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIDARIUM_")}
        return subprocess.run(
            [sys.executable, "-m", "vidarium", *arguments, "--home", str(self.home)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )

    def _ready(self, mark: int) -> str | None:
        assert self.process
        assert self.log
        text = self.log.read_bytes()[mark:].decode(errors="replace")
        assert self.process.poll() is None, f"the server ended: {text[-3000:]}"
        found = re.search(r"http://[^\s\"]+/nuxeo", text) if "ready" in text else None
        return found[0] if found else None

    @property
    def output(self) -> str:
        assert self.log
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, as an operator does; the exit status."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """kill -9: the server alone, not its children."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- HTTP

    def client(self, user: tuple[str, str] = ADMINISTRATOR) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api/v1/", auth=user, timeout=60)

    def ffmpegs(self) -> list[psutil.Process]:
        """The living ffmpeg processes that work in this home's scratch folder."""
        found = []
        for process in psutil.process_iter(["name", "cmdline", "status"]):
            words = " ".join(process.info["cmdline"] or ())
            if "ffmpeg" in (process.info["name"] or "") and str(self.home) in words:
                found.append(process)
        return found


class Api:
    """What the tests do over HTTP, with the status checked."""

    def __init__(self, server: Server, user: tuple[str, str] = ADMINISTRATOR) -> None:
        self.server = server
        self.http = server.client(user)

    def call(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else answer

    def upload(self, file: Path, *, mime_type: str = "video/mp4", name: str | None = None) -> dict[str, str]:
        """Upload into a batch of its own; the value for a blob property."""
        batch = self.call("POST", "upload", status=201)["batchId"]
        headers = {"X-File-Name": quote(name or file.name), "X-File-Type": mime_type}
        self.call("POST", f"upload/{batch}/0", status=201, content=file.read_bytes(), headers=headers)
        return {"upload-batch": batch, "upload-fileId": "0"}

    def create(self, name: str, kind: str = "Video", parent: str = "/default-domain/workspaces", **props: Any) -> Any:
        body = {"entity-type": "document", "type": kind, "name": name, "properties": {"dc:title": name, **props}}
        return self.call("POST", f"path{parent}", status=201, json=body, headers={"properties": "*"})

    def video(self, file: Path, name: str | None = None, parent: str = "/default-domain/workspaces") -> Any:
        """A Video document with an uploaded file."""
        return self.create(name or file.name, parent=parent, **{"file:content": self.upload(file, name=name)})

    def document(self, uid: str) -> Any:
        return self.call("GET", f"id/{uid}", headers={"properties": "*"})

    def renditions(self, uid: str) -> list[str]:
        return [entry["name"] for entry in self.document(uid)["properties"]["vid:transcodedVideos"]]

    def recompute(self, *, status: int = 200, **fields: Any) -> Any:
        return self.call("POST", "management/videos/recompute", status=status, data=fields)

    def status(self, command: str) -> Any:
        return self.call("GET", f"management/bulk/{command}")

    def finished(self, command: str, *, within: float = 240) -> Any:
        def done() -> Any:
            status = self.status(command)
            return status if status["state"] in {"COMPLETED", "ABORTED"} else None

        return eventually(done, within=within, what=f"command {command}")

    def outcomes(self, command: str, **params: Any) -> list[Any]:
        found: list[Any] = self.call("GET", f"management/bulk/{command}/documents", params=params)["entries"]
        return found

    def processed(self, uid: str, *, within: float = 120) -> Any:
        """The document, once the work of its upload has given it its info."""
        return eventually(
            lambda: d if (d := self.document(uid))["properties"]["vid:info"]["width"] else None, within=within
        )
