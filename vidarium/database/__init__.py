"""The connection to PostgreSQL, and the schema's migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError

from vidarium.errors import StartError

OLDEST_SERVER = 15
"""The oldest major version of PostgreSQL that has what the statements need."""

_MIGRATION_LOCK, _INSTALL_LOCK = 0x7669_6461, 0x7669_6462  # any constants


def connect(url: str, *, query_timeout: float) -> Engine:
    """An engine on the PostgreSQL at `url` (`postgresql://user:password@host/name`); nothing is opened yet.

    `query_timeout`: seconds after which the database ends a statement. Times are UTC whatever the server's zone.
    Raises StartError for a URL that is not one of PostgreSQL.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise StartError("The database URL must look like postgresql://user:password@host/name.") from None
    if address.get_backend_name() not in {"postgresql", "postgres"}:
        raise StartError(f"The database must be PostgreSQL, not {address.get_backend_name()}.")
    given = address.query.get("options", ())
    session = {
        "statement_timeout": str(round(query_timeout * 1000)),
        "timezone": "UTC",
        "plan_cache_mode": "force_custom_plan",  # a generic plan cannot know which partial index fits
        "jit": "off",  # compiling costs more than it saves in statements that touch a few rows
    }
    options = (*([given] if isinstance(given, str) else given), *(f"-c {name}={it}" for name, it in session.items()))
    return sqlalchemy.create_engine(
        address.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        pool_size=20,
        max_overflow=20,  # with both, one for each thread that answers requests: no thread waits for another's
        pool_pre_ping=True,  # a database that restarted costs a reconnect, not an error
        connect_args={"options": " ".join(options), "application_name": "vidarium", "connect_timeout": 10},
    )


def migrate(engine: Engine) -> None:
    """Bring the schema to what this version needs: all steps in one transaction, one server at a time.

    Raises StartError if PostgreSQL cannot be reached or is too old, or the schema is newer than this code.
    """
    try:
        engine.connect().close()
    except OperationalError as error:
        url = engine.url.render_as_string(hide_password=True)
        reason = str(error.orig).strip().splitlines()[0]
        raise StartError(f"The database {url} cannot be reached: {reason}") from None
    with _alone(engine, _MIGRATION_LOCK) as connection:
        _check_server(connection)
        config = Config()
        config.set_main_option("script_location", "vidarium.database:migrations")
        config.attributes["connection"] = connection
        _check_revision(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, "head")


@contextmanager
def installing(engine: Engine) -> Iterator[None]:
    """Servers that start together run the block one after the other."""
    with _alone(engine, _INSTALL_LOCK):
        yield


@contextmanager
def _alone(engine: Engine, key: int) -> Iterator[Connection]:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield connection


def _check_server(connection: Connection) -> None:
    version: int = connection.execute(text("SELECT current_setting('server_version_num')::int")).scalar_one()
    if version < OLDEST_SERVER * 10_000:
        raise StartError(f"PostgreSQL {OLDEST_SERVER} or newer is needed; this one is {version // 10_000}.")


def _check_revision(connection: Connection, script: ScriptDirectory) -> None:
    for revision in MigrationContext.configure(connection).get_current_heads():
        try:
            script.get_revision(revision)
        except CommandError:
            newest = script.get_current_head()
            raise StartError(
                f"The database has schema revision {revision}, which this version of Vidarium does not know"
                f" (its newest is {newest}): a newer version has used it. Start that version,"
                " or restore a dump from before the upgrade."
            ) from None
