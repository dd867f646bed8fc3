"""What a media file is: its streams, size, duration, rotation. By PyAV, inside a worker process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidarium.errors import MediaError
from vidarium.media.sizes import Size, display_size
from vidarium.media.text import clean_text

# PyAV is imported where a file is opened: the server knows these records too, and decodes nothing.
if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

# Demuxers that may read what users upload. Left out on purpose: everything that opens other files or addresses
# (concat, hls, dash, imf, sdp, image sequences), text as video (tty), devices.
DEMUXERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "vvc", "obu", "ivf", "vc1", "h261",
    "h263", "dirac", "dnxhd", "cavsvideo", "mjpeg", "yuv4mpegpipe", "flv", "asf", "asf_o", "ogg", "mxf", "gxf", "lxf",
    "rm", "wtv", "nut", "nuv", "dv", "dhav", "nsv", "pva", "ty", "gif",
    "mp3", "wav", "w64", "flac", "aac", "ac3", "eac3", "dts", "aiff", "ape", "au", "amr", "caf", "tta", "wv",
)  # fmt: skip
PROTOCOLS = "file,pipe"

# Elementary streams carry no times: their duration is a guess from the bit rate
UNTIMED = frozenset({
    "mpegvideo", "m4v", "h264", "hevc", "vvc", "obu", "vc1", "h261", "h263", "dirac", "dnxhd", "mjpeg",
})  # fmt: skip
# Formats whose clock may jump; ffmpeg bridges jumps of over ten seconds in these, and so does the measuring here
JUMPING = frozenset({"mpegts", "mpeg"})
JUMP = 10.0

INTERLACED_ORDERS = frozenset({2, 3, 4, 5})  # AVFieldOrder: TT, BB, TB, BT
HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}  # AVColorTransferCharacteristic: PQ, HLG
FIRST_FRAME_PACKETS = 300  # how far to look for the first frame that decodes
FIRST_FRAME_BYTES = 64_000_000


@dataclass(frozen=True)
class StreamInfo:
    """One stream as the wire shows it (spec/video-bulk.md C.2). `bit_rate` in kb/s."""

    stream_info: str
    type: str
    codec: str
    bit_rate: float


@dataclass(frozen=True)
class VideoInfo:
    """`vid:info`: duration in seconds, displayed size in pixels (after rotation), frames per second."""

    duration: float = 0.0
    width: int = 0
    height: int = 0
    format: str | None = None
    frame_rate: float = 0.0
    streams: tuple[StreamInfo, ...] = ()


@dataclass(frozen=True)
class Probed:
    """A file's `info`, and what rendering needs beyond it.

    `video`, `audio`: indexes of the primary streams. `display`: the upright picture in square pixels.
    `rotation`: degrees of the display matrix. `frame_rate`: exact, 0 if unknown. `transfer`: ffmpeg's name of an HDR
    curve, empty for SDR. `measured`: the duration was counted, not read. `decodable`: a first frame was decoded.
    """

    info: VideoInfo
    video: int
    display: Size
    audio: int | None = None
    audio_channels: int = 0
    rotation: int = 0
    pixel_aspect: Fraction | None = None
    pixel_format: str = ""
    frame_rate: Fraction = Fraction(0)
    interlaced: bool = False
    transfer: str = ""
    measured: bool = False
    decodable: bool = True


def probe(path: Path) -> Probed:
    """What the file is, by its real primary video stream (spec/video-bulk.md C.2, D.3).

    Raises MediaError with the reason: permanent for bad media, not permanent if the file cannot be read at all.
    """
    with _opened(path) as container:
        video = _primary_video(container)
        first = _first_frame(container, video)
        audio = _primary_audio(container)
        probed = _described(container, video, audio, first)
    if not _plausible(probed.info.duration, path.stat().st_size, probed):
        probed = _with_measured(probed, path)
    return probed


def readable_duration(path: Path, stream: int) -> tuple[float, int]:
    """Seconds and packets of a stream that can be read, by demuxing without decoding.

    Damage ends the count. Raises MediaError as `probe` does.
    """
    from av import FFmpegError

    count, span, tail, last = 0, Fraction(0), Fraction(0), None
    with _opened(path) as container:
        jumping = not JUMPING.isdisjoint(container.format.name.split(","))
        try:
            for packet in container.demux(container.streams[stream]):
                at = packet.dts if packet.dts is not None else packet.pts
                if packet.size == 0 or at is None:
                    count += packet.size > 0
                    continue
                time, tail = at * packet.time_base, (packet.duration or 0) * packet.time_base
                step = time - last if last is not None else Fraction(0)
                span += tail if step < 0 or (jumping and step > JUMP) else step
                count, last = count + 1, time
        except FFmpegError:
            pass  # what was counted before the damage is what can be read
    return float(span + tail), count


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    import av

    try:
        if path.stat().st_size == 0:
            raise MediaError("the file is empty")
        options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": PROTOCOLS}
        container = av.open(str(path.absolute()), mode="r", options=options, metadata_errors="replace")
    except (av.error.InvalidDataError, av.error.ArgumentError, av.error.DemuxerNotFoundError) as error:
        raise MediaError(_unreadable(path)) from error
    except (av.FFmpegError, OSError) as error:
        # a demuxer's own refusal is bad media; what the system refused may pass
        system = isinstance(error, OSError | MemoryError)
        raise MediaError(f"the file cannot be read: {clean_text(str(error.strerror))}", permanent=not system) from error
    with container:
        yield container


def _unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "a damaged MP4 or MOV file: its index (moov) is missing, as in a recording or an upload that was cut off"
    return "not a media file, or damaged at its beginning, or of a format that is not accepted"


def _primary_video(container: InputContainer) -> VideoStream:
    """Not cover art; decodable before not, default before not, larger before smaller, first before last."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    real = [stream for stream in container.streams.video if not stream.disposition & still]
    if not real:
        only = ": audio only" if container.streams.audio else ""
        raise MediaError(f"no video stream{only}")
    usable = [stream for stream in real if _has_decoder(stream)]
    if not usable:
        raise MediaError("the video stream's codec is not known here")
    sized = [stream for stream in usable if stream.codec_context.width > 0 and stream.codec_context.height > 0]
    if not sized:
        raise MediaError("the video stream holds no picture that can be decoded")
    return max(
        sized,
        key=lambda s: (
            bool(s.disposition & Disposition.default),
            s.codec_context.width * s.codec_context.height,
            -s.index,
        ),
    )


def _primary_audio(container: InputContainer) -> AudioStream | None:
    """The default track before others, more channels before fewer; descriptions for the blind only if nothing else."""
    from av.stream import Disposition

    usable = [stream for stream in container.streams.audio if _has_decoder(stream) and stream.codec_context.sample_rate]
    return max(
        usable,
        default=None,
        key=lambda s: (
            not s.disposition & Disposition.visual_impaired,
            bool(s.disposition & Disposition.default),
            s.codec_context.channels,
            -s.index,
        ),
    )


def _has_decoder(stream: Stream) -> bool:
    # PyAV leaves the context out where FFmpeg has no decoder
    return getattr(stream, "codec_context", None) is not None


@dataclass(frozen=True)
class _First:
    """What the first decoded frame tells."""

    rotation: int
    interlaced: bool


def _first_frame(container: InputContainer, video: VideoStream) -> _First | None:
    """The first frame that decodes, looked for in a bounded part of the file; None: there is none."""
    from av import FFmpegError

    video.codec_context.thread_count = 1  # one frame: starting threads would cost more than it gains
    read = 0
    try:
        for number, packet in enumerate(container.demux(video)):
            read += packet.size
            try:
                frames = packet.decode()
            except FFmpegError:
                frames = []
            for frame in frames:
                return _First(frame.rotation, frame.interlaced_frame)
            if number >= FIRST_FRAME_PACKETS or read > FIRST_FRAME_BYTES:
                return None
    except FFmpegError:
        return None
    return None


def _described(
    container: InputContainer, video: VideoStream, audio: AudioStream | None, first: _First | None
) -> Probed:
    context = video.codec_context
    rotation = first.rotation if first else 0
    aspect = video.sample_aspect_ratio or context.sample_aspect_ratio
    stored = Size(context.width, context.height)
    turned = display_size(stored, None, quarter_turn=_quarter(rotation))
    rate = _frame_rate(video, untimed=_untimed(container))
    info = VideoInfo(
        duration=_sane((container.duration or 0) / 1_000_000),
        width=turned.width,
        height=turned.height,
        format=clean_text(container.format.name),
        frame_rate=float(rate),
        streams=tuple(_stream_infos(container, video, rate)),
    )
    return Probed(
        info=info,
        video=video.index,
        display=display_size(stored, aspect, quarter_turn=_quarter(rotation)),
        audio=audio.index if audio else None,
        audio_channels=audio.codec_context.channels if audio else 0,
        rotation=rotation,
        pixel_aspect=aspect or None,
        pixel_format=context.pix_fmt or "",
        frame_rate=rate,
        interlaced=context.field_order in INTERLACED_ORDERS or bool(first and first.interlaced),
        transfer=HDR_TRANSFERS.get(context.color_trc, ""),
        decodable=first is not None,
    )


def _quarter(rotation: int) -> bool:
    return abs(rotation) % 180 == 90


def _untimed(container: InputContainer) -> bool:
    return container.format.name in UNTIMED


def _frame_rate(video: VideoStream, *, untimed: bool) -> Fraction:
    """Average frames per second, 0 if unknown. Elementary streams: what the codec says, times there are guesses."""
    said = (video.codec_context.framerate, video.guessed_rate)
    found = (*said, video.average_rate) if untimed else (video.average_rate, video.guessed_rate)
    return next((rate for rate in found if rate and 0 < rate <= 1000), Fraction(0))


def _sane(seconds: float) -> float:
    return round(seconds, 6) if math.isfinite(seconds) and seconds > 0 else 0.0


def _plausible(duration: float, length: int, probed: Probed) -> bool:
    """Whether a duration from the header fits the file: not a guess, not beyond uncompressed, not almost empty."""
    if duration <= 0 or probed.info.format in UNTIMED:
        return False
    bits = length * 8 / duration
    uncompressed = probed.info.width * probed.info.height * 48 * max(60.0, probed.info.frame_rate)
    return 100 <= bits <= uncompressed + 50_000_000


def _with_measured(probed: Probed, path: Path) -> Probed:
    seconds, frames = readable_duration(path, probed.video)
    if probed.info.format in UNTIMED and probed.frame_rate:
        seconds = float(frames / probed.frame_rate)
    return replace(probed, info=replace(probed.info, duration=_sane(seconds)), measured=True)


def _stream_infos(container: InputContainer, primary: VideoStream, rate: Fraction) -> Iterator[StreamInfo]:
    """Video, audio and data streams in the reference's words; subtitles and attachments are left out (C.2)."""
    for stream in container.streams:
        if stream.type not in {"video", "audio", "data"}:
            continue
        codec = _codec_text(stream)
        bits = (stream.codec_context.bit_rate or 0) if _has_decoder(stream) else 0
        kilobits = max(0, bits) // 1000
        language = f"({stream.language})" if stream.language and stream.language != "und" else ""
        details = [f"Stream #0:{stream.index}{language}: {stream.type.capitalize()}: {codec}"]
        if stream.type == "video" and _has_decoder(stream):
            details += _picture_details(stream, f"{kilobits} kb/s" if kilobits else "")  # type: ignore[arg-type]
            shown = rate if stream.index == primary.index else _frame_rate(stream, untimed=False)  # type: ignore[arg-type]
            details += [f"{_short(shown)} fps"] if shown else []
        elif stream.type == "audio" and _has_decoder(stream):
            details += _sound_details(stream, f"{kilobits} kb/s" if kilobits else "")  # type: ignore[arg-type]
        line = clean_text(", ".join(details)).replace("\n", " ")
        yield StreamInfo(line, stream.type.capitalize(), codec, float(kilobits))


def _codec_text(stream: Stream) -> str:
    """Codec, profile and tag as ffprobe prints them: `h264 (High) (avc1 / 0x31637661)`, `mpeg1video`."""
    if not _has_decoder(stream):
        return clean_text(getattr(stream, "name", None) or "none")
    context = stream.codec_context
    text = context.codec.canonical_name
    if context.profile:
        text += f" ({context.profile})"
    tag = context.codec_tag.encode("latin-1", "replace")
    if any(tag):
        letters = "".join(chr(b) if (chr(b).isascii() and chr(b).isalnum()) or b in b" ._-" else f"[{b}]" for b in tag)
        text += f" ({letters} / 0x{int.from_bytes(tag, 'little'):04X})"
    return clean_text(text)


def _picture_details(stream: VideoStream, rate: str) -> list[str]:
    context = stream.codec_context
    size = f"{context.width}x{context.height}"
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio
    if aspect and context.height:
        shape = aspect * Fraction(context.width, context.height)
        size += f" [SAR {_ratio(aspect)} DAR {_ratio(shape)}]"
    return [part for part in (context.pix_fmt, size, rate) if part]


def _sound_details(stream: AudioStream, rate: str) -> list[str]:
    context = stream.codec_context
    sample = context.format.name if context.format else ""
    return [part for part in (f"{context.sample_rate} Hz", context.layout.name, sample, rate) if part]


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}:{value.denominator}"


def _short(rate: Fraction) -> str:
    """As ffmpeg prints rates: two decimals unless whole."""
    hundredths = round(float(rate) * 100)
    return str(hundredths // 100) if hundredths % 100 == 0 else f"{hundredths / 100:.2f}"
