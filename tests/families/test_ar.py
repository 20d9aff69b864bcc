"""The autoregressive family against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import AROptions
from emnat_jax.families import make_family
from emnat_jax.types import EOS, PAD
from tests import tiny

SOURCES = [[4, EOS], [5, 6, 4, EOS], [6, 6, EOS]]


def found_by(change, count, source):
    family = make_family(tiny.model("ar", change))
    found = jax.jit(family.decode, static_argnums=3)(
        tiny.params("ar"), jnp.asarray(source), jax.random.key(0), count
    )
    return jax.device_get(found)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.4])
def test_a_wide_beam_finds_the_exact_n_best(alpha):
    targets = tiny.all_targets(tiny.MAX_LENGTH)
    found = found_by(AROptions(beam=85, length_penalty=alpha), 85, tiny.pad(SOURCES, 4))
    for row, source in enumerate(SOURCES):
        log_prob = tiny.jitted("ar", "score")(tiny.params("ar"), tiny.batch_of([source] * 85, targets))
        lengths = np.array([len(t) for t in targets])
        order = np.argsort(-np.asarray(log_prob) / ((5 + lengths) / 6) ** alpha, kind="stable")
        got = [tuple(t[t != PAD].tolist()) for t in found.tokens[row]]
        assert got[:20] == [targets[i] for i in order[:20]]
        assert set(got) == set(targets)


def test_greedy_takes_the_best_next_token_each_time():
    found = found_by(AROptions(beam=1), 1, tiny.pad(SOURCES, 4))
    for row, source in enumerate(SOURCES):
        prefix = []
        while EOS not in prefix:
            nexts = [EOS] if len(prefix) == 3 else [EOS, 2, *tiny.WORDS]
            ends = [[(*prefix, n)] if n == EOS else _completions((*prefix, n)) for n in nexts]
            mass = [np.logaddexp.reduce(_log_probs(source, targets)) for targets in ends]
            prefix.append(nexts[int(np.argmax(mass))])
        tokens = found.tokens[row, 0]
        assert tokens[tokens != PAD].tolist() == prefix


def _completions(prefix):
    return [t for t in tiny.all_targets(tiny.MAX_LENGTH) if t[: len(prefix)] == prefix]


def _log_probs(source, targets):
    batch = tiny.batch_of([source] * len(targets), targets)
    return np.asarray(tiny.jitted("ar", "score")(tiny.params("ar"), batch), np.float64)


def test_decoders_by_name():
    model = tiny.model("ar")
    assert model.with_decoder("greedy").options.beam == 1
    assert model.with_decoder("greedy").with_decoder("beam").options.beam > 1


def test_the_products_of_a_search_read_its_caches_as_they_lie():
    """Batch axes first. In another order a CPU copies the whole cache at every position."""
    family, source = make_family(tiny.model("ar", AROptions(beam=3))), jnp.asarray(tiny.pad(SOURCES, 4))
    decode = jax.make_jaxpr(lambda params: family.decode(params, source, jax.random.key(0), 3))
    programs = list(_loops(decode(tiny.params("ar")).jaxpr))
    products = [
        eqn.params["dimension_numbers"][1]
        for program in programs
        for eqn in program.eqns
        if eqn.primitive.name == "dot_general" and min(len(x.aval.shape) for x in eqn.invars) == 4
    ]
    assert len(products) >= 4 and set(products) == {((0, 1), (0, 1))}  # two of each kind of attention


def _loops(jaxpr, inside=False):
    """What the loops of a program run, and all that it calls."""
    if inside:
        yield jaxpr
    for eqn in jaxpr.eqns:
        within = inside or eqn.primitive.name == "while"
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                yield from _loops(getattr(value, "jaxpr", value), within)


@pytest.mark.parametrize(("configured", "beam"), [(1, 5), (3, 3), (8, 8)])
def test_the_beam_decoder_has_the_configured_beam(configured, beam):
    options = AROptions(beam=configured)
    assert options.with_decoder("beam", "ar").beam == beam == options.length_choices().options.beam
    assert options.with_decoder("greedy", "ar").beam == 1
