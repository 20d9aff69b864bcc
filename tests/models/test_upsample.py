"""From source tokens to decoder positions: which are real, and what each starts from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.models.embedding import sinusoids
from emnat_jax.models.transformer import Encoded, Transformer
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import EOS, HIDDEN, PAD
from tests import tiny

FACTOR = 3
SOURCE = jnp.asarray(tiny.pad([[4, 5, 6, EOS], [5, EOS], [EOS]], 5))


@functools.cache
def model(positions="learned"):
    """The module and parameters with no zeros in them."""
    module = UpsampledDecoder(tiny.model("ctc", positions=positions).transformer, FACTOR)
    params = nn.meta.unbox(jax.jit(module.init)(jax.random.key(0), SOURCE))["params"]
    return module, jax.tree.map(lambda x: x + 0.1, params)


def inputs(encoded, revealed=None, positions="learned"):
    """What the decoder is given, and which positions it may see."""
    module, params = model(positions)

    def intercept(next_function, args, kwargs, context):
        if isinstance(context.module, Transformer) and context.method_name == "decode":
            given.append((args[0], args[2]))
            return args[0]
        return next_function(*args, **kwargs)

    given = []
    with nn.intercept_methods(intercept):
        module.apply({"params": params}, encoded, revealed, method="states")
    return given[0]


def memory(seed=0) -> Encoded:
    return Encoded(jax.random.normal(jax.random.key(seed), (*SOURCE.shape, 16)), SOURCE != PAD)


def test_every_real_source_token_has_its_positions():
    _, keep = inputs(memory())
    assert keep.sum(axis=-1).tolist() == [4 * FACTOR, 2 * FACTOR, FACTOR]
    assert (jnp.diff(keep.astype(int), axis=-1) <= 0).all()


def test_each_position_starts_from_its_own_map_of_its_source_token():
    _, params = model()
    encoded = memory()
    given, _ = inputs(encoded)
    for position in range(given.shape[1]):
        source, part = divmod(position, FACTOR)
        kernel, bias = params["split"]["kernel"][:, part], params["split"]["bias"][part]
        place = params["positions"][min(position, FACTOR * tiny.MAX_LENGTH - 1)] * 16**0.5
        expected = encoded.states[:, source] @ kernel + (bias + place)[None]
        np.testing.assert_allclose(given[:, position], expected, rtol=1e-4, atol=1e-5)


def test_revealed_tokens_replace_the_source_only_where_they_are_shown():
    _, params = model()
    hidden, _ = inputs(memory())
    revealed = np.full(hidden.shape[:2], HIDDEN)
    revealed[0, 2], revealed[0, 3], revealed[1, 0] = 6, PAD, 4  # PAD is a blank, a token like another
    shown, _ = inputs(memory(), jnp.asarray(revealed))
    expected = np.array(hidden)
    for row, position in zip(*np.nonzero(revealed != HIDDEN)):
        token = params["transformer"]["embedding"]["tokens"][revealed[row, position]]
        expected[row, position] = (token + params["positions"][position]) * 16**0.5
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)


def test_sinusoidal_positions_need_no_parameters_and_reach_any_length():
    _, params = model("sinusoidal")
    assert "positions" not in params and "positions" in model()[1]
    still = Encoded(jnp.zeros((1, 40, 16)), jnp.ones((1, 40), bool))
    given, _ = inputs(still, positions="sinusoidal")
    bias = jnp.tile(params["split"]["bias"], (40, 1))
    np.testing.assert_allclose(given[0] - bias, sinusoids(40 * FACTOR, 16), atol=1e-6)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_padding_of_the_source_is_seen_nowhere(positions):
    module, params = model(positions)
    apply = jax.jit(module.apply)
    states = apply({"params": params}, SOURCE)
    table = params["transformer"]["embedding"]["tokens"]
    embedding = params["transformer"]["embedding"] | {"tokens": table.at[PAD].multiply(-5.0)}
    other = params | {"transformer": params["transformer"] | {"embedding": embedding}}
    changed = apply({"params": other}, SOURCE)
    keep = np.repeat(SOURCE != PAD, FACTOR, axis=1)
    np.testing.assert_allclose(states[keep], changed[keep], rtol=1e-5, atol=1e-5)
    assert np.abs(states - changed)[~keep].max() > 0.1
