"""Sizes of pictures, in pixels, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

STORYBOARD_SIDE = 80  # the shorter side of a storyboard frame (spec/video-bulk.md C.6)
WIDEST_ASPECT = 20  # a pixel aspect that makes a picture wider (or taller) than this is damage, not intent


@dataclass(frozen=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def display_size(stored: Size, pixel_aspect: Fraction | None, *, quarter_turn: bool) -> Size:
    """The upright picture in square pixels: the width follows the pixel aspect, then a quarter turn swaps the sides."""
    width = stored.width
    if pixel_aspect and pixel_aspect > 0:
        stretched = max(1, round(stored.width * pixel_aspect))
        if max(stretched, stored.height) <= WIDEST_ASPECT * min(stretched, stored.height):
            width = stretched
    return Size(stored.height, width) if quarter_turn else Size(width, stored.height)


def rendition_size(source: Size, max_height: int) -> Size:
    """Pixels of a rendition: the source's shape, even on both sides, never larger than the source.

    Width rounds as the reference does, down and then up to even (spec/video-bulk.md C.3). 4:2:0 needs even sides,
    so a source of one pixel becomes two.
    """
    height = min(source.height, max_height)
    height = max(2, height - height % 2)
    width = source.width * height // source.height
    width += width % 2
    if width > source.width:
        width = source.width - source.width % 2
    return Size(max(2, width), height)


def storyboard_size(source: Size) -> Size:
    """Pixels of a storyboard frame: 80 high, or 80 wide for a portrait (spec/video-bulk.md C.6)."""
    side = STORYBOARD_SIDE
    if source.height > source.width:
        return Size(side, max(1, _rounded(source.height * side, source.width)))
    return Size(max(1, _rounded(source.width * side, source.height)), side)


def view_size(source: Size, max_side: int) -> Size:
    """Pixels of a preview view: the larger side scaled down to the limit, never up (spec/video-bulk.md C.7)."""
    larger = max(source.width, source.height)
    if larger <= max_side:
        return source
    return Size(
        max(1, _rounded(source.width * max_side, larger)),
        max(1, _rounded(source.height * max_side, larger)),
    )


def _rounded(numerator: int, denominator: int) -> int:
    """Half up, in whole numbers."""
    return (2 * numerator + denominator) // (2 * denominator)
