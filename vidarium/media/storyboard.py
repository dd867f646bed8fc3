"""Which stills a video gets: the storyboard's frames and the preview's views (spec/video-bulk.md C.6, C.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vidarium.media.sizes import Size, storyboard_size, view_size

STORYBOARD_FRAMES = 9
STORYBOARD_MIN_DURATION = 10.0  # seconds; shorter videos have no storyboard
PREVIEW_PERCENT = 10
VIEWS = (("Small", 350), ("StaticPlayerView", 1200))  # name and limit of the larger side, in the reference's order


@dataclass(frozen=True)
class Still:
    """A picture to take at `timecode` (seconds). `title` is empty for a storyboard frame, else the view's name."""

    timecode: float
    size: Size
    name: str
    title: str = ""


def timecodes(duration: float, count: int = STORYBOARD_FRAMES) -> tuple[float, ...]:
    """i · duration ÷ count, rounded half up to hundredths; the first is 0, the end is never shown (C.6)."""
    return tuple(math.floor(i * duration / count * 100 + 0.5) / 100 for i in range(count))


def storyboard(duration: float, source: Size) -> tuple[Still, ...]:
    """The frames of a storyboard; none for a video of less than ten seconds."""
    if duration < STORYBOARD_MIN_DURATION:
        return ()
    size = storyboard_size(source)
    return tuple(Still(at, size, f"{at:.2f}-seconds.jpeg") for at in timecodes(duration))


def preview_position(duration: float) -> int:
    """Where the preview is taken: a tenth of the duration, rounded half up to whole seconds (C.7)."""
    return math.floor(duration * PREVIEW_PERCENT / 100 + 0.5)


def views(position: int, source: Size) -> tuple[Still, ...]:
    """The preview's views of the picture at `position` seconds, named as the reference names them (C.7)."""
    screenshot = f"video-screenshot-{position:05d}.000"
    return tuple(
        Still(float(position), view_size(source, limit), f"{title}_{screenshot}.jpeg", title) for title, limit in VIEWS
    )
