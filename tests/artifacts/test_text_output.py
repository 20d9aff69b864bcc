"""Where text is written: files, links, devices and pipes, packed or not; and what a kill leaves."""

import bz2
import gzip
import lzma
import os
import stat
import threading

import pytest

from emnat_jax.artifacts.resumable import open_resumable
from emnat_jax.artifacts.text_output import Part
from emnat_jax.errors import InUse, UserError
from tests.em.damages import time_limit

MADE_FROM = {"model": "one", "options": {"beam": 4}}
UNPACK = {"": bytes, ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
PARTS = [["eins", ""], ["zwei"], ["今日は"]]
WHOLE = "eins\n\nzwei\n今日は\n".encode()
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")


class Killed(Exception):
    """Stands for a kill: what runs at the end of a block finds nothing to mend."""


def part(number: int) -> Part:
    return Part(f"digest {number}", len(PARTS[number]), {"up to": number})


def write(path, parts=range(len(PARTS)), *, kill: bool = False, made_from=MADE_FROM, told=None):
    """Writes some parts; returns the earlier ones."""
    told = [] if told is None else told
    try:
        with open_resumable(str(path), made_from, told.append) as output:
            earlier = list(output.earlier)
            output.go_on(len(earlier))
            for number in parts[len(earlier) :]:
                output.write(PARTS[number], part(number))
            if kill:
                raise Killed
    except Killed:
        pass
    return earlier


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", UNPACK)
def test_a_killed_text_goes_on_without_losing_or_doubling_a_line(tmp_path, ending):
    write(tmp_path / f"whole{ending}")
    path = tmp_path / f"out{ending}"
    assert write(path, range(2), kill=True) == [] and not path.exists()
    with open(tmp_path / f".out{ending}.part", "ab") as file:  # a part that the record does not know yet
        file.write(b"half a li")
    with open(tmp_path / f".out{ending}.part.log", "ab") as file:
        file.write(b'{"digest": "digest 2", "li')
    assert write(path) == [part(0), part(1)]
    assert path.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert UNPACK[ending](path.read_bytes()) == WHOLE
    assert names(tmp_path) == sorted([f"out{ending}", f"whole{ending}"])


def test_parts_may_be_forgotten(tmp_path):
    write(tmp_path / "out", kill=True)
    with open_resumable(str(tmp_path / "out"), MADE_FROM, print) as output:
        assert len(output.earlier) == 3
        output.go_on(1)
        output.write(["other"], part(1))
    assert (tmp_path / "out").read_text() == "eins\n\nother\n"


def test_another_model_starts_anew_and_says_so(tmp_path):
    write(tmp_path / "out", range(2), kill=True)
    told = []
    assert write(tmp_path / "out", range(1), made_from=MADE_FROM | {"model": "two"}, told=told) == []
    assert (tmp_path / "out").read_text() == "eins\n\n"
    assert len(told) == 1 and "starts anew" in told[0] and "another model" in told[0]


def test_a_part_that_was_lost_is_not_believed(tmp_path):
    """The record says more than the text holds, as after a power failure."""
    write(tmp_path / "out", range(2), kill=True)
    os.truncate(tmp_path / ".out.part", 8)
    assert write(tmp_path / "out") == [part(0)] and (tmp_path / "out").read_bytes() == WHOLE


@pytest.mark.parametrize(("name", "byte"), [(".out.part", -2), (".out.part.log", -20), (".out.part.log", 90)])
def test_a_part_that_was_changed_is_not_believed(tmp_path, name, byte):
    """Of the text, or of what the record says of it: it is written again."""
    write(tmp_path / "out", range(2), kill=True)
    data = bytearray((tmp_path / name).read_bytes())
    data[byte] ^= 1
    (tmp_path / name).write_bytes(data)
    assert len(write(tmp_path / "out")) < 2 and (tmp_path / "out").read_bytes() == WHOLE


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "out").write_text("old\n")
    (tmp_path / "out").chmod(0o640)
    write(tmp_path / "out", range(1), kill=True)
    assert (tmp_path / "out").read_text() == "old\n"
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == WHOLE
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_what_fails_before_its_first_line_leaves_nothing(tmp_path):
    write(tmp_path / "out", range(0), kill=True)
    assert names(tmp_path) == []


def test_two_writers_of_one_file(tmp_path):
    with open_resumable(str(tmp_path / "out"), MADE_FROM, print) as output:
        with pytest.raises(InUse, match="out is being written"):
            write(tmp_path / "out")
        output.write(PARTS[0], part(0))
    assert (tmp_path / "out").read_text() == "eins\n\n"


@pytest.mark.parametrize("ending", UNPACK)
def test_no_line_at_all_is_a_valid_file(tmp_path, ending):
    write(tmp_path / f"out{ending}", range(0))
    with open_resumable(str(tmp_path / f"other{ending}"), MADE_FROM, print) as output:
        output.write([], part(0))
    for name in ("out", "other"):
        assert UNPACK[ending]((tmp_path / f"{name}{ending}").read_bytes()) == b""


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_text("old\n")
    (tmp_path / "link").symlink_to("folder/real")
    (tmp_path / "further").symlink_to(tmp_path / "link")
    (tmp_path / "dangling").symlink_to("folder/new")
    for name in ("further", "dangling"):
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == WHOLE
    assert names(tmp_path / "folder") == ["new", "real"]
    with open_resumable(str(tmp_path / "link"), MADE_FROM, print) as output:
        output.write(["x"], part(0))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder/real").read_text() == "x\n"


@pytest.mark.parametrize("name", [".out.part", ".out.part.log"])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link", "pipe"])
def test_what_lies_under_the_name_of_the_unfinished_file_is_not_written_into(tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    match kind:
        case "pipe":
            os.mkfifo(tmp_path / name)
        case "hard link":
            (tmp_path / name).hardlink_to(victim)
        case _:
            (tmp_path / name).symlink_to("victim" if kind == "link" else "nothing")
    with time_limit(seconds=10):
        write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == WHOLE and not (tmp_path / "out").is_symlink()
    assert victim.read_text() == "precious" and names(tmp_path) == ["out", "victim"]


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="symbolic links"):
        write(tmp_path / "a")


@pytest.mark.parametrize("ending", UNPACK)
def test_a_pipe_is_written_into(tmp_path, ending):
    path = tmp_path / f"fifo{ending}"
    os.mkfifo(path)
    read = []
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()))
    thread.start()
    write(path)
    thread.join(10)
    assert UNPACK[ending](read[0]) == WHOLE
    assert stat.S_ISFIFO(path.stat().st_mode) and names(tmp_path) == [path.name]


@ROOT_ONLY
def test_a_device_stays_one(tmp_path):
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tmp_path / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    (tmp_path / "link").symlink_to("null")
    for name in ("null", "link"):
        write(tmp_path / name)
    with pytest.raises(UserError, match="full: the disk is full"):
        write(tmp_path / "full")
    assert names(tmp_path) == ["full", "link", "null"] and (tmp_path / "link").is_symlink()
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)


def test_an_open_file_by_its_number_is_appended_to(tmp_path):
    """As /dev/stdout of `emnat ... >> log`."""
    (tmp_path / "log").write_text("before\n")
    with open(tmp_path / "log", "ab") as file:
        write(f"/dev/fd/{file.fileno()}")
    assert (tmp_path / "log").read_bytes() == b"before\n" + WHOLE


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("out.zst", "no .zst is written here"),
        ("a.zip", "no .zip"),
        ("", "is a folder"),
        ("file/out", "cannot"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, says):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=says), open_resumable(str(tmp_path / name), MADE_FROM, print):
        pass
    assert names(tmp_path) == ["file"]


def test_the_same_text_has_the_same_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write(tmp_path / name)
    data = (tmp_path / "a.gz").read_bytes()
    assert data == (tmp_path / "b.gz").read_bytes() and data[4:8] == b"\0\0\0\0"
