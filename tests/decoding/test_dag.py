"""Paths through a graph against all of its paths; beam search against all of its sequences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding import dag as decoding
from emnat_jax.decoding.beam import beam_search
from emnat_jax.losses.dag import dag_log_prob
from emnat_jax.types import BOS, EOS, NEG_INF, PAD
from tests import brute_force

VERTICES, VOCAB = 6, 5
GRAPHS = [dict(), dict(barred=0.3), dict(bound=2)]
BETAS = (0.0, 0.7, 2.5, 40.0)  # the last one divides even NEG_INF to nearly nothing


def random_dags(seed, count, vertices=VERTICES, **options):
    """Graphs of every end, so that rows of a batch have vertices that only fill it."""
    rng = np.random.default_rng(seed)
    return [
        brute_force.ending_dag(rng, vertices=vertices, vocab=VOCAB, last=row % vertices, **options)
        for row in range(count)
    ]


def stacked(dags, name) -> jax.Array:
    return jnp.asarray(np.stack([getattr(dag, name) for dag in dags]), jnp.float32)


def vertex_arrays(dags) -> dict[str, jax.Array]:
    log_probs = stacked(dags, "log_probs")
    return dict(
        tokens=jnp.argmax(log_probs, axis=-1),
        values=jnp.max(log_probs, axis=-1),
        links=stacked(dags, "links"),
        last=jnp.array([dag.last for dag in dags]),
    )


def without_values(arrays):
    return {name: array for name, array in arrays.items() if name != "values"}


def padded(tokens, width) -> list[int]:
    return [*tokens, *[PAD] * (width - len(tokens))]


def best_tokens(dag, path) -> list[int]:
    return [int(np.argmax(dag.log_probs[vertex])) for vertex in path]


def followed(dag, scores, width) -> list[int]:
    """Tokens along the highest of `scores` [from, to], cut at `width`."""
    path = [0]
    while path[-1] != dag.last:
        path.append(int(np.argmax(scores[path[-1]])))
    tokens = best_tokens(dag, path)
    return padded(tokens if len(tokens) <= width else [*tokens[: width - 1], EOS], width)


@pytest.mark.parametrize("options", GRAPHS)
@pytest.mark.parametrize("width", [1, 3, VERTICES + 2])
def test_greedy_and_lookahead_follow_the_best_link(options, width):
    dags = random_dags(1, 60, **options)
    arrays = vertex_arrays(dags)
    links_alone = jax.jit(decoding.greedy, static_argnames="width")
    with_tokens = jax.jit(decoding.lookahead, static_argnames="width")
    greedy = links_alone(**without_values(arrays), width=width)
    lookahead = with_tokens(**arrays, width=width)
    np.testing.assert_array_equal(greedy, [followed(dag, dag.links, width) for dag in dags])
    scores = [dag.links + dag.log_probs.max(axis=1)[None] for dag in dags]
    np.testing.assert_array_equal(lookahead, [followed(d, s, width) for d, s in zip(dags, scores)])
    assert width == 1 or options.get("bound") == 2 or np.any(greedy != lookahead)


def best_path(dag, width, beta, joint) -> list[int]:
    """Tokens of the best of all paths of at most `width` vertices; PAD alone where there is none."""

    def rank(path):
        total = dag.path_score(path, best_tokens(dag, path)) if joint else dag.links_score(path)
        return total / len(path) ** beta

    paths = itertools.chain.from_iterable(dag.paths_to_last(n) for n in range(1, width + 1))
    return padded(best_tokens(dag, max(paths, key=rank, default=())), width)


@pytest.mark.parametrize("options", GRAPHS)
@pytest.mark.parametrize("width", [1, 3, VERTICES + 2])
def test_viterbi_is_the_best_of_all_paths(options, width):
    dags = random_dags(2, 60, **options)
    arrays = vertex_arrays(dags)
    by_links = jax.jit(decoding.viterbi, static_argnames="width")
    by_both = jax.jit(decoding.joint_viterbi, static_argnames="width")
    seen = set()
    for beta in BETAS:
        found = np.asarray(by_links(**without_values(arrays), width=width, beta=beta))
        np.testing.assert_array_equal(found, [best_path(dag, width, beta, joint=False) for dag in dags])
        joint = np.asarray(by_both(**arrays, width=width, beta=beta))
        np.testing.assert_array_equal(joint, [best_path(dag, width, beta, joint=True) for dag in dags])
        seen |= {found.tobytes(), joint.tobytes()}
    assert width < VERTICES or len(seen) > len(BETAS)


@pytest.mark.parametrize("max_jump", [None, 3])
def test_of_equal_neighbours_the_first_is_left_where_a_path_still_has_room(max_jump):
    rows = [(*words, EOS) for n in range(5) for words in itertools.product((4, 5), repeat=n)]
    rows += [(), (4, 4, 4, 4, 5)]  # no path at all; what a decoder gives has EOS, but nothing depends on it
    last = np.random.default_rng(0).integers(1, 13, len(rows))
    wanted = [[token for token, _ in itertools.groupby(row)] for row in rows]
    if max_jump is not None:  # so many links go no further
        too_short = [len(short) * max_jump < end for short, end in zip(wanted, last)]
        assert any(too_short) and not all(too_short)
        wanted = [list(row) if stays else short for row, short, stays in zip(rows, wanted, too_short)]
    found = decoding.without_repeats(
        jnp.asarray([padded(row, 6) for row in rows]), jnp.asarray(last), max_jump
    )
    np.testing.assert_array_equal(found, [padded(row, 6) for row in wanted])


def test_a_row_without_a_path_is_padding_alone():
    dags = random_dags(3, VERTICES, bound=1)  # vertex after vertex: `last` + 1 tokens
    found = jax.jit(decoding.viterbi, static_argnames="width")(
        **without_values(vertex_arrays(dags)), width=3, beta=1.0
    )
    np.testing.assert_array_equal(np.sum(found != PAD, axis=1), [1, 2, 3, 0, 0, 0])


def search(log_probs, links, alpha, beam, width):
    first = jnp.full((log_probs.shape[0], beam), BOS)
    log_probs_fn = decoding.prefix_step(log_probs, links)
    cache = decoding.start_prefixes(links, beam)
    return beam_search(log_probs_fn, cache, first, max_length=width, length_penalty=alpha)


search_jit = jax.jit(search, static_argnums=(3, 4))


def run(dags, alpha, beam, width=VERTICES):
    return jax.device_get(search_jit(stacked(dags, "log_probs"), stacked(dags, "links"), alpha, beam, width))


def filled(hypotheses, row):
    """The filled slots of a row as (tokens with EOS, rank score)."""
    return [
        (tuple(int(t) for t in tokens if t != PAD), float(rank))
        for tokens, rank in zip(hypotheses.tokens[row], hypotheses.rank_score[row])
        if rank > NEG_INF / 2
    ]


def assert_same(found, wanted):
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
    np.testing.assert_allclose([r for _, r in found], [r for _, r in wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", GRAPHS)
def test_a_wide_beam_finds_every_sequence(options):
    dags = random_dags(4, 10, vertices=5, **options)
    count = sum(3**n for n in range(5))  # words of up to 4 tokens from VOCAB less PAD and EOS
    for alpha in (0.0, 1.4):
        found = run(dags, alpha, count, 5)
        for row, dag in enumerate(dags):
            assert_same(filled(found, row), brute_force.exhaustive_best(dag, count, alpha))
    np.testing.assert_allclose(np.sum(np.exp(found.log_prob), axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("options", GRAPHS)
def test_a_narrow_beam_equals_one_of_lists(options):
    """Which scores each prefix over all of its paths from scratch."""
    dags = random_dags(5, 30, **options)
    for beam in (1, 3):
        found = run(dags, 0.6, beam)
        for row, dag in enumerate(dags):
            assert_same(filled(found, row), brute_force.plain_beam(dag, beam, 0.6))


def test_nothing_follows_an_impossible_prefix():
    """Empty slots of a beam hold such tokens; NaN there would be ordered as each machine likes."""
    dags = random_dags(9, 6)
    links = stacked(dags, "links")
    log_probs_fn = jax.jit(decoding.prefix_step(stacked(dags, "log_probs"), links))
    _, cache = log_probs_fn(jnp.full((6, 2), BOS), decoding.start_prefixes(links, 2), 0)
    log_probs, _ = log_probs_fn(jnp.array([[PAD, EOS]] * 6), cache, 1)
    np.testing.assert_array_equal(log_probs, np.float32(NEG_INF))


def likelihoods(dags, tokens):
    """`dag_log_prob` of tokens [B, K, T], f32[B, K]."""
    log_probs, links = stacked(dags, "log_probs"), stacked(dags, "links")
    emissions = jax.vmap(lambda table, rows: table[:, rows].swapaxes(0, 1))(log_probs, tokens)
    last = jnp.array([dag.last for dag in dags])
    by_slot = jax.vmap(dag_log_prob, in_axes=(1, None, 1, None), out_axes=1)
    return jax.jit(by_slot)(emissions, links, jnp.sum(tokens != PAD, axis=-1), last)


def test_log_prob_is_the_likelihood_of_the_tokens():
    dags = random_dags(6, 30, barred=0.2)
    found = run(dags, 0.6, 4)
    assert np.mean(found.log_prob > NEG_INF) > 0.5
    np.testing.assert_allclose(found.log_prob, likelihoods(dags, found.tokens), rtol=1e-5, atol=1e-5)


def test_long_outputs_keep_their_digits():
    """Every sequence is far below the smallest float32, and most vertices are out of a prefix's reach."""
    rng = np.random.default_rng(7)
    vertices, vocab = 128, 40
    dag = brute_force.ending_dag(rng, vertices=vertices, vocab=vocab, last=vertices - 1, bound=2)
    found = run([dag], 0.0, 3, vertices)
    assert np.all(found.log_prob < np.log(np.finfo(np.float32).tiny))
    np.testing.assert_allclose(found.log_prob, likelihoods([dag], found.tokens), rtol=1e-5)


def test_vertices_beyond_the_last_change_nothing():
    dags = random_dags(8, 12, barred=0.2)
    log_probs, links = stacked(dags, "log_probs"), stacked(dags, "links")
    wide = jnp.pad(links, ((0, 0), (0, 3), (0, 3)), constant_values=NEG_INF)
    more = jnp.pad(log_probs, ((0, 0), (0, 3), (0, 0)), constant_values=-1.0)
    for a, b in zip(
        jax.tree.leaves(run(dags, 0.6, 3)), jax.tree.leaves(search_jit(more, wide, 0.6, 3, VERTICES))
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    arrays = vertex_arrays(dags)
    wide_arrays = dict(
        tokens=jnp.pad(arrays["tokens"], ((0, 0), (0, 3)), constant_values=4),
        values=jnp.pad(arrays["values"], ((0, 0), (0, 3))),
        links=wide,
        last=arrays["last"],
    )
    decode = jax.jit(functools.partial(decoding.joint_viterbi, width=VERTICES, beta=1.0))
    np.testing.assert_array_equal(decode(**arrays), decode(**wide_arrays))
