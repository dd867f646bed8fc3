"""NXQL on a real database: a small tree of documents, and which of them each query finds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import database_url
from sqlalchemy import Connection, Engine, func, insert, literal_column, select, text
from sqlalchemy.dialects import postgresql

from vidarium.database import connect
from vidarium.database.embedded import Embedded
from vidarium.database.schema import DEFAULT_RECOMPUTE, document
from vidarium.documents import COMPUTED_PROPERTIES, TYPES
from vidarium.errors import QueryError
from vidarium.nxql.compiler import Compiled, compile_query
from vidarium.nxql.parser import parse

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)

DEFAULT_QUERY = (
    "SELECT * FROM Document WHERE ecm:mixinType = 'Video' AND ecm:isProxy = 0 AND ecm:isVersion = 0"
    " AND vid:transcodedVideos/0/name IS NULL"
)


def key(label: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, label)


@dataclass(frozen=True)
class Row:
    """One document: where it is, and what is not as usual."""

    path: str | None
    type: str
    properties: Mapping[str, Any]
    columns: Mapping[str, Any]


def row(path: str | None, kind: str, properties: Mapping[str, Any] | None = None, **columns: Any) -> Row:
    return Row(path, kind, properties or {}, columns)


H264 = {"type": "Video", "codec": "h264", "bitRate": 900.5}
AAC = {"type": "Audio", "codec": "aac", "bitRate": None}
ACE = {"permission": "Read", "granted": True, "creator": None, "begin": None, "end": None}
VERSION = {"is_version": True, "version_series": key("beach"), "is_checked_in": True}

TREE = {
    "root": row("/", "Root"),
    "media": row("/media", "Folder", {"dc:title": "Media"}),
    "sub": row("/media/sub", "Workspace", acl={
        "shared": [{**ACE, "principal": "guests", "granted": False}],
        "local": [
            {**ACE, "principal": "members", "begin": "2024-01-01T00:00:00.000Z", "end": "2024-02-01T00:00:00.000Z"},
            {**ACE, "principal": "editors", "permission": "Write"},
        ],
    }),
    "mediabox": row("/mediabox", "Folder"),
    "pct": row("/media/50%_a", "Folder", {"dc:title": "50%_off"}),
    "inpct": row("/media/50%_a/x", "Note", {"dc:title": r"C:\temp", "note:note": "a wombat"}),
    "beach": row("/media/beach", "Video", {
        "dc:title": "Beach", "dc:rights": "alpha", "dc:subjects": ["art/cinema", "sport"],
        "dc:coverage": "europe/France", "dc:description": "golden surf",
        "dc:expired": "2024-01-15T10:30:00.000Z", "dc:valid": "2024-01-15T10:30:00.000Z",
        "file:content": {"name": "b.mp4", "mime-type": "video/mp4", "length": 4},
        "vid:info": {"duration": 12.5, "width": 1920, "height": 1080, "streams": [H264, AAC]},
        "vid:transcodedVideos": [
            {"name": "MP4 480p", "info": {"width": 854}}, {"name": "WebM", "info": {"width": 640}},
        ],
        "vid:storyboard": [{"timecode": 0.0, "comment": "opening"}, {"timecode": 5.5}],
    }, is_checked_in=True, position=0),
    "city": row("/media/sub/city", "Video", {
        "dc:title": "City", "dc:rights": "beta", "dc:subjects": ["art/cinema"], "dc:coverage": "europe",
        "dc:expired": "2024-01-15T23:59:59.000Z", "dc:valid": "2024-02-01T00:00:00.000Z",
        "nxtag:tags": [{"label": "blue", "username": "u"}, {"label": "green", "username": "u"}],
        "vid:info": {"duration": 60.0, "width": 1280, "height": 720, "streams": [AAC]},
        "vid:transcodedVideos": [{"name": "MP4 480p", "info": {"width": 640}}],
    }, position=1),
    "forest": row("/media/sub/forest", "Video", {
        "dc:title": "forest", "dc:subjects": ["nature"], "dc:expired": "2024-01-16T00:00:00.000Z",
        "nxtag:tags": [{"label": "blue", "username": "u"}], "dc:rights": "",
        "vid:info": {"duration": 300, "width": 640, "height": 360}, "vid:transcodedVideos": [],
    }, is_trashed=True),
    "eclair": row("/media/eclair", "File", {
        "dc:title": "Éclair café", "uid:uid": "R-1", "uid:major_version": 1, "dc:coverage": "europe/Fr",
        "files:files": [{"file": {"name": "a.txt", "length": 4}}, {"file": {"name": "b.csv", "length": 8}}],
    }, lock_owner="bob", lock_created="2024-03-01T00:00:00.000Z", state="approved"),
    "web": row("/web", "Workspace", {"webc:isWebContainer": True, "dc:expired": "2099-01-01T00:00:00.000Z"}),
    "beach#1": row(None, "Video", {"dc:title": "Beach one", "vid:transcodedVideos": [{"name": "MP4 480p"}]}, **VERSION,
                   version_label="1.0", version_created="2024-01-01T00:00:00.000Z"),
    "beach#2": row(None, "Video", {"dc:title": "Beach two", "dc:subjects": ["art/cinema"]}, **VERSION,
                   version_label="2.0", is_latest_version=True, is_latest_major_version=True),
    "proxy": row("/web/beach", "Video", proxy_target=key("beach#2")),
}  # fmt: skip


def values(label: str, found: Row) -> dict[str, Any]:
    """A document as a row of the table."""
    parent = next((one for one, it in TREE.items() if it.path == (found.path or "").rpartition("/")[0]), "root")
    is_proxy = "proxy_target" in found.columns
    plain = {
        "id": key(label),
        "parent": None if found.path in {None, "/"} else key(parent),
        "name": (found.path or "/beach").rpartition("/")[2],
        "path": found.path,
        "type": found.type,
        "facets": [] if is_proxy else list(TYPES[found.type].facets),
        "state": "project",
        "acl_scope": key("root"),
        "properties": {name: it for name, it in found.properties.items() if name not in COMPUTED_PROPERTIES},
        "computed": {name: it for name, it in found.properties.items() if name in COMPUTED_PROPERTIES},
        "fulltext": func.to_tsvector("english", " ".join(str(it) for it in found.properties.values())),
    }
    return plain | dict(found.columns)


@pytest.fixture(scope="module")
def engine(postgres: Embedded, admin: Engine, template: str) -> Iterator[Engine]:
    name = f"test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine = connect(database_url(postgres, name), query_timeout=30)
    with engine.begin() as connection:
        for label, found in TREE.items():
            connection.execute(insert(document).values(values(label, found)))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def compiled(query: str) -> Compiled:
    return compile_query(parse(query), now=NOW, visible=())


def found(connection: Connection, query: str) -> list[str]:
    """The labels of the documents a query finds, in its order."""
    labels = {key(label): label for label in TREE}
    return [labels[one] for one in connection.scalars(compiled(query).select)]


VIDEOS = "beach beach#1 beach#2 city forest proxy"
LIVE = "ecm:isProxy = 0 AND ecm:isVersion = 0"

FROM = [
    ("Video", VIDEOS),
    ("DOCUMENT", " ".join(label for label in TREE if label != "root")),
    ("Folder", "media mediabox pct sub web"),
    ("Workspace, Note", "inpct sub web"),
    ("Root", ""),
]

WHERE = [
    # Comparisons, nulls and logic
    ("dc:rights = 'alpha'", "beach"),
    ("'alpha' = dc:rights", "beach"),
    ("dc:rights <> 'alpha'", "city forest"),
    ("NOT dc:rights = 'alpha'", "city forest"),
    ("NOT (dc:rights = 'alpha' OR dc:rights = 'beta')", "forest"),
    ("dc:rights > 'alpha'", "city"),
    ("dc:title < 'a'", "beach beach#1 beach#2 city media inpct pct proxy"),
    ("dc:rights = ''", "forest"),
    ("vid:info/width = 1920.0", "beach"),
    ("60 <= vid:info/duration", "city forest"),
    ("vid:info/streams/0/bitRate > 900.4", "beach"),
    ("vid:info/width * 9 = vid:info/height * 16", "beach city forest"),
    ("vid:info/width + 80 * 2 = 4000", "beach"),
    ("vid:info/width / 1000 = 1", "beach city"),
    ("vid:info/duration / 5 = 2.5", "beach"),
    ("vid:info/width / 0 = 1 OR vid:info/height - vid:info/height = 0", "beach city forest"),
    ("vid:info/width * 1e308 * 1e308 > 0", "beach city forest"),
    ("dc:expired = dc:valid", "beach"),
    ("1 = 0 OR dc:rights = 'beta'", "city"),
    ("dc:rights = 'alpha' AND dc:language = 'x' OR dc:rights = 'beta'", "city"),
    ("dc:rights IN ('alpha', 'beta', 'x')", "beach city"),
    ("dc:rights NOT IN ('alpha', 'x')", "city forest"),
    ("vid:info/width IN (640, 1920.0)", "beach forest"),
    ("vid:info/duration BETWEEN 12.5 AND 60", "beach city"),
    ("vid:info/duration NOT BETWEEN 12.5 AND 60", "forest"),
    ("vid:info/duration BETWEEN 60 AND 12.5", ""),
    ("dc:rights IS NULL AND ecm:primaryType = 'Video'", "beach#1 beach#2 proxy"),
    ("dc:rights IS NOT NULL", "beach city forest"),
    ("webc:isWebContainer = 1", "web"),
    ("webc:isWebContainer <> 1", ""),
    ("webc:isWebContainer = 0", ""),
    # Text
    ("dc:title LIKE 'B%h'", "beach"),
    ("dc:title LIKE 'b%'", ""),
    ("dc:title ILIKE 'b%H'", "beach"),
    ("dc:title ILIKE 'éCLAIR CAFÉ'", "eclair"),
    ("dc:title LIKE 'C_ty'", "city"),
    (r"dc:title LIKE '50\%\_off'", "pct"),
    (r"dc:title LIKE '50\_\_off'", ""),
    (r"dc:title LIKE 'C:\\\\temp'", "inpct"),
    (r"dc:title = 'C:\\temp'", "inpct"),
    ("dc:title LIKE 'City\\\\'", "city"),
    ("dc:title NOT LIKE 'B%' AND ecm:primaryType = 'Video'", "city forest"),
    ("dc:coverage STARTSWITH 'europe/'", "beach city eclair"),
    ("dc:coverage STARTSWITH 'europe/F'", ""),
    ("NOT dc:coverage STARTSWITH 'europe/France'", "city eclair"),
    ("dc:title STARTSWITH '50%_off'", "pct"),
    # Whole lists
    ("dc:subjects = 'art/cinema'", "beach beach#2 city proxy"),
    ("dc:subjects <> 'art/cinema' AND ecm:primaryType = 'Video'", "beach#1 forest"),
    ("NOT dc:subjects = 'art/cinema' AND ecm:primaryType = 'Video'", "beach#1 forest"),
    ("dc:subjects = 'art/cinema' AND dc:subjects = 'sport'", "beach"),
    ("dc:subjects IN ('sport', 'nature')", "beach forest"),
    ("dc:subjects NOT IN ('sport', 'nature') AND ecm:primaryType = 'Video'", "beach#1 beach#2 city proxy"),
    ("dc:subjects LIKE 'art/%'", "beach beach#2 city proxy"),
    ("dc:subjects NOT ILIKE 'ART/%' AND ecm:primaryType = 'Video'", "beach#1 forest"),
    ("dc:subjects STARTSWITH 'art'", "beach beach#2 city proxy"),
    ("dc:subjects = dc:rights", ""),
    ("dc:subjects IS NULL AND ecm:primaryType = 'Video'", "beach#1"),
    ("dc:subjects IS NOT NULL", "beach beach#2 city forest proxy"),
    # Elements
    ("dc:subjects/0 = 'art/cinema'", "beach beach#2 city proxy"),
    ("dc:subjects/item[1] <> 'x'", "beach"),
    ("dc:subjects/1 IS NULL AND dc:subjects/0 IS NOT NULL", "beach#2 city forest proxy"),
    ("dc:subjects/99999999999999999999 IS NOT NULL", ""),
    ("dc:subjects/* <> 'art/cinema'", "beach forest"),
    ("NOT dc:subjects/* = 'art/cinema'", "beach forest"),
    ("dc:subjects/* IS NULL AND ecm:primaryType = 'Video'", "beach#1"),
    ("dc:subjects/* = 'art/cinema' AND dc:subjects/* = 'sport'", "beach"),
    ("dc:subjects/*1 = 'art/cinema' AND dc:subjects/*1 = 'sport'", ""),
    ("dc:subjects/*1 = 'art/cinema' AND (dc:subjects/*2 = 'sport' OR dc:rights = 'beta')", "beach city"),
    ("vid:transcodedVideos/*1/name = 'MP4 480p' AND vid:transcodedVideos/*1/info/width = 640", "city"),
    ("vid:transcodedVideos/*/name = 'MP4 480p' AND vid:transcodedVideos/*/info/width = 640", "beach city"),
    (
        "vid:transcodedVideos/*1/name = 'WebM' AND dc:rights = 'alpha' AND"
        " vid:transcodedVideos/item[*1]/info/width = 640",
        "beach",
    ),
    ("vid:storyboard/*1/timecode > 1 AND vid:storyboard/*1/comment IS NULL", "beach"),
    ("vid:storyboard/*/comment IS NULL AND vid:info/width > 1000", "beach city"),
    ("vid:info/streams/*1/type = 'Audio' AND vid:info/streams/*1/codec = 'aac'", "beach city"),
    ("files/*1/file/name = 'b.csv' AND files:files/*1/file/length = 8", "eclair"),
    ("files/*1/file/name = 'b.csv' AND files:files/*1/file/length = 4", ""),
    ("file:content/name = 'b.mp4' AND content/mime-type LIKE 'video/%'", "beach"),
    ("uid = 'R-1' AND uid:uid = 'R-1' AND major_version = 1", "eclair"),
    ("vid:transcodedVideos/0/name IS NULL AND ecm:primaryType = 'Video'", "beach#2 forest proxy"),
    # Dates
    ("dc:expired = TIMESTAMP '2024-01-15 10:30:00'", "beach"),
    ("dc:expired = DATE '2024-01-15'", ""),
    ("DATE(dc:expired) = DATE '2024-01-15'", "beach city"),
    ("DATE(dc:expired) = DATE '2024-01-15T22:00:00Z'", "beach city"),
    ("DATE(dc:expired) BETWEEN DATE '2024-01-15' AND DATE '2024-01-16'", "beach city forest"),
    ("DATE(dc:expired) IN (DATE '2024-01-16')", "forest"),
    ("dc:expired BETWEEN DATE '2024-01-16' AND TIMESTAMP '2024-01-17'", "forest"),
    ("dc:expired < NOW('-P130D')", "beach city forest"),
    ("now() < dc:expired", "web"),
    # Identity and place
    (f"ecm:uuid = '{key('city')}'", "city"),
    (f"ecm:uuid IN ('{key('city')}', 'x', '{key('web')}')", "city web"),
    (f"ecm:uuid = '{str(key('city')).upper()}'", ""),
    ("ecm:uuid = 'nosuchid' OR ecm:uuid LIKE 'x%'", ""),
    (f"ecm:uuid STARTSWITH '{key('city')}'", "city"),
    (f"ecm:parentId = '{key('sub')}'", "city forest"),
    ("NOT ecm:parentId = 'x' AND ecm:primaryType = 'Video'", "beach city forest proxy"),
    ("ecm:parentId IS NULL", "beach#1 beach#2"),
    ("ecm:name = 'beach'", "beach beach#1 beach#2 proxy"),
    ("ecm:pos >= 0", "beach city"),
    ("ecm:path STARTSWITH '/media'", "beach city eclair forest inpct pct sub"),
    ("ecm:path STARTSWITH '/media/'", "beach city eclair forest inpct pct sub"),
    ("ecm:path STARTSWITH '/media/50%_a'", "inpct"),
    ("ecm:path STARTSWITH '/med'", ""),
    ("ecm:path STARTSWITH 'media'", ""),
    ("ecm:path STARTSWITH '/'", " ".join(label for label in TREE if "#" not in label and label != "root")),
    ("NOT ecm:path STARTSWITH '/'", "beach#1 beach#2"),
    ("ecm:path = '/media/sub/'", "sub"),
    ("ecm:path <> '/media' AND ecm:primaryType = 'Folder'", "mediabox pct"),
    ("ecm:path <> '/nosuch'", ""),
    ("NOT ecm:path = '/nosuch' AND ecm:primaryType = 'Folder'", "media mediabox pct"),
    ("ecm:path = '' OR ecm:path = 'media' OR ecm:path <> 'media'", ""),
    (f"ecm:ancestorId = '{key('media')}'", "beach city eclair forest inpct pct sub"),
    (f"ecm:ancestorId = '{key('root')}' AND ecm:primaryType = 'Video'", "beach city forest proxy"),
    (f"ecm:ancestorId <> '{key('media')}' AND ecm:primaryType = 'Video'", "beach#1 beach#2 proxy"),
    (f"ecm:ancestorId <> '{key('media')}' AND ecm:path = '/media'", "media"),
    ("ecm:ancestorId = 'x'", ""),
    ("ecm:ancestorId <> 'x' AND ecm:primaryType = 'Note'", "inpct"),
    # Types, facets and states
    ("ecm:primaryType IN ('Note', 'File', 'NoSuch')", "eclair inpct"),
    ("ecm:mixinType = 'Folderish'", "media mediabox pct sub web"),
    ("ecm:mixinType = 'Video' AND ecm:mixinType <> 'Folderish'", VIDEOS),
    ("ecm:mixinType NOT IN ('Video', 'Folderish')", "eclair inpct"),
    ("ecm:mixinType = 'Immutable' OR ecm:mixinType = 'NoSuch'", ""),
    ("NOT ecm:mixinType = 'Immutable' AND ecm:primaryType = 'Note'", "inpct"),
    ("ecm:isVersion = 1", "beach#1 beach#2"),
    ("ecm:isCheckedInVersion <> 0", "beach#1 beach#2"),
    ("ecm:isCheckedIn = 1", "beach"),
    ("ecm:isLatestVersion = 1 AND ecm:isLatestMajorVersion = 1", "beach#2 proxy"),
    ("ecm:versionLabel = '2.0'", "beach#2 proxy"),
    ("ecm:versionLabel IS NULL AND ecm:primaryType = 'Video'", "beach city forest"),
    ("ecm:versionCreated < NOW()", "beach#1"),
    (f"ecm:versionVersionableId = '{key('beach')}'", "beach#1 beach#2 proxy"),
    ("ecm:isTrashed = 1", "forest"),
    ("ecm:currentLifeCycleState = 'approved' AND ecm:lockOwner = 'bob'", "eclair"),
    ("ecm:lockCreated IS NOT NULL", "eclair"),
    ("ecm:isRecord = 1 OR ecm:hasLegalHold = 1 OR ecm:retainUntil < NOW() OR ecm:isFlexibleRecord = 0", ""),
    # Proxies
    ("ecm:isProxy = 1", "proxy"),
    ("0 <> ecm:isProxy", "proxy"),
    ("ecm:isProxy = 0 AND ecm:isProxy = 1", ""),
    ("dc:title = 'Beach two'", "beach#2 proxy"),
    ("dc:title = 'Beach two' AND NOT ecm:isProxy = 1", "beach#2"),
    ("dc:title = 'City' OR ecm:isProxy = 1", "city proxy"),
    ("dc:title = 'Beach two' AND ecm:path STARTSWITH '/web'", "proxy"),
    (f"ecm:proxyTargetId = '{key('beach#2')}'", "proxy"),
    (f"ecm:proxyVersionableId = '{key('beach')}'", "proxy"),
    ("ecm:proxyTargetId <> 'x'", "proxy"),
    # Tags and access control
    ("ecm:tag = 'blue'", "city forest"),
    ("ecm:tag = 'blue' AND ecm:tag = 'green'", ""),
    ("ecm:tag/* = 'blue' AND ecm:tag/* = 'green'", "city"),
    ("ecm:tag/*1 = 'blue' AND ecm:tag/*2 = 'green'", "city"),
    ("ecm:tag <> 'blue'", "city"),
    ("ecm:tag = 'blue' AND nxtag:tags/*1/username = 'u'", "city forest"),
    ("ecm:tag IS NULL AND ecm:primaryType = 'Video' AND ecm:isProxy = 0", "beach beach#1 beach#2"),
    ("ecm:acl/*1/principal = 'members' AND ecm:acl/*1/permission = 'Read' AND ecm:acl/*1/status = 2", "sub"),
    ("ecm:acl/*1/principal = 'members' AND ecm:acl/*1/permission = 'Write'", ""),
    ("ecm:acl/*1/grant = 0 AND ecm:acl/*1/name = 'shared' AND ecm:acl/*1/status IS NULL", "sub"),
    ("ecm:acl/0/principal = 'members' AND ecm:acl/1/pos = 1 AND ecm:acl/2/pos = 0", "sub"),
    # Full text
    ("ecm:fulltext = 'golden SURFING'", "beach"),
    ("ecm:fulltext LIKE 'wom*'", "inpct"),
    ("ecm:fulltext = 'golden OR wombat -alpha'", "beach inpct"),
    ("ecm:fulltext = 'golden -alpha OR wombat'", "inpct"),
    ("ecm:fulltext = '\"surf golden\"'", ""),
    ("ecm:fulltext = '+golden -\"nothing here\"'", "beach"),
    ("ecm:fulltext = '-golden' OR ecm:fulltext = '' OR ecm:fulltext = '!'", ""),
    ("ecm:fulltext = 'x\\'y\\\\ & | :* <->'", ""),
    ("NOT ecm:fulltext = 'golden' AND dc:rights = 'beta'", "city"),
    ("ecm:fulltext_title = 'beach' AND ecm:fulltext.dc:description = 'surf'", "beach"),
    ("ecm:fulltext.note:note = 'WOMB'", "inpct"),
]

ORDER = [
    ("FROM Video WHERE dc:rights IS NOT NULL ORDER BY dc:rights", "forest beach city"),
    ("FROM Video WHERE dc:rights IS NOT NULL ORDER BY dc:rights DESC", "city beach forest"),
    (f"FROM Video WHERE {LIVE} ORDER BY dc:valid", "beach city forest"),
    (f"FROM Video WHERE {LIVE} ORDER BY dc:valid DESC, dc:title", "city beach forest"),
    (f"FROM Video WHERE {LIVE} ORDER BY ecm:isRecord, vid:info/width", "forest city beach"),
    ("FROM Video WHERE ecm:name = 'beach' ORDER BY dc:title DESC, ecm:isVersion DESC", "beach#2 proxy beach#1 beach"),
    ("FROM Video ORDER BY ecm:path, ecm:versionLabel", "beach city forest proxy beach#1 beach#2"),
    ("FROM Video ORDER BY ecm:path DESC, ecm:versionLabel", "beach#1 beach#2 proxy forest city beach"),
    ("FROM Document WHERE ecm:fulltext = 'wombat OR golden OR surf'", "beach inpct"),
    ("FROM Document WHERE ecm:fulltext = 'wombat OR golden OR surf' ORDER BY ecm:fulltextScore", "inpct beach"),
]

ERRORS = [
    ("* FROM NoSuch, Video", "Unknown type: NoSuch"),
    ("* FROM video", "Unknown type: video"),
    ("* FROM Video WHERE title = 'x'", "No such property: title"),
    ("* FROM Video WHERE dublincore:title = 'x'", "No such property: dublincore:title"),
    ("* FROM Video WHERE vid:info IS NULL", "No such property: vid:info"),
    ("* FROM Video WHERE vid:transcodedVideos/* IS NULL", "No such property: vid:transcodedVideos/*"),
    ("* FROM Video WHERE dc:title/0 = 'x'", "No such property: dc:title/0"),
    ("* FROM Video WHERE vid:info/nosuch = 'x'", "No such property: vid:info/nosuch"),
    ("* FROM Video WHERE ecm:changeToken = 'x'", "Unknown field: ecm:changeToken"),
    ("* FROM Video WHERE ecm:acl/principal = 'x'", "Unknown field: ecm:acl/principal"),
    ("* FROM Video WHERE ecm:tag/0 = 'x'", "Unknown field: ecm:tag/0"),
    ("* FROM Video WHERE 1 = 'x' ORDER BY nosuch", "No such property: nosuch"),
    ("* FROM Video WHERE ecm:isVersion = 'x'", "ecm:isVersion requires literal 0 or 1 as right argument"),
    ("* FROM Video WHERE ecm:isProxy = 2", "ecm:isProxy requires literal 0 or 1 as right argument"),
    ("* FROM Video WHERE ecm:isTrashed IS NULL", "ecm:isTrashed requires = or <> operator"),
    ("* FROM Video WHERE webc:isWebContainer IN (1)", "Boolean expressions require literal 0 or 1 as right argument"),
    ("* FROM Video WHERE ecm:path IN ('/x')", "ecm:path requires = or <> operator"),
    ("* FROM Video WHERE ecm:path = 5", "ecm:path requires literal path as right argument"),
    ("* FROM Video WHERE ecm:ancestorId = 5", "ecm:ancestorId requires literal id as right argument"),
    ("* FROM Video WHERE ecm:ancestorId STARTSWITH 'x'", "ecm:ancestorId requires = or <> operator"),
    ("* FROM Video WHERE ecm:mixinType LIKE 'x'", "ecm:mixinType unknown operator: LIKE"),
    ("* FROM Video WHERE ecm:mixinType = 1", "ecm:mixinType = requires literal string as right argument"),
    ("* FROM Video WHERE ecm:mixinType IN ('a', 1)", "ecm:mixinType IN requires string literals"),
    ("* FROM Video WHERE ecm:primaryType IN (1)", "Cannot compare ecm:primaryType, which is a string, with a number"),
    ("* FROM Video WHERE dc:title = 1", "Cannot compare dc:title, which is a string, with a number"),
    ("* FROM Video WHERE dc:title LIKE 'a' OR vid:info/width LIKE '1'",
     "Cannot compare vid:info/width, which is a number, with a string"),
    ("* FROM Video WHERE dc:created > '2024'",
     "Cannot compare dc:created, which is a date, with a string (a date is written TIMESTAMP '2024-01-15T10:30:00Z')"),
    ("* FROM Video WHERE dc:title + 1 = 2", "Cannot calculate with a string"),
    ("* FROM Video WHERE dc:subjects > 'x'", "Can only use collection dc:subjects with =, <>, IN or NOT IN clause"),
    ("* FROM Video WHERE dc:subjects BETWEEN 'a' AND 'b'",
     "Can only use collection dc:subjects with =, <>, IN or NOT IN clause"),
    ("* FROM Video WHERE DATE(dc:title) = DATE '2024'", "Cannot cast to DATE: dc:title"),
    ("* FROM Video WHERE DATE(dc:created) = TIMESTAMP '2024'",
     "DATE() cast must be used with DATE literal, not TIMESTAMP: TIMESTAMP '2024-01-01T00:00:00.000Z'"),
    ("* FROM Video WHERE UPPER(dc:title) = 'X'", "Function not supported in WHERE clause: UPPER"),
    ("* FROM Video WHERE dc:created < NOW('x')", "java.lang.IllegalArgumentException: Invalid period: x"),
    ("* FROM Video WHERE 'x' = ecm:fulltext", "ecm:fulltext must be used as left-hand operand"),
    ("* FROM Video WHERE ecm:fulltext IN ('x')", "ecm:fulltext requires = or LIKE operator"),
    ("* FROM Video WHERE ecm:fulltext = 1", "ecm:fulltext requires literal string as right argument"),
    ("* FROM Video WHERE ecm:fulltext_x = 'x'", "No such fulltext index: x"),
    ("* FROM Video WHERE ecm:fulltextual = 'x'", "Unknown field: ecm:fulltextual"),
    ("* FROM Video WHERE ecm:fulltext = 'OR x'", "Invalid fulltext query (standalone OR): OR x"),
    ("* FROM Video WHERE ecm:fulltext = 'x OR or y'", "Invalid fulltext query (OR OR): x OR or y"),
    ("* FROM Video WHERE ecm:fulltext = 'x OR'", "Invalid fulltext query (final OR): x OR"),
    ("* FROM Video WHERE ecm:fulltext = 'x -'", "Invalid fulltext query (standalone -): x -"),
    ("* FROM Video WHERE ecm:fulltext = '\"x y'", 'Invalid fulltext query (unterminated phrase): "x y'),
    ("* FROM Video WHERE ecm:fulltext = 'x\"y'", 'Invalid fulltext query (double quotes in word): x"y'),
    ("* FROM Video WHERE ecm:fulltextScore > 1", "Can only use column in SELECT or ORDER BY: ecm:fulltextScore"),
    ("* FROM Video ORDER BY ecm:fulltextScore", "ecm:fulltextScore cannot be used without ecm:fulltext"),
    ("* FROM Video WHERE ecm:fulltext = 'a' OR ecm:fulltext = 'b' ORDER BY ecm:fulltextScore",
     "Cannot use ecm:fulltextScore with more than one fulltext match expression"),
    ("* FROM Video ORDER BY ecm:ancestorId", "Cannot order by column: ecm:ancestorId"),
    ("* FROM Video ORDER BY vid:info", "No such property: vid:info"),
    ("* FROM Video ORDER BY dc:subjects", "Cannot use collection dc:subjects in ORDER BY clause"),
    ("* FROM Video ORDER BY dc:subjects/*1", "For SELECT * the ORDER BY columns cannot use wildcard indexes"),
    ("ecm:mixinType FROM Video", "Cannot select on column: ecm:mixinType"),
    ("ecm:isProxy FROM Video", "Cannot select on column: ecm:isProxy"),
    ("1 FROM Video", "A literal cannot be selected."),
    ("COUNT(dc:title), dc:title FROM Video", "Aggregates cannot be mixed with columns or ORDER BY."),
    ("UPPER(dc:title) FROM Video", "Function not supported in SELECT clause: UPPER"),
    ("DISTINCT dc:title FROM Video ORDER BY dc:rights",
     "For SELECT DISTINCT the ORDER BY columns must be in the SELECT list, missing: [dc:rights]"),
    ("dc:title FROM Video ORDER BY ecm:path", "Cannot order by column: ecm:path"),
    ("* FROM Video WHERE " + " AND ".join(f"dc:subjects/*{n} = dc:subjects/*{n + 1}" for n in range(40)),
     "More than 32 wildcards are combined in one condition."),
]  # fmt: skip

ROWS = [
    ("dc:title FROM Video WHERE vid:info/width > 700 ORDER BY dc:title", [{"dc:title": "Beach"}, {"dc:title": "City"}]),
    ("DISTINCT dc:coverage FROM Video WHERE dc:coverage STARTSWITH 'europe' ORDER BY dc:coverage DESC",
     [{"dc:coverage": "europe/France"}, {"dc:coverage": "europe"}]),
    ("vid:info/width, vid:info/duration, ecm:isTrashed, ecm:uuid FROM Video WHERE ecm:name = 'forest'",
     [{"vid:info/width": 640, "vid:info/duration": 300.0, "ecm:isTrashed": True, "ecm:uuid": str(key("forest"))}]),
    ("dc:subjects/* FROM Video WHERE ecm:path = '/media/beach'",
     [{"dc:subjects/*": "art/cinema"}, {"dc:subjects/*": "sport"}]),
    ("dc:title FROM Video WHERE ecm:path = '/media/beach' AND dc:subjects/* IS NOT NULL", [{"dc:title": "Beach"}] * 2),
    ("dc:subjects/*1 FROM Video WHERE dc:subjects/*1 LIKE 's%'", [{"dc:subjects/*1": "sport"}]),
    ("dc:subjects/*1 FROM Video WHERE dc:subjects/*1 IS NULL", [{"dc:subjects/*1": None}]),
    ("dc:subjects/* FROM File", []),
    ("vid:storyboard/*/comment FROM Video WHERE ecm:name = 'city'", [{"vid:storyboard/*/comment": None}]),
    (f"count(ecm:uuid) FROM Video WHERE {LIVE}", [{"COUNT(ecm:uuid)": 3}]),
    ("COUNT(ecm:uuid) FROM Video WHERE ecm:name = 'beach'", [{"COUNT(ecm:uuid)": 3}, {"COUNT(ecm:uuid)": 1}]),
    ("COUNT(ecm:uuid) FROM Video WHERE ecm:isProxy = 0 AND ecm:isProxy = 1", []),
    (f"SUM(vid:info/width), AVG(vid:info/width), MIN(dc:title), MAX(dc:expired) FROM Video WHERE {LIVE}",
     [{"SUM(vid:info/width)": 3840, "AVG(vid:info/width)": 1280.0, "MIN(dc:title)": "Beach",
       "MAX(dc:expired)": "2024-01-16T00:00:00.000Z"}]),
]  # fmt: skip


@pytest.mark.parametrize(("types", "labels"), FROM)
def test_types(connection: Connection, types: str, labels: str) -> None:
    assert sorted(found(connection, f"SELECT * FROM {types}")) == sorted(labels.split())


@pytest.mark.parametrize(("where", "labels"), WHERE)
def test_conditions(connection: Connection, where: str, labels: str) -> None:
    assert sorted(found(connection, f"SELECT * FROM Document WHERE {where}")) == sorted(labels.split())


@pytest.mark.parametrize(("rest", "labels"), ORDER)
def test_order(connection: Connection, rest: str, labels: str) -> None:
    assert found(connection, f"SELECT ecm:uuid {rest}") == labels.split()


@pytest.mark.parametrize(("query", "message"), ERRORS)
def test_errors(query: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        compiled(f"SELECT {query}")
    assert str(caught.value) == message


@pytest.mark.parametrize(("query", "rows"), ROWS)
def test_rows(connection: Connection, query: str, rows: list[dict[str, Any]]) -> None:
    projection = compiled(f"SELECT {query}").projection
    assert projection is not None
    assert [projection.entry(one) for one in connection.execute(projection.rows(()))] == rows


def test_another_id_can_be_selected_where_its_rows_are_hidden_too(connection: Connection) -> None:
    query = "SELECT ecm:parentId FROM Video WHERE dc:title = 'City'"
    assert found(connection, query) == ["sub"]
    nothing = compile_query(parse(query), now=NOW, visible=[document.c.acl_scope == key("x")])
    assert connection.scalars(nothing.select).all() == []
    with pytest.raises(QueryError, match="Only \\* or ecm:uuid can be selected here"):
        compile_query(parse(query), now=NOW)


def test_a_search_for_documents_that_selects_no_id_finds_none(connection: Connection) -> None:
    assert found(connection, "SELECT dc:title FROM Video") == []
    assert found(connection, "SELECT COUNT(ecm:uuid) FROM Video") == []
    assert found(connection, f"SELECT ecm:uuid, dc:title FROM Video WHERE {LIVE} ORDER BY dc:title") == [
        "beach", "city", "forest",
    ]  # fmt: skip


def test_a_caller_can_narrow_count_and_number_what_is_found(connection: Connection) -> None:
    """Also where wildcards and proxies are in play: the condition is one on the plain table."""
    query = compiled("SELECT * FROM Video WHERE dc:subjects/* LIKE '%a%' ORDER BY dc:title")
    count = select(func.count()).select_from(document).where(query.where, document.c.acl_scope == key("root"))
    assert connection.scalar(count) == 5
    number = func.row_number().over(order_by=[*query.order_by, document.c.id])
    rows = select(document.c.id, number).where(query.where).limit(2).offset(1)
    assert len(connection.execute(rows).all()) == 2


def test_values_are_parameters(connection: Connection) -> None:
    hostile = "SELECT * FROM Document WHERE dc:title = 'x\\' OR 1=1 -- %s %(a)s :b ?' OR ecm:mixinType = '\\']; x'"
    assert found(connection, hostile) == []
    statement = str(compiled(hostile).select.compile(dialect=postgresql.dialect()))
    assert "OR 1=1" not in statement
    assert "]; x" not in statement


def test_many_conditions_run(connection: Connection) -> None:
    titles = " OR ".join(f"dc:title = 't{number}'" for number in range(2000))
    assert found(connection, f"SELECT * FROM Document WHERE {titles} OR dc:title = 'City'") == ["city"]
    nested = "NOT (dc:title <> 'City' OR " * 45 + "dc:rights = 'x'" + ")" * 45
    assert found(connection, f"SELECT * FROM Document WHERE {nested}") in ([], ["city"])


def test_the_default_recompute_query_uses_its_index(connection: Connection) -> None:
    """The planner must see that the query implies the index's predicate, even when it may not look at parameters."""
    assert found(connection, DEFAULT_QUERY) == ["forest"]
    statement = compiled(DEFAULT_QUERY).select.compile(dialect=connection.dialect)
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    lines = connection.exec_driver_sql(f"EXPLAIN {statement}", statement.params).scalars()
    assert any("document_without_renditions" in line for line in lines)
    predicate = select(document.c.id).where(literal_column(DEFAULT_RECOMPUTE.text).is_(True))
    assert connection.scalars(predicate).all() == connection.scalars(compiled(DEFAULT_QUERY).select).all()
