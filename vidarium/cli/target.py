"""Where an import goes: folders on the server, found by their titles or made, and what they hold already.

The server cuts names to 24 characters and makes them unique, so a path cannot tell whether something is there
(spec/rest.md 4.5): titles, lengths and digests do.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from vidarium.cli.client import PIECE, Client, Refused, pages
from vidarium.cli.discovery import LocalFile

SCHEMAS = "dublincore,file"
PAGE = 500
NOT_FOUND, CONFLICT = 404, 409
ALGORITHMS = {"SHA-256": "sha256", "SHA256": "sha256", "MD5": "md5", "SHA-1": "sha1", "SHA-512": "sha512"}


@dataclass(frozen=True)
class Child:
    """A document in a folder; of its main file the length in bytes and the digest, where it has one."""

    uid: str
    title: str
    file_name: str
    is_folder: bool
    length: int | None
    digest: str | None
    algorithm: str | None


def child(entity: Mapping[str, Any]) -> Child:
    """What an import needs of a document entity (spec/rest.md 4.1, 4.2)."""
    properties = entity.get("properties") or {}
    file = properties.get("file:content") or {}
    return Child(
        uid=str(entity["uid"]),
        title=str(properties.get("dc:title") or entity.get("title") or ""),
        file_name=str(file.get("name") or ""),
        is_folder="Folderish" in (entity.get("facets") or ()),
        length=int(file["length"]) if file.get("length") is not None else None,
        digest=file.get("digest"),
        algorithm=file.get("digestAlgorithm"),
    )


@dataclass
class Folder:
    """A folder on the server with what it held when it was read, and what was added since; by title and file name."""

    uid: str
    children: dict[str, list[Child]] = field(default_factory=dict)

    def add(self, document: Child) -> None:
        for name in {document.title, document.file_name} - {""}:
            self.children.setdefault(name, []).append(document)


class Target:
    """The folder an import goes to, and the folders below it. May be used from several threads."""

    def __init__(self, client: Client, path: str) -> None:
        """Find or make the folder at a path. Raises Unreachable, Refused."""
        self._client = client
        self._lock = threading.Lock()
        self._folders: dict[tuple[str, ...], Folder] = {(): self._read(self._workspace(path))}

    def folder(self, titles: tuple[str, ...]) -> Folder:
        """The folder below the target with these titles, made where missing."""
        with self._lock:
            return self._below(titles)

    def reread(self, titles: tuple[str, ...]) -> None:
        """Forget what a folder held: a request whose answer was lost may have changed it."""
        with self._lock:
            self._folders[titles] = self._read(self._below(titles).uid)

    def holds(self, file: LocalFile) -> bool:
        """Whether a document of this title or file name with these bytes is there. Reads the file if it may be."""
        same_name = self.folder(file.folders).children.get(file.title, ())
        candidates = [each for each in same_name if each.length == file.length]
        return any(same_bytes(file, each) for each in candidates)

    def _below(self, titles: tuple[str, ...]) -> Folder:
        if titles not in self._folders:
            parent = self._below(titles[:-1])
            found = next((each for each in parent.children.get(titles[-1], ()) if each.is_folder), None)
            made = found or self._make(parent.uid, "Folder", titles[-1])
            self._folders[titles] = self._read(made.uid) if found else Folder(made.uid)
            if not found:
                parent.add(made)
        return self._folders[titles]

    def _workspace(self, path: str) -> str:
        """The id of the folder at a path; each missing segment is looked for by title, then made as a Workspace."""
        here = self._client.get("path/")
        for segment in (segment for segment in path.split("/") if segment):
            here = self._step(here, segment)
        if not child(here).is_folder:
            raise Refused(CONFLICT, f"{here['path']} is no folder: nothing can be put into it.")
        return str(here["uid"])

    def _step(self, parent: dict[str, Any], segment: str) -> dict[str, Any]:
        """The document named `segment` in a folder, else the folder of this title, else a new Workspace."""
        try:
            below = f"{str(parent['path']).rstrip('/')}/{segment}"
            found: dict[str, Any] = self._client.get(f"path{quote(below)}")
            return found
        except Refused as refused:
            if refused.status != NOT_FOUND:
                raise
        entries = pages(self._client, f"id/{parent['uid']}/@children", {"pageSize": PAGE}, SCHEMAS)
        same = (each for each in entries if (known := child(each)).is_folder and known.title == segment)
        return next(same, None) or self._post(str(parent["uid"]), "Workspace", segment)

    def _make(self, parent: str, kind: str, title: str) -> Child:
        return child(self._post(parent, kind, title))

    def _post(self, parent: str, kind: str, title: str) -> dict[str, Any]:
        body = {"entity-type": "document", "type": kind, "name": title, "properties": {"dc:title": title}}
        made: dict[str, Any] = self._client.post(f"id/{parent}", body, SCHEMAS)
        return made

    def _read(self, uid: str) -> Folder:
        folder = Folder(uid)
        for entity in pages(self._client, f"id/{uid}/@children", {"pageSize": PAGE}, SCHEMAS):
            folder.add(child(entity))
        return folder


def same_bytes(file: LocalFile, document: Child) -> bool:
    """Whether a document's file has the bytes of the local one. A digest that cannot be computed here is believed."""
    name = ALGORITHMS.get((document.algorithm or "").upper())
    if name is None or not document.digest:
        return True
    digest = hashlib.new(name, usedforsecurity=False)
    with file.path.open("rb") as source:
        while piece := source.read(PIECE):
            digest.update(piece)
    return digest.hexdigest() == document.digest.lower()
