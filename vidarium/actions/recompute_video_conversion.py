"""`recomputeVideoConversion`: the renditions of every document of a query (spec/video-bulk.md A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from vidarium import repository
from vidarium.bulk import Again, Claim, Ended, Work
from vidarium.documents import Document, Ref
from vidarium.errors import BadRequest
from vidarium.executor import Failed, Rendered
from vidarium.media.conversions import CONVERSIONS
from vidarium.renditions import Renditions, Wanted, deleted, skipped

RECOMPUTE_ALL_INFO = "onlyRecomputeMissingVideoInfo"
"""The reference stores the recompute-all flag under this name, which says the opposite (spec/video-bulk.md A.2)."""


@dataclass(frozen=True)
class RecomputeVideoConversion:
    """Parameters: `conversionNames` (list; empty: all), the recompute-all-info flag, `force` (boolean).

    `impossible`: the conversions that this server's ffmpeg cannot do, each with what it lacks.
    """

    renditions: Renditions
    impossible: Mapping[str, str]
    name: str = "recomputeVideoConversion"

    def check(self, params: Mapping[str, Any]) -> None:
        """Raises BadRequest for conversions that are not registered, or that this server's ffmpeg cannot do."""
        names = params.get("conversionNames", [])
        unknown = [name for name in names if name not in CONVERSIONS]
        if unknown:
            raise BadRequest(f"The conversions: [{', '.join(unknown)}] are not supported.")
        refused = [f"{name} ({self.impossible[name]})" for name in names or CONVERSIONS if name in self.impossible]
        if refused:
            raise BadRequest(f"This server's ffmpeg cannot do {', '.join(refused)}.")

    def plan(self, connection: Connection, claim: Claim) -> Work | Ended | Again:
        target = repository.load(connection, Ref(id=claim.document), lock=True)
        if target is None:
            return deleted(claim)
        if not target.is_video:
            return skipped(target, "the document is not a video")
        return self.renditions.plan(connection, claim, target, self._wanted(claim, target))

    def record(self, connection: Connection, claim: Claim, work: Work, result: Rendered | Failed) -> Ended | Again:
        return self.renditions.record(connection, claim, work, self._wanted(claim, None), result)

    def _wanted(self, claim: Claim, target: Document | None) -> Wanted:
        """`target` None: when recording, any info that was read is welcome."""
        names = claim.params.get("conversionNames") or list(CONVERSIONS)
        known = target is not None and bool((target.get("vid:info") or {}).get("duration"))
        return Wanted(
            conversions=tuple(CONVERSIONS[name] for name in dict.fromkeys(names)),
            info=not known or bool(claim.params.get(RECOMPUTE_ALL_INFO)),
            force=bool(claim.params.get("force")),
        )
