"""The rules of media as pure functions: sizes, timecodes, command lines, progress. No ffmpeg runs here."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidarium.media.conversions import CONVERSIONS
from vidarium.media.ffmpeg import (
    Ffmpeg,
    Input,
    Output,
    encode_argv,
    filter_graph,
    missing,
    progress_seconds,
    stills_argv,
)
from vidarium.media.probe import DEMUXERS, Probed, VideoInfo
from vidarium.media.process import Ended
from vidarium.media.sizes import Size, display_size, rendition_size, storyboard_size, view_size
from vidarium.media.storyboard import Still, preview_position, storyboard, timecodes, views
from vidarium.media.text import LOG_TAIL, clean_text, log_text

PROBED = Probed(VideoInfo(4.0, 1280, 720, "mov", 25.0), 0, Size(1280, 720), 1, 2, frame_rate=Fraction(25))
TOOL = Ffmpeg(Path("/bin/ffmpeg"), frozenset({"zscale", "tonemap"}), "9", threads=2)
MP4, WEBM, OGG = (CONVERSIONS[name] for name in ("MP4 480p", "WebM 480p", "Ogg 480p"))
sizes = st.builds(Size, st.integers(1, 20000), st.integers(1, 20000))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((1920, 1080), (854, 480)),
        ((1280, 720), (854, 480)),
        ((768, 480), (768, 480)),
        ((720, 576), (600, 480)),
        ((1440, 1080), (640, 480)),
        ((4096, 1716), (1146, 480)),
        ((720, 1280), (270, 480)),
        ((320, 200), (320, 200)),  # never enlarged
        ((176, 144), (176, 144)),
        ((641, 361), (640, 360)),
        ((101, 101), (100, 100)),
        ((3, 3), (2, 2)),
        ((1, 1), (2, 2)),
    ],
)
def test_rendition_size(source: tuple[int, int], expected: tuple[int, int]) -> None:
    assert rendition_size(Size(*source), 480) == Size(*expected)


@given(sizes, st.integers(2, 4320))
def test_rendition_size_is_even_and_never_larger(source: Size, max_height: int) -> None:
    size = rendition_size(source, max_height)
    assert size.width % 2 == 0
    assert size.height % 2 == 0
    assert size.height <= max(2, min(source.height, max_height))
    assert size.width <= max(2, source.width)


@pytest.mark.parametrize(
    ("stored", "aspect", "quarter_turn", "expected"),
    [
        ((640, 360), None, False, (640, 360)),
        ((640, 360), None, True, (360, 640)),
        ((720, 576), Fraction(64, 45), False, (1024, 576)),
        ((1440, 1080), Fraction(4, 3), True, (1080, 1920)),
        ((640, 360), Fraction(1, 10000), False, (640, 360)),  # damage
    ],
)
def test_display_size(stored, aspect, quarter_turn, expected) -> None:
    assert display_size(Size(*stored), aspect, quarter_turn=quarter_turn) == Size(*expected)


@pytest.mark.parametrize(
    ("source", "expected"), [((160, 100), (128, 80)), ((640, 360), (142, 80)), ((360, 640), (80, 142))]
)
def test_storyboard_size(source: tuple[int, int], expected: tuple[int, int]) -> None:
    assert storyboard_size(Size(*source)) == Size(*expected)


@given(sizes, st.sampled_from([350, 1200]))
def test_views_are_never_enlarged(source: Size, limit: int) -> None:
    size = view_size(source, limit)
    assert size == source or max(size.width, size.height) == limit
    assert size.width <= source.width
    assert size.height <= source.height


def test_timecodes_are_the_references() -> None:
    assert timecodes(653.53) == (0.0, 72.61, 145.23, 217.84, 290.46, 363.07, 435.69, 508.3, 580.92)
    frames = storyboard(653.53, Size(160, 100))
    assert [frames[i].name for i in (0, 1, 8)] == ["0.00-seconds.jpeg", "72.61-seconds.jpeg", "580.92-seconds.jpeg"]


def test_short_videos_have_no_storyboard() -> None:
    assert storyboard(9.99, Size(640, 360)) == ()
    assert len(storyboard(10.0, Size(640, 360))) == 9


def test_views() -> None:
    small, player = views(preview_position(104.9), Size(1280, 720))
    assert (small.title, small.size, small.timecode) == ("Small", Size(350, 197), 10.0)
    assert (player.title, player.size) == ("StaticPlayerView", Size(1200, 675))
    assert small.name == "Small_video-screenshot-00010.000.jpeg"
    assert preview_position(5.0) == 1  # half up


def outputs(*rows: tuple[object, Size]) -> tuple[Output, ...]:
    return tuple(Output(c, size, Path(f"/tmp/{n}")) for n, (c, size) in enumerate(rows))  # type: ignore[arg-type]


def test_one_scale_for_all_outputs_of_one_size() -> None:
    small = Size(854, 480)
    assert filter_graph(PROBED, outputs((MP4, small), (OGG, small)), tone_map=True) == (
        "[0:0]scale=854:480:flags=bicubic:out_range=tv,setsar=1,format=yuv420p,split=2[s0][s1];"
        "[s0]null[v0];[s1]fps=25/1[v1]"
    )


def test_sizes_cascade_from_the_largest() -> None:
    graph = filter_graph(PROBED, outputs((MP4, Size(426, 240)), (MP4, Size(854, 480))), tone_map=True)
    first, second, *_ = graph.split(";")
    assert first.startswith("[0:0]scale=854:480")
    assert first.endswith("split=2[s1][c0]")
    assert second.startswith("[c0]scale=426:240")
    assert second.endswith("split=1[s0]")


def test_interlaced_sources_are_deinterlaced_and_hdr_is_mapped() -> None:
    one = outputs((MP4, Size(854, 480)))
    assert filter_graph(replace(PROBED, interlaced=True), one, tone_map=True).startswith("[0:0]bwdif=")
    hdr = replace(PROBED, transfer="smpte2084")
    assert "zscale=tin=smpte2084" in filter_graph(hdr, one, tone_map=True)
    assert "zscale" not in filter_graph(hdr, one, tone_map=False)
    assert "zscale" not in filter_graph(PROBED, one, tone_map=True)


@pytest.mark.parametrize("conversion", CONVERSIONS.values(), ids=lambda c: c.name)
def test_every_conversion_is_guarded_and_as_its_row_says(conversion) -> None:
    size = rendition_size(PROBED.display, conversion.max_height)
    argv = encode_argv(TOOL, Input(Path("/in:put.mp4"), PROBED), outputs((conversion, size)))
    words = list(argv)
    assert "-nostdin" in words
    assert words[words.index("-protocol_whitelist") + 1] == "file,pipe"
    assert words[words.index("-format_whitelist") + 1] == ",".join(DEMUXERS)
    assert words[words.index("-i") + 1] == "file:/in:put.mp4"
    assert words[words.index("-c:v") + 1] == conversion.video.encoder
    assert words[words.index("-c:a") + 1] == conversion.audio.encoder
    assert words[-3:] == ["-f", conversion.container.name, "/tmp/0"]
    for option in (*conversion.video.options, *conversion.audio.options, *conversion.container.options):
        assert option in words


def test_no_playlists_among_the_demuxers() -> None:
    assert not {"concat", "hls", "dash", "image2", "tty", "sdp", "rtsp", "lavfi", "imf"} & set(DEMUXERS)


def test_sound() -> None:
    def words(probed: Probed) -> tuple[str, ...]:
        return encode_argv(TOOL, Input(Path("/i"), probed), outputs((MP4, Size(854, 480))))

    assert "-c:a" not in words(replace(PROBED, audio=None))
    assert "-ac" not in words(PROBED)
    surround = words(replace(PROBED, audio_channels=6))
    assert surround[surround.index("-ac") + 1] == "2"


def test_stills_share_a_seek() -> None:
    stills = tuple((still, Path(f"/s/{still.name}")) for still in views(8, PROBED.display))
    argv = stills_argv(TOOL, Input(Path("/i"), PROBED), (*stills, (Still(2.5, Size(142, 80), "x"), Path("/s/x"))))
    assert argv.count("-i") == 2
    assert argv.count("-frames:v") == 3
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-ss"] == ["2.500", "8.000"]
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-map"] == ["1:0", "1:0", "0:0"]


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("out_time_us=1500000", 1.5), ("out_time_us=N/A", None), ("frame=3", None), ("", None), ("out_time_us=-40", 0.0)],
)
def test_progress(line: str, seconds: float | None) -> None:
    assert progress_seconds(line) == seconds


def test_missing_names_what_the_binary_lacks() -> None:
    everything = frozenset({"libx264", "aac", "scale", "split", "setsar", "format", "fps", "bwdif", "null"})
    assert missing(MP4, everything) == ()
    assert missing(MP4, everything - {"libx264", "scale"}) == ("libx264", "scale")


@given(st.text(alphabet=st.characters(codec=None)))
def test_clean_text_can_be_stored(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned


def test_log_keeps_the_end() -> None:
    assert log_text(b"a" * LOG_TAIL + b"end\xff\x00").endswith("end\ufffd")
    assert len(log_text(b"a" * 3 * LOG_TAIL)) == LOG_TAIL


@pytest.mark.parametrize(
    ("code", "log", "permanent", "reason"),
    [
        (1, "[libx264] Unable to parse option\nTask finished", True, "ffmpeg failed: [libx264] Unable to parse option"),
        (-9, "", False, "ffmpeg was killed by signal 9"),
        (228, "muxer: No space left on device", False, "ffmpeg failed: No space left on device"),
        (244, "[x] Cannot allocate memory", False, "ffmpeg failed: Cannot allocate memory"),
        (3, "", True, "ffmpeg failed: exit code 3"),
    ],
)
def test_bad_media_and_a_bad_day_are_told_apart(code: int, log: str, permanent: bool, reason: str) -> None:
    error = Ended(("ffmpeg",), code, log, 1.0).error()
    assert (error.reason, error.permanent) == (reason, permanent)
    assert error.command_line == "ffmpeg"
