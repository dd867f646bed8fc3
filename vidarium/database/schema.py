"""The tables, as SQLAlchemy Core sees them. `migrations/` creates them; a test compares the two.

Times in the ledger are the database's clock (`timestamptz`). Dates of documents are fixed-width UTC text, so that text
order is time order and NXQL compares them as they are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)

CODE_POINTS: TypeEngine[str] = Text(collation="C")
"""Text in code-point order: paths and names compare the same on every machine."""

MOMENT = DateTime(timezone=True)

OPTIONAL_JSON = JSONB(none_as_null=True)
"""None is SQL's null, not JSON's: `IS NULL` means what it says."""


def _required(name: str, kind: TypeEngine[Any], default: str) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=text(default))


document = Table(
    "document",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("parent", Uuid, ForeignKey("document.id", ondelete="CASCADE")),
    Column("name", CODE_POINTS, nullable=False),
    Column("path", CODE_POINTS, comment="materialised; '/' for the root, null for a version"),
    Column("type", CODE_POINTS, nullable=False),
    Column("facets", ARRAY(Text), nullable=False, comment="the type's and the instance's own"),
    Column("state", Text, nullable=False, comment="life-cycle state"),
    _required("is_version", Boolean(), "false"),
    _required("is_checked_in", Boolean(), "false"),
    _required("is_latest_version", Boolean(), "false"),
    _required("is_latest_major_version", Boolean(), "false"),
    Column("version_label", Text),
    Column("version_description", Text),
    Column("version_created", CODE_POINTS),
    Column("version_series", Uuid, comment="of a version: its live document"),
    Column("proxy_target", Uuid),
    Column("position", Integer, comment="in an ordered folder, from 0"),
    _required("is_trashed", Boolean(), "false"),
    Column("lock_owner", Text),
    Column("lock_created", CODE_POINTS),
    _required("system_token", BigInteger(), "0"),
    _required("user_token", BigInteger(), "0"),
    _required("properties", JSONB(), "'{}'"),
    _required("computed", JSONB(), "'{}'"),
    Column("acl", OPTIONAL_JSON, comment="{acl name: [ACE, …]} set on this document; null when none"),
    Column("acl_scope", Uuid, nullable=False, comment="nearest document, itself or above, that carries ACEs"),
    Column("fulltext", TSVECTOR),
    UniqueConstraint("parent", "name"),
)

DEFAULT_RECOMPUTE = text(
    "facets @> ARRAY['Video'] AND proxy_target IS NULL AND NOT is_version"
    " AND (computed #>> '{vid:transcodedVideos,0,name}') IS NULL"
)

Index("document_path", document.c.path, unique=True)
Index("document_type", document.c.type)
Index("document_facets", document.c.facets, postgresql_using="gin")
Index("document_acl_scope", document.c.acl_scope)
Index("document_version_series", document.c.version_series, postgresql_where=text("version_series IS NOT NULL"))
Index("document_proxy_target", document.c.proxy_target, postgresql_where=text("proxy_target IS NOT NULL"))
Index("document_has_acl", document.c.id, postgresql_where=text("acl IS NOT NULL"))
Index("document_without_renditions", document.c.id, postgresql_where=DEFAULT_RECOMPUTE)
Index("document_fulltext", document.c.fulltext, postgresql_using="gin")

installation = Table(
    "installation",
    metadata,
    Column("id", Uuid, primary_key=True, comment="one row; the blob store of this database carries the same id"),
)

# --- Blobs -----------------------------------------------------------------------------------------------------------

blob = Table(
    "blob",
    metadata,
    Column("digest", CODE_POINTS, primary_key=True, comment="SHA-256, hex"),
    Column("length", BigInteger, nullable=False),
    Column("touched", MOMENT, nullable=False, server_default=func.now(), comment="last time somebody stored it"),
)

blob_use = Table(
    "blob_use",
    metadata,
    Column("digest", CODE_POINTS, ForeignKey("blob.digest"), primary_key=True),
    Column("document", Uuid, ForeignKey("document.id", ondelete="CASCADE"), primary_key=True),
)
Index("blob_use_document", blob_use.c.document)

upload_batch = Table(
    "upload_batch",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False, comment="user who opened it"),
    Column("touched", MOMENT, nullable=False, server_default=func.now()),
)

upload_file = Table(
    "upload_file",
    metadata,
    Column("batch", Text, ForeignKey("upload_batch.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("length", BigInteger, nullable=False, comment="bytes; of a chunked file: as declared"),
    Column("chunk_count", Integer, comment="null: a plain upload"),
    Column("digest", CODE_POINTS, comment="null until a chunked file is assembled"),
)

upload_chunk = Table(
    "upload_chunk",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("key", Text, nullable=False, comment="where its bytes lie in the blob store"),
    Column("length", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["batch", "index"],
        ["upload_file.batch", "upload_file.index"],
        name="upload_chunk_file_fkey",
        ondelete="CASCADE",
    ),
)

rendition = Table(
    "rendition",
    metadata,
    Column("source", CODE_POINTS, primary_key=True, comment="digest of the source"),
    Column("recipe", CODE_POINTS, primary_key=True, comment="digest of the recipe"),
    Column("digest", CODE_POINTS, comment="of the result; null: failed for good, see reason"),
    Column("length", BigInteger),
    Column("info", OPTIONAL_JSON),
    Column("reason", Text),
    Column("log", Text),
    Column("encoder", Text, nullable=False, comment="the ffmpeg build"),
    Column("seconds", Double, nullable=False, comment="what the encode took"),
    Column("created", MOMENT, nullable=False, server_default=func.now()),
)
Index("rendition_digest", rendition.c.digest)

# --- The ledger ------------------------------------------------------------------------------------------------------

server = Table(
    "server",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("started", MOMENT, nullable=False, server_default=func.now()),
    Column("heartbeat", MOMENT, nullable=False, server_default=func.now()),
)

command = Table(
    "command",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("id", Uuid, nullable=False, unique=True, server_default=func.gen_random_uuid()),
    Column("action", Text, nullable=False),
    Column("query", Text, nullable=False),
    _required("params", JSONB(), "'{}'"),
    Column("username", Text, nullable=False),
    Column("repository", Text, nullable=False),
    _required("exclusive", Boolean(), "false"),
    _required("hidden", Boolean(), "false"),
    _required("priority", SmallInteger(), "0"),
    Column("state", Text, nullable=False),
    Column("scroller", Uuid, comment="the server that runs the scroll"),
    Column("submitted", MOMENT, nullable=False, server_default=func.now()),
    Column("scroll_start", MOMENT),
    Column("scroll_end", MOMENT),
    Column("processing_start", MOMENT),
    Column("processing_end", MOMENT),
    Column("completed", MOMENT),
    _required("processing_millis", BigInteger(), "0"),
    _required("total", BigInteger(), "0"),
    _required("processed", BigInteger(), "0"),
    _required("skipped", BigInteger(), "0"),
    _required("errors", BigInteger(), "0"),
    _required("media_total", Double(), "0"),
    _required("media_done", Double(), "0"),
    Column("error_message", Text),
    Column("result", OPTIONAL_JSON),
)
Index(
    "command_exclusive",
    command.c.action,
    command.c.repository,
    unique=True,
    postgresql_where=text("exclusive AND state IN ('SCHEDULED', 'SCROLLING_RUNNING', 'RUNNING')"),
)
Index(
    "command_open",
    command.c.number,
    postgresql_where=text("state IN ('SCHEDULED', 'SCROLLING_RUNNING', 'RUNNING')"),
)

item = Table(
    "item",
    metadata,
    Column("command", BigInteger, ForeignKey("command.number", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("document", Uuid, nullable=False, comment="no foreign key: a document may be deleted meanwhile"),
    Column("state", Text, nullable=False),
    _required("priority", SmallInteger(), "0"),
    _required("attempt", SmallInteger(), "0"),
    _required("lost", SmallInteger(), "0"),
    Column("not_before", MOMENT),
    _required("cost", Double(), "0"),
    Column("owner", Uuid, comment="the server that runs it"),
    Column("token", Uuid, comment="fencing token of this claim"),
    Column("error", Text),
    Column("waiting", Text, comment="why a queued item does not start"),
    Column("started", MOMENT),
    Column("finished", MOMENT),
)
Index(
    "item_queue",
    item.c.priority.desc(),
    item.c.command,
    item.c.seq,
    postgresql_where=text("state = 'queued'"),
)
Index("item_running", item.c.owner, postgresql_where=text("state = 'running'"))
Index("item_unfinished", item.c.document, postgresql_where=text("state IN ('queued', 'running')"))
Index("item_failed", item.c.command, item.c.seq, postgresql_where=text("state = 'failed'"))

outcome = Table(
    "outcome",
    metadata,
    Column("command", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("conversion", Text, primary_key=True),
    Column("position", SmallInteger, nullable=False, comment="in the order of the request"),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("attempt", SmallInteger, nullable=False),
    Column("seconds", Double),
    Column("bytes", BigInteger),
    Column("log", Text),
    ForeignKeyConstraint(
        ["command", "seq"], ["item.command", "item.seq"], name="outcome_item_fkey", ondelete="CASCADE"
    ),
)

progress = Table(
    "progress",
    metadata,
    Column("command", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("done", Double, nullable=False, comment="seconds of media encoded"),
    Column("total", Double, nullable=False, comment="seconds of media to encode"),
    Column("updated", MOMENT, nullable=False, server_default=func.now()),
    prefixes=["UNLOGGED"],
)

# --- Users -----------------------------------------------------------------------------------------------------------

account = Table(
    "account",
    metadata,
    Column("name", CODE_POINTS, primary_key=True),
    Column("password", Text, comment="argon2id hash; null: cannot log in"),
    _required("properties", JSONB(), "'{}'"),
)

account_group = Table(
    "account_group",
    metadata,
    Column("name", CODE_POINTS, primary_key=True),
    _required("label", Text(), "''"),
    _required("properties", JSONB(), "'{}'"),
)

membership = Table(
    "membership",
    metadata,
    Column("member", CODE_POINTS, primary_key=True, comment="a user's or a group's name"),
    Column("is_group", Boolean, primary_key=True, comment="whether the member is a group"),
    Column("group", CODE_POINTS, ForeignKey("account_group.name", ondelete="CASCADE"), primary_key=True),
)
