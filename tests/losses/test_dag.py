"""The likelihood of a graph against the sum over its paths, a worked case (method.md, 13.8), gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.losses.dag import NO_VERTEX, dag_alignment, dag_log_prob
from emnat_jax.types import NEG_INF
from tests import brute_force

log_prob_fn, alignment_fn = jax.jit(dag_log_prob), jax.jit(dag_alignment)
gradients_fn = jax.jit(jax.grad(lambda *arrays: jnp.sum(dag_log_prob(*arrays)), argnums=(0, 1)))
VERTICES, WIDTH = 6, 8


def arrays_of(dags, targets, width=WIDTH, filling=0.0):
    """(emissions, links, lengths, last) of a batch; `filling` is what stands beyond a target."""
    emissions = np.full((len(dags), dags[0].links.shape[0], width), filling)
    for row, (dag, target) in enumerate(zip(dags, targets, strict=True)):
        emissions[row, :, : len(target)] = dag.log_probs[:, target]
    return (
        jnp.asarray(emissions, jnp.float32),
        jnp.asarray(np.stack([dag.links for dag in dags]), jnp.float32),
        jnp.array([len(target) for target in targets]),
        jnp.array([dag.last for dag in dags]),
    )


def random_batch(seed, count, barred=0.0, bound=None, vocab=3):
    """Graphs of every end, with targets of none to two tokens too many, most of them with repeats."""
    rng = np.random.default_rng(seed)
    options = dict(vertices=VERTICES, vocab=vocab, barred=barred, bound=bound)
    dags = [brute_force.random_dag(rng, last=row % VERTICES, **options) for row in range(count)]
    return dags, [rng.integers(vocab, size=rng.integers(dag.last + 4)) for dag in dags]


BATCHES = [dict(), dict(barred=0.15), dict(bound=2), dict(barred=0.1, bound=3), dict(vocab=1)]


@pytest.mark.parametrize("options", BATCHES)
def test_equals_the_sum_over_paths(options):
    dags, targets = random_batch(1, 120, **options)
    wanted = np.array([dag.log_prob(target) for dag, target in zip(dags, targets)])
    found = np.asarray(log_prob_fn(*arrays_of(dags, targets)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    impossible = wanted == NEG_INF
    assert 20 < impossible.sum() < 100
    np.testing.assert_array_equal(found[impossible], np.float32(NEG_INF))


@pytest.mark.parametrize("options", BATCHES)
def test_alignment_is_the_best_path(options):
    dags, targets = random_batch(2, 120, **options)
    found = np.asarray(alignment_fn(*arrays_of(dags, targets)))
    for dag, target, row in zip(dags, targets, found):
        scores = {path: dag.path_score(path, target) for path in dag.paths_to_last(len(target))}
        if max(scores.values(), default=NEG_INF) <= NEG_INF / 2:
            np.testing.assert_array_equal(row, NO_VERTEX)
        else:
            assert tuple(row[: len(target)]) == max(scores, key=scores.get)
            np.testing.assert_array_equal(row[len(target) :], NO_VERTEX)


def worked_case():
    links = np.full((4, 4), NEG_INF)
    links[0, 1:] = np.log([0.6, 0.3, 0.1])
    links[1, 2:] = np.log([0.7, 0.3])
    links[2, 3] = 0.0
    tokens = np.log([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.2, 0.1, 0.7]])
    return brute_force.Dag(tokens, links, last=3)


@pytest.mark.parametrize(
    ("target", "probability", "path"),
    [((0, 2), 0.035, (0, 3)), ((0, 1, 2), 0.0693, (0, 1, 3)), ((0, 1, 0, 2), 0.02646, (0, 1, 2, 3))],
)
def test_worked_case(target, probability, path):
    arrays = arrays_of([worked_case()], [np.array(target)], width=4)
    np.testing.assert_allclose(jnp.exp(log_prob_fn(*arrays)), [probability], rtol=1e-5)
    np.testing.assert_array_equal(alignment_fn(*arrays)[0, : len(path)], path)


@pytest.mark.parametrize("bound", [None, 2])
def test_all_sequences_sum_to_one(bound):
    dag = brute_force.random_dag(np.random.default_rng(3), vertices=4, vocab=3, last=3, bound=bound)
    for graph in (worked_case(), dag):
        targets = [np.array(t) for n in range(1, 5) for t in itertools.product(range(3), repeat=n)]
        log_probs = log_prob_fn(*arrays_of([graph] * len(targets), targets, width=4))
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_probs)), 1.0, rtol=1e-5)


def test_one_vertex_and_one_token():
    tokens = np.log([[0.3, 0.7]])
    alone = brute_force.Dag(tokens, np.full((1, 1), NEG_INF), last=0)
    targets = [np.array(t, int) for t in ([1], [], [1, 1])]
    for width in (2, 5):
        arrays = arrays_of([alone] * 3, targets, width)
        np.testing.assert_allclose(log_prob_fn(*arrays), [np.log(0.7), NEG_INF, NEG_INF], rtol=1e-6)
        np.testing.assert_array_equal(alignment_fn(*arrays)[:, 0], [0, NO_VERTEX, NO_VERTEX])
    # The target array itself is one token wide: vertex 0 must be the last one.
    dags, _ = random_batch(4, 4)
    found = log_prob_fn(*arrays_of(dags, [np.array([1])] * 4, width=1))
    np.testing.assert_allclose(found, [dags[0].log_probs[0, 1], *[NEG_INF] * 3], rtol=1e-5)


@pytest.mark.parametrize("filling", [NEG_INF, 1e9, -3.0, np.nan, -np.inf])
def test_padding_does_not_matter(filling):
    dags, targets = random_batch(5, 24, barred=0.2)
    plain, filled = arrays_of(dags, targets), arrays_of(dags, targets, WIDTH + 3, filling)
    np.testing.assert_array_equal(log_prob_fn(*plain), log_prob_fn(*filled))
    np.testing.assert_array_equal(alignment_fn(*plain), alignment_fn(*filled)[:, :WIDTH])
    for a, b in zip(gradients_fn(*plain), gradients_fn(*filled)):
        np.testing.assert_allclose(a, b[:, :, : a.shape[2]], atol=1e-6)


def posterior(dag, target, width):
    """Expected uses of (vertex, token) and of (vertex, vertex) by the paths that emit `target`."""
    visits, moves = np.zeros((VERTICES, width)), np.zeros((VERTICES, VERTICES))
    scores = {path: dag.path_score(path, target) for path in dag.paths_to_last(len(target))}
    scores = {path: score for path, score in scores.items() if score > NEG_INF / 2}
    for path, score in scores.items():
        share = np.exp(score - np.logaddexp.reduce(list(scores.values())))
        visits[path, range(len(path))] += share
        for i, j in itertools.pairwise(path):
            moves[i, j] += share
    return visits, moves


@pytest.mark.parametrize("options", BATCHES)
def test_gradient_is_the_posterior_and_zero_where_nothing_is_possible(options):
    """d log p / d log-probability of a step = its expected uses; impossible rows have no path to use."""
    dags, targets = random_batch(6, 60, **options)
    wanted = [posterior(dag, target, WIDTH) for dag, target in zip(dags, targets)]
    arrays = arrays_of(dags, targets)
    impossible = np.asarray(log_prob_fn(*arrays)) == np.float32(NEG_INF)
    for found, expected in zip(gradients_fn(*arrays), zip(*wanted)):
        np.testing.assert_allclose(found, np.stack(expected), atol=2e-5)
        np.testing.assert_array_equal(np.asarray(found)[impossible], 0.0)


def test_the_backward_pass_keeps_paths_not_links_of_every_token():
    dags, targets = random_batch(7, 2)
    backward = str(jax.make_jaxpr(jax.grad(lambda *a: jnp.sum(dag_log_prob(*a))))(*arrays_of(dags, targets)))
    assert f"f32[{WIDTH - 1},2,{VERTICES}]" in backward
    assert f"[{WIDTH - 1},2,{VERTICES},{VERTICES}]" not in backward


def test_long_targets_keep_their_digits():
    """Far below the smallest float32: 40 tokens of about -60 nats each."""
    rng = np.random.default_rng(8)
    vertices, length = 42, 41
    dag = brute_force.random_dag(rng, vertices=vertices, vocab=3, last=vertices - 1, bound=3)
    dag.log_probs[:] = rng.normal(size=dag.log_probs.shape) - 60.0
    target = rng.integers(3, size=length)
    found = log_prob_fn(*arrays_of([dag], [target], width=length))
    np.testing.assert_allclose(found, [dag.log_prob(target)], rtol=1e-5)


def test_bfloat16_is_summed_in_float32():
    emissions, links, lengths, last = arrays_of(*random_batch(3, 120))
    rounded = [array.astype(jnp.bfloat16) for array in (emissions, links)]
    found = log_prob_fn(*rounded, lengths, last)
    assert found.dtype == jnp.float32
    exact = log_prob_fn(*(array.astype(jnp.float32) for array in rounded), lengths, last)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
