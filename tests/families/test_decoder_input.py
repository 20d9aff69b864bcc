"""Decoder positions of `vanilla` that start from tokens of the source."""

import functools
from fractions import Fraction
from math import floor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.config import GLATOptions, VanillaOptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.families.length_network import spread
from emnat_jax.models.transformer import Transformer
from emnat_jax.types import EOS, HIDDEN, PAD
from tests import tiny

SOURCE = VanillaOptions(decoder_input="source", length_candidates=3)
model = functools.partial(tiny.model, "vanilla", SOURCE)


def literal(source, length):
    """Position t of T has the source token round(t (S - 1) / (T - 1)), halves up."""
    if length == 1:
        return [source[0]]
    places = (Fraction(t * (len(source) - 1), length - 1) for t in range(length))
    return [source[floor(place + Fraction(1, 2))] for place in places]


def test_the_source_is_spread_over_the_length():
    rows = [(list(range(10, 9 + size)) + [EOS], length) for size in range(1, 8) for length in range(1, 12)]
    sources = jnp.asarray(tiny.pad([source for source, _ in rows], 9))
    found = spread(sources, jnp.array([length for _, length in rows]), 13)
    np.testing.assert_array_equal(found, tiny.pad([literal(*row) for row in rows], 13))
    assert literal([10, 11, EOS], 5) == [10, 11, 11, EOS, EOS]


def test_positions_start_from_the_copy_or_from_what_is_revealed():
    batch = jax.tree.map(jnp.asarray, tiny.batch())
    revealed = jnp.where(jnp.arange(tiny.MAX_LENGTH)[None] == 1, 6, HIDDEN) + jnp.zeros_like(batch.target)
    params, parts, given = tiny.params("vanilla"), parallel_parts(model()), []

    def intercept(next_function, args, kwargs, context):
        if isinstance(context.module, Transformer) and context.method_name == "decode":
            given.append(args[0])
        return next_function(*args, **kwargs)

    memory = parts.encode(params, batch, None)
    with nn.intercept_methods(intercept):
        for shown in (None, revealed):
            parts.predict(params, memory, batch, shown, None)
    table = params["transformer"]["embedding"]
    for row, (source, target) in enumerate(zip(np.asarray(batch.source), np.asarray(batch.target))):
        length = np.sum(target != PAD)
        tokens = np.array(literal(source[source != PAD].tolist(), length))
        for found, shown in zip(given, (tokens, np.where(np.arange(length) == 1, 6, tokens)), strict=True):
            wanted = (table["tokens"][shown] + table["positions"][:length]) * 16**0.5
            np.testing.assert_allclose(found[row, :length], wanted, rtol=1e-5, atol=1e-5)


def compiled(function, **changes):
    static = (3,) if function == "decode" else ()
    return jax.jit(getattr(make_family(model(**changes)), function), static_argnums=static)


@pytest.mark.parametrize("norm", ["pre", pytest.param("post", marks=pytest.mark.slow)])
def test_the_probability_space_is_kept_and_padding_is_not_seen(norm):
    targets, params = tiny.all_targets(), tiny.params("vanilla", norm=norm)
    batch = tiny.batch_of([[4, 6, EOS]] * len(targets), targets)
    score, plain = compiled("score", norm=norm), tiny.jitted("vanilla", "score", norm=norm)
    found = score(params, batch)
    np.testing.assert_allclose(np.exp(np.float64(found)).sum(), 1.0, rtol=1e-5)
    assert np.abs(found - plain(params, batch)).max() > 1e-2
    np.testing.assert_allclose(found, score(params, tiny.widen(batch)), rtol=2e-5, atol=2e-5)


def test_several_lengths_are_decoded_each_from_its_own_copy():
    batch, params = tiny.batch(), tiny.params("vanilla")
    narrow, wide = (
        jax.device_get(compiled("decode")(params, jnp.asarray(b.source), jax.random.key(0), 3))
        for b in (batch, tiny.widen(batch))
    )
    score = compiled("score")
    for row, source in enumerate(np.asarray(batch.source)):
        found, same = (
            [tokens[tokens != PAD].tolist() for tokens in of.tokens[row] if (tokens != PAD).any()]
            for of in (narrow, wide)
        )
        assert found == same and len({len(tokens) for tokens in found}) == len(found)
        scores = score(params, tiny.batch_of([source] * 3, (found * 3)[:3]))
        np.testing.assert_allclose(
            narrow.log_prob[row][: len(found)], scores[: len(found)], rtol=5e-5, atol=5e-5
        )


def test_glancing_passes_start_from_the_copy_too():
    """With nothing shown the loss is that of the base."""
    options = GLATOptions(base_options=SOURCE, start_ratio=0.0, end_ratio=0.0)
    glancing, base = make_family(tiny.model("glat", options, dropout=0.0)), make_family(model(dropout=0.0))
    args = tiny.params("vanilla"), tiny.batch(), jax.random.key(0), 0.0
    (found, _), (wanted, _) = (jax.jit(family.loss)(*args) for family in (glancing, base))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert abs(found - tiny.jitted("vanilla", "loss", dropout=0.0)(*args)[0]) > 1e-2


def test_another_input_is_refused():
    with pytest.raises(UserError, match="^decoder_input='uniform': choose one of pad, source"):
        VanillaOptions(decoder_input="uniform")
