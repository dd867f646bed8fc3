"""What the command line client prints, and what it makes of the server's answers. No server is needed here."""

import io
import os

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vidarium.cli.demo_server import environment
from vidarium.cli.options import DEFAULT_URL, checked_url, connect
from vidarium.cli.progress import Running, Snapshot, clean, parse, progress_text, size_text, summary_text, time_text
from vidarium.cli.recompute import form
from vidarium.cli.status import failure_lines
from vidarium.cli.watch import Lines, news, view

RUNNING = Snapshot("c1", "RUNNING", total=40, processed=12, errors=2, skipped=1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (103, "1:43"), (7509, "2:05:09"), (273_600, "3 d 4 h")],
)
def test_time_text(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5e9, "5.0 GB"), (2e12, "2.0 TB")]
)
def test_size_text(count, text):
    assert size_text(count) == text


@given(st.text(st.characters()))
def test_clean_text_can_be_printed_and_obeyed_by_no_terminal(text):
    printed = clean(text)
    printed.encode()
    assert len(printed) == len(text)
    assert all(character.isprintable() or ord(character) > 0x9F for character in printed)


def test_progress_entity_of_vidarium():
    snapshot = parse(
        {
            "entity-type": "bulkProgress",
            "commandId": "c1",
            "state": "RUNNING",
            "total": 40,
            "processed": 12,
            "errorCount": 2,
            "skipCount": 1,
            "mediaTotal": 1200.0,
            "mediaDone": 340.4,
            "speed": 8.34,
            "eta": 103.2,
            "waiting": None,
            "running": [{"document": "u1", "path": "/a/b", "done": 3.0, "total": 12.0}],
        }
    )
    assert snapshot.running == (Running("/a/b", 3.0, 12.0),)
    assert progress_text(snapshot) == "12/40 documents, 340/1200 s of media, 8.3x, ETA 1:43, 2 failed, 1 skipped"


def test_plain_status_shows_only_what_it_knows():
    snapshot = parse({"commandId": "c1", "state": "SCHEDULED", "processed": 0, "errorCount": 0, "total": 0})
    assert progress_text(snapshot) == "0/0 documents"


def test_unknown_speed_and_eta_are_left_out():
    snapshot = Snapshot("c1", "RUNNING", 2, 0, 0, 0, media_total=10, waiting="disk nearly full")
    assert progress_text(snapshot) == "0/2 documents, 0/10 s of media, waiting: disk nearly full"


def test_an_eta_that_cannot_be_true_is_left_out():
    snapshot = Snapshot("c1", "RUNNING", 1, 0, 0, 0, media_total=0, media_done=3.2, speed=0.4, eta=0.0)
    assert progress_text(snapshot) == "0/1 documents, 0.4x"


def test_summary_leads_to_the_failures():
    ended = Snapshot("c1", "COMPLETED", 3, 3, 1, 0, eta=0.0, error_message="doc u1: MP4 480p: bad media")
    assert summary_text(ended).splitlines() == [
        "COMPLETED: 3/3 documents, 1 failed",
        "First error: doc u1: MP4 480p: bad media",
        "All of them: vidarium status c1 --failed",
    ]


@pytest.mark.parametrize(
    ("snapshot", "failed"),
    [
        (RUNNING, False),
        (Snapshot("c", "COMPLETED", 1, 1, 0, 0), False),
        (Snapshot("c", "COMPLETED", 1, 1, 0, 1), False),
        (Snapshot("c", "COMPLETED", 1, 1, 1, 0), True),
        (Snapshot("c", "COMPLETED", 0, 0, 0, 0, error_message="Invalid query"), True),
        (Snapshot("c", "ABORTED", 5, 1, 0, 0), True),
    ],
)
def test_what_counts_as_failed(snapshot, failed):
    assert snapshot.failed is failed


def test_a_line_is_printed_for_news_only():
    output = io.StringIO()
    lines = Lines(Console(file=output, force_terminal=False, width=200))
    for snapshot in (
        RUNNING,
        RUNNING,
        Snapshot("c1", "RUNNING", 40, 13, 2, 1),
        Snapshot("c1", "COMPLETED", 40, 40, 2, 1),
    ):
        lines.show(snapshot)
    assert output.getvalue().splitlines() == [
        "RUNNING 12/40 documents, 2 failed, 1 skipped",
        "RUNNING 13/40 documents, 2 failed, 1 skipped",
    ]


def test_waiting_is_news():
    assert news(RUNNING, Snapshot("c1", "RUNNING", 40, 12, 2, 1, waiting="disk full"))
    assert not news(RUNNING, RUNNING)


def test_terminal_view_shows_the_documents_in_work():
    running = tuple(Running(f"/a/[bold]\x1b{number}", number, 12) for number in range(10))
    output = io.StringIO()
    console = Console(file=output, width=100)
    console.print(view(Snapshot("c1", "RUNNING", 40, 12, 0, 0, media_total=120, media_done=60, running=running)))
    text = output.getvalue()
    assert text.splitlines()[0].strip("━╸╺ ") == ""  # the bar has its line for itself
    assert text.splitlines()[1].startswith("RUNNING 12/40 documents")
    assert "/a/[bold]?7" in text
    assert "/a/[bold]?8" not in text
    assert "and 2 more" in text


def test_failures_name_conversion_reason_and_log():
    entry = {
        "document": "u1",
        "path": "/a/bad\x1b[2J.mp4",
        "state": "failed",
        "attempt": 3,
        "error": None,
        "conversions": [
            {"name": "MP4 480p", "state": "done", "reason": None, "log": None},
            {"name": "Ogg 480p", "state": "failed", "reason": "encoder failed", "log": "line 1\nline 2\x07"},
        ],
    }
    assert list(failure_lines(entry)) == [
        "/a/bad?[2J.mp4 (u1, attempt 3)",
        "  Ogg 480p: encoder failed",
        "    | line 1",
        "    | line 2?",
    ]


def test_failure_without_conversions_says_why():
    lines = list(failure_lines({"document": "u1", "path": None, "error": "worker lost", "conversions": None}))
    assert lines == ["(no path) (u1)", "  worker lost"]


def test_form_holds_only_what_is_asked_for():
    assert form("  ", [], all_info=False, force=False) == {}
    assert form("SELECT 1", ["MP4 480p", "Ogg 480p"], all_info=True, force=True) == {
        "query": "SELECT 1",
        "conversionNames": ["MP4 480p", "Ogg 480p"],
        "recomputeAllVideoInfo": "true",
        "force": "true",
    }


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://host/nuxeo", "http://", "http://a:b@host/nuxeo", "http://host:port/nuxeo"]
)
def test_addresses_that_are_refused(url):
    with pytest.raises(typer.BadParameter) as caught:
        checked_url(url)
    assert "a:b" not in str(caught.value)


def test_password_may_contain_colons_and_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("NUXEO_PASSWORD", "secret")
    with connect(DEFAULT_URL, "ann") as client:
        assert client.user == "ann"
    monkeypatch.delenv("NUXEO_PASSWORD")
    with connect(DEFAULT_URL, "ann:with:colon") as client:
        assert client.user == "ann"
    with pytest.raises(typer.BadParameter):
        connect(DEFAULT_URL, "ann")
    with pytest.raises(typer.BadParameter):
        connect(DEFAULT_URL, ":secret")


def test_the_demo_server_never_gets_the_users_database():
    inherited = {
        "PATH": os.defpath,
        "VIDARIUM_DATABASE_URL": "postgresql://real",
        "vidarium_home": "/srv",
        "VIDARIUM_FFMPEG": "/f",
    }
    assert environment(inherited) == {
        "PATH": os.defpath,
        "VIDARIUM_FFMPEG": "/f",
        "VIDARIUM_AUTOMATIC_CONVERSIONS": "false",
    }
