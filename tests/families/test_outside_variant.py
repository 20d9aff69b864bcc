"""A variant of a family in a few lines, as the guide shows it."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.cli.configuration import read_config
from emnat_jax.config import FAMILIES
from emnat_jax.families import make_family, parallel_parts
from tests import tiny
from tests.families import outside_variant, test_contract
from tests.families.outside_variant import PenalisedOptions

FILE = Path(outside_variant.__file__)


@pytest.fixture(autouse=True)
def _entered(monkeypatch):
    line = FAMILIES["vanilla"]._replace(
        options=PenalisedOptions, make=outside_variant.make, parallel=outside_variant.parts
    )
    monkeypatch.setitem(FAMILIES, "penalised", line)


def test_the_loss_is_that_of_vanilla_less_the_entropy():
    batch = jax.tree.map(jnp.asarray, tiny.batch())
    params, vanilla = tiny.params("vanilla"), tiny.family("vanilla")
    model = tiny.model("penalised", PenalisedOptions(penalty=0.5))
    plain, before = vanilla.loss(params, batch, None, 0)
    loss, metrics = make_family(model).loss(params, batch, None, 0)
    parts = parallel_parts(model)
    logits = parts.logits(parts.predict(params, parts.encode(params, batch, None), batch, None, None))
    words = [np.asarray(row)[: int(n) - 1] for row, n in zip(logits, np.sum(batch.target != 0, axis=1))]
    probs = [np.exp(row) / np.exp(row).sum(axis=-1, keepdims=True) for row in words]
    entropy = sum(-np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0.0)) for p in probs)
    assert entropy > 1 and metrics["entropy"].total == pytest.approx(entropy, rel=1e-4)
    assert loss == pytest.approx(float(plain) - 0.5 * entropy / float(before["loss"].weight), rel=1e-4)
    same = make_family(tiny.model("penalised", PenalisedOptions(penalty=0.0))).loss(params, batch, None, 0)
    np.testing.assert_allclose(same[0], plain, rtol=1e-6)


@pytest.mark.slow
def test_score_and_outputs_are_those_of_vanilla():
    batch = jax.tree.map(jnp.asarray, tiny.batch())
    params, vanilla = tiny.params("vanilla"), tiny.family("vanilla")
    family = make_family(tiny.model("penalised"))
    np.testing.assert_array_equal(family.score(params, batch), vanilla.score(params, batch))
    ours, theirs = (f.decode(params, batch.source, jax.random.key(0), 2) for f in (family, vanilla))
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)


@pytest.mark.slow
def test_the_loss_keeps_the_contract():
    test_contract.test_filler_rows_do_not_change_the_loss("penalised")
    test_contract.test_gradients_are_finite_on_the_longest_row_and_on_fillers_alone("penalised")


def test_it_is_configured_and_exported_as_vanilla_is():
    config = read_config([f"--config={FILE}", "--config.student.penalised.decoder=argmax"])
    wanted = PenalisedOptions(penalty=0.2, decoder="argmax")
    assert dataclasses.asdict(config.student.options) == dataclasses.asdict(wanted)
    assert FAMILIES["penalised"].graph is FAMILIES["vanilla"].graph


def test_the_guide_shows_this_variant():
    guide, code = (FILE.parents[2] / "docs/guides/family.md").read_text(), FILE.read_text()
    assert code[code.index("import dataclasses") :].rstrip() in guide
