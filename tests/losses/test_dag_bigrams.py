"""Expected bigrams of a graph against all its outputs, and a single path."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from emnat_jax.losses.bigrams import bigram_precision
from emnat_jax.losses.dag_bigrams import dag_bigrams, passing_probabilities
from emnat_jax.types import EOS, NEG_INF
from tests import bigrams, brute_force

VERTICES, VOCAB, WIDTH = 5, 6, 8  # tokens that can be emitted: 3 to 5, and EOS at the last vertex
bigrams_of = jax.jit(dag_bigrams)


@jax.jit
def value_and_gradients(emissions, links, tokens, lengths):
    def total(emissions, links):
        return jnp.sum(bigram_precision(dag_bigrams(emissions, links, tokens, lengths)))

    return jax.value_and_grad(total, argnums=(0, 1))(emissions, links)


def arrays_of(dags, targets, width=WIDTH, filling=0.0):
    """(emissions, links, tokens, lengths); `filling` is what is emitted beyond a target."""
    emissions = np.full((len(dags), VERTICES, width), filling)
    tokens = np.full((len(dags), width), 4)
    for row, (dag, target) in enumerate(zip(dags, targets, strict=True)):
        emissions[row, :, : len(target)] = dag.log_probs[:, list(target)]
        tokens[row, : len(target)] = target
    links = np.stack([dag.links for dag in dags])
    lengths = jnp.array([len(target) for target in targets])
    return jnp.asarray(emissions, jnp.float32), jnp.asarray(links, jnp.float32), jnp.asarray(tokens), lengths


def random_batch(seed, count, barred=0.0, bound=None):
    """Graphs of every end but the first vertex, with targets of one token to more than there are vertices."""
    rng = np.random.default_rng(seed)
    options = dict(vertices=VERTICES, vocab=VOCAB, barred=barred, bound=bound)
    dags = [brute_force.ending_dag(rng, last=1 + row % (VERTICES - 1), **options) for row in range(count)]
    return dags, [(*rng.integers(3, 5, size=rng.integers(VERTICES + 2)).tolist(), EOS) for _ in dags]


@pytest.mark.parametrize("options", [dict(), dict(barred=0.2), dict(bound=2)])
def test_equals_the_sum_over_all_outputs(options):
    dags, targets = random_batch(1, 40, **options)
    found = bigrams_of(*arrays_of(dags, targets))
    for row, (dag, target) in enumerate(zip(dags, targets)):
        outputs = {output: np.exp(dag.log_prob(output)) for output in dag.targets()}
        np.testing.assert_allclose(sum(outputs.values()), 1.0, rtol=1e-6)
        expected = bigrams.expected_bigrams(outputs)
        np.testing.assert_allclose(
            found.matched[row], bigrams.matched_bigrams(expected, target), rtol=2e-5, atol=1e-6
        )
        np.testing.assert_allclose(found.expected[row], sum(expected.values()), rtol=1e-5)
        assert found.wanted[row] == len(target) - 1
    clipped = [len(target) - len(set(itertools.pairwise(target))) > 1 for target in targets]
    assert any(clipped) and np.max(bigram_precision(found)) > 0.3


def test_passing_probabilities_are_those_of_all_paths():
    dags, _ = random_batch(2, 8)
    found = passing_probabilities(jnp.asarray(np.stack([dag.links for dag in dags]), jnp.float32))
    for dag, visits in zip(dags, found):
        wanted = np.zeros(VERTICES)
        for length in range(1, VERTICES + 1):
            for path in dag.paths_to_last(length):
                wanted[list(path)] += np.exp(dag.links_score(path))
        np.testing.assert_allclose(visits, wanted, rtol=1e-5, atol=1e-7)


def single_path(tokens):
    """A graph that emits these tokens alone, one at each vertex."""
    log_probs, links = np.full((VERTICES, VOCAB), NEG_INF), np.full((VERTICES, VERTICES), NEG_INF)
    log_probs[range(len(tokens)), tokens] = 0.0
    links[range(len(tokens) - 1), range(1, len(tokens))] = 0.0
    return brute_force.Dag(log_probs, links, last=len(tokens) - 1)


def test_a_sure_output_matches_itself_and_pays_for_being_short():
    output = (3, 4, 4, EOS)
    targets = [output, (3, 4, EOS), (3, 4, 4, 5, 5, 5, EOS)]
    found = bigram_precision(bigrams_of(*arrays_of([single_path(output)] * 3, targets)))
    # Of 3 bigrams all; (3, 4) and (4, EOS); (3, 4) and (4, 4), where the target has 6.
    np.testing.assert_allclose(found, [1, 2 / 3, 2 / 3 * np.exp(1 - 6 / 3)], rtol=1e-6)


@pytest.mark.parametrize("filling", [NEG_INF, 1e9, np.nan])
def test_padding_does_not_matter(filling):
    dags, targets = random_batch(3, 12, barred=0.1)
    plain, filled = arrays_of(dags, targets), arrays_of(dags, targets, WIDTH + 3, filling)
    for a, b in zip(bigrams_of(*plain), bigrams_of(*filled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    (_, found), (_, of_filled) = value_and_gradients(*plain), value_and_gradients(*filled)
    for a, b in zip(found, of_filled):
        np.testing.assert_allclose(a, b[:, :, : a.shape[2]], atol=1e-6)


def test_gradients():
    """By logits of links and emissions, so that links keep their sum of one."""
    dags, targets = random_batch(4, 6)
    emissions, links, tokens, lengths = arrays_of(dags, targets)
    allowed, emitted = links > NEG_INF / 2, emissions > NEG_INF / 2

    @jax.jit
    def precision(of_links, of_tokens):
        normalised = jax.nn.log_softmax(jnp.where(allowed, of_links, NEG_INF))
        changed = jnp.where(emitted, of_tokens, NEG_INF), jnp.where(allowed, normalised, NEG_INF)
        return bigram_precision(dag_bigrams(*changed, tokens, lengths))

    found = bigrams_of(emissions, links, tokens, lengths)
    assert np.min(np.abs(found.expected - found.wanted)) > 1e-2  # away from the kink of the brevity penalty
    start = jnp.where(allowed, links, 0.0), jnp.where(emitted, emissions, 0.0)
    check_grads(precision, start, order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


def test_gradients_are_finite_where_nothing_matches():
    dag = single_path((3, 3, EOS))
    value, gradients = value_and_gradients(*arrays_of([dag], [(4, 5, 4, 5, 4, 5, EOS)]))
    assert value == 0 and all(np.isfinite(gradient).all() for gradient in gradients)


def test_no_array_holds_links_of_every_token():
    vertices, width = 50, 40
    shapes = jnp.zeros((1, vertices, width)), jnp.zeros((1, vertices, vertices))
    program = jax.make_jaxpr(value_and_gradients)(*shapes, jnp.zeros((1, width), int), jnp.array([3]))
    assert bigrams.largest_array(program) == vertices * vertices


def test_bfloat16_is_summed_in_float32():
    emissions, links, tokens, lengths = arrays_of(*random_batch(5, 40))
    rounded = [array.astype(jnp.bfloat16) for array in (emissions, links)]
    found = bigrams_of(*rounded, tokens, lengths)
    exact = bigrams_of(*(array.astype(jnp.float32) for array in rounded), tokens, lengths)
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}
    for ours, wanted in zip(found, exact, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)
