"""What the routes are given: everything `app.py` built."""

from __future__ import annotations

from dataclasses import dataclass

from vidarium.blobs import BlobStore
from vidarium.bulk.ledger import Ledger
from vidarium.config import Settings
from vidarium.library import Libraries
from vidarium.uploads import Uploads
from vidarium.users import Users


@dataclass(frozen=True)
class Context:
    """One server's parts. `node`: the server's id, as `capabilities` shows it."""

    settings: Settings
    libraries: Libraries
    users: Users
    uploads: Uploads
    store: BlobStore
    ledger: Ledger
    node: str = ""
