"""The local side of `vidarium import`: which files, which chunks, what an interrupted upload leaves behind."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidarium.cli.discovery import LocalFile, Problem, discover
from vidarium.cli.journal import Journal, Upload
from vidarium.cli.sending import LARGEST_CHUNK, SMALLEST_CHUNK, FileChanged, check_unchanged, chunk_size, exactly, fits
from vidarium.cli.target import Child, child, same_bytes

MIB = 1024 * 1024


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(*paths):
    everything = list(discover(list(paths)))
    files = {each.path: each for each in everything if isinstance(each, LocalFile)}
    return files, {each.path: each for each in everything if isinstance(each, Problem)}


def test_folders_are_walked_and_videos_known_by_extension(tmp_path):
    inside = [write(tmp_path / name) for name in ("a.mp4", "b/c.MKV", "b/d/e.mpg", "b/.hidden.webm", "@f.mov")]
    for name in ("notes.txt", "b/cover.jpg", "mp4", ".mp4"):
        write(tmp_path / name)
    files, problems = found(tmp_path)
    assert set(files) == set(inside)
    assert not problems
    assert files[tmp_path / "b/d/e.mpg"].folders == ("b", "d")
    assert files[tmp_path / "a.mp4"].folders == ()
    assert files[tmp_path / "@f.mov"].title == "@f.mov"


def test_a_named_file_is_taken_whatever_its_extension(tmp_path):
    files, problems = found(write(tmp_path / "film.bin", b"12345"))
    assert [each.length for each in files.values()] == [5]
    assert not problems


def test_a_link_back_up_is_not_followed_twice(tmp_path):
    video = write(tmp_path / "a" / "x.mp4")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    files, problems = found(tmp_path)
    assert set(files) == {video}
    assert [each.fatal for each in problems.values()] == [False]


def test_links_to_other_folders_are_followed(tmp_path):
    write(tmp_path / "store" / "x.mp4")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "link").symlink_to(tmp_path / "store")
    files, problems = found(tmp_path / "library")
    assert [each.folders for each in files.values()] == [("link",)]
    assert not problems


def test_what_cannot_be_sent_is_said(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    write(tmp_path / "._film.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.mp4"))
        files, problems = found(tmp_path, tmp_path / "missing.mp4")
    assert not files
    fatal = {path.name: each.fatal for path, each in problems.items()}
    assert fatal == {"gone.mp4": True, "pipe.mp4": False, "._film.mp4": False, "s.mp4": False, "missing.mp4": True}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_files_and_folders_are_said(tmp_path):
    write(tmp_path / "a.mp4").chmod(0)
    (tmp_path / "locked").mkdir(mode=0)
    files, problems = found(tmp_path)
    assert not files
    assert all(each.fatal and "Permission denied" in each.reason for each in problems.values())
    assert len(problems) == 2


def test_names_that_are_no_text_become_text(tmp_path):
    name = os.fsdecode(b"caf\xe9\n\x1b.mp4")
    files, _ = found(write(tmp_path / name), write(tmp_path / "süß 日本.mp4"))
    assert [each.title for each in files.values()] == ["caf\ufffd??.mp4", "süß 日本.mp4"]


@given(st.integers(min_value=1, max_value=10**14))
def test_chunks_are_bounded(length):
    size = chunk_size(length)
    assert SMALLEST_CHUNK <= size <= LARGEST_CHUNK
    assert size % MIB == 0
    assert -(-length // size) <= 1024 or size == LARGEST_CHUNK


def local(path):
    info = path.stat()
    return LocalFile(path, (), info.st_size, info.st_mtime_ns)


def test_journal_finds_this_very_file_only(tmp_path):
    file = local(write(tmp_path / os.fsdecode(b"caf\xe9.mp4"), b"123"))
    journal = Journal(tmp_path / "cache", "http://a/nuxeo", "ann")
    assert journal.find(file) is None
    journal.remember(file, Upload("batch-1", 16 * MIB))
    assert journal.find(file) == Upload("batch-1", 16 * MIB)
    assert Journal(tmp_path / "cache", "http://a/nuxeo", "bob").find(file) is None
    assert Journal(tmp_path / "cache", "http://b/nuxeo", "ann").find(file) is None
    file.path.write_bytes(b"1234")
    assert journal.find(local(file.path)) is None
    journal.forget(file)
    assert journal.find(file) is None


def test_journal_survives_damage_and_a_cache_that_cannot_be_written(tmp_path):
    file = local(write(tmp_path / "a.mp4"))
    journal = Journal(tmp_path / "cache", "u", "n")
    journal.remember(file, Upload("b", 1))
    [entry] = (tmp_path / "cache").iterdir()
    entry.write_bytes(b'{"batch": "b"')
    assert journal.find(file) is None
    blocked = Journal(write(tmp_path / "a file"), "u", "n")
    blocked.remember(file, Upload("b", 1))
    blocked.forget(file)
    blocked.prune()
    assert blocked.find(file) is None


def test_journal_drops_old_entries(tmp_path):
    file, journal = local(write(tmp_path / "a.mp4")), Journal(tmp_path / "cache", "u", "n")
    journal.remember(file, Upload("b", 1))
    journal.prune()
    assert journal.find(file)
    [entry] = (tmp_path / "cache").iterdir()
    os.utime(entry, (0, 0))
    journal.prune()
    assert journal.find(file) is None


def test_a_batch_of_other_chunks_is_not_gone_on_with(tmp_path):
    file = LocalFile(tmp_path / "a.mp4", (), 40 * MIB, 0)
    info = {"name": "a.mp4", "size": 40 * MIB, "uploadType": "chunked", "uploadedChunkIds": [0], "chunkCount": 3}
    assert fits(info, file, 16 * MIB)
    assert not fits(info, file, 32 * MIB)
    assert not fits(info | {"size": 1}, file, 16 * MIB)
    assert not fits(None, file, 16 * MIB)


def test_a_file_that_changes_on_the_way_is_noticed(tmp_path):
    path = write(tmp_path / "a.mp4", b"12345")
    file = local(path)
    with path.open("rb") as source:
        assert exactly(source, 5) == b"12345"
        check_unchanged(file, source)
        path.write_bytes(b"1234567")
        with pytest.raises(FileChanged):
            check_unchanged(file, source)
    with path.open("rb") as source, pytest.raises(FileChanged):
        exactly(source, 8)


def test_child_of_an_entity():
    content = {"name": "b.mp4", "length": "5", "digest": "AB", "digestAlgorithm": "MD5"}
    entity = {"uid": "u", "title": "t", "facets": ["Video"], "properties": {"dc:title": "a", "file:content": content}}
    assert child(entity) == Child("u", "a", "b.mp4", False, 5, "AB", "MD5")
    assert child({"uid": "u", "title": "t", "facets": ["Folderish"]}) == Child("u", "t", "", True, None, None, None)


@pytest.mark.parametrize(
    ("algorithm", "digest", "same"),
    [
        ("SHA-256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", True),
        ("MD5", "5D41402ABC4B2A76B9719D911017C592", True),
        ("MD5", "5d41402abc4b2a76b9719d911017c593", False),
        ("unheard of", "00", True),
        (None, None, True),
    ],
)
def test_bytes_are_compared_by_the_servers_algorithm(tmp_path, algorithm, digest, same):
    file = local(write(tmp_path / "a.mp4", b"hello"))
    assert same_bytes(file, Child("u", "a", "a", False, 5, digest, algorithm)) is same
