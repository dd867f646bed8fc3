"""The conversions: one row each. Adding one is one row here; nothing else changes.

Names, containers and heights are the reference's (spec/video-bulk.md C.3); codecs and rate control are ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Codec:
    """An encoder of ffmpeg and its options, in the order of the command line."""

    name: str
    encoder: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Container:
    """A muxer of ffmpeg, with the file's extension and MIME type."""

    name: str
    extension: str
    mime_type: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """How a rendition is made. `max_height` in pixels: larger sources are scaled down, smaller ones kept.

    `version` goes up when a change of our own code changes the result of an unchanged row.
    """

    name: str
    container: Container
    max_height: int
    video: Codec
    audio: Codec
    automatic: bool = False
    version: int = 1

    @property
    def recipe(self) -> str:
        """SHA-256 (hex) of all that shapes the result; the name and `automatic` do not."""
        shaping = {key: value for key, value in asdict(self).items() if key not in {"name", "automatic"}}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


MP4 = Container("mp4", ".mp4", "video/mp4", ("-movflags", "+faststart"))  # the index first: playback starts at once
WEBM = Container("webm", ".webm", "video/webm")
OGG = Container("ogg", ".ogg", "video/ogg")

X264 = Codec("h264", "libx264", ("-preset", "veryfast", "-crf", "23"))
VP9 = Codec(
    "vp9",
    "libvpx-vp9",
    ("-crf", "34", "-b:v", "0", "-deadline", "good", "-cpu-used", "5", "-row-mt", "1", "-tile-columns", "1"),
)
THEORA = Codec("theora", "libtheora", ("-q:v", "7"))
AAC = Codec("aac", "aac", ("-b:a", "128k"))
OPUS = Codec("opus", "libopus", ("-b:a", "96k"))
VORBIS = Codec("vorbis", "libvorbis", ("-q:a", "4"))


def by_name(*conversions: Conversion) -> Mapping[str, Conversion]:
    """The rows by their names, in order."""
    return {conversion.name: conversion for conversion in conversions}


CONVERSIONS = by_name(
    Conversion("MP4 480p", MP4, 480, X264, AAC, automatic=True),
    Conversion("WebM 480p", WEBM, 480, VP9, OPUS, automatic=True),
    Conversion("Ogg 480p", OGG, 480, THEORA, VORBIS),
)
