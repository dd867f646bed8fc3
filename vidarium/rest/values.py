"""Property values as clients send them, turned into what the library stores (spec/rest.md 4.6, 4.7)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from vidarium.documents import (
    PROPERTIES,
    UNCHANGED,
    BlobOf,
    Complex,
    FieldType,
    ListOf,
    TextBlob,
    UploadedFile,
    date_text,
)
from vidarium.errors import BadRequest
from vidarium.rest.links import own_blob

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_INT64 = range(-(2**63), 2**63)
_DATE_WIDTH = len("2023-11-23T18:30:05.120Z")


def stored_properties(sent: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """The values by stored name. Names that no schema has are left out; unset is None.

    Blobs become UploadedFile, BlobOf, TextBlob, UNCHANGED or None, at any depth. `base_url` tells this server's own
    download URLs from others. Raises BadRequest for a value of the wrong type.
    """
    return {
        name: stored_value(PROPERTIES[name], value, name, base_url)
        for name, value in sent.items()
        if name in PROPERTIES
    }


def stored_value(kind: FieldType, value: Any, xpath: str, base_url: str) -> Any:
    """One value of a type; raises BadRequest that names the xpath."""
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return _list(kind, value, xpath, base_url)
    if isinstance(kind, Complex):
        return _blob(value, xpath, base_url) if kind.is_blob else _complex(kind, value, xpath, base_url)
    try:
        return _SCALARS[kind.kind](value)
    except (ValueError, OverflowError):
        raise _wrong(xpath) from None


def _wrong(xpath: str) -> BadRequest:
    return BadRequest(f"Unable to deserialize property: {xpath}")


def _list(kind: ListOf, value: Any, xpath: str, base_url: str) -> list[Any]:
    if not isinstance(value, list) or any(element is None for element in value):
        raise _wrong(xpath)
    return [stored_value(kind.element, element, f"{xpath}/{at}", base_url) for at, element in enumerate(value)]


def _complex(kind: Complex, value: Any, xpath: str, base_url: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(xpath)
    members = {
        name: stored_value(of, value[name], f"{xpath}/{name}", base_url)
        for name, of in kind.members.items()
        if name in value
    }
    return {name: member for name, member in members.items() if member is not None}


# --- Scalars: each takes a JSON value that is not null and raises ValueError or OverflowError for a wrong one


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _long(value: Any) -> int | None:
    if value == "":
        return None
    whole = _INTEGER.fullmatch(value) if isinstance(value, str) else isinstance(value, float) and value.is_integer()
    if whole:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise ValueError
    return value


def _double(value: Any) -> float | None:
    if value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False, "": None}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def _date(value: Any) -> str | None:
    """ISO 8601; without an offset it is UTC. Years keep four digits: the text's order is the time's."""
    if value == "":
        return None
    moment = datetime.fromisoformat(_string(value))
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return date_text(aware).rjust(_DATE_WIDTH, "0")


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "long": _long,
    "double": _double,
    "boolean": _boolean,
    "date": _date,
}


# --- Blobs


def _blob(value: Any, xpath: str, base_url: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(xpath)
    if "upload-batch" in value:
        return _uploaded(value, xpath)
    data = value.get("data", value.get("content"))
    if data is None:
        return UNCHANGED
    if not isinstance(data, str):
        raise _wrong(xpath)
    if re.match(r"https?://", data, re.IGNORECASE):
        return _linked(data, base_url)
    encoding = _member(value, ("encoding",), "UTF-8", xpath)
    try:
        data.encode(encoding)
    except (LookupError, ValueError):
        raise _wrong(xpath) from None
    return TextBlob(
        name=_member(value, ("name", "filename"), "", xpath),
        mime_type=_member(value, ("mime-type",), "text/plain", xpath),
        encoding=encoding,
        text=data,
    )


def _uploaded(value: Mapping[str, Any], xpath: str) -> UploadedFile:
    batch, index = value["upload-batch"], value.get("upload-fileId")
    number = _INTEGER.fullmatch(str(index)) and int(index or 0)
    if not isinstance(batch, str) or isinstance(index, bool) or not isinstance(number, int):
        raise _wrong(xpath)
    return UploadedFile(batch, number)


def _linked(url: str, base_url: str) -> Any:
    """A blob of this server, kept or copied; a URL of another host changes nothing."""
    found = own_blob(url, base_url)
    return UNCHANGED if found is None else BlobOf(found[0], found[1] or "file:content")


def _member(value: Mapping[str, Any], names: tuple[str, ...], default: str, xpath: str) -> str:
    found = next((value[name] for name in names if value.get(name)), default)
    if not isinstance(found, str):
        raise _wrong(xpath)
    return found


# --- Uploaded files inside stored values


def uploaded_files(value: Any) -> Iterator[UploadedFile]:
    """Every uploaded file that a value, or a mapping of values, stands on."""
    if isinstance(value, UploadedFile):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from uploaded_files(member)
    elif isinstance(value, list):
        for member in value:
            yield from uploaded_files(member)
