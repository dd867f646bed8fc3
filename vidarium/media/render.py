"""Renders a local file: renditions by one process that decodes once, stills by a second one that seeks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vidarium.errors import MediaError
from vidarium.media.conversions import Conversion
from vidarium.media.ffmpeg import Ffmpeg, Input, Output, encode_argv, missing, stills_argv
from vidarium.media.probe import VideoInfo, probe, readable_duration
from vidarium.media.process import Ended, Limits, Watch, run
from vidarium.media.sizes import rendition_size
from vidarium.media.storyboard import Still, preview_position, storyboard, views

# Wall time that no honest encode needs: a fixed part, and a part for each second of media
DEADLINE_BASE, DEADLINE_FACTOR = 600.0, 60.0
STILLS_DEADLINE = 600.0
TOLERANCE, TOLERANCE_SHARE = 1.0, 0.02  # how far a rendition's duration may be off: seconds, and share of the source's


@dataclass(frozen=True)
class Job:
    """What to make of a probed source, in the folder `scratch`, which is the job's own. `memory`: bytes per ffmpeg."""

    source: Input
    scratch: Path
    memory: int
    conversions: tuple[Conversion, ...] = ()
    storyboard: bool = False
    preview: bool = False

    @property
    def duration(self) -> float:
        """Seconds of the source."""
        return self.source.probed.info.duration


@dataclass(frozen=True)
class Rendition:
    """What became of one conversion: a verified file with its info, or the reason why not. `seconds`: wall time."""

    conversion: Conversion
    path: Path | None = None
    info: VideoInfo | None = None
    reason: str | None = None
    permanent: bool = True
    seconds: float = 0.0
    log: str = ""


@dataclass(frozen=True)
class Picture:
    """A still that was taken."""

    still: Still
    path: Path


@dataclass(frozen=True)
class Renders:
    """All that came of a job. `notes`: what was wrong with the stills."""

    renditions: tuple[Rendition, ...] = ()
    storyboard: tuple[Picture, ...] = ()
    views: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


def render(job: Job, ffmpeg: Ffmpeg, watch: Watch) -> Renders:
    """Every output that can be made; a failing one never stops another.

    Raises Cancelled when the watch says so; no process is left then, only files in the scratch folder.
    """
    renditions = _renditions(job, ffmpeg, watch)
    frames, frame_notes = _storyboard(job, ffmpeg, watch) if job.storyboard else ((), ())
    pictures, view_notes = _views(job, ffmpeg, watch) if job.preview else ((), ())
    return Renders(renditions, frames, pictures, frame_notes + view_notes)


def _renditions(job: Job, ffmpeg: Ffmpeg, watch: Watch) -> tuple[Rendition, ...]:
    """In the order asked for: all at once, and if that fails each alone, so that the failing one is known."""
    able = tuple(c for c in job.conversions if not missing(c, ffmpeg.capabilities))
    made = {c: _unable(c, ffmpeg) for c in job.conversions if c not in able}
    if able:
        together = _encode(job, ffmpeg, watch, able)
        made |= {rendition.conversion: rendition for rendition in together}
        suspects = [r.conversion for r in together if r.path is None and r.permanent]
        if len(able) > 1:
            for conversion in suspects:
                (made[conversion],) = _encode(job, ffmpeg, watch, (conversion,))
    return tuple(made[conversion] for conversion in job.conversions)


def _unable(conversion: Conversion, ffmpeg: Ffmpeg) -> Rendition:
    lacking = ", ".join(missing(conversion, ffmpeg.capabilities))
    # another build may be able: nothing to remember against the media
    return Rendition(conversion, reason=f"this ffmpeg lacks {lacking}", permanent=False)


def _encode(job: Job, ffmpeg: Ffmpeg, watch: Watch, conversions: tuple[Conversion, ...]) -> tuple[Rendition, ...]:
    """One process for these conversions; each result is verified or carries the reason."""
    outputs = tuple(_output(job, conversion) for conversion in conversions)
    limits = Limits(job.memory, DEADLINE_BASE + DEADLINE_FACTOR * job.duration)
    ended = run(encode_argv(ffmpeg, job.source, outputs), job.scratch, limits, watch)
    return tuple(_verified(job, output, ended) for output in outputs)


def _output(job: Job, conversion: Conversion) -> Output:
    name = f"rendition-{job.conversions.index(conversion)}{conversion.container.extension}"
    size = rendition_size(job.source.probed.display, conversion.max_height)
    return Output(conversion, size, job.scratch / name)


def _verified(job: Job, output: Output, ended: Ended) -> Rendition:
    """The output if it is what it should be. A failed process gives none: its files may end anywhere."""
    failed = Rendition(output.conversion, seconds=ended.seconds, log=ended.log)
    if ended.failed:
        output.path.unlink(missing_ok=True)
        error = ended.error()
        return replace(failed, reason=error.reason, permanent=error.permanent)
    try:
        info = _checked(job, output, ended)
    except MediaError as error:
        output.path.unlink(missing_ok=True)
        return replace(failed, reason=error.reason, permanent=error.permanent)
    return replace(failed, path=output.path, info=info)


def _checked(job: Job, output: Output, ended: Ended) -> VideoInfo:
    """The info of a file that plays, has the right size and the right duration; MediaError if not."""
    try:
        made = probe(output.path)
    except MediaError as error:
        raise MediaError(_nothing(ended, f"the rendition cannot be read: {error.reason}"), error.permanent) from error
    if not made.decodable:
        raise MediaError(_nothing(ended, "no picture of the rendition can be decoded"))
    if (made.info.width, made.info.height) != (output.size.width, output.size.height):
        raise MediaError(f"the rendition is {made.info.width}x{made.info.height} instead of {output.size}")
    if not _long_enough(job, made.info.duration, ended):
        raise MediaError(f"the rendition has {made.info.duration:.1f} s of the source's {job.duration:.1f} s")
    return made.info


def _nothing(ended: Ended, otherwise: str) -> str:
    """The reason for an output without content: ffmpeg's last words if it had any."""
    lines = ended.log.splitlines()
    return f"nothing of the source can be decoded: {lines[-1]}" if lines else otherwise


def _long_enough(job: Job, duration: float, ended: Ended) -> bool:
    """Whether a rendition covers its source: what the header says, or what is really in the file.

    Where ffmpeg complained of the source, what could be read is accepted: half a video is better than none.
    """
    if _close(duration, job.duration) or (ended.log and duration > 0):
        return True
    probed = job.source.probed
    readable, _ = readable_duration(job.source.path, probed.video)
    if _close(duration, readable):
        return True
    return probed.audio is not None and _close(duration, readable_duration(job.source.path, probed.audio)[0])


def _close(duration: float, expected: float) -> bool:
    return abs(duration - expected) <= max(TOLERANCE, TOLERANCE_SHARE * expected)


def _storyboard(job: Job, ffmpeg: Ffmpeg, watch: Watch) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """The frames that could be taken, and a note about those that could not."""
    wanted = storyboard(job.duration, job.source.probed.display)
    taken, reason = _take(job, ffmpeg, watch, wanted)
    lost = [f"{still.timecode:.2f}" for still in wanted if still not in {picture.still for picture in taken}]
    notes = (f"storyboard: no frame at {', '.join(lost)} s{reason}",) if lost else ()
    return taken, notes


def _views(job: Job, ffmpeg: Ffmpeg, watch: Watch) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """The preview's views; taken at the start where nothing can be taken further in."""
    reason = ""
    for position in dict.fromkeys((preview_position(job.duration), 0)):
        wanted = views(position, job.source.probed.display)
        taken, reason = _take(job, ffmpeg, watch, wanted)
        if len(taken) == len(wanted):
            return taken, ()
    return (), (f"preview: no picture{reason}",)


def _take(job: Job, ffmpeg: Ffmpeg, watch: Watch, wanted: tuple[Still, ...]) -> tuple[tuple[Picture, ...], str]:
    """The stills that could be taken, and ffmpeg's reason if it gave one."""
    if not wanted:
        return (), ""
    paths = tuple((still, job.scratch / still.name) for still in wanted)
    quiet = replace(watch, progress=lambda done: None)  # stills are no progress of the encode
    limits = Limits(job.memory, STILLS_DEADLINE, stall=STILLS_DEADLINE)
    try:
        ended = run(stills_argv(ffmpeg, job.source, paths), job.scratch, limits, quiet)
    except MediaError as error:
        return (), f": {error.reason}"
    taken = tuple(Picture(still, path) for still, path in paths if _is_picture(path))
    return taken, f": {ended.error().reason}" if ended.failed else ""


def _is_picture(path: Path) -> bool:
    """A whole JPEG: a seek past the end leaves no file or an empty one, a killed process a cut one."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")
