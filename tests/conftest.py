"""What tests share: a PostgreSQL for the session, and a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from vidarium.database import connect, migrate
from vidarium.database.embedded import Embedded
from vidarium.home import Home


@pytest.fixture(scope="session")
def home_folder() -> Iterator[Path]:
    """A folder for homes that other users may search: as root, PostgreSQL runs as one of them."""
    folder = Path(tempfile.mkdtemp(prefix="vidarium-test-")).resolve()
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(home_folder: Path) -> Iterator[Embedded]:
    """One embedded PostgreSQL for all tests of the session."""
    with Home.open(home_folder / "session") as home:
        server = Embedded.start(home)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def admin(postgres: Embedded) -> Iterator[Engine]:
    """Statements outside of transactions, for what creates and drops databases."""
    engine = connect(postgres.url, query_timeout=60).execution_options(isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def template(postgres: Embedded, admin: Engine) -> str:
    """The name of a database with the schema in it, to copy."""
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE template_vidarium"))
    engine = connect(database_url(postgres, "template_vidarium"), query_timeout=60)
    migrate(engine)
    engine.dispose()
    return "template_vidarium"


@pytest.fixture
def fresh_url(postgres: Embedded, admin: Engine, template: str) -> Iterator[str]:
    """The URL of a new database with the schema in it and nothing else."""
    name = f"test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield database_url(postgres, name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database(fresh_url: str) -> Iterator[Engine]:
    """An engine on a new database with the schema in it and nothing else."""
    engine = connect(fresh_url, query_timeout=30)
    yield engine
    engine.dispose()


def database_url(server: Embedded, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(server.url).set(database=name).render_as_string(hide_password=False)
