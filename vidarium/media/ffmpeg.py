"""ffmpeg: where it is, what it can, its command lines as pure functions, its progress."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from vidarium.errors import StartError
from vidarium.media.conversions import Conversion
from vidarium.media.probe import DEMUXERS, PROTOCOLS, Probed
from vidarium.media.sizes import Size
from vidarium.media.storyboard import Still

ASK_TIMEOUT = 30.0  # seconds for ffmpeg to say what it is

# Encoders that know one frame rate only. Their branch gets the average rate; the others keep every frame's time.
CONSTANT_RATE = frozenset({"libtheora"})
FASTEST_CONSTANT_RATE = 60
FILTERS = frozenset({"scale", "split", "setsar", "format", "fps", "bwdif", "null"})
TONE_MAP_FILTERS = frozenset({"zscale", "tonemap"})


@dataclass(frozen=True)
class Ffmpeg:
    """The binary to run: `capabilities` as of `capabilities()`, `build` its version, `threads` for each encoder."""

    path: Path
    capabilities: frozenset[str]
    build: str
    threads: int = 1

    @property
    def maps_tones(self) -> bool:
        """Whether it can turn HDR into SDR."""
        return self.capabilities >= TONE_MAP_FILTERS


@dataclass(frozen=True)
class Output:
    """One rendition to write."""

    conversion: Conversion
    size: Size
    path: Path


@dataclass(frozen=True)
class Input:
    """The file to read, and what it is."""

    path: Path
    probed: Probed


def find_ffmpeg(setting: str | None) -> Path:
    """The binary named by the setting (a path, or a name to look up), else the one installed with Vidarium.

    Raises StartError that names what is missing.
    """
    if setting is None:
        try:
            return Path(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError as error:
            raise StartError(
                "No ffmpeg: the installed package holds none for this machine. Set VIDARIUM_FFMPEG to one."
            ) from error
    found = shutil.which(setting)
    if found is None:
        raise StartError(f"VIDARIUM_FFMPEG is {setting}, and there is no program of that name.")
    return Path(found).absolute()


def open_ffmpeg(path: Path, threads: int = 1) -> Ffmpeg:
    """The binary with what it says of itself. Raises StartError if it does not run."""
    return Ffmpeg(path, capabilities(path), build(path), threads)


def build(ffmpeg: Path) -> str:
    """Its version as it prints it, such as `7.0.2-static`; recorded with each rendition."""
    words = _ask(ffmpeg, "-version").split()
    return words[2] if words[:2] == ["ffmpeg", "version"] and len(words) > 2 else "unknown"


def capabilities(ffmpeg: Path) -> frozenset[str]:
    """Names of its encoders and filters."""
    return frozenset((*_names(_ask(ffmpeg, "-encoders")), *_names(_ask(ffmpeg, "-filters"))))


def missing(conversion: Conversion, capabilities: frozenset[str]) -> tuple[str, ...]:
    """Encoders and filters that a conversion needs and the binary lacks; empty if it can do it."""
    needed = {conversion.video.encoder, conversion.audio.encoder, *FILTERS}
    return tuple(sorted(needed - capabilities))


def encode_argv(ffmpeg: Ffmpeg, source: Input, outputs: tuple[Output, ...]) -> tuple[str, ...]:
    """One process for all outputs: the source is read and decoded once, scaled once for each size."""
    return (
        *_start(ffmpeg),
        "-progress", "pipe:1",
        "-stats_period", "0.5",
        "-threads", str(ffmpeg.threads),
        *_read(source.path),
        "-filter_complex_threads", str(ffmpeg.threads),
        "-filter_complex", filter_graph(source.probed, outputs, tone_map=ffmpeg.maps_tones),
        *(word for number, output in enumerate(outputs) for word in _write(ffmpeg, source.probed, number, output)),
    )  # fmt: skip


def stills_argv(ffmpeg: Ffmpeg, source: Input, stills: tuple[tuple[Still, Path], ...]) -> tuple[str, ...]:
    """One process that seeks to each timecode and writes the pictures taken there."""
    positions = sorted({still.timecode for still, _ in stills})
    picture = ",".join((*_cleaning(source.probed), "scale={size}", *_tone_map(source.probed, wanted=ffmpeg.maps_tones)))
    argv = [*_start(ffmpeg)]
    for position in positions:
        argv += ["-threads", "1", "-ss", f"{position:.3f}", *_read(source.path)]
    for still, path in stills:
        size = f"{still.size.width}:{still.size.height}:out_range=full"  # JPEG is full range
        argv += ["-map", f"{positions.index(still.timecode)}:{source.probed.video}", "-frames:v", "1"]
        argv += ["-vf", f"{picture.format(size=size)},setsar=1", "-q:v", "3", "-threads", "1"]
        argv += ["-f", "image2", "-update", "1", str(path)]  # one file, its name taken as it is
    return tuple(argv)


def filter_graph(probed: Probed, outputs: tuple[Output, ...], *, tone_map: bool) -> str:
    """From the video stream to a label `[vN]` for output N: cleaned once, scaled in a cascade, largest size first."""
    sizes = sorted({output.size for output in outputs}, key=lambda s: (-s.width * s.height, s.width))
    chains, feed = [], f"[0:{probed.video}]"
    for level, size in enumerate(sizes):
        members = [number for number, output in enumerate(outputs) if output.size == size]
        steps = [f"scale={size.width}:{size.height}:flags=bicubic:out_range=tv", "setsar=1"]
        if level == 0:
            steps = [*_cleaning(probed), *steps, *_tone_map(probed, wanted=tone_map)]
        # browsers play 8-bit 4:2:0 only
        steps.append("format=yuv420p")
        labels = [f"[s{number}]" for number in members] + ([f"[c{level}]"] if level + 1 < len(sizes) else [])
        chains.append(f"{feed}{','.join(steps)},split={len(labels)}{''.join(labels)}")
        feed = f"[c{level}]"
    for number, output in enumerate(outputs):
        chains.append(f"[s{number}]{_timing(probed, output)}[v{number}]")
    return ";".join(chains)


def progress_seconds(line: str) -> float | None:
    """Seconds of media written, from a line of `-progress`; None if the line says something else."""
    name, _, value = line.strip().partition("=")
    if name != "out_time_us":
        return None
    try:
        return max(0.0, int(value) / 1_000_000)
    except ValueError:  # N/A until the first packet
        return None


def _start(ffmpeg: Ffmpeg) -> tuple[str, ...]:
    return (
        str(ffmpeg.path),
        "-hide_banner",
        "-nostdin",  # ffmpeg would swallow the parent's input
        "-nostats",
        "-loglevel", "error",
        "-y",
        "-max_error_rate", "1",  # what can be read of a damaged file is kept; the outputs are verified afterwards
    )  # fmt: skip


def _read(path: Path) -> tuple[str, ...]:
    return (
        "-protocol_whitelist", PROTOCOLS,  # an uploaded file must not make the server open addresses
        "-format_whitelist", ",".join(DEMUXERS),  # nor other files: no playlists, no concat scripts
        "-i", f"file:{path}",  # a colon in the name is no protocol
    )  # fmt: skip


def _cleaning(probed: Probed) -> Iterator[str]:
    if probed.interlaced:
        yield "bwdif=mode=send_frame:deint=interlaced"  # frames that are marked progressive pass untouched


def _tone_map(probed: Probed, *, wanted: bool) -> Iterable[str]:
    """HDR to SDR, after scaling because it is slow. The input is named in full: zscale refuses to guess."""
    if not (wanted and probed.transfer):
        return ()
    return (
        f"zscale=tin={probed.transfer}:min=bt2020nc:pin=bt2020:t=linear:npl=100",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
    )


def _timing(probed: Probed, output: Output) -> str:
    if output.conversion.video.encoder not in CONSTANT_RATE:
        return "null"
    rate = min(probed.frame_rate or Fraction(25), Fraction(FASTEST_CONSTANT_RATE)).limit_denominator(1001)
    return f"fps={rate.numerator}/{rate.denominator}" if rate else "fps=1"


def _write(ffmpeg: Ffmpeg, probed: Probed, number: int, output: Output) -> Iterator[str]:
    conversion = output.conversion
    yield from ("-map", f"[v{number}]", "-c:v", conversion.video.encoder, *conversion.video.options)
    yield from ("-threads", str(ffmpeg.threads))
    if conversion.video.encoder in CONSTANT_RATE:
        yield from ("-fps_mode:v", "cfr")
    else:
        yield from ("-fps_mode:v", "vfr")  # a frame keeps its time: phones and screen recorders vary their rate
        yield from ("-enc_time_base:v", "demux")  # the default rounds times to the guessed frame rate
    if probed.audio is not None:
        yield from ("-map", f"0:{probed.audio}", "-c:a", conversion.audio.encoder, *conversion.audio.options)
        if probed.audio_channels not in (1, 2):
            yield from ("-ac", "2")  # every browser and device plays stereo
    yield from ("-sn", "-dn", "-max_muxing_queue_size", "4096")  # one track may be far ahead of the other
    yield from (*conversion.container.options, "-f", conversion.container.name, str(output.path))


def _names(listing: str) -> Iterator[str]:
    """The second column of ffmpeg's tables, whose first column is a set of flags."""
    for line in listing.splitlines():
        words = line.split()
        if len(words) > 2 and words[1] != "=" and set(words[0]) <= set("VASFXBDTSC.|NI"):
            yield words[1]


def _ask(ffmpeg: Path, question: str) -> str:
    try:
        answer = subprocess.run(
            (str(ffmpeg), "-hide_banner", question),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"ffmpeg does not run: {ffmpeg}: {error}") from error
    return answer.stdout.decode("utf-8", "replace")
