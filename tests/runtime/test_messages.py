"""What is printed into a stream of another encoding than UTF-8."""

import io
import json
import os
import subprocess
import sys

import pytest

from emnat_jax.runtime.messages import escape_unwritable

TEXTS = ["ü", "▁und", "🙂", os.fsdecode(b"r\xfcn"), "\u2028"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    escape_unwritable(stream)
    print(json.dumps(TEXTS, ensure_ascii=False), file=stream, flush=True)
    written = stream.buffer.getvalue().decode(encoding)
    assert json.loads(written) == TEXTS and ("🙂" in written) == (encoding == "utf-8")


def test_a_command_has_no_traceback_for_a_name_that_cannot_be_printed(tmp_path):
    words = [sys.executable, "-m", "emnat_jax", "doctor", "--workdir=fünf"]
    done = subprocess.run(
        words, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr
    assert "f\\u00fcnf: does not exist" in done.stdout
