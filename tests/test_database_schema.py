"""The migrations make what `schema.py` says, and refuse what they do not know."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from conftest import database_url
from sqlalchemy import Engine, text

from vidarium.database import connect, migrate
from vidarium.database.embedded import Embedded
from vidarium.database.schema import metadata
from vidarium.errors import StartError

CATALOG = """
    SELECT 'column ' || attrelid::regclass || '.' || attname, format('%s %s %s %s %s',
        format_type(atttypid, atttypmod), attnotnull, attidentity,
        (SELECT collname FROM pg_collation c WHERE c.oid = attcollation),
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef d WHERE d.adrelid = attrelid AND d.adnum = attnum))
    FROM pg_attribute JOIN pg_class t ON t.oid = attrelid
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND attnum > 0
    UNION ALL
    SELECT 'index ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class t ON t.oid = indrelid WHERE t.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint ' || conname, conrelid::regclass || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'table ' || relname, relpersistence::text
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL
    SELECT 'comment ' || objoid::regclass || ' ' || objsubid, description
    FROM pg_description JOIN pg_class t ON t.oid = objoid WHERE t.relnamespace = 'public'::regnamespace
"""


def catalog(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {
            name: value
            for name, value in connection.execute(text(CATALOG))
            if "alembic_version" not in f"{name} {value}"
        }


@pytest.fixture
def empty(postgres: Embedded, admin: Engine):
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE test_empty"))
    engine = connect(database_url(postgres, "test_empty"), query_timeout=30)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE test_empty WITH (FORCE)"))


def test_migrations_make_the_tables_of_the_schema(database: Engine, empty: Engine) -> None:
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    metadata.create_all(empty)
    expected = catalog(empty)
    assert len(expected) > 100
    assert catalog(database) == expected


def test_servers_that_start_together_migrate_once(empty: Engine) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with empty.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_newer_schema_stops_the_start(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match=r"9999.*newer version"):
        migrate(database)


def test_a_session_is_in_utc_and_its_statements_end(fresh_url: str) -> None:
    engine = connect(fresh_url, query_timeout=0.2)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
        assert connection.execute(text("SHOW jit")).scalar_one() == "off"
        assert connection.execute(text("SHOW application_name")).scalar_one() == "vidarium"
        with pytest.raises(Exception, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(30)"))
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite:///x", "mysql://localhost/x", "nonsense"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(StartError, match=r"PostgreSQL|postgresql://"):
        connect(url, query_timeout=1)
