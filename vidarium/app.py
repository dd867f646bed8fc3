"""The only place that builds: settings → seams → library, ledger, routes."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import ColumnElement, Connection, Engine

from vidarium import database, library, ownership, repository
from vidarium.actions.process_video import ProcessVideo
from vidarium.actions.recompute_video_conversion import RecomputeVideoConversion
from vidarium.blobs import BlobStore
from vidarium.bulk import Action
from vidarium.bulk.dispatcher import Dispatcher, Timing
from vidarium.bulk.ledger import Ledger
from vidarium.config import Settings
from vidarium.database.embedded import Embedded
from vidarium.documents import now_text
from vidarium.executor.local import LocalExecutor
from vidarium.home import Home, HomeHeld
from vidarium.library import Libraries
from vidarium.media.conversions import CONVERSIONS
from vidarium.media.ffmpeg import capabilities, find_ffmpeg, missing
from vidarium.permissions import SYSTEM
from vidarium.renditions import Renditions
from vidarium.rest.context import Context
from vidarium.uploads import Uploads
from vidarium.users import Users

log = structlog.get_logger()


@dataclass(frozen=True)
class Stores:
    """What keeps things: the home, the database and the blobs. Enough for maintenance commands."""

    settings: Settings
    home: Home
    engine: Engine
    blobs: BlobStore


@contextmanager
def open_stores(settings: Settings) -> Iterator[Stores]:
    """Hold the home, start or reach PostgreSQL, bring its schema up to date, open the blob store.

    Raises StartError that says what to do.
    """
    with ExitStack() as stack:
        home = stack.enter_context(Home.open(settings.home))
        url = settings.database_url
        if url is None:
            embedded = Embedded.start(home)
            stack.callback(embedded.stop)
            url = embedded.url
        yield stack.enter_context(_stores(settings, home, url))


@contextmanager
def open_stores_beside(settings: Settings) -> Iterator[Stores]:
    """The same for maintenance: if a server holds the home, its database is used beside it."""
    try:
        with open_stores(settings) as stores:
            yield stores
    except HomeHeld:
        home = Home.beside(settings.home)
        with _stores(settings, home, settings.database_url or Embedded.url_beside(home)) as stores:
            yield stores


@contextmanager
def _stores(settings: Settings, home: Home, url: str) -> Iterator[Stores]:
    engine = database.connect(url, query_timeout=settings.query_timeout)
    try:
        database.migrate(engine)
        blobs = BlobStore.open(settings.blobs or str(home.blobs))
        ownership.bind(engine, blobs)
        yield Stores(settings, home, engine, blobs)
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Server:
    """A server that works: the ledger is dispatched, and `context` is what HTTP needs."""

    stores: Stores
    context: Context


@contextmanager
def running(settings: Settings) -> Iterator[Server]:
    """Build everything and work until the block ends; running encodes are then given back."""
    ffmpeg = find_ffmpeg(settings.ffmpeg)
    impossible = impossible_conversions(ffmpeg)
    for name, reason in impossible.items():
        log.warning("conversion not possible", conversion=name, ffmpeg=str(ffmpeg), reason=reason)
    with open_stores(settings) as stores, ExitStack() as stack:
        ledger = Ledger(stores.engine, actions(stores, impossible))
        context = _context(stores, ledger)
        if settings.dispatch:
            dispatcher = _dispatcher(stores, ledger, ffmpeg)
            dispatcher.start(platform.node())
            stack.callback(dispatcher.stop)
        yield Server(stores, context)


def actions(stores: Stores, impossible: Mapping[str, str]) -> Mapping[str, Action]:
    """Every bulk action by its name."""
    settings = stores.settings
    renditions = Renditions(stores.blobs, lambda: free_space(stores), settings.free_space)
    members: tuple[Action, ...] = (
        RecomputeVideoConversion(renditions, impossible),
        ProcessVideo(renditions, settings.automatic_conversions),
    )
    return {member.name: member for member in members}


def impossible_conversions(ffmpeg: Path) -> dict[str, str]:
    """The conversions that an ffmpeg cannot do, each with what it lacks."""
    able = capabilities(ffmpeg)
    lacks = {name: missing(conversion, able) for name, conversion in CONVERSIONS.items()}
    return {name: f"no {', '.join(sorted(what))}" for name, what in lacks.items() if what}


def free_space(stores: Stores) -> int | None:
    """Bytes left where work files and blobs are written: the smaller of the two."""
    free = [shutil.disk_usage(stores.home.scratch).free, stores.blobs.free_bytes()]
    return min(amount for amount in free if amount is not None)


def workers(settings: Settings) -> int:
    """Worker processes: ffmpeg uses about two cores for three outputs of one document."""
    if settings.workers is not None:
        return settings.workers
    return max(1, (os.cpu_count() or 2) // 2)


def _context(stores: Stores, ledger: Ledger) -> Context:
    users = Users(stores.engine)
    uploads = Uploads(
        stores.engine, stores.blobs, limit=stores.settings.upload_limit, reserve=stores.settings.free_space
    )
    libraries = Libraries(stores.engine, stores.blobs, uploads, ledger)
    with database.installing(stores.engine):
        users.seed()
        library.seed(libraries)
    return Context(stores.settings, libraries, users, uploads, stores.blobs, ledger, node=str(stores.home.server_id))


def _dispatcher(stores: Stores, ledger: Ledger, ffmpeg: Path) -> Dispatcher:
    settings = stores.settings
    executor = LocalExecutor(stores.blobs.url, ffmpeg, stores.home.scratch, workers(settings), settings.ffmpeg_memory)
    timing = Timing(settings.lease, settings.poll, settings.scroll_timeout)
    return Dispatcher(stores.engine, ledger, executor, visible, timing, server=stores.home.server_id)


def visible(connection: Connection, username: str) -> list[ColumnElement[bool]]:
    """What a command's user may see: the condition for its scroll."""
    if username == SYSTEM.name:
        return []
    principal = Users.principal(connection, username)
    return repository.visible(repository.visible_scopes(connection, principal, now_text()))
