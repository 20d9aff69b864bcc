"""Text files that appear whole or not at all; what is opened is a file."""

import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from etils import epath

from emnat_jax.artifacts.atomic import append, atomic_file, read_file, write_lines, write_text
from emnat_jax.errors import UserError
from tests.em.damages import time_limit


def test_lines_end_in_a_line_feed_each_and_the_folder_is_made(tmp_path):
    write_lines(tmp_path / "new" / "out.txt", ["eins", "", "dreié"])
    assert (tmp_path / "new" / "out.txt").read_bytes() == "eins\n\ndreié\n".encode()
    write_lines(tmp_path / "new" / "out.txt", [])
    assert (tmp_path / "new" / "out.txt").read_bytes() == b""


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "new \ud800")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("unfinished", ["a link", "a link to nothing", "a file"])
def test_what_lies_under_the_name_of_the_unfinished_file_is_not_written_into(tmp_path, unfinished):
    """In a folder from elsewhere a link may lead to any file of the user."""
    (tmp_path / "victim").write_text("precious")
    if unfinished == "a file":
        (tmp_path / ".a.tmp").write_text("what a killed writer left")
    else:
        (tmp_path / ".a.tmp").symlink_to("victim" if unfinished == "a link" else "nothing")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "a").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "victim"]
    assert (tmp_path / "a").read_text() == "new"


def test_who_writes_the_same_file_waits(tmp_path):
    """As two `emnat report` do, or one beside a run: each writes all of it."""
    other = threading.Thread(target=write_text, args=(tmp_path / "a", "the other"))
    with atomic_file(tmp_path / "a") as file:
        file.write(b"one half, ")
        other.start()
        time.sleep(0.05)
        file.write(b"the other half")
        assert not (tmp_path / "a").exists()
    other.join(30)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "the other")]


def test_many_writers_and_a_reader(tmp_path):
    texts = [str(number) * 10_000 for number in range(4)]
    write_text(tmp_path / "a", texts[0])

    def write(text: str) -> None:
        for _ in range(15):
            write_text(tmp_path / "a", text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert (tmp_path / "a").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as here:
            here.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link" if "link" in kind else path
    for use in (read_file, lambda path: append(path, b"x")):
        with pytest.raises(OSError, match="not a regular file"), time_limit(seconds=10):
            use(epath.Path(path))


A_FILE, A_FOLDER = (
    "a file is expected there and a folder found",
    "a folder is expected there and a file found",
)


@pytest.mark.parametrize(
    ("lies", "kind", "written", "wanted"),
    [
        ("a/.x.json.tmp", Path.mkdir, "a/x.json", A_FILE),
        ("a/x.json", Path.mkdir, "a/x.json", A_FILE),
        ("a", Path.touch, "a/b/x.json", A_FOLDER),
        ("a", lambda path: path.symlink_to("nowhere"), "a/x.json", A_FOLDER),
    ],
)
def test_what_is_in_the_way_is_named_and_once_moved_away_it_is_not(tmp_path, lies, kind, written, wanted):
    place = tmp_path / lies
    place.parent.mkdir(exist_ok=True)
    kind(place)
    message = f"^{re.escape(str(place))}: cannot be written \\([IFN][^)]*\\); {wanted}; move it away"
    with pytest.raises(UserError, match=message):
        write_text(tmp_path / written, "{}")
    place.rename(tmp_path / "away")
    write_text(tmp_path / written, "{}")
