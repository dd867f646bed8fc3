"""`vidarium demo`: the whole way of one video, on a server of its own that is gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import imageio_ffmpeg
import typer
from rich.console import Console
from rich.table import Table

from vidarium.cli.client import Client, Refused, pages
from vidarium.cli.demo_check import Measured, faults, measure
from vidarium.cli.demo_server import running_server
from vidarium.cli.discovery import LocalFile, Problem, look_at
from vidarium.cli.journal import Journal
from vidarium.cli.options import DEFAULT_USER
from vidarium.cli.progress import clean, parse, size_text
from vidarium.cli.sending import Sender
from vidarium.cli.target import Target
from vidarium.cli.watch import show_to_end
from vidarium.errors import MediaError
from vidarium.media.conversions import CONVERSIONS, Conversion

CLIP_SECONDS = 12
WORKSPACE = "/default-domain/workspaces/demo"
POLL = 0.5


@dataclass(frozen=True)
class Place:
    """Where the demo happens: a temporary folder, and the console it tells on."""

    folder: Path
    console: Console

    def say(self, text: str) -> None:
        """A line of text as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Row:
    """One line of the table. `seconds`: what the encode took, if the server says so. `faults`: empty if all is well."""

    name: str
    measured: Measured | None
    seconds: float | None
    faults: tuple[str, ...]


def demo(
    video: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="A video of yours; without: a clip is made.")
    ] = None,
) -> None:
    """Show everything once: start a server, upload a video, recompute its renditions, check them, stop.

    Nothing is left behind, and no other server is touched.

    \b
    Examples:
      vidarium demo
      vidarium demo holiday.mov

    \b
    Exit status: 0 only if every rendition is as it must be.
    """
    with stopped_by_signals(), temporary_folder() as folder:
        place = Place(folder, Console())
        file = source_file(video, place)
        source = measure(file.path)
        place.say("Starting a server …")
        with running_server(folder) as url, Client(url, DEFAULT_USER, DEFAULT_USER) as client:
            place.say(f"It listens at {url}")
            rows = tour(client, file, source, place)
        place.console.print(table(source, rows))
    wrong = [f"{each.name}: {fault}" for each in rows for fault in each.faults]
    for line in wrong:
        place.say(f"WRONG  {line}")
    if wrong:
        raise typer.Exit(1)
    place.say("All renditions are as they must be.")


def tour(client: Client, file: LocalFile, source: Measured, place: Place) -> list[Row]:
    """Upload the file, recompute all conversions, download and check each rendition."""
    place.say(f"Uploading {clean(file.path.name)} ({size_text(file.length)}) …")
    target = Target(client, WORKSPACE)
    Sender(client, target, Journal(place.folder, client.url, client.user), threading.Event()).send(file, ignore)
    command = parse(client.post_form("management/videos/recompute", {})).command
    place.say(f"Recomputing: command {command}")
    ended = show_to_end(client, command, place.console, interval=POLL)
    [document] = pages(client, f"id/{target.folder(()).uid}/@children", {"pageSize": 10}, "*")
    renditions = fetch(client, document, place.folder)
    seconds = encode_seconds(client, command)
    rows = [
        row(conversion, renditions.get(name), source, seconds.get(name)) for name, conversion in CONVERSIONS.items()
    ]
    return [*rows, Row("the command", None, None, (ended.state,))] if ended.failed else rows


def ignore(count: int) -> None:
    """The upload goes to this machine: its progress is not worth showing."""


def fetch(client: Client, document: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Download every rendition of a document; the files by the renditions' names."""
    files = {}
    for index, rendition in enumerate(document["properties"].get("vid:transcodedVideos") or ()):
        files[str(rendition["name"])] = folder / f"rendition-{index}"
        client.download(rendition["content"]["data"], folder / f"rendition-{index}")
    return files


def row(conversion: Conversion, file: Path | None, source: Measured, seconds: float | None) -> Row:
    """What the file of a conversion is, compared with the source and the recipe."""
    if file is None:
        return Row(conversion.name, None, seconds, ("there is no such rendition",))
    try:
        measured = measure(file)
    except MediaError as error:
        return Row(conversion.name, None, seconds, (str(error),))
    return Row(conversion.name, measured, seconds, tuple(faults(source, measured, conversion)))


def encode_seconds(client: Client, command: str) -> dict[str, float]:
    """Seconds that each conversion of the command's document took, by name, as far as the server tells."""
    try:
        entries = list(pages(client, f"management/bulk/{command}/documents", {"pageSize": 10}))
    except Refused:
        return {}
    outcomes = [outcome for entry in entries for outcome in entry.get("conversions") or ()]
    return {str(each["name"]): float(each["seconds"]) for each in outcomes if each.get("seconds") is not None}


def table(source: Measured, rows: list[Row]) -> Table:
    """Name, codec, size, duration, bytes, seconds: the source first, then each rendition."""
    shown = Table("name", "codec", "size", "duration", "bytes", "seconds")
    for each in (Row("source", source, None, ()), *rows):
        seconds = "-" if each.seconds is None else f"{each.seconds:.1f}"
        what = each.measured
        if what is None:
            shown.add_row(each.name, "-", "-", "-", "-", seconds)
        else:
            size = f"{what.width}x{what.height}"
            shown.add_row(each.name, what.codec, size, f"{what.duration:.2f} s", str(what.length), seconds)
    return shown


def source_file(video: Path | None, place: Place) -> LocalFile:
    """The user's video, or a clip made in the folder. Raises typer.BadParameter, MediaError."""
    if video is None:
        video = place.folder / "demo.mp4"
        place.say(f"Making a clip: 1920x1080, {CLIP_SECONDS} s, with sound …")
        make_clip(video)
    found = look_at(video, ())
    if isinstance(found, Problem):
        raise typer.BadParameter(f"{clean(str(video))} {found.reason}")
    return found


def make_clip(path: Path) -> None:
    """A test picture with a counter and a tone."""
    ffmpeg = os.environ.get("VIDARIUM_FFMPEG") or imageio_ffmpeg.get_ffmpeg_exe()
    argv = (
        *(ffmpeg, "-nostdin", "-v", "error"),  # ffmpeg would swallow our own input
        *("-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=25:duration={CLIP_SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={CLIP_SECONDS}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)),
    )
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MediaError(f"ffmpeg cannot be started: {error}") from None
    if done.returncode:
        raise MediaError(f"ffmpeg could not make the clip: {clean(done.stderr[-500:])}", argv=argv)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards.

    Started by root, the embedded database runs as another user, who must be able to walk through this folder.
    """
    with tempfile.TemporaryDirectory(prefix="vidarium-demo-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            os.chmod(name, 0o711)
        yield Path(name)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order, with its server."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
