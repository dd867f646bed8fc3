"""What probing says of real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clips import (
    ffmpeg,
    make_audio_only,
    make_clip,
    make_empty,
    make_hdr,
    make_headless,
    make_rotated,
    make_text,
    make_truncated,
    make_with_cover,
    real_clip,
)

from vidarium.errors import MediaError
from vidarium.media.probe import probe, readable_duration
from vidarium.media.sizes import Size


def test_a_plain_clip(tmp_path: Path) -> None:
    probed = probe(make_clip(tmp_path / "a.mp4"))
    info = probed.info
    assert (info.width, info.height, info.frame_rate) == (640, 360, 25.0)
    assert info.duration == pytest.approx(2.0, abs=0.1)
    assert info.format == "mov,mp4,m4a,3gp,3g2,mj2"
    video, audio = info.streams
    assert (video.type, audio.type) == ("Video", "Audio")
    assert video.codec.startswith("h264 (")
    assert video.stream_info.startswith("Stream #0:0: Video: h264 (")
    assert "640x360 [SAR 1:1 DAR 16:9]" in video.stream_info
    assert video.stream_info.endswith(" kb/s, 25 fps")
    assert video.bit_rate > 0
    assert audio.codec.startswith("aac (LC)")
    assert "48000 Hz, mono, fltp" in audio.stream_info
    assert (probed.video, probed.audio, probed.audio_channels, probed.measured) == (0, 1, 1, False)


def test_the_references_sample() -> None:
    probed = probe(real_clip("sample.mpg"))
    info = probed.info
    assert info.duration == pytest.approx(8.383, abs=0.01)  # the header says 0.04
    assert probed.measured
    assert (info.width, info.height, info.format) == (320, 200, "mpegvideo")
    assert info.frame_rate == pytest.approx(23.976, abs=0.001)
    (stream,) = info.streams
    assert (stream.type, stream.codec) == ("Video", "mpeg1video")
    assert stream.bit_rate == pytest.approx(104857, abs=0.1)
    for part in ("Video: mpeg1video", "320x200", "23.98 fps"):
        assert part in stream.stream_info


def test_real_clips() -> None:
    bunny, street = probe(real_clip("bigbuckbunny.mp4")), probe(real_clip("vtest.avi"))
    assert (bunny.info.width, bunny.info.height, bunny.audio_channels) == (1280, 720, 6)
    assert bunny.info.duration == pytest.approx(5.31, abs=0.01)
    assert (street.info.width, street.info.height, street.audio) == (768, 576, None)
    assert street.info.duration == pytest.approx(79.5, abs=0.1)


@pytest.mark.parametrize(("degrees", "size"), [(90, (360, 640)), (-90, (360, 640)), (180, (640, 360))])
def test_a_turned_clip_has_its_shown_size(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    probed = probe(make_rotated(tmp_path / "phone.mp4", degrees=degrees))
    assert (probed.info.width, probed.info.height) == size
    assert probed.display == Size(*size)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    probed = probe(make_with_cover(tmp_path / "film.mp4"))
    assert (probed.info.width, probed.info.height, probed.info.frame_rate) == (640, 360, 25.0)
    assert probed.video == 0


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    probed = probe(make_clip(tmp_path / "dv.mp4", seconds=1, size="720x576", filters="setsar=64/45"))
    assert (probed.info.width, probed.info.height) == (720, 576)  # as the reference stores it
    assert probed.display == Size(1024, 576)
    assert "[SAR 64:45 DAR 16:9]" in probed.info.streams[0].stream_info


def test_hdr_is_recognised(tmp_path: Path) -> None:
    probed = probe(make_hdr(tmp_path / "hdr.mp4"))
    assert (probed.transfer, probed.pixel_format) == ("smpte2084", "yuv420p10le")


def test_a_recording_without_duration_is_measured(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "whole.mkv", audio=False)
    live = tmp_path / "live.webm"  # as a browser records: no duration in the header
    ffmpeg("-i", clip, "-c", "copy", "-f", "matroska", "-live", "1", live)
    probed = probe(live)
    assert probed.measured
    assert probed.info.duration == pytest.approx(2.0, abs=0.1)


def test_the_main_sound_track_is_chosen(tmp_path: Path) -> None:
    film, clip = tmp_path / "film.mkv", make_clip(tmp_path / "a.mkv")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu")
    tracks = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy")
    ffmpeg("-i", clip, *tracks, *languages, "-disposition:a:0", "0", "-disposition:a:1", "default", film)
    probed = probe(film)
    assert probed.audio == 2
    assert probed.info.streams[2].stream_info.startswith("Stream #0:2(deu): Audio: vorbis, 48000 Hz")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_text, "not a media file"),
        (make_empty, "the file is empty"),
        (make_headless, "index (moov) is missing"),
        (make_audio_only, "no video stream: audio only"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, make, reason: str) -> None:
    with pytest.raises(MediaError, match=reason.replace("(", r"\(").replace(")", r"\)")) as raised:
        probe(make(tmp_path / "bad.mp4"))
    assert raised.value.permanent


def test_a_file_that_is_not_there_is_not_bad_media(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be read") as raised:
        probe(tmp_path / "gone.mp4")
    assert not raised.value.permanent


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile '{secret}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
    ],
)
def test_playlists_open_nothing(tmp_path: Path, script: str) -> None:
    secret = make_clip(tmp_path / "secret.mp4", seconds=1)
    upload = tmp_path / "upload.mp4"
    upload.write_text(script.format(secret=secret))
    with pytest.raises(MediaError, match="not a media file"):
        probe(upload)


def test_text_of_a_file_can_be_stored_as_json(tmp_path: Path) -> None:
    clip, tagged = make_clip(tmp_path / "a.mkv", seconds=1), tmp_path / "b.mkv"
    ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v:0", "language=\x01\x1bx", tagged)
    lines = [stream.stream_info for stream in probe(tagged).info.streams]
    assert all(character >= " " for line in lines for character in line)
    json.dumps(lines).encode("utf-8")


def test_what_is_left_of_a_cut_file_is_known(tmp_path: Path) -> None:
    path = make_truncated(tmp_path / "cut.mp4")
    probed = probe(path)
    seconds, frames = readable_duration(path, probed.video)
    assert 0.5 < seconds < 3.9
    assert frames == pytest.approx(seconds * 25, abs=2)
