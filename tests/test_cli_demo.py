"""The demo's measuring stick: it must accept what is right and refuse what is not. Real clips, real ffmpeg."""

import subprocess
from dataclasses import replace

import imageio_ffmpeg
import pytest

from vidarium.cli.demo_check import faults, measure
from vidarium.errors import MediaError
from vidarium.media.conversions import CONVERSIONS

MP4 = CONVERSIONS["MP4 480p"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=2")
    sound = ("-f", "lavfi", "-i", "sine=duration=2")
    argv = (
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin",
        "-v",
        "error",
        *picture,
        *sound,
        "-pix_fmt",
        "yuv420p",
        str(path),
    )
    subprocess.run(argv, check=True)
    return path


def test_a_clip_is_measured(clip):
    measured = measure(clip)
    assert (measured.codec, measured.width, measured.height) == ("h264", 640, 360)
    assert measured.duration == pytest.approx(2, abs=0.1)
    assert measured.length == clip.stat().st_size


def test_a_good_rendition_has_no_fault(clip):
    measured = measure(clip)
    assert list(faults(measured, measured, MP4)) == []


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"codec": "vp9"}, "codec"),
        ({"duration": 1.4}, "long"),
        ({"duration": 2.6}, "long"),
        ({"width": 642}, "larger"),
        ({"width": 854, "height": 480}, "larger"),
    ],
)
def test_each_fault_is_found(clip, wrong, word):
    source = replace(measure(clip), duration=2.0)
    [fault] = faults(source, replace(source, **wrong), MP4)
    assert word in fault


def test_a_rendition_over_the_height_of_its_conversion_is_found(clip):
    source = replace(measure(clip), width=1920, height=1080)
    [fault] = faults(source, replace(source, width=1280, height=720), MP4)
    assert "480" in fault


def test_an_upright_source_is_compared_side_by_side(clip):
    source = replace(measure(clip), width=1920, height=1080)  # stored lying, shown upright
    assert list(faults(source, replace(source, width=270, height=480), MP4)) == []


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 100])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError):
        measure(path)
