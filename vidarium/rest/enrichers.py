"""What a document entity can be enriched with, on request (spec/rest.md 5.1). Unknown names are ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vidarium.documents import Document, Ref, now_text
from vidarium.library import Library
from vidarium.rest.downloads import renditions
from vidarium.rest.entities import Json, acls_enricher_json, document_json
from vidarium.rest.links import Links
from vidarium.rest.rendering import Rendering

Enricher = Callable[[Library, Document, Rendering], Any]


def _acls(library: Library, document: Document, _: Rendering) -> Any:
    return acls_enricher_json(library.aces(_ref(document)), now_text())


def _permissions(library: Library, document: Document, _: Rendering) -> Any:
    return library.permissions(document)


def _thumbnail(_: Library, document: Document, rendering: Rendering) -> Any:
    return {"url": Links.of(document, rendering.base_url).adapter("@rendition/thumbnail")}


def _renditions(_: Library, document: Document, rendering: Rendering) -> Any:
    links = Links.of(document, rendering.base_url)
    return [
        {"name": name, "kind": None, "icon": None, "url": links.adapter(f"@rendition/{name}")}
        for name in renditions(document)
    ]


ENRICHERS: Mapping[str, Enricher] = {
    "acls": _acls,
    "permissions": _permissions,
    "thumbnail": _thumbnail,
    "renditions": _renditions,
}


def enriched_json(library: Library, document: Document, rendering: Rendering) -> Json:
    """The document entity with what the rendering's enrichers find; one lookup per enricher that needs any."""
    asked = rendering.enrichers.get("document")
    if not asked:
        return document_json(document, rendering)
    context = {name: enrich(library, document, rendering) for name, enrich in ENRICHERS.items() if name in asked}
    return document_json(document, rendering, context)


def _ref(document: Document) -> Ref:
    return Ref(id=document.id, text=str(document.id))
