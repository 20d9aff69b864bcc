"""The embeddings and the encoder that a student takes over read a source as the teacher reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.families import FAMILIES, parallel_parts
from emnat_jax.families.ar import NextToken
from emnat_jax.families.parameters import encoder_params
from emnat_jax.models.transformer import EncoderLayer
from tests import tiny

STUDENTS = [name for name in FAMILIES if name != "ar"]
WITH_SLOT = ("vanilla", "cmlm", "glat")


def hiding_the_slot(next_function, args, kwargs, context):
    """No position attends to the first."""
    if isinstance(context.module, EncoderLayer) and context.method_name == "__call__":
        x, own, visible = args
        args = (x, own, visible.replace(keep=visible.keep.at[:, 0].set(False)))
    return next_function(*args, **kwargs)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("name", STUDENTS)
def test_words_have_the_states_of_the_teacher_but_for_the_length_slot(name, positions):
    changes, batch = {"positions": positions, "dropout": 0.0}, jax.tree.map(jnp.asarray, tiny.batch())
    teacher, student = tiny.params("ar", **changes), tiny.params(name, seed=1, **changes)
    shared = {**student, "transformer": {**student["transformer"], **encoder_params(teacher)["transformer"]}}
    module = NextToken(tiny.model("ar", **changes).transformer)
    wanted = module.apply(
        {"params": teacher}, batch.source, method=lambda m, source: m.transformer.encode(source)
    )

    def words():
        memory = parallel_parts(tiny.model(name, **changes)).encode(shared, batch, None)
        return (memory[0] if name in WITH_SLOT else memory).states

    keep = np.asarray(wanted.keep)
    seen = np.asarray(words())[keep]
    if name in WITH_SLOT:
        assert np.abs(seen - np.asarray(wanted.states)[keep]).max() > 1e-3
        with nn.intercept_methods(hiding_the_slot):
            seen = np.asarray(words())[keep]
    np.testing.assert_allclose(seen, np.asarray(wanted.states)[keep], rtol=1e-5, atol=1e-5)


def test_the_length_is_read_off_a_slot_that_has_a_vector_of_its_own():
    params, batch = tiny.params("vanilla"), jax.tree.map(jnp.asarray, tiny.batch())
    parts = parallel_parts(tiny.model("vanilla"))
    moved = {**params, "length_slot": -params["length_slot"]}
    before, after = (parts.encode(p, batch, None)[1] for p in (params, moved))
    assert np.abs(np.asarray(before) - np.asarray(after)).max() > 1e-3
