"""Every setting: name, default, meaning. Read from `VIDARIUM_…` in the environment; the command line comes before it.

An unknown name or a wrong type stops the start and says which.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from vidarium.errors import StartError

PREFIX = "VIDARIUM_"


class Settings(BaseSettings):
    """The settings of one server. Sizes are bytes, times seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path = Field(Path("data"), description="Folder of this server: database, blobs, scratch.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    database_url: str | None = Field(
        None, description="PostgreSQL to use, as postgresql://user:password@host/name; unset: embedded, under home."
    )
    blobs: str | None = Field(None, description="Blob store: a folder, or a URL such as s3://bucket/prefix.")
    ffmpeg: str | None = Field(None, description="ffmpeg to run; unset: the one that was installed with Vidarium.")
    workers: int | None = Field(None, ge=0, description="Worker processes that encode; unset: one for two cores.")
    dispatch: bool = Field(True, description="Whether this server works on the ledger; false: HTTP only.")
    automatic_conversions: bool = Field(True, description="Whether an upload starts the automatic conversions.")
    lease: float = Field(30, gt=0, description="After this long without a sign of life a server's work is taken over.")
    poll: float = Field(1, gt=0, description="How often the ledger is looked at when nothing is notified.")
    scroll_timeout: float = Field(3600, gt=0, description="Longest time the query of a bulk command may take.")
    query_timeout: float = Field(30, gt=0, description="Longest time any other statement may take.")
    body_limit: int = Field(10_000_000, gt=0, description="Largest JSON or form body.")
    query_limit: int = Field(100_000, gt=0, description="Longest NXQL text, in characters.")
    upload_limit: int | None = Field(None, gt=0, description="Largest uploaded file; unset: none.")
    upload_expiry_hours: float = Field(24, gt=0, description="An upload batch that nobody touches goes after this.")
    blob_grace_hours: float = Field(24, ge=0, description="How long a blob without owner is kept.")
    free_space: int = Field(1_000_000_000, ge=0, description="Below this much free disk nothing new is started.")
    ffmpeg_memory: int = Field(8_000_000_000, gt=0, description="Address space that one ffmpeg may use.")
    log_json: bool = Field(False, description="Log lines as JSON.")


def load(**given: object) -> Settings:
    """The settings from the environment, with what the command line gave (None: not given) before them.

    Raises StartError that names each setting that is unknown or wrong.
    """
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX) and name[len(PREFIX) :].lower() not in Settings.model_fields
    )
    if unknown:
        known = ", ".join(PREFIX + name.upper() for name in Settings.model_fields)
        raise StartError(f"Unknown setting {', '.join(unknown)}. The settings are: {known}.")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise StartError(f"Wrong setting: {wrong}") from None
