"""Who calls: the ways to prove it, tried in order (spec/rest.md 1.2)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

from vidarium.errors import Unauthorized
from vidarium.permissions import Principal
from vidarium.users import Users

Method = Callable[[Mapping[str, str], Users], Principal | None]
"""From the request's headers to the principal; None: this method was not used. Raises Unauthorized."""


def basic(headers: Mapping[str, str], users: Users) -> Principal | None:
    """`Authorization: Basic`, user and password in UTF-8; a blank one of them counts as no header at all."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    name, password = credentials(token.strip())
    if not name.strip() or not password.strip():
        return None
    principal = None if "\0" in name else users.authenticate(name, password)
    if principal is None:
        raise Unauthorized("Wrong user name or password.")
    return principal


def credentials(token: str) -> tuple[str, str]:
    """User name and password in a Basic token; raises Unauthorized for what is none."""
    try:
        name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthorized("The Authorization header cannot be read.") from None
    return name, password


METHODS: tuple[Method, ...] = (basic,)


def authenticated(headers: Mapping[str, str], users: Users) -> Principal:
    """The principal of a request; raises Unauthorized if no method finds one. Slow for a new password: argon2."""
    for method in METHODS:
        if principal := method(headers, users):
            return principal
    raise Unauthorized("Authentication is required.")
