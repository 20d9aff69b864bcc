"""The position-wise family against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import VanillaOptions
from emnat_jax.families import make_family
from emnat_jax.types import EOS, NEG_INF, PAD, UNK
from tests import tiny

SOURCES = [[4, EOS], [5, 6, 4, EOS], [6, 6, EOS]]


def found_by(change, count):
    family = make_family(tiny.model("vanilla", change))
    decode = jax.jit(family.decode, static_argnums=3)
    return jax.device_get(
        decode(tiny.params("vanilla"), jnp.asarray(tiny.pad(SOURCES, 4)), jax.random.key(0), count)
    )


def log_probs(source):
    targets = tiny.all_targets(tiny.MAX_LENGTH)
    scores = tiny.jitted("vanilla", "score")(tiny.params("vanilla"), tiny.batch_of([source] * 85, targets))
    return dict(zip(targets, np.asarray(scores).tolist()))


def has_repeat(target):
    return any(a == b for a, b in itertools.pairwise(target))


@pytest.mark.parametrize("decoder", ["argmax", "odd"])
def test_every_length_gets_its_best_target(decoder):
    """With as many candidates as lengths, each length from 2 on shows its most probable target."""
    found = found_by(VanillaOptions(decoder=decoder, length_candidates=3), 3)
    for row, source in enumerate(SOURCES):
        table = log_probs(source)
        for slot in range(3):
            tokens = tuple(found.tokens[row, slot][found.tokens[row, slot] != PAD].tolist())
            if found.rank_score[row, slot] <= NEG_INF / 2:
                continue
            rivals = [
                t for t in table if len(t) == len(tokens) and (decoder == "argmax" or not has_repeat(t))
            ]
            assert tokens == max(rivals, key=table.get)
            np.testing.assert_allclose(found.log_prob[row, slot], table[tokens], rtol=1e-4)


def test_one_candidate_has_the_most_probable_length():
    found = found_by(VanillaOptions(decoder="argmax"), 1)
    for row, source in enumerate(SOURCES):
        table = log_probs(source)
        mass = [np.logaddexp.reduce([v for t, v in table.items() if len(t) == n]) for n in (1, 2, 3, 4)]
        best = max(int(np.argmax(mass)) + 1, 2)  # method.md 13.6: length 1 becomes 2
        assert np.count_nonzero(found.tokens[row, 0] != PAD) == best


def test_a_penalty_of_zero_is_argmax():
    plain, odd = (
        found_by(VanillaOptions(decoder=d, odd_penalty=p), 2) for d, p in (("argmax", None), ("odd", 0.0))
    )
    np.testing.assert_array_equal(plain.tokens, odd.tokens)


def test_tokens_never_hold_what_is_not_generable():
    found = found_by(VanillaOptions(length_candidates=3), 3)
    for tokens in found.tokens.reshape(-1, found.tokens.shape[-1]):
        words = tokens[tokens != PAD]
        assert set(words[:-1].tolist()) <= {UNK, *tiny.WORDS}
