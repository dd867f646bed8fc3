"""Test clips, made by ffmpeg on the spot."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from vidarium.media.ffmpeg import find_ffmpeg

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg quietly; fails with its words if it does."""
    argv = [str(find_ffmpeg(None)), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stderr}"


def make_clip(
    path: Path,
    *,
    seconds: float = 2,
    size: str = "640x360",
    audio: bool = True,
    rate: int = 25,
    filters: str = "null",
    options: Sequence[str] = (),
) -> Path:
    """A moving test picture with a tone. The container follows the path's suffix; `filters` act on the picture."""
    codecs = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
    video = ["-c:v", codecs[path.suffix]] if path.suffix in codecs else []
    fast = {"libx264": ["-preset", "ultrafast"], "libvpx-vp9": ["-deadline", "realtime", "-cpu-used", "8"]}
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    if audio:
        inputs += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"]
    shown = f"{filters},format=yuv420p" if size_is_even(size) else f"{filters},format=yuv444p"
    ffmpeg(*inputs, "-vf", shown, *video, *(fast[video[1]] if video else ()), *options, path)
    return path


def size_is_even(size: str) -> bool:
    """4:2:0 needs even sides; odd clips are made in 4:4:4."""
    return all(int(side) % 2 == 0 for side in size.split("x"))


def make_text(path: Path) -> Path:
    """A text, whatever its name says."""
    path.write_text("This is no video.\n" * 200)
    return path


def make_empty(path: Path) -> Path:
    """A file of no bytes."""
    path.write_bytes(b"")
    return path


def make_truncated(path: Path, *, seconds: float = 4, share: float = 0.6) -> Path:
    """An MP4 with its index in front, cut off: its beginning can be played."""
    whole = make_clip(path.with_name(f"whole-{path.name}"), seconds=seconds, options=("-movflags", "+faststart"))
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    whole.unlink()
    return path


def make_headless(path: Path) -> Path:
    """An MP4 whose index was at its end, cut off: nothing can be played."""
    whole = make_clip(path.with_name(f"whole-{path.name}"))
    path.write_bytes(whole.read_bytes()[:20_000])
    whole.unlink()
    return path


def make_audio_only(path: Path) -> Path:
    """A tone in an MP4."""
    ffmpeg("-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac", path)
    return path


def make_rotated(path: Path, *, degrees: int = 90) -> Path:
    """A phone's clip: 640x360 stored, to be shown turned."""
    upright = make_clip(path.with_name(f"upright-{path.name}"))
    ffmpeg("-display_rotation", str(degrees), "-i", upright, "-c", "copy", path)
    upright.unlink()
    return path


def make_with_cover(path: Path) -> Path:
    """640x360 with a cover picture of 600x500 as another video stream."""
    upright, cover = make_clip(path.with_name(f"plain-{path.name}")), path.with_name("cover.jpg")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=600x500", "-frames:v", "1", "-update", "1", cover)
    ffmpeg("-i", upright, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic", path)
    upright.unlink()
    cover.unlink()
    return path


def make_hdr(path: Path) -> Path:
    """10 bits, BT.2020, PQ."""
    colours = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc,format=yuv420p10le"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=1", "-vf", colours,
        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", path,
    )  # fmt: skip
    return path


def real_clip(name: str) -> Path:
    """One of the real clips; skips the test where they are not at hand."""
    path = MEDIA / name
    if not path.exists():
        pytest.skip(f"the real clip {name} is not at hand")
    return path
