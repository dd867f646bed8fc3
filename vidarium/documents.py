"""Documents, and the one table of schemas, facets and types. Plain data: no database, no wire format.

Facts: spec/rest.md 4.9, spec/nxql.md 5.3, spec/video-bulk.md C.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# --- Field types -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scalar:
    """A leaf: `string`, `long`, `double`, `boolean` or `date` (fixed-width UTC text with milliseconds)."""

    kind: str


@dataclass(frozen=True)
class Complex:
    """An object with named members."""

    members: Mapping[str, FieldType]
    is_blob: bool = False


@dataclass(frozen=True)
class ListOf:
    """A list whose elements all have one type."""

    element: FieldType


FieldType = Scalar | Complex | ListOf

STRING, LONG, DOUBLE, BOOLEAN, DATE = (Scalar(kind) for kind in ("string", "long", "double", "boolean", "date"))
STRINGS = ListOf(STRING)

BLOB = Complex(
    {
        "name": STRING,
        "mime-type": STRING,
        "encoding": STRING,
        "digest": STRING,
        "digestAlgorithm": STRING,
        "length": LONG,
        "data": STRING,
    },
    is_blob=True,
)
"""As stored: `digest` is the SHA-256 in hex and the key in the blob store; `data` equals it (NXQL: `content/data`)."""

VIDEO_INFO = Complex(
    {
        "duration": DOUBLE,
        "width": LONG,
        "height": LONG,
        "format": STRING,
        "frameRate": DOUBLE,
        "streams": ListOf(Complex({"streamInfo": STRING, "type": STRING, "codec": STRING, "bitRate": DOUBLE})),
    }
)


# --- Schemas ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schema:
    """A named group of properties. `prefix` is empty for the schemas whose properties have no prefix of their own."""

    name: str
    prefix: str
    fields: Mapping[str, FieldType]

    @property
    def wire_prefix(self) -> str:
        """The prefix in stored and wire names: `dc` for dublincore, `file` for file (spec/rest.md 4.1)."""
        return self.prefix or self.name

    def property_names(self) -> Iterator[tuple[str, FieldType]]:
        """`("dc:title", STRING)` and so on, in the schema's order."""
        for name, kind in self.fields.items():
            yield f"{self.wire_prefix}:{name}", kind


def _fields(kind: FieldType, names: str) -> dict[str, FieldType]:
    return dict.fromkeys(names.split(), kind)


_PICTURE_INFO = Complex(_fields(LONG, "width height depth") | _fields(STRING, "format colorSpace"))
_PICTURE_VIEW = Complex(
    _fields(STRING, "title description tag")
    | _fields(LONG, "height width")
    | _fields(STRING, "filename")
    | _fields(BLOB, "content")
    | _fields(_PICTURE_INFO, "info")
)

SCHEMAS: Mapping[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema("common", "", _fields(STRING, "icon icon-expanded")),
        Schema(
            "dublincore",
            "dc",
            _fields(STRING, "title description")
            | _fields(STRINGS, "subjects")
            | _fields(STRING, "rights source coverage")
            | _fields(DATE, "created modified issued valid expired")
            | _fields(STRING, "format language creator")
            | _fields(STRINGS, "contributors")
            | _fields(STRING, "lastContributor nature publisher"),
        ),
        Schema("uid", "", _fields(STRING, "uid") | _fields(LONG, "major_version minor_version")),
        Schema("file", "", {"content": BLOB}),
        Schema("files", "", {"files": ListOf(Complex({"file": BLOB}))}),
        Schema("note", "", {"note": STRING, "mime_type": STRING}),
        Schema(
            "video",
            "vid",
            {
                "info": VIDEO_INFO,
                "transcodedVideos": ListOf(Complex({"name": STRING, "content": BLOB, "info": VIDEO_INFO})),
                "storyboard": ListOf(Complex({"content": BLOB, "timecode": DOUBLE, "comment": STRING})),
            },
        ),
        Schema(
            "picture",
            "picture",
            _fields(_PICTURE_INFO, "info")
            | _fields(ListOf(_PICTURE_VIEW), "views")
            | _fields(
                STRING,
                "headline subheadline byline dateline slugline credit language source origin genre caption typage",
            )
            | _fields(Complex(_fields(LONG, "x y w h")), "cropCoords"),
        ),
        Schema("facetedTag", "nxtag", {"tags": ListOf(Complex({"label": STRING, "username": STRING}))}),
        Schema("relatedtext", "relatedtext", {"relatedtextresources": ListOf(Complex({"id": STRING, "text": STRING}))}),
        Schema("domain", "domain", {"display_type": STRING}),
        Schema("webcontainer", "webc", {"isWebContainer": BOOLEAN, "theme": STRING, "url": STRING}),
        Schema("publishing", "publish", {"sections": STRINGS}),
        Schema("collection", "collection", {"documentIds": STRINGS}),
    )
}

COMPUTED_SCHEMAS = frozenset({"video", "picture"})
"""What the server computes. Stored in `document.computed`, so that a user's write never meets it by accident."""

PROPERTIES: Mapping[str, FieldType] = {
    name: kind for schema in SCHEMAS.values() for name, kind in schema.property_names()
}
"""Every property by its stored name: `dc:title`, `file:content`, `vid:info`, …"""

COMPUTED_PROPERTIES = frozenset(name for schema in COMPUTED_SCHEMAS for name, _ in SCHEMAS[schema].property_names())

# --- Facets and types ------------------------------------------------------------------------------------------------

FACET_SCHEMAS: Mapping[str, tuple[str, ...]] = {
    "Video": ("file", "video", "picture"),
    "Picture": ("picture",),
    "NXTag": ("facetedTag",),
    "HasRelatedText": ("relatedtext",),
}
"""The schemas that come with a facet."""

TYPE_ONLY_FACETS = frozenset(
    {
        "Folderish",
        "HiddenInNavigation",
        "HiddenInCreation",
        "Collection",
        "NotCollectionMember",
        "Picture",
        "SavedSearch",
        "SystemDocument",
    }
)
"""Facets that count in a query only when the type declares them (spec/nxql.md 10.2)."""


@dataclass(frozen=True)
class DocumentType:
    """A document type: its parent in the hierarchy, the facets and schemas it has (inherited ones included)."""

    name: str
    parent: str | None
    facets: tuple[str, ...]
    schemas: tuple[str, ...]
    icon: str = ""

    @property
    def all_schemas(self) -> tuple[str, ...]:
        """Its own schemas and those its facets bring, in order, each once."""
        names = list(self.schemas)
        for facet in self.facets:
            names += FACET_SCHEMAS.get(facet, ())
        return tuple(dict.fromkeys(names))


_CONTENT = ("Versionable", "Publishable", "Commentable", "HasRelatedText")
_SPACE = ("Folderish", "SuperSpace")
_FOLDER_SCHEMAS = ("common", "dublincore")

TYPES: Mapping[str, DocumentType] = {
    kind.name: kind
    for kind in (
        DocumentType("Document", None, (), ()),
        DocumentType("Root", "Folder", ("Folderish", "NotCollectionMember"), _FOLDER_SCHEMAS, "/icons/folder.gif"),
        DocumentType("Folder", "Document", ("Folderish",), _FOLDER_SCHEMAS, "/icons/folder.gif"),
        DocumentType("OrderedFolder", "Folder", ("Folderish", "Orderable"), _FOLDER_SCHEMAS, "/icons/folder.gif"),
        DocumentType("HiddenFolder", "Folder", ("Folderish", "HiddenInNavigation"), _FOLDER_SCHEMAS),
        DocumentType(
            "Domain",
            "Folder",
            (*_SPACE, "NotCollectionMember"),
            (*_FOLDER_SCHEMAS, "domain"),
            "/icons/domain.gif",
        ),
        DocumentType("WorkspaceRoot", "Folder", (*_SPACE, "HiddenInCreation", "NotCollectionMember"), _FOLDER_SCHEMAS),
        DocumentType(
            "SectionRoot",
            "Folder",
            (*_SPACE, "HiddenInCreation", "NotCollectionMember", "MasterPublishSpace"),
            _FOLDER_SCHEMAS,
        ),
        DocumentType("TemplateRoot", "Folder", (*_SPACE, "HiddenInCreation", "NotCollectionMember"), _FOLDER_SCHEMAS),
        DocumentType(
            "Workspace",
            "Folder",
            _SPACE,
            (*_FOLDER_SCHEMAS, "file", "webcontainer", "publishing", "files"),
            "/icons/workspace.gif",
        ),
        DocumentType("Section", "Folder", (*_SPACE, "PublishSpace"), (*_FOLDER_SCHEMAS, "file")),
        DocumentType(
            "File",
            "Document",
            ("Downloadable", *_CONTENT, "NXTag"),
            ("common", "file", "dublincore", "uid", "files"),
            "/icons/file.gif",
        ),
        DocumentType(
            "Note",
            "Document",
            (*_CONTENT, "NXTag"),
            ("common", "note", "uid", "files", "dublincore"),
            "/icons/note.gif",
        ),
        DocumentType(
            "Video",
            "Document",
            ("Commentable", "Versionable", "Publishable", "Video", "HasStoryboard", "HasVideoPreview", "NXTag"),
            ("common", "dublincore", "uid", "files"),
            "/icons/video.png",
        ),
        DocumentType(
            "Picture",
            "Document",
            ("Picture", *_CONTENT, "NXTag"),
            ("common", "dublincore", "uid", "files", "file", "picture"),
            "/icons/image.gif",
        ),
        DocumentType(
            "Collection",
            "Document",
            ("Versionable", "Collection", "NotCollectionMember"),
            ("uid", "dublincore", "common", "collection"),
            "/icons/collection.png",
        ),
    )
}


def subtypes(name: str) -> frozenset[str]:
    """The names of a type and of every type below it; `Folder` includes `Workspace`. Unknown name: empty."""
    if name not in TYPES:
        return frozenset()
    found = {name}
    while more := {kind.name for kind in TYPES.values() if kind.parent in found} - found:
        found |= more
    return frozenset(found)


# --- Values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ref:
    """How a caller addresses a document: by id or by path ("/" is the root). The text is what a 404 repeats."""

    id: uuid.UUID | None = None
    path: str | None = None
    text: str = ""


@dataclass(frozen=True)
class UploadedFile:
    """A blob value that stands for a file of an upload batch."""

    batch: str
    index: int


@dataclass(frozen=True)
class BlobOf:
    """A blob value that stands for the blob a document has at an xpath (a client echoed its download URL)."""

    document: uuid.UUID
    xpath: str


@dataclass(frozen=True)
class TextBlob:
    """A blob value given as text."""

    name: str
    mime_type: str
    encoding: str
    text: str


class Unchanged:
    """A value that leaves the property as it is; the one instance is `UNCHANGED`."""


UNCHANGED = Unchanged()


@dataclass(frozen=True)
class Ace:
    """One access control entry. `begin` and `end` bound the time in which it counts."""

    principal: str
    permission: str
    granted: bool = True
    creator: str | None = None
    begin: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class Document:
    """A document as stored. `properties` and `computed` hold set values only, under their wire names.

    `path` and `parent` are None for a version. `facets` are those of the type and the instance's own.
    The change token is `<system>-<user>`: every write bumps the first, a user's write both (spec/rest.md 4.6).
    """

    id: uuid.UUID
    parent: uuid.UUID | None
    name: str
    path: str | None
    type: str
    facets: tuple[str, ...]
    state: str
    properties: Mapping[str, Any]
    computed: Mapping[str, Any]
    system_token: int = 0
    user_token: int = 0
    is_version: bool = False
    is_checked_in: bool = False
    is_trashed: bool = False
    proxy_target: uuid.UUID | None = None
    version_series: uuid.UUID | None = None
    version_label: str | None = None
    is_latest_version: bool = False
    is_latest_major_version: bool = False
    lock_owner: str | None = None
    lock_created: str | None = None
    position: int | None = None
    acl: Mapping[str, tuple[Ace, ...]] = field(default_factory=dict)
    acl_scope: uuid.UUID | None = None

    @property
    def change_token(self) -> str:
        """`<system counter>-<user counter>`."""
        return f"{self.system_token}-{self.user_token}"

    @property
    def title(self) -> str:
        """dc:title, else the name."""
        return self.properties.get("dc:title") or self.name

    @property
    def is_folder(self) -> bool:
        return "Folderish" in self.facets

    @property
    def is_video(self) -> bool:
        return "Video" in self.facets

    @property
    def schemas(self) -> tuple[str, ...]:
        """The names of its schemas: the type's, then those of the instance's facets."""
        names = list(TYPES[self.type].all_schemas)
        for facet in self.facets:
            names += FACET_SCHEMAS.get(facet, ())
        return tuple(dict.fromkeys(names))

    def get(self, name: str) -> Any:
        """The value of a property by its stored name; None when unset."""
        return self.computed.get(name) if name in COMPUTED_PROPERTIES else self.properties.get(name)

    @property
    def file(self) -> Mapping[str, Any] | None:
        """The main blob (`file:content`), or None."""
        value: Mapping[str, Any] | None = self.properties.get("file:content")
        return value


def date_text(moment: datetime) -> str:
    """A date as stored and sent: `2023-11-23T18:30:05.120Z`. Text order is time order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def now_text() -> str:
    """This moment, as a date is stored."""
    return date_text(datetime.now(UTC))


def blobs_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every stored blob value inside a property value or a mapping of properties."""
    if isinstance(value, Mapping):
        if isinstance(value.get("digest"), str) and "mime-type" in value:
            yield value
        else:
            for member in value.values():
                yield from blobs_in(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from blobs_in(member)


def at_xpath(found: Document, xpath: str) -> Any:
    """The value at an xpath such as `files:files/0/file`; `blobholder:0` is the main file. None: nothing there."""
    if xpath in {"blobholder:0", "content"}:
        xpath = "file:content"
    name, *steps = xpath.split("/")
    value = found.get(name)
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
