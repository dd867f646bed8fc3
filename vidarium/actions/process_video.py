"""`processVideo`: what a new file of a video leads to (spec/video-bulk.md C.5). Internal: uploads submit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from vidarium import repository
from vidarium.bulk import Again, Claim, Ended, Work
from vidarium.documents import Document, Ref
from vidarium.executor import Failed, Rendered
from vidarium.media.conversions import CONVERSIONS
from vidarium.renditions import Renditions, Wanted, deleted, skipped


@dataclass(frozen=True)
class ProcessVideo:
    """Fills in what is missing: info, storyboard, preview and the automatic conversions; what is there stays."""

    renditions: Renditions
    automatic: bool
    name: str = "processVideo"

    def check(self, params: Mapping[str, Any]) -> None:
        """It has no parameters."""

    def plan(self, connection: Connection, claim: Claim) -> Work | Ended | Again:
        target = repository.load(connection, Ref(id=claim.document), lock=True)
        if target is None:
            return deleted(claim)
        if not target.is_video:
            return skipped(target, "the document is not a video")
        return self.renditions.plan(connection, claim, target, self._wanted(target))

    def record(self, connection: Connection, claim: Claim, work: Work, result: Rendered | Failed) -> Ended | Again:
        target = repository.load(connection, Ref(id=claim.document), lock=True)
        if target is None:
            return deleted(claim)
        return self.renditions.record(connection, claim, work, self._wanted(target), result)

    def _wanted(self, target: Document) -> Wanted:
        info = target.get("vid:info") or {}
        stills = {"HasVideoPreview", "HasStoryboard"} <= set(target.facets)
        present = {entry.get("name") for entry in target.get("vid:transcodedVideos") or []}
        missing = tuple(entry for entry in CONVERSIONS.values() if entry.automatic and entry.name not in present)
        return Wanted(
            conversions=missing if self.automatic else (),
            info=not (info.get("width") and info.get("height")),
            storyboard=stills and not target.get("vid:storyboard"),
            preview=stills and not target.get("picture:views"),
        )
