"""The blocks of docs/guides/python.md, one after the other, on a small finished run."""

import re
import shutil
import types
from pathlib import Path

import jax
import numpy as np
import pytest

import emnat_jax as em
from emnat_jax.config import RULES
from tests.em.runs import finished_run

GUIDE = Path(__file__).parents[2] / "docs/guides/python.md"
BLOCKS = re.findall(r"<!-- example -->\n\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def ran(tmp_path, tmp_path_factory, monkeypatch):
    """The names that the blocks have made; the run of the first one is that of `finished_run`."""
    shutil.copytree(finished_run(tmp_path_factory), tmp_path / "runs/mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(em, "run", lambda config, workdir, log: em.read_report(workdir))
    before = dict(RULES)
    page = types.ModuleType("page")
    for block in BLOCKS:
        exec(compile(block, str(GUIDE), "exec"), vars(page))
    yield page
    RULES.clear()
    RULES.update(before)


def test_the_blocks_do_what_the_page_says(ran, capsys):
    assert len(BLOCKS) == 5
    assert ran.config.student.options.factor == 3 and ran.shorter.select.rule == "shortest"
    assert len(ran.steps) == len(ran.losses) > 1 and len(ran.texts) == len(ran.row.targets) == 2
    loss = jax.jit(ran.family.loss)
    before, after = (loss(params, ran.batch, None, 0.0)[0] for params in (ran.student.params, ran.params))
    assert after < before
    lines = [row.source_text for row in ran.rows]
    assert ran.tuned.score(lines, lines) != pytest.approx(ran.student.score(lines, lines), abs=1e-3)
    assert ran.outputs.shape == (2, 6) and np.all(ran.log_prob < 0)
