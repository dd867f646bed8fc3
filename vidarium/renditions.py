"""What a video document gets from its file: info, renditions, storyboard, preview — and how it is put there.

`plan` says what must be rendered; `record` merges a result into the document. Work done once is remembered by the
digests of source and recipe, so the same file is never encoded twice with the same recipe; a file that cannot be
converted is remembered the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from vidarium import ownership, repository
from vidarium.blobs import BlobStore
from vidarium.bulk import Again, Claim, Ended, ItemState, Outcome, OutcomeState, Work, items
from vidarium.database.schema import rendition
from vidarium.documents import Document, Ref, blobs_in
from vidarium.errors import BlobMissing
from vidarium.executor import Encode, Failed, Failure, Frame, Rendered, Source, StoredFile, Task
from vidarium.media.conversions import CONVERSIONS, Conversion
from vidarium.media.probe import VideoInfo

EMPTY: Mapping[str, Any] = {
    "vid:info": {"duration": 0.0, "width": 0, "height": 0, "format": None, "frameRate": 0.0, "streams": []},
    "vid:transcodedVideos": [],
    "vid:storyboard": [],
    "picture:views": [],
}
"""What a video document without a file has (spec/video-bulk.md C.2, C.5)."""

SPACE_DELAY = 10.0


@dataclass(frozen=True)
class Wanted:
    """What an action wants of a document. `force`: encode even what was encoded before."""

    conversions: tuple[Conversion, ...] = ()
    info: bool = False
    storyboard: bool = False
    preview: bool = False
    force: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.conversions or self.info or self.storyboard or self.preview)


@dataclass(frozen=True)
class Known:
    """An earlier encode of the same source by the same recipe: a blob, or the reason why there is none."""

    digest: str | None
    length: int
    info: Mapping[str, Any]
    reason: str | None
    log: str | None


@dataclass(frozen=True)
class Renditions:
    """Plans and records the renders of documents. `free`: bytes left for scratch and blobs; `floor`: kept free."""

    store: BlobStore
    free: Callable[[], int | None]
    floor: int

    def plan(self, connection: Connection, claim: Claim, target: Document, wanted: Wanted) -> Work | Ended | Again:
        """The render that a locked document still needs; what is known already is kept without one."""
        file = target.file
        if file is None:
            return skipped(target, "the document has no file")
        source = Source(file["digest"], int(file["length"]), file["name"] or "video")
        finished = items.done_before(connection, claim)
        conversions = tuple(entry for entry in wanted.conversions if entry.name not in finished)
        known = {} if wanted.force else self._known(connection, source.digest, conversions)
        missing = tuple(entry for entry in conversions if entry.name not in known)
        rest = replace(wanted, conversions=missing)
        if not rest.anything:
            return self._keep(connection, target, wanted, Rendered(VideoInfo()), known)
        if (free := self.free()) is not None and free < self.floor + source.length:
            return Again(_no_space(free, self.floor + source.length), SPACE_DELAY, counts=False)
        task = Task(str(claim.token), source, missing, storyboard=wanted.storyboard, preview=wanted.preview)
        return Work(task, known)

    def record(
        self, connection: Connection, claim: Claim, work: Work, wanted: Wanted, result: Rendered | Failed
    ) -> Ended | Again:
        """Merge a result into its document, unless the file was replaced while it was rendered."""
        target = repository.load(connection, Ref(id=claim.document), lock=True)
        if target is None:
            return deleted(claim)
        if target.file is None or target.file["digest"] != work.task.source.digest:
            items.forget_outcomes(connection, claim)
            return Again("the file was replaced meanwhile", counts=False)
        rendered = _as_rendered(work.task, result) if isinstance(result, Failed) else result
        self._remember(connection, work.task.source.digest, rendered)
        verdict = self._keep(connection, target, wanted, rendered, work.known)
        if any(encode.reason and not encode.permanent for encode in rendered.encodes):
            reasons = "; ".join(encode.reason for encode in rendered.encodes if encode.reason)
            if again := items.after_failure(claim, reasons):
                done = tuple(entry for entry in verdict.outcomes if entry.state != OutcomeState.FAILED)
                return replace(again, outcomes=done)
        if isinstance(result, Failed) and not verdict.outcomes:
            return Ended(ItemState.FAILED, error=result.reason, place=_place(target))
        return verdict

    # --- Keeping

    def _keep(
        self,
        connection: Connection,
        target: Document,
        wanted: Wanted,
        rendered: Rendered,
        known: Mapping[str, Known],
    ) -> Ended:
        """Write what is new into a locked document; the item's end with one outcome per conversion."""
        name = (target.file or {}).get("name") or "video"
        entries = {key: _entry(key, name, value) for key, value in known.items() if value.digest}
        entries |= {encode.conversion.name: _encoded(encode) for encode in rendered.encodes if encode.file}
        order = [conversion.name for conversion in wanted.conversions]
        entries = {key: value for key, value in entries.items() if key in order}
        computed = dict(target.computed)
        computed["vid:transcodedVideos"] = merged(computed.get("vid:transcodedVideos") or [], entries, order)
        computed |= _described(target, wanted, rendered)
        if computed != target.computed:
            self._own(connection, rendered)
            saved = repository.save(connection, replace(target, computed=computed), by_user=False)
            digests = {blob["digest"] for blob in blobs_in([saved.properties, saved.computed])}
            ownership.set_uses(connection, self.store, saved.id, digests)
        outcomes = tuple(_outcomes(wanted, rendered, known))
        failed = next((entry for entry in outcomes if entry.state == OutcomeState.FAILED), None)
        if failed is None:
            return Ended(ItemState.DONE, outcomes)
        return Ended(ItemState.FAILED, outcomes, f"{failed.conversion}: {failed.reason}", _place(target))

    def _own(self, connection: Connection, rendered: Rendered) -> None:
        """Make rows of the new blobs; raises BlobMissing if a collection was faster (the item is tried again)."""
        stills = [frame.file for frame in (*rendered.storyboard, *rendered.views)]
        files = [encode.file for encode in rendered.encodes if encode.file] + stills
        for file in sorted(files, key=lambda file: file.digest):
            ownership.record(connection, self.store, file.digest, file.length)

    # --- Remembering

    def _known(self, connection: Connection, source: str, wanted: Sequence[Conversion]) -> dict[str, Known]:
        """What earlier encodes gave, by conversion name; a blob counts only if its bytes are there in full."""
        by_recipe = {conversion.recipe: conversion.name for conversion in wanted}
        rows = connection.execute(
            select(rendition).where(rendition.c.source == source, rendition.c.recipe.in_(by_recipe))
        )
        found: dict[str, Known] = {}
        for row in rows:
            if row.digest is None or self.store.length(row.digest) == row.length:
                known = Known(row.digest, row.length or 0, row.info or {}, row.reason, row.log)
                found |= {entry.name: known for entry in wanted if entry.recipe == row.recipe}
        return {name: known for name, known in found.items() if known.digest is None or self._usable(connection, known)}

    def _usable(self, connection: Connection, known: Known) -> bool:
        """Whether a known blob has its row (made again if it was collected while the bytes stayed)."""
        try:
            ownership.record(connection, self.store, known.digest or "", known.length)
        except BlobMissing:
            return False
        return True

    def _remember(self, connection: Connection, source: str, rendered: Rendered) -> None:
        for encode in rendered.encodes:
            if encode.file is None and not encode.permanent:
                continue
            values = {
                "source": source,
                "recipe": encode.conversion.recipe,
                "digest": encode.file.digest if encode.file else None,
                "length": encode.file.length if encode.file else None,
                "info": info_json(encode.info) if encode.info else None,
                "reason": encode.reason,
                "log": encode.log or None,
                "encoder": rendered.encoder,
                "seconds": encode.seconds,
                "created": func.now(),
            }
            statement = insert(rendition).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["source", "recipe"], set_=values))


# --- Verdicts


def deleted(claim: Claim) -> Ended:
    """The end of an item whose document is gone."""
    return Ended(ItemState.SKIPPED, error="the document was deleted", place=str(claim.document))


def skipped(target: Document, reason: str) -> Ended:
    """The end of an item whose document needs nothing."""
    return Ended(ItemState.SKIPPED, error=reason, place=_place(target))


def _place(target: Document) -> str:
    return target.path or str(target.id)


def _no_space(free: int, needed: int) -> str:
    return f"waiting for disk space: {free // 1_000_000} MB free, {needed // 1_000_000} MB needed"


def _as_rendered(task: Task, failed: Failed) -> Rendered:
    """A task that failed as a whole: each of its conversions failed for that reason."""
    permanent = failed.failure == Failure.PERMANENT
    encodes = tuple(
        Encode(conversion, reason=failed.reason, permanent=permanent, log=failed.log) for conversion in task.conversions
    )
    return Rendered(VideoInfo(), encodes)


def _outcomes(wanted: Wanted, rendered: Rendered, known: Mapping[str, Known]) -> list[Outcome]:
    """One outcome per wanted conversion that was dealt with now, in the order of the request."""
    encodes = {encode.conversion.name: encode for encode in rendered.encodes}
    found = []
    for name in (conversion.name for conversion in wanted.conversions):
        if encode := encodes.get(name):
            found.append(_encode_outcome(encode))
        elif earlier := known.get(name):
            found.append(_known_outcome(name, earlier))
    return found


def _encode_outcome(encode: Encode) -> Outcome:
    state = OutcomeState.DONE if encode.file else OutcomeState.FAILED
    length = encode.file.length if encode.file else None
    return Outcome(encode.conversion.name, state, encode.reason, encode.seconds, length, encode.log or None)


def _known_outcome(name: str, known: Known) -> Outcome:
    if known.digest is None:
        return Outcome(name, OutcomeState.FAILED, f"failed before: {known.reason}", log=known.log)
    return Outcome(name, OutcomeState.REUSED, bytes=known.length)


# --- Values as stored


def merged(
    present: Sequence[Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], order: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Renditions by name: a replaced one keeps its place, others follow in the order of the request."""
    kept = [new.get(entry.get("name") or "", entry) for entry in present]
    names = {entry.get("name") for entry in present}
    return kept + [new[name] for name in order if name in new and name not in names]


def info_json(info: VideoInfo) -> dict[str, Any]:
    """`vid:info` as stored, under the wire's names (spec/video-bulk.md C.1)."""
    return {
        "duration": info.duration,
        "width": info.width,
        "height": info.height,
        "format": info.format,
        "frameRate": info.frame_rate,
        "streams": [
            {"streamInfo": s.stream_info, "type": s.type, "codec": s.codec, "bitRate": s.bit_rate} for s in info.streams
        ],
    }


def blob_json(file: StoredFile) -> dict[str, Any]:
    """A blob value as stored."""
    return {
        "name": file.name,
        "mime-type": file.mime_type,
        "encoding": None,
        "digestAlgorithm": "SHA-256",
        "digest": file.digest,
        "length": file.length,
    }


def rendition_name(source: str, conversion: Conversion) -> str:
    """`DELTA.mp4` → `DELTA.webm` (spec/video-bulk.md C.3)."""
    base = source.rsplit(".", 1)[0] if "." in source.lstrip(".") else source
    return f"{base}{conversion.container.extension}"


def _encoded(encode: Encode) -> dict[str, Any]:
    content = blob_json(encode.file) if encode.file else None
    info = info_json(encode.info) if encode.info else None
    return {"name": encode.conversion.name, "content": content, "info": info}


def _entry(name: str, source: str, known: Known) -> dict[str, Any]:
    conversion = CONVERSIONS[name]
    file = StoredFile(
        known.digest or "", known.length, rendition_name(source, conversion), conversion.container.mime_type
    )
    return {"name": name, "content": blob_json(file), "info": known.info}


def _described(target: Document, wanted: Wanted, rendered: Rendered) -> dict[str, Any]:
    """Info, storyboard and views that were asked for and made."""
    found: dict[str, Any] = {}
    if rendered.info.streams and wanted.info:
        found["vid:info"] = info_json(rendered.info)
    if rendered.storyboard and wanted.storyboard:
        source = (target.file or {}).get("name") or ""
        found["vid:storyboard"] = [_frame(frame, f"{source} {n}") for n, frame in enumerate(rendered.storyboard)]
    if rendered.views and wanted.preview:
        found["picture:views"] = [_view(frame) for frame in rendered.views]
    return found


def _frame(frame: Frame, comment: str) -> dict[str, Any]:
    return {"content": blob_json(frame.file), "timecode": frame.timecode, "comment": comment}


def _view(frame: Frame) -> dict[str, Any]:
    info = asdict(frame) | {"format": "JPEG", "depth": 8, "colorSpace": "RGB"}
    return {
        "title": frame.title,
        "description": None,
        "tag": None,
        "height": frame.height,
        "width": frame.width,
        "filename": frame.file.name,
        "content": blob_json(frame.file),
        "info": {name: info[name] for name in ("width", "height", "depth", "format", "colorSpace")},
    }
