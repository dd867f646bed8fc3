"""Download URLs: written for blob values, and read again when a client sends one back (spec/rest.md 4.2, 4.7, 6)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from vidarium.documents import PROPERTIES, Document
from vidarium.errors import BadRequest, NotFound
from vidarium.rest.urls import CONTEXT, REPOSITORY

MAIN_BLOB = "blobholder:0"


@dataclass(frozen=True)
class Links:
    """The URLs of one document. `base_url` ends in the context path."""

    base_url: str
    document: uuid.UUID
    token: str

    @staticmethod
    def of(document: Document, base_url: str) -> Links:
        """The links of a document as it is now."""
        return Links(base_url, document.id, document.change_token)

    def blob(self, xpath: str, name: str | None) -> str:
        """Where the blob at an xpath can be downloaded; the name is for people and browsers only."""
        file_name = quote(name or "file", safe="")
        return f"{self.base_url}/nxfile/{REPOSITORY}/{self.document}/{quote(xpath, safe='/:')}/{file_name}"

    def current_blob(self, xpath: str, name: str | None) -> str:
        """The same with the change token, so that a cache never serves a replaced file."""
        return f"{self.blob(xpath, name)}?changeToken={quote(self.token, safe='')}"

    def adapter(self, name: str) -> str:
        """The URL of a web adapter: `@rendition/thumbnail`."""
        return f"{self.base_url}/api/v1/id/{self.document}/{quote(name, safe='/@')}"


def blob_location(segments: Sequence[str]) -> tuple[uuid.UUID, str | None]:
    """Document and xpath (None: the main blob) of a download, from the decoded segments after the repository.

    The last segment is the file name and counts for nothing, unless it is the only one and names a property.
    Raises NotFound.
    """
    if not segments:
        raise NotFound("nxfile")
    document, *rest = segments
    try:
        identifier = uuid.UUID(document)
    except ValueError:
        raise NotFound(document) from None
    if len(rest) > 1:
        rest = rest[:-1]
    elif rest and rest[0] not in PROPERTIES and not rest[0].startswith("blobholder:"):
        rest = []
    return identifier, blob_xpath("/".join(rest))


def blob_xpath(text: str) -> str | None:
    """The property a blob is at. `blobholder:0` and nothing are the main blob (None), `blobholder:n` the n-th file."""
    if text in ("", MAIN_BLOB):
        return None
    holder, _, number = text.partition(":")
    if holder != "blobholder":
        return text
    if not (number.isascii() and number.isdigit()):
        raise NotFound(f"Invalid xpath: {text}")
    return f"files:files/{int(number) - 1}/file" if int(number) else None


def own_blob(url: str, base_url: str) -> tuple[uuid.UUID, str | None] | None:
    """What a URL in a blob value points to: a blob of this server, or None for another host's URL.

    Raises BadRequest for a URL of this server that is not a download.
    """
    try:
        parts, own = urlsplit(url), urlsplit(base_url)
    except ValueError:
        raise BadRequest(f"Not a URL: {url}") from None
    if parts.netloc.lower() != own.netloc.lower():
        return None
    prefix = f"{CONTEXT}/nxfile/{REPOSITORY}/"
    if not parts.path.startswith(prefix):
        raise BadRequest(f"Not the URL of a blob: {url}")
    try:
        return blob_location([unquote(segment) for segment in parts.path.removeprefix(prefix).split("/") if segment])
    except NotFound:
        raise BadRequest(f"Not the URL of a blob: {url}") from None
