"""Whether a rendition is what it says: measured on the file itself, independent of what the server stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from vidarium.errors import MediaError
from vidarium.media.conversions import Conversion

DURATION_TOLERANCE = 0.5


@dataclass(frozen=True)
class Measured:
    """A media file: video codec, displayed size in pixels, duration in seconds, bytes."""

    codec: str
    width: int
    height: int
    duration: float
    length: int


def measure(path: Path) -> Measured:
    """Look at a media file. The duration is that of its packets: headers of some formats lie about it.

    Raises MediaError.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError("there is no video in it")
            video = container.streams.video[0]
            aspect = float(video.sample_aspect_ratio or 1) or 1.0
            codec = video.codec_context.codec.canonical_name
            width, height = math.ceil(video.width * aspect), video.height
            return Measured(codec, width, height, packets_duration(container), path.stat().st_size)
    except FFmpegError as error:
        raise MediaError(f"it is no media file that can be read: {error.strerror}") from None


def packets_duration(container: av.container.InputContainer) -> float:
    """Seconds from the first to the end of the last packet of sound or picture."""
    first, last = math.inf, 0.0
    for packet in container.demux():
        if packet.stream.type in {"video", "audio"} and packet.pts is not None and packet.time_base is not None:
            start = float(packet.pts * packet.time_base)
            first = min(first, start)
            last = max(last, start + float((packet.duration or 0) * packet.time_base))
    return max(0.0, last - first)


def faults(source: Measured, rendition: Measured, conversion: Conversion) -> Iterator[str]:
    """What is wrong with a rendition of a source; nothing if it is as it must be."""
    if rendition.codec != conversion.video.name:
        yield f"codec {rendition.codec}, not {conversion.video.name}"
    if abs(rendition.duration - source.duration) > DURATION_TOLERANCE:
        yield f"{rendition.duration:.2f} s long, the source {source.duration:.2f} s"
    if rendition.height > conversion.max_height:
        yield f"{rendition.height} pixels high, more than {conversion.max_height}"
    if larger(rendition, source):
        yield f"{rendition.width}x{rendition.height} is larger than the source"


def larger(rendition: Measured, source: Measured) -> bool:
    """Whether a side is longer than the source's. Sides are compared by length: the source may be shot upright."""
    short, long = sorted((rendition.width, rendition.height))
    source_short, source_long = sorted((source.width, source.height))
    return short > source_short or long > source_long
