"""Beam search against exhaustive search and against a beam search of lists."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.beam import beam_search, greedy_search
from emnat_jax.types import BOS, EOS, NEG_INF, PAD
from tests import brute_force

ALPHAS = (0.0, 0.6, 1.4, -0.7)
MAX_LENGTH = 4


def random_models(seed: int, count: int, vocab: int, barred: float = 0.0) -> list[brute_force.TableModel]:
    rng = np.random.default_rng(seed)
    return [
        brute_force.random_table_model(rng, vocab=vocab, max_length=MAX_LENGTH, barred=barred)
        for _ in range(count)
    ]


def search_fns(tables, calls=None):
    """log_probs_fn over f32[B, T, M, V] with the models' state as cache; `calls` collects positions met."""

    def log_probs_fn(tokens, cache, position):
        if calls is not None:
            jax.debug.callback(lambda p: calls.append(int(p)), position)
        state = jnp.where(position == 0, 0, (3 * cache["state"] + tokens + 1) % tables.shape[2])
        rows = jnp.arange(tables.shape[0])[:, None]
        return tables[rows, position, state], {"state": state}

    return log_probs_fn


def stacked(models) -> jax.Array:
    return jnp.asarray(np.stack([m.log_probs for m in models]), jnp.float32)


def run_beam(tables, alpha, beam, calls=None):
    first = jnp.full((tables.shape[0], beam), BOS)
    cache = {"state": jnp.zeros(first.shape, jnp.int32)}
    return beam_search(
        search_fns(tables, calls), cache, first, max_length=tables.shape[1], length_penalty=alpha
    )


run_beam_jit = jax.jit(run_beam, static_argnums=(2,))


def lists(hypotheses, row) -> list[tuple[tuple[int, ...], float]]:
    """The filled slots of a row as (tokens with EOS, rank score)."""
    return [
        (tuple(int(t) for t in tokens if t != PAD), float(rank))
        for tokens, rank in zip(hypotheses.tokens[row], hypotheses.rank_score[row], strict=True)
        if rank > NEG_INF / 2
    ]


def assert_same(found, wanted):
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
    np.testing.assert_allclose([r for _, r in found], [r for _, r in wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("barred", [0.0, 0.4])
def test_a_wide_beam_is_exhaustive(barred):
    models = random_models(1, 40, vocab=4, barred=barred)
    for alpha in ALPHAS:
        found = jax.device_get(run_beam_jit(stacked(models), alpha, 4**MAX_LENGTH))
        for row, model in enumerate(models):
            assert_same(lists(found, row), brute_force.exhaustive_best(model, 4**MAX_LENGTH, alpha))


@pytest.mark.parametrize(("beam", "vocab", "barred"), [(1, 5, 0.0), (2, 5, 0.3), (3, 5, 0.0), (5, 3, 0.2)])
def test_a_narrow_beam_equals_the_plain_one(beam, vocab, barred):
    """The plain one never stops early, so stopping early changes nothing."""
    models = random_models(beam, 100, vocab, barred)
    for alpha in ALPHAS:
        found = jax.device_get(run_beam_jit(stacked(models), alpha, beam))
        for row, model in enumerate(models):
            assert_same(lists(found, row), brute_force.plain_beam(model, beam, alpha))


def test_hypotheses_are_what_they_promise():
    models = random_models(7, 60, vocab=5, barred=0.3)
    for alpha in ALPHAS:
        found = jax.device_get(run_beam_jit(stacked(models), alpha, 3))
        chex.assert_shape(found.tokens, (60, 3, MAX_LENGTH))
        assert np.all(np.diff(found.rank_score, axis=1) <= 0)
        for row, model in enumerate(models):
            real = lists(found, row)
            assert len({tokens for tokens, _ in real}) == len(real) >= 1
            for slot, (tokens, _) in enumerate(real):
                assert tokens[-1] == EOS and EOS not in tokens[:-1]
                np.testing.assert_array_equal(found.tokens[row, slot, len(tokens) :], PAD)
                np.testing.assert_allclose(
                    found.log_prob[row, slot], model.score(tokens), rtol=1e-5, atol=1e-5
                )


def test_unfilled_slots_are_empty():
    # One word besides EOS: MAX_LENGTH sequences exist for 8 slots.
    tables = stacked(random_models(3, 20, vocab=3))
    found = jax.device_get(run_beam_jit(tables, 0.6, 8))
    assert all(len(lists(found, row)) == MAX_LENGTH for row in range(20))
    empty = jax.tree.map(lambda x: x[:, MAX_LENGTH:], found)
    np.testing.assert_array_equal(empty.tokens, PAD)
    np.testing.assert_array_equal(empty.log_prob, np.float32(NEG_INF))
    np.testing.assert_array_equal(empty.rank_score, np.float32(NEG_INF))


def certain(order: np.ndarray) -> jax.Array:
    """A table f32[1, T, M, V] that gives every state the same distribution: `order` [T, V]."""
    log_probs = np.log(np.asarray(order, np.float64), where=order > 0, out=np.full(order.shape, NEG_INF))
    return jnp.asarray(np.repeat(log_probs[None, :, None, :], 11, axis=2), jnp.float32)


def positions_met(tables, alpha, beam) -> int:
    calls = []
    jax.block_until_ready(jax.jit(lambda x: run_beam(x, alpha, beam, calls))(tables))
    jax.effects_barrier()
    return len(calls)


def test_it_stops_when_nothing_can_be_displaced_and_not_before():
    ends_early = np.full((8, 5), [0.0, 0.97, 0.01, 0.01, 0.01])
    assert positions_met(certain(ends_early), 0.0, 2) == 2
    # Nor does a search go on when nothing is alive, though slots are unfilled.
    assert positions_met(certain(np.full((8, 5), [0.0, 1.0, 0.0, 0.0, 0.0])), 0.6, 2) == 1
    # docs/method.md, section 14, fault 9: one finished hypothesis and unfilled slots must not end the search.
    ends_early[1:] = [0.0, 1e-4, 0.4, 0.3, 0.2999]
    tables = certain(ends_early)
    assert positions_met(tables, 0.0, 4) == 8
    assert np.all(run_beam_jit(tables, 0.0, 4).rank_score > NEG_INF / 2)


@pytest.mark.parametrize(
    ("alpha", "then", "winner"),
    [
        (1.4, [0.0, 0.0, 1.0, 0.0, 0.0], [2] * 11 + [EOS]),  # a long finish gains most
        (-1.4, [0.0, 1.0, 0.0, 0.0, 0.0], [2, EOS]),  # a short finish loses least
    ],
)
def test_a_later_winner_is_waited_for(alpha, then, winner):
    """EOS at once is more probable, and beats the prefix's rank score at the other extreme of length."""
    table = np.full((12, 5), then)
    table[0] = [0.0, 0.5, 0.3, 0.1, 0.1] if alpha > 0 else [0.0, 0.3, 0.6, 0.05, 0.05]
    table[-1] = [0.0, 1.0, 0.0, 0.0, 0.0]
    found = run_beam_jit(certain(table), alpha, 1)
    np.testing.assert_array_equal(found.tokens[0, 0, : len(winner)], winner)
    assert found.rank_score[0, 0] > np.log(table[0, EOS])


def test_a_row_alone_equals_the_row_in_a_batch():
    tables = stacked(random_models(9, 30, vocab=5))
    together = run_beam_jit(tables, 0.6, 3)
    alone = jax.jit(jax.vmap(lambda table: run_beam(table[None], 0.6, 3)))(tables)
    chex.assert_trees_all_close(together, jax.tree.map(lambda x: x[:, 0], alone), rtol=1e-6)


def test_reorder_is_told_the_parents():
    tables = stacked(random_models(10, 30, vocab=5))
    inner = search_fns(tables)

    def log_probs_fn(tokens, cache, position):
        straight = jax.tree.map(
            lambda x: jnp.take_along_axis(x, cache["from"], axis=1), {"state": cache["state"]}
        )
        log_probs, new = inner(tokens, straight, position)
        return log_probs, {"state": new["state"], "from": cache["from"]}

    first = jnp.full((30, 3), BOS)
    own = jnp.broadcast_to(jnp.arange(3)[None], first.shape)
    lazy = functools.partial(
        beam_search,
        log_probs_fn,
        max_length=MAX_LENGTH,
        length_penalty=0.6,
        reorder=lambda cache, parents: cache | {"from": parents},
    )
    lazy = jax.jit(lazy)({"state": jnp.zeros(first.shape, jnp.int32), "from": own}, first)
    chex.assert_trees_all_equal(lazy, run_beam_jit(tables, 0.6, 3))


def greedy_by_lists(model):
    state, tokens, total = 0, [], 0.0
    for position in range(model.max_length):
        row = model.log_probs[position, state]
        token = EOS if position == model.max_length - 1 else int(np.argmax(row))
        tokens, total, state = [*tokens, token], total + row[token], model.next_state(state, token)
        if token == EOS:
            break
    return tuple(tokens), total


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_greedy_equals_the_plain_one(alpha):
    models = random_models(11, 100, vocab=5, barred=0.2)
    tables = stacked(models)
    first = jnp.full((100, 1), BOS)
    cache = {"state": jnp.zeros(first.shape, jnp.int32)}
    search = functools.partial(greedy_search, search_fns(tables), max_length=MAX_LENGTH, length_penalty=alpha)
    found = jax.device_get(jax.jit(search)(cache, first))
    for row, model in enumerate(models):
        tokens, log_prob = greedy_by_lists(model)
        assert_same(lists(found, row), [(tokens, log_prob / brute_force.length_penalty(len(tokens), alpha))])
        np.testing.assert_allclose(found.log_prob[row, 0], log_prob, rtol=1e-5, atol=1e-5)


def test_greedy_stops_when_all_rows_have_ended():
    calls = []
    tables = certain(np.full((8, 5), [0.0, 0.97, 0.01, 0.01, 0.01]))
    first = jnp.full((1, 1), BOS)
    cache = {"state": jnp.zeros(first.shape, jnp.int32)}
    search = functools.partial(greedy_search, search_fns(tables, calls), max_length=8)
    jax.block_until_ready(jax.jit(search)(cache, first))
    jax.effects_barrier()
    assert calls == [0]


@pytest.mark.parametrize("barred", [0.0, 0.3])
def test_logits_and_their_total_give_what_log_probabilities_give(barred):
    tables = stacked(random_models(12, 60, vocab=5, barred=barred))
    shift = 3.0 * jax.random.normal(jax.random.key(0), tables.shape[:-1])[..., None]
    first = jnp.full((60, 3), BOS)

    def search(run, tables, beam, **total):
        cache = {"state": jnp.zeros((60, beam), jnp.int32)}
        run = functools.partial(run, search_fns(tables), max_length=MAX_LENGTH, length_penalty=0.6, **total)
        return jax.jit(run)(cache, first[:, :beam])

    total = functools.partial(jax.nn.logsumexp, axis=-1)
    for run, beam in ((beam_search, 3), (greedy_search, 1)):
        wanted = search(run, tables, beam)
        found = search(run, tables + shift, beam, log_total=total)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        np.testing.assert_allclose(found.log_prob, wanted.log_prob, rtol=1e-5, atol=1e-5)
