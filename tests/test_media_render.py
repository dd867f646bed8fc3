"""Real renders by the real ffmpeg. What is expected of a conversion comes from its row in the table."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import psutil
import pytest
from clips import (
    make_clip,
    make_hdr,
    make_rotated,
    make_truncated,
    make_with_cover,
    real_clip,
)

from vidarium.errors import MediaError, StartError
from vidarium.media.conversions import CONVERSIONS, Codec, Conversion
from vidarium.media.ffmpeg import Ffmpeg, Input, build, capabilities, find_ffmpeg, missing, open_ffmpeg
from vidarium.media.probe import probe
from vidarium.media.process import Cancelled, Limits, Watch, run
from vidarium.media.render import Job, Renders, render
from vidarium.media.sizes import rendition_size

MEMORY = 8_000_000_000
MP4 = CONVERSIONS["MP4 480p"]
ALL = tuple(CONVERSIONS.values())
BROKEN = replace(MP4, name="broken", video=Codec("h264", "libx264", ("-preset", "nonsense")))


@pytest.fixture(scope="module")
def tool() -> Ffmpeg:
    return open_ffmpeg(find_ffmpeg(None), threads=2)


@pytest.fixture
def rendered(tool: Ffmpeg, tmp_path: Path) -> Callable[..., Renders]:
    """Render a file in a scratch folder."""

    def go(path: Path, *conversions: Conversion, watch: Watch | None = None, **stills: bool) -> Renders:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        job = Job(Input(path, probe(path)), scratch, MEMORY, conversions, **stills)
        return render(job, tool, watch or Watch())

    return go


def test_the_binary_can_do_every_conversion(tool: Ffmpeg) -> None:
    assert {name: missing(row, tool.capabilities) for name, row in CONVERSIONS.items()} == dict.fromkeys(
        CONVERSIONS, ()
    )
    assert tool.maps_tones
    assert build(tool.path)[0].isalnum()


def test_a_wrong_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no-such-ffmpeg"):
        find_ffmpeg("no-such-ffmpeg")
    with pytest.raises(StartError, match="does not run"):
        capabilities(tmp_path / "nothing")


def test_every_conversion_gives_what_its_row_says(rendered, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", size="1280x720")
    size = rendition_size(probe(source).display, 480)
    seen: list[float] = []
    result = rendered(source, *ALL, watch=Watch(progress=seen.append))
    assert [r.conversion for r in result.renditions] == list(ALL)
    for rendition in result.renditions:
        assert rendition.reason is None
        assert rendition.path is not None
        made = probe(rendition.path)
        assert made.info == rendition.info
        codecs = [stream.codec.split(" ")[0] for stream in made.info.streams]
        assert codecs == [rendition.conversion.video.name, rendition.conversion.audio.name]
        assert (made.info.width, made.info.height) == (size.width, size.height) == (854, 480)
        assert made.info.duration == pytest.approx(2.0, abs=0.15)
        assert made.pixel_format == "yuv420p"
        assert rendition.path.suffix == rendition.conversion.container.extension
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(2.0, abs=0.1)


def test_mp4_starts_fast(rendered, tmp_path: Path) -> None:
    (made,) = rendered(make_clip(tmp_path / "in.mp4"), MP4).renditions
    data = made.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("conversion", ALL, ids=lambda c: c.name)
def test_the_references_sample_is_whole_and_not_enlarged(rendered, conversion: Conversion) -> None:
    (made,) = rendered(real_clip("sample.mpg"), conversion).renditions
    assert made.reason is None
    assert (made.info.width, made.info.height) == (320, 200)
    assert made.info.duration == pytest.approx(8.38, abs=0.1)
    assert made.info.frame_rate == pytest.approx(23.98, abs=0.1)


def test_a_phone_clip_is_shown_upright(rendered, tmp_path: Path) -> None:
    result = rendered(make_rotated(tmp_path / "phone.mp4"), *ALL, preview=True)
    for made in result.renditions:
        assert (made.info.width, made.info.height) == (270, 480)
        assert probe(made.path).rotation == 0
    assert [(view.still.size.width, view.still.size.height) for view in result.views] == [(197, 350), (360, 640)]


def test_odd_sizes(rendered, tmp_path: Path) -> None:
    for made in rendered(make_clip(tmp_path / "odd.mkv", seconds=1, size="641x361"), *ALL).renditions:
        assert (made.info.width, made.info.height) == (640, 360)


def test_square_pixels_and_no_sound(rendered, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "dv.mp4", seconds=1, size="720x576", filters="setsar=64/45", audio=False)
    for made in rendered(source, *ALL).renditions:
        assert (made.info.width, made.info.height) == (854, 480)
        assert probe(made.path).pixel_aspect in (None, 1)
        assert [stream.type for stream in made.info.streams] == ["Video"]


def test_interlaced_and_surround(rendered, tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "tv.mpg",
        size="720x576",
        filters="setfield=tff",
        options=("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-b:v", "4M", "-c:a", "ac3", "-ac", "6"),
    )
    assert probe(source).interlaced
    assert probe(source).audio_channels == 6
    (made,) = rendered(source, MP4).renditions
    assert made.reason is None
    assert not probe(made.path).interlaced
    assert probe(made.path).audio_channels == 2


def test_hdr_becomes_sdr(rendered, tmp_path: Path) -> None:
    for made in rendered(make_hdr(tmp_path / "hdr.mp4"), *ALL).renditions:
        probed = probe(made.path)
        assert (probed.transfer, probed.pixel_format) == ("", "yuv420p")


def test_a_varying_frame_rate_is_kept(rendered, tmp_path: Path) -> None:
    # of 25 frames a second, the first second keeps every fifth
    source = make_clip(
        tmp_path / "vfr.mkv", audio=False, filters="select='gt(n,24)+not(mod(n,5))'", options=("-fps_mode", "vfr")
    )
    mp4, *others = rendered(source, *ALL).renditions
    assert times(mp4.path) == pytest.approx(times(source), abs=0.005)
    for made in others:
        assert made.info.duration == pytest.approx(2.0, abs=0.2)


def times(path: Path) -> list[float]:
    """When each frame is shown, from the first one on."""
    with av.open(str(path)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    return [at - shown[0] for at in shown]


def test_cover_art_stays_out(rendered, tmp_path: Path) -> None:
    (made,) = rendered(make_with_cover(tmp_path / "film.mp4"), MP4).renditions
    assert (made.info.width, made.info.height) == (640, 360)
    assert len(made.info.streams) == 2


def test_what_can_be_read_of_a_cut_file_is_kept(rendered, tmp_path: Path) -> None:
    for made in rendered(make_truncated(tmp_path / "cut.mp4"), *ALL).renditions:
        assert made.reason is None
        assert 0.5 < made.info.duration < 3.9


def test_one_failing_conversion_keeps_the_others(rendered, tmp_path: Path) -> None:
    result = rendered(make_clip(tmp_path / "in.mp4", seconds=1), MP4, BROKEN, CONVERSIONS["WebM 480p"])
    first, broken, last = result.renditions
    assert first.path is not None
    assert last.path is not None
    assert (broken.path, broken.permanent) == (None, True)
    assert "nonsense" in broken.reason
    assert "nonsense" in broken.log


def test_an_encoder_that_is_not_there_is_named(rendered, tmp_path: Path) -> None:
    lacking = replace(MP4, name="future", video=Codec("h999", "libx999"))
    first, second = rendered(make_clip(tmp_path / "in.mp4", seconds=1), lacking, MP4).renditions
    assert "libx999" in first.reason
    assert not first.permanent
    assert second.path is not None


def test_storyboard_and_preview(rendered, tmp_path: Path) -> None:
    result = rendered(make_clip(tmp_path / "long.mp4", seconds=11, size="320x180"), storyboard=True, preview=True)
    assert [p.still.timecode for p in result.storyboard] == [0.0, 1.22, 2.44, 3.67, 4.89, 6.11, 7.33, 8.56, 9.78]
    assert [p.still.title for p in result.views] == ["Small", "StaticPlayerView"]
    assert result.notes == ()
    for picture in (*result.storyboard, *result.views):
        with av.open(str(picture.path)) as image:
            stream = image.streams.video[0]
            assert (stream.width, stream.height) == (picture.still.size.width, picture.still.size.height)


def test_frames_that_cannot_be_taken_are_noted(rendered, tmp_path: Path) -> None:
    source = make_truncated(tmp_path / "cut.mp4", seconds=12, share=0.5)
    result = rendered(source, storyboard=True, preview=True)
    assert 1 <= len(result.storyboard) < 9
    assert len(result.views) == 2
    (note,) = result.notes
    assert note.startswith("storyboard: no frame at ")


def test_a_clip_that_holds_no_frame_says_so(rendered, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", options=("-movflags", "+faststart"))
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = b"\xff" * (len(data) - start)
    source.write_bytes(data)
    result = rendered(source, *ALL, preview=True)
    for made in result.renditions:
        assert (made.path, made.permanent) == (None, True)
        assert made.reason
        assert made.log
    assert result.views == ()
    assert result.notes


def test_cancel_leaves_no_process(rendered, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=20, size="1280x720")
    asked: list[float] = []
    watch = Watch(cancelled=lambda: bool(asked), progress=asked.append)
    with pytest.raises(Cancelled):
        rendered(source, *ALL, watch=watch)
    assert not children()


def children() -> list[str]:
    own = Path(f"/proc/{os.getpid()}/task")
    return [pid for thread in own.iterdir() for pid in (thread / "children").read_text().split()]


def program(folder: Path, script: str) -> tuple[str, ...]:
    """A stand-in program for the limits."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


def test_a_stalled_program_is_stopped_and_its_children_with_it(tmp_path: Path) -> None:
    argv = program(tmp_path, "echo out_time_us=1; echo words >&2; sleep 600 & echo $! > child; sleep 600")
    ended = run(argv, tmp_path, Limits(MEMORY, deadline=60, stall=0.5), Watch())
    assert ended.stopped.startswith("ffmpeg was stopped: no progress")
    assert (ended.code, ended.log) == (-9, "words")
    assert not ended.error().permanent
    assert not children()
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


def test_the_deadline(tmp_path: Path) -> None:
    argv = program(tmp_path, "n=0; while :; do n=$((n+1)); echo out_time_us=$n; sleep 0.05; done")
    ended = run(argv, tmp_path, Limits(MEMORY, deadline=0.5), Watch())
    assert ended.stopped == "ffmpeg was stopped: not finished within 0 seconds"


def test_memory_priority_and_group_are_set(tmp_path: Path) -> None:
    argv = program(tmp_path, "ulimit -v >&2; nice >&2; cut -d' ' -f5 /proc/$$/stat >&2; echo $$ >&2")
    memory, nice, group, pid = run(argv, tmp_path, Limits(MEMORY, 60), Watch()).log.split()
    assert (int(memory) * 1024, group) == (MEMORY, pid)
    assert int(nice) >= 10


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be started") as raised:
        run((str(tmp_path / "none"),), tmp_path, Limits(MEMORY, 60), Watch())
    assert not raised.value.permanent


def test_too_little_memory_is_not_the_medias_fault(tool: Ffmpeg, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=1)
    job = Job(Input(source, probe(source)), tmp_path, 150_000_000, (MP4,))
    (made,) = render(job, tool, Watch()).renditions
    assert made.path is None
    assert not made.permanent


def test_a_full_disk_is_not_the_medias_fault(tool: Ffmpeg, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=1)
    (tmp_path / "rendition-0.mp4").symlink_to("/dev/full")
    (made,) = render(Job(Input(source, probe(source)), tmp_path, MEMORY, (MP4,)), tool, Watch()).renditions
    assert made.path is None
    assert not made.permanent
    assert made.reason == "ffmpeg failed: No space left on device"
