"""What a principal may do. One pure rule, `allows`, and the permission groups it reads.

Facts: spec/nxql.md 14, spec/rest.md 5.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vidarium.documents import Ace

ADMINISTRATORS = "administrators"
MEMBERS = "members"
EVERYONE = "Everyone"
EVERYTHING = "Everything"

CONTAINS: Mapping[str, frozenset[str]] = {
    "Read": frozenset({"Browse", "ReadProperties", "ReadChildren", "ReadLifeCycle", "ReadVersion"}),
    "Write": frozenset({"WriteProperties", "AddChildren", "RemoveChildren", "Remove", "WriteLifeCycle", "Version"}),
    "Remove": frozenset({"RemoveChildren"}),
    "ManageWorkflows": frozenset(),
    "WriteSecurity": frozenset(),
    "ReadSecurity": frozenset(),
}
"""Permission groups: what each one grants besides itself. ReadWrite and ReadRemove are sums of these."""

_SUMS: Mapping[str, tuple[str, ...]] = {"ReadWrite": ("Read", "Write"), "ReadRemove": ("Read", "Remove")}


@dataclass(frozen=True)
class Principal:
    """Who acts: a user with all groups it is in, inherited ones and the implicit `members` included."""

    name: str
    groups: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_administrator(self) -> bool:
        return ADMINISTRATORS in self.groups

    @property
    def identities(self) -> frozenset[str]:
        """The names under which an ACE may mean this principal."""
        return self.groups | {self.name, EVERYONE}


SYSTEM = Principal("system", frozenset({ADMINISTRATORS}))
"""The server itself; nobody can log in as it."""


def grants(permission: str) -> frozenset[str]:
    """Every permission that an ACE with this one grants, itself included (not for `Everything`, which grants all)."""
    parts = _SUMS.get(permission, (permission,))
    return frozenset({permission, *parts}).union(*(CONTAINS.get(part, frozenset()) for part in parts))


def decides(ace: Ace, permission: str, now: str) -> bool:
    """Whether the ACE says anything about a permission at a moment (fixed-width UTC text)."""
    in_time = (ace.begin is None or ace.begin <= now) and (ace.end is None or now <= ace.end)
    return in_time and (ace.permission == EVERYTHING or permission in grants(ace.permission))


def allows(aces: Iterable[Ace], principal: Principal, permission: str, now: str) -> bool:
    """The first ACE that is about this principal and this permission decides; none: denied.

    `aces` in evaluation order: the document's own first, then its parent's, up to the root.
    """
    if principal.is_administrator:
        return True
    for ace in aces:
        if ace.principal in principal.identities and decides(ace, permission, now):
            return ace.granted
    return False
