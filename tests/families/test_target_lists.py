"""Targets side by side have the scores that each has alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.families import FAMILIES, parallel_parts
from emnat_jax.families.target_lists import list_log_probs
from tests import tiny

PARALLEL = [name for name, spec in FAMILIES.items() if spec.parallel is not None]
COUNT = 3


@pytest.mark.parametrize("name", PARALLEL)
def test_scores_of_a_list_are_those_of_its_targets_alone(name):
    """Lists of targets of different lengths, one of which `ctc` and `dag` cannot give, and one twice."""
    batch, parts = tiny.batch(6), parallel_parts(tiny.model(name))
    others = [tiny.batch(6, seed).target for seed in (1, 2)]
    others[0][0] = batch.target[0]
    others[1][1] = [6, 6, 6, 6]  # it does not end
    lists = np.stack([batch.target, *others], axis=1)
    score = jax.jit(functools.partial(list_log_probs, parts, COUNT))
    found = score(tiny.params(name), batch.replace(target=lists.reshape(6, -1)))
    for place in range(COUNT):
        alone = tiny.jitted(name, "score")(tiny.params(name), batch.replace(target=lists[:, place]))
        np.testing.assert_allclose(found[:, place], alone, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(found[0, 0], found[0, 1])


@pytest.mark.parametrize("name", PARALLEL)
def test_a_network_that_looks_at_the_source_alone_says_so(name):
    """The states of two targets of one source are the same where, and only where, the parts say so."""
    parts, batch = parallel_parts(tiny.model(name)), jax.tree.map(jnp.asarray, tiny.batch())
    other = batch.replace(target=jnp.roll(batch.target, 1, axis=0))

    @jax.jit
    def logits(params, one):
        return parts.logits(parts.predict(params, parts.encode(params, batch, None), one, None, None))

    found = [logits(tiny.params(name), one) for one in (batch, other)]
    assert np.allclose(*found) == parts.predicts_from_source
