"""What a client asks to see of an entity, by headers or query parameters in their many spellings (spec/rest.md 1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ALL = "*"

_CONTROL = re.compile(r"(?:x-nx)?(fetch|enrichers|translate)[.-]([a-z]+)")
_PROPERTIES = frozenset({"properties", "x-nxproperties", "x-nxdocumentproperties", "documentproperties"})
_LEGACY_ENRICHERS = "x-nxcontext-category"


@dataclass(frozen=True)
class Rendering:
    """How to write entities: `properties` are schema names or `*`; the others map a lower-case entity type to names.

    `base_url` ends in the context path: `http://host:8080/nuxeo`.
    """

    base_url: str
    properties: frozenset[str] = frozenset()
    fetch: Mapping[str, frozenset[str]] = field(default_factory=dict)
    enrichers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    translate: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def fetches(self, entity: str, name: str) -> bool:
        """Whether `fetch.<entity>` names this."""
        return name in self.fetch.get(entity, ())

    def shows(self, schema: str) -> bool:
        """Whether the properties of a schema were asked for."""
        return ALL in self.properties or schema in self.properties


def rendering_of(base_url: str, given: Iterable[tuple[str, str]]) -> Rendering:
    """The rendering that headers and query parameters ask for together; names in any case, values comma-separated."""
    properties: set[str] = set()
    controls: dict[str, dict[str, frozenset[str]]] = {"fetch": {}, "enrichers": {}, "translate": {}}
    for name, text in given:
        lower = name.lower()
        values = frozenset(value.strip() for value in text.split(",") if value.strip())
        if lower in _PROPERTIES:
            properties |= values
            continue
        found = _CONTROL.fullmatch(lower)
        if found is None and lower != _LEGACY_ENRICHERS:
            continue
        category, entity = found.groups() if found else ("enrichers", "document")
        controls[category][entity] = controls[category].get(entity, frozenset()) | values
    return Rendering(base_url, frozenset(properties), **controls)
