"""Whatever comes from outside and is no file: options, environment, answers of a server; lines by place."""

import argparse
import contextlib
import functools
import importlib
import socket
import threading

import pytest
from etils import epath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emnat_jax.cli.main import COMMANDS, _split
from emnat_jax.cli.parser import Parser
from emnat_jax.data import line_index
from emnat_jax.data.line_index import LineReader, count_blocks, index_of
from emnat_jax.data.text import read_text_lines
from emnat_jax.errors import UserError
from emnat_jax.runtime import preemption
from emnat_jax.runtime.processes import start

few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
ODD = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ("0", "-1", "1.5", "1e9", "9" * 5_000, "\u00b2", "\u0663", "1_0", " 7 ", "nan", "--", "=")
    ),
)


@pytest.mark.slow
@few
@given(text=ODD, variable=st.sampled_from(("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")))
def test_numbers_of_processes_in_the_environment(text, variable):
    """One of three is given: a mistake in any case, and told."""
    with pytest.MonkeyPatch.context() as patched, pytest.raises(UserError) as told:
        with contextlib.suppress(ValueError, UnicodeEncodeError):  # what no environment holds
            patched.setenv(variable, text)
        patched.setenv("JAX_COORDINATOR_ADDRESS", "here:1")
        start()
    assert "\n" not in str(told.value)


@few
@given(url=ODD)
def test_an_address_of_notices_that_is_none(url):
    with pytest.MonkeyPatch.context() as patched:
        with contextlib.suppress(ValueError, UnicodeEncodeError):
            patched.setenv(preemption.URL_VARIABLE, url)
        with contextlib.suppress(UserError):
            assert preemption._notice_url() is None


@pytest.fixture(scope="module")
def server():
    """Answers every request with the bytes in `answer`, whether that is HTTP or not, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    found = argparse.Namespace(answer=b"", url=f"http://127.0.0.1:{listener.getsockname()[1]}/")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(4_096)
                    connection.sendall(found.answer)

    threading.Thread(target=serve, daemon=True).start()
    yield found
    listener.close()


HEAD = b"HTTP/1.1 200 OK\r\n"
ANSWERS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda body: HEAD + b"\r\n" + body),
    st.binary(max_size=60).map(lambda header: HEAD + header),
    st.sampled_from((HEAD + b"Content-Length: 99\r\n\r\nTRUE", HEAD + b"Content-Length: x\r\n\r\nTRUE", b"")),
    st.sampled_from((HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 999999 \r\n\r\n")),
)


@few
@given(answer=ANSWERS)
def test_an_answer_that_is_none_is_no_notice(server, answer):
    """An error here would end the thread that hears of SIGTERM."""
    server.answer = answer
    assert preemption._says_so(server.url) in (True, False)


def test_an_answer_that_is_one(server):
    server.answer = HEAD + b"\r\nTRUE"
    assert preemption._says_so(server.url)


@few
@given(
    data=st.lists(st.sampled_from((b"a", b"\n", b"\r", "\u00e9\u2028".encode(), b"\xff", b"\0"))),
    skip=st.data(),
)
def test_a_line_that_is_jumped_to_is_the_one_that_is_read(tmp_path_factory, data, skip):
    """By an index of blocks that two processes count; or the same mistake is told."""
    path = epath.Path(tmp_path_factory.getbasetemp() / "jumped.txt")
    path.write_bytes(b"".join(data))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(line_index, "BLOCK_BYTES", 4)
        index = index_of(path, count_blocks(path, 0, 2) + count_blocks(path, 1, 2))
        first = skip.draw(st.integers(0, index.lines + 1))
        try:
            whole = list(read_text_lines(path))
        except UserError:
            whole = None
        with path.open("rb") as file, contextlib.suppress(UserError):
            reader, found = LineReader(path, file, index), []
            reader.skip_to(first)
            while (line := reader.next()) is not None:
                found.append(line)
            assert whole is None or found == whole[first:]
            return
    assert whole is None


@functools.cache
@functools.cache
def parser_of(name: str) -> Parser:
    parser = Parser(f"emnat {name}", allow_abbrev=False)
    importlib.import_module(f"emnat_jax.cli.{name}").add_arguments(parser)
    return parser


@few
@given(name=st.sampled_from(sorted(COMMANDS)), words=st.data())
def test_words_of_a_command_line(name, words):
    parser = parser_of(name)
    options = sorted(option for action in parser._actions for option in action.option_strings)
    given_words = words.draw(
        st.lists(st.one_of(st.sampled_from([*options, "--config", "--config.seed"]), ODD))
    )
    rest, config = _split(given_words)
    assert all(word.startswith("--config") for word in config)
    with contextlib.suppress(SystemExit):  # after a line on stderr
        parser.parse_args(rest)
