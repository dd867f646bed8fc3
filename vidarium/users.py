"""Users, groups and credentials.

Passwords are argon2id hashes. Verifying one is slow on purpose, and clients send it with every call, so a verified
credential is remembered for some minutes: as a keyed hash over the name, the password and the stored hash it matched.
A changed password changes the stored hash, so it is forgotten on every server at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from vidarium.database.schema import account, account_group, membership
from vidarium.errors import BadRequest, Conflict, NotFound
from vidarium.permissions import ADMINISTRATORS, MEMBERS, SYSTEM, Principal

DEFAULT_ADMINISTRATOR = "Administrator"
DEFAULT_PASSWORD = "Administrator"
REMEMBERED_SECONDS = 300
REMEMBERED_CREDENTIALS = 10_000

_ALL_GROUPS = text(
    """
    WITH RECURSIVE found(name) AS (
        SELECT "group" FROM membership WHERE member = :name AND NOT is_group
        UNION
        SELECT m."group" FROM membership m JOIN found f ON m.member = f.name AND m.is_group
    )
    SELECT name FROM found
    """
)


@dataclass(frozen=True)
class User:
    """A user. `properties`: firstName, lastName, email, company. `groups` are the direct ones."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    principal: Principal = field(default_factory=lambda: Principal(""))


@dataclass(frozen=True)
class Group:
    """A group with its direct members."""

    name: str
    label: str = ""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Users:
    """The users of one installation. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hasher = PasswordHasher()
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}
        self._nobody = self._hasher.hash(secrets.token_hex())

    # --- Credentials

    def authenticate(self, name: str, password: str) -> Principal | None:
        """The principal, or None for a wrong name or password. A wrong name takes as long as a wrong password."""
        with self._engine.connect() as connection:
            stored = connection.scalar(select(account.c.password).where(account.c.name == name))
            if name == SYSTEM.name or not self._matches(name, password, stored):
                return None
            return _principal(connection, name)

    def _matches(self, name: str, password: str, stored: str | None) -> bool:
        proof = hmac.digest(self._key, repr((name, password, stored)).encode("utf-8", "surrogatepass"), hashlib.sha256)
        if stored is not None and self._remembered.get(proof, 0) > time.monotonic():
            return True
        if not self._verified(stored or self._nobody, password) or stored is None:
            return False
        if len(self._remembered) >= REMEMBERED_CREDENTIALS:
            self._remembered = {}
        self._remembered[proof] = time.monotonic() + REMEMBERED_SECONDS
        return True

    def _verified(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def default_password_stands(self) -> bool:
        """Whether anybody who read the documentation can log in as Administrator."""
        with self._engine.connect() as connection:
            stored = connection.scalar(select(account.c.password).where(account.c.name == DEFAULT_ADMINISTRATOR))
        return self._matches(DEFAULT_ADMINISTRATOR, DEFAULT_PASSWORD, stored)

    @staticmethod
    def principal(connection: Connection, name: str) -> Principal:
        """A user as a principal, without a look at credentials."""
        return _principal(connection, name)

    # --- Users

    def get(self, name: str) -> User:
        """A user with its groups; raises NotFound."""
        with self._engine.connect() as connection:
            row = connection.execute(select(account).where(account.c.name == name)).one_or_none()
            if row is None:
                raise NotFound("user does not exist")
            direct = select(membership.c.group).where(membership.c.member == name, ~membership.c.is_group)
            groups = tuple(connection.scalars(direct.order_by(membership.c.group)))
            return User(name, row.properties, groups, _principal(connection, name))

    def create(self, name: str, password: str | None, properties: Mapping[str, Any], groups: tuple[str, ...]) -> User:
        """A new user; raises Conflict if the name is taken, BadRequest for an unknown group or a blank name."""
        if not name.strip() or name == SYSTEM.name:
            raise BadRequest("A user needs a name of its own.")
        with self._engine.begin() as connection:
            row = {"name": name, "password": self._hash(password), "properties": dict(properties)}
            done = connection.execute(upsert(account).values(row).on_conflict_do_nothing().returning(account.c.name))
            if done.one_or_none() is None:
                raise Conflict("User already exists")
            _join(connection, name, groups)
        return self.get(name)

    def change_password(self, name: str, password: str) -> None:
        """Set a password; raises NotFound."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(account).where(account.c.name == name).values(password=self._hash(password))
            )
            if done.rowcount == 0:
                raise NotFound("user does not exist")

    def delete(self, name: str) -> None:
        """Remove a user and its memberships; raises NotFound."""
        with self._engine.begin() as connection:
            if connection.execute(delete(account).where(account.c.name == name)).rowcount == 0:
                raise NotFound("user does not exist")
            connection.execute(delete(membership).where(membership.c.member == name, ~membership.c.is_group))

    def _hash(self, password: str | None) -> str | None:
        return None if password is None else self._hasher.hash(password)

    # --- Groups

    def create_group(self, group: Group) -> None:
        """A new group with its members; raises Conflict if the name is taken."""
        with self._engine.begin() as connection:
            row = {"name": group.name, "label": group.label}
            done = connection.execute(
                upsert(account_group).values(row).on_conflict_do_nothing().returning(account_group.c.name)
            )
            if done.one_or_none() is None:
                raise Conflict("Group already exists")
            for members, is_group in ((group.users, False), (group.groups, True)):
                for member in members:
                    connection.execute(insert(membership).values(member=member, is_group=is_group, group=group.name))

    # --- Seed

    def seed(self) -> None:
        """The users and groups of a new installation (spec/rest.md 10); an old one is left as it is."""
        with self._engine.begin() as connection:
            for name, label in ((ADMINISTRATORS, "Administrators group"), (MEMBERS, ""), ("powerusers", "")):
                connection.execute(upsert(account_group).values(name=name, label=label).on_conflict_do_nothing())
            if connection.scalar(select(account.c.name).limit(1)) is not None:
                return
            for name, password in ((DEFAULT_ADMINISTRATOR, DEFAULT_PASSWORD), ("Guest", None)):
                row = {"name": name, "password": self._hash(password)}
                connection.execute(upsert(account).values(row).on_conflict_do_nothing())
            _join(connection, DEFAULT_ADMINISTRATOR, (ADMINISTRATORS,))


def _principal(connection: Connection, name: str) -> Principal:
    return Principal(name, frozenset(connection.scalars(_ALL_GROUPS, {"name": name})) | {MEMBERS})


def _join(connection: Connection, name: str, groups: tuple[str, ...]) -> None:
    known = set(connection.scalars(select(account_group.c.name).where(account_group.c.name.in_(groups))))
    if unknown := [group for group in groups if group not in known]:
        raise BadRequest(f"No such group: {', '.join(unknown)}")
    for group in groups:
        row = {"member": name, "is_group": False, "group": group}
        connection.execute(upsert(membership).values(row).on_conflict_do_nothing())
