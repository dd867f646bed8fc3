"""Entities as they go out: the one place that knows the wire's field names (spec/rest.md 1.11, 4.1 to 4.3, 5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vidarium.documents import SCHEMAS, Ace, Complex, Document, FieldType, ListOf, date_text
from vidarium.permissions import Principal
from vidarium.rest.links import Links
from vidarium.rest.rendering import Rendering
from vidarium.rest.urls import REPOSITORY

MAX_PAGE_SIZE = 1000
TOO_MANY_TO_COUNT = -2

Json = dict[str, Any]


def instant(moment: datetime | None) -> str | None:
    """A moment as entities show it, always with milliseconds and `Z`; None stays None."""
    return None if moment is None else date_text(moment)


# --- Documents


def document_json(document: Document, rendering: Rendering, context: Mapping[str, Any] | None = None) -> Json:
    """The document entity. `context`: what enrichers found; None leaves `contextParameters` out."""
    entity = _identity(document) | _state(document)
    if rendering.fetches("document", "versionLabel"):
        entity["versionLabel"] = document.version_label or ""
    if document.is_version:
        entity["isLatestVersion"] = document.is_latest_version
        entity["isLatestMajorVersion"] = document.is_latest_major_version
    if rendering.fetches("document", "lock") and document.lock_owner:
        entity |= {"lockOwner": document.lock_owner, "lockCreated": document.lock_created}
    if modified := document.get("dc:modified"):
        entity["lastModified"] = modified
    if rendering.properties:
        entity["properties"] = properties_json(document, rendering)
    entity["facets"] = list(document.facets)
    entity["schemas"] = [{"name": name, "prefix": SCHEMAS[name].wire_prefix} for name in document.schemas]
    if context is not None:
        entity["contextParameters"] = dict(context)
    return entity


def _identity(document: Document) -> Json:
    return {
        "entity-type": "document",
        "repository": REPOSITORY,
        "uid": str(document.id),
        "path": document.path,
        "type": document.type,
        "state": document.state,
        "parentRef": "/" if document.path == "/" else _text(document.parent),
    }


def _state(document: Document) -> Json:
    state: Json = {
        "isCheckedOut": not (document.is_checked_in or document.is_version),
        "isRecord": False,
        "retainUntil": None,
        "hasLegalHold": False,
        "isUnderRetentionOrLegalHold": False,
        "isVersion": document.is_version,
        "isProxy": document.proxy_target is not None,
    }
    if document.proxy_target is not None:
        state["proxyTargetId"] = str(document.proxy_target)
    if document.is_version or document.proxy_target is not None:
        state["versionableId"] = _text(document.version_series)
    return state | {
        "changeToken": document.change_token,
        "isTrashed": document.is_trashed,
        "title": document.title,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# --- Properties


def properties_json(document: Document, rendering: Rendering) -> Json:
    """Every property of the schemas that were asked for, unset ones included."""
    links = Links.of(document, rendering.base_url)
    return {
        name: _value(kind, document.get(name), name, links)
        for schema in document.schemas
        if rendering.shows(schema)
        for name, kind in SCHEMAS[schema].property_names()
    }


def _value(kind: FieldType, value: Any, xpath: str, links: Links) -> Any:
    if isinstance(kind, ListOf):
        return [_value(kind.element, element, f"{xpath}/{at}", links) for at, element in enumerate(value or ())]
    if isinstance(kind, Complex):
        if kind.is_blob:
            return blob_json(value, xpath, links) if value else None
        members = value or {}
        return {name: _value(of, members.get(name), f"{xpath}/{name}", links) for name, of in kind.members.items()}
    if value is None:
        return None
    if kind.kind == "double":
        return float(value)  # doubles always have decimals
    return int(value) if kind.kind == "long" else value


def blob_json(blob: Mapping[str, Any], xpath: str, links: Links) -> Json:
    """A blob value; its length is text (spec/rest.md 4.2)."""
    name = blob.get("name")
    return {
        "name": name,
        "mime-type": blob.get("mime-type"),
        "encoding": blob.get("encoding"),
        "digestAlgorithm": blob.get("digestAlgorithm"),
        "digest": blob.get("digest"),
        "length": _text(blob.get("length")),
        "data": links.current_blob(xpath, name),
        "blobUrl": links.blob(xpath, name),
    }


# --- Lists


@dataclass(frozen=True)
class Paging:
    """Where a page lies. `size` 0: everything on one page. `limit`: what is counted at most; 0: everything."""

    total: int
    size: int
    index: int = 0
    limit: int = 0


def page_json(entity_type: str, entries: Sequence[Json], paging: Paging) -> Json:
    """A paginated list; the arithmetic is the reference's (spec/rest.md 1.11 and 7.3).

    Over the counting limit the count is -2, and a next page is promised whenever this one is full.
    """
    offset = paging.index * paging.size
    uncounted = 0 < paging.limit < paging.total
    count = TOO_MANY_TO_COUNT if uncounted else paging.total
    pages = _pages(count, paging.size)
    more = len(entries) == paging.size if uncounted else paging.size > 0 and count > paging.size + offset
    return {
        "entity-type": entity_type,
        "isPaginable": True,
        "resultsCount": count,
        "pageSize": paging.size,
        "maxPageSize": MAX_PAGE_SIZE,
        "resultsCountLimit": paging.limit,
        "currentPageSize": len(entries),
        "currentPageIndex": paging.index,
        "currentPageOffset": offset,
        "numberOfPages": pages,
        "isPreviousPageAvailable": paging.index > 0,
        "isNextPageAvailable": more,
        "isLastPageAvailable": more and not uncounted,
        "isSortable": True,
        "hasError": False,
        "errorMessage": None,
        "totalSize": count,
        "pageIndex": paging.index,
        "pageCount": pages,
        "entries": list(entries),
    }


def _pages(count: int, size: int) -> int:
    if size == 0:
        return 1
    return 0 if count < 0 else 1 + (count - 1) // size


# --- Access control

Acls = Iterable[tuple[str, Sequence[Ace]]]
"""The lists of a document by name: its own, then one `inherited`. Empty ones are not shown."""


def ace_json(ace: Ace, now: str) -> Json:
    """One entry. Its id is `username:permission:granted:creator:begin:end`, moments as epoch milliseconds."""
    parts = (
        ace.principal,
        ace.permission,
        str(ace.granted).lower(),
        ace.creator or "",
        _epoch_milliseconds(ace.begin),
        _epoch_milliseconds(ace.end),
    )
    return {
        "id": ":".join(parts),
        "username": ace.principal,
        "permission": ace.permission,
        "granted": ace.granted,
        "creator": ace.creator,
        "begin": ace.begin,
        "end": ace.end,
        "status": _status(ace, now),
    }


def _status(ace: Ace, now: str) -> str:
    if ace.begin is not None and now < ace.begin:
        return "pending"
    return "archived" if ace.end is not None and ace.end < now else "effective"


def _epoch_milliseconds(moment: str | None) -> str:
    return "" if moment is None else str(round(datetime.fromisoformat(moment).timestamp() * 1000))


def acls_adapter_json(acls: Acls, now: str) -> Json:
    """The answer of `@acl`: keys `acl` and `ace`."""
    lists = [{"name": name, "ace": [ace_json(ace, now) for ace in aces]} for name, aces in acls if aces]
    return {"entity-type": "acls", "acl": lists}


def acls_enricher_json(acls: Acls, now: str) -> list[Json]:
    """The `acls` enricher: keys `name` and `aces`, and `externalUser` in each."""
    return [
        {"name": name, "aces": [ace_json(ace, now) | {"externalUser": False} for ace in aces]}
        for name, aces in acls
        if aces
    ]


# --- People


def login_json(principal: Principal) -> Json:
    """The answer of `automation/login`; it has no id (spec/rest.md 9.2)."""
    return {
        "entity-type": "login",
        "username": principal.name,
        "isAdministrator": principal.is_administrator,
        "groups": sorted(principal.groups),
    }
