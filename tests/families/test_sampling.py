"""Draws from the teacher against the probabilities of all its outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import AROptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family
from emnat_jax.types import BOS, EOS, PAD
from tests import tiny

SOURCES = [[4, EOS], [5, 6, 4, EOS], [6, 6, EOS]]
DRAWS = 1_000
SEED = 5  # of weights whose most probable output has less than half of the probability


def params():
    return tiny.params("ar", SEED)


@functools.cache
def decoder(temperature, seed=0):
    options = AROptions(beam=3).with_sampling(temperature, seed, "ar")
    return jax.jit(make_family(tiny.model("ar", options)).decode, static_argnums=3)


def drawn(sources, count, temperature=1.0, seed=0):
    found = decoder(temperature, seed)(params(), jnp.asarray(sources), jax.random.key(0), count)
    return jax.device_get(found)


def texts(found, row) -> list[tuple[int, ...]]:
    return [tuple(tokens[tokens != PAD].tolist()) for tokens in found.tokens[row]]


def log_probs(source, targets) -> np.ndarray:
    batch = tiny.batch_of([source] * len(targets), targets)
    return np.asarray(tiny.jitted("ar", "score")(params(), batch), np.float64)


def exact(source, temperature) -> dict[tuple[int, ...], float]:
    """The probability of every output, of the next-token probabilities that sums over all outputs give."""
    targets = tiny.all_targets(tiny.MAX_LENGTH)
    known = dict(zip(targets, np.exp(log_probs(source, targets)), strict=True))

    def mass(prefix):
        return sum(p for target, p in known.items() if target[: len(prefix)] == prefix)

    def share(prefix):
        """Of the last token of a prefix among all that can stand there."""
        masses = {token: mass((*prefix[:-1], token)) ** (1 / temperature) for token in (EOS, 2, *tiny.WORDS)}
        return masses[prefix[-1]] / sum(masses.values())

    return {
        target: float(np.prod([share(target[: n + 1]) for n in range(len(target))])) for target in targets
    }


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_are_as_frequent_as_they_are_probable(temperature):
    """In total variation, whose mean for draws of the right distribution is about `expected`."""
    found = drawn(tiny.pad(SOURCES, 4), DRAWS, temperature)
    for row, source in enumerate(SOURCES):
        wanted = exact(source, temperature)
        assert abs(sum(wanted.values()) - 1) < 1e-5
        got = texts(found, row)
        assert set(got) <= wanted.keys()
        distance = sum(abs(got.count(target) / DRAWS - p) for target, p in wanted.items()) / 2
        p = np.array(list(wanted.values()))
        expected = np.sum(np.sqrt(2 * p * (1 - p) / (np.pi * DRAWS))) / 2
        assert distance < 2 * expected


def test_log_prob_is_the_models_whatever_the_temperature():
    for temperature in (0.5, 1.0, 3.0):
        found = drawn(tiny.pad(SOURCES, 4), 20, temperature)
        assert (np.diff(found.log_prob, axis=1) <= 0).all()
        np.testing.assert_array_equal(found.log_prob, found.rank_score)
        for row, source in enumerate(SOURCES):
            np.testing.assert_allclose(found.log_prob[row], log_probs(source, texts(found, row)), atol=5e-5)


def test_draws_depend_on_seed_and_source_alone():
    """Not on the other rows, their order, the padding, or how many are drawn."""
    together = drawn(tiny.pad(SOURCES, 4), 20)
    order = [2, 0, 1, 0]
    wide = drawn(tiny.pad([SOURCES[i] for i in order], 7), 20)
    for row, index in enumerate(order):
        assert texts(wide, row) == texts(together, index)
    alone = drawn(tiny.pad(SOURCES[1:2], 4), 20)
    assert texts(alone, 0) == texts(together, 1)
    few = drawn(tiny.pad(SOURCES, 4), 8)
    for row in range(3):
        assert set(texts(few, row)) <= set(texts(together, row))
        assert 3 < len(set(texts(together, row))) < 20
    other = drawn(tiny.pad(SOURCES, 4), 20, seed=1)
    assert all(texts(other, row) != texts(together, row) for row in range(3))


def test_sources_with_the_same_tokens_in_another_order_have_other_draws():
    found = drawn(tiny.pad([[4, 5, EOS], [5, 4, EOS], [4, 5, EOS]], 4), 30, temperature=100.0)
    assert texts(found, 0) == texts(found, 2) != texts(found, 1)


def test_without_temperature_draws_are_those_of_greedy_search():
    family = make_family(tiny.model("ar", AROptions(beam=1)))
    greedy = jax.jit(family.decode, static_argnums=3)
    source = jnp.asarray(tiny.pad(SOURCES, 4))
    best = jax.device_get(greedy(params(), source, jax.random.key(0), 1))
    found = drawn(tiny.pad(SOURCES, 4), 5, temperature=1e-5)
    for row in range(3):
        assert texts(found, row) == texts(best, row) * 5


def test_at_any_temperature_nothing_impossible_is_drawn():
    found = drawn(tiny.pad(SOURCES, 4), 200, temperature=1e12)
    assert not {PAD, BOS} & {token for row in range(3) for text in texts(found, row) for token in text}
    assert all(text[-1] == EOS for row in range(3) for text in texts(found, row))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(UserError, match=f"temperature={temperature}: use a positive number"):
        tiny.model("ar").with_sampling(temperature, 0)


def test_a_family_without_draws_says_so():
    with pytest.raises(UserError, match="the family ctc draws none"):
        tiny.model("ctc").with_sampling(1.0, 0)
