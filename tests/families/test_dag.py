"""The DAG family against all paths through its own graph."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import DAGOptions
from emnat_jax.decoding.top import top_1
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.types import EOS, NEG_INF, PAD
from tests import brute_force, tiny
from tests.families import tables

SOURCES = [[4, EOS], [EOS], [5, 6, EOS], [6, 6, EOS]]  # 4, 2, 6 and 6 vertices
UNREACHABLE = [(4, 5, 6, 4, 5, EOS), (4, 5, 6, 4, 5, 6, EOS)]  # five vertices at most follow the first
OUTPUTS = tiny.all_targets(tiny.MAX_LENGTH)


@functools.cache
def params():
    """Links so weak that tokens, length and bound matter: each decoder finds another output."""
    values = tiny.params("dag")
    return values | {"link_head": jax.tree.map(lambda x: 0.1 * x, values["link_head"])}


def model(**changes):
    return tiny.model("dag", dataclasses.replace(tiny.OPTIONS["dag"], **changes))


@functools.cache
def prediction(max_jump=None):
    """The graphs of SOURCES as the family has them."""
    batch = jax.tree.map(jnp.asarray, tiny.batch_of(SOURCES, [[EOS]] * len(SOURCES)))

    def predict(values):
        parts = parallel_parts(model(max_jump=max_jump))
        return parts.predict(values, parts.encode(values, batch, None), batch, None, None)

    return jax.device_get(jax.jit(predict)(params()))


@functools.cache
def graphs(max_jump=None):
    """The graph of each of SOURCES."""
    return [tables.graph(prediction(max_jump), row) for row in range(len(SOURCES))]


def scores(rows, max_jump=None):
    """Of (row of SOURCES, target) pairs."""
    batch = tiny.batch_of([SOURCES[row] for row, _ in rows], [target for _, target in rows])
    score = jax.jit(make_family(model(max_jump=max_jump)).score)
    return np.asarray(score(params(), batch))


@pytest.mark.parametrize("max_jump", [None, 4])
def test_score_is_the_sum_over_all_paths(max_jump):
    """In one batch of sources of different lengths; the probabilities of each one's outputs sum to one."""
    rows = [(row, target) for row, longest in enumerate((4, 2, 6)) for target in tiny.all_targets(longest)]
    found = scores(rows, max_jump)
    wanted = np.array([graphs(max_jump)[row].log_prob(target) for row, target in rows])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert (found[wanted == NEG_INF] == np.float32(NEG_INF)).all()
    total = np.bincount([row for row, _ in rows], np.exp(np.float64(found)))
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    # Six vertices of which the last is five ahead of the first: no empty target with a bound of four.
    assert (found[rows.index((2, (EOS,)))] > NEG_INF / 2) == (max_jump is None)


def test_a_bound_leaves_links_up_to_it_alone():
    for free, bound in zip(graphs(), graphs(4)):
        ahead = np.arange(8)[None] - np.arange(8)[:, None]
        assert (bound.links[ahead > 4] == np.float32(NEG_INF)).all()
        np.testing.assert_array_equal(
            bound.links[(ahead <= 4)] > NEG_INF / 2, free.links[ahead <= 4] > NEG_INF / 2
        )
    assert (graphs()[2].links[0] > NEG_INF / 2).tolist() == [False, *[True] * 5, False, False]


def decoded(model, count=1):
    decode = jax.jit(make_family(model).decode, static_argnums=3)
    source = jnp.asarray(tiny.pad(SOURCES, tiny.MAX_LENGTH))
    return jax.device_get(decode(params(), source, jax.random.key(0), count))


def hypotheses(found, row):
    """The filled slots of a row: (tokens, log_prob, rank_score)."""
    return [
        (tuple(tokens[tokens != PAD].tolist()), log_prob, rank)
        for tokens, log_prob, rank in zip(found.tokens[row], found.log_prob[row], found.rank_score[row])
        if rank > NEG_INF / 2
    ]


def best_tokens(graph, path):
    return [int(np.argmax(graph.log_probs[vertex])) for vertex in path]


def followed(graph, scores):
    """Tokens behind the first vertex along the highest of `scores`, cut where `decode` has no more room."""
    path = [0]
    while path[-1] < graph.last:
        path.append(int(np.argmax(scores[path[-1], path[-1] + 1 :])) + path[-1] + 1)
    return best_tokens(graph, path[1:])[: tiny.MAX_LENGTH - 1]


def best_of_paths(graph, rank, beta):
    paths = [path for length in range(2, tiny.MAX_LENGTH + 2) for path in graph.paths_to_last(length)]
    return best_tokens(graph, max(paths, key=lambda path: rank(path) / len(path) ** beta)[1:])


@pytest.mark.parametrize("name", [name for name in DAGOptions.DECODERS if name != "beam"])
def test_each_decoder_of_paths_takes_its_path_and_reports_the_score(name):
    found, wanted = decoded(model(length_exponent=2.0).with_decoder(name)), []
    for graph in graphs():
        values = graph.log_probs.max(axis=1)
        if name == "greedy":
            tokens = followed(graph, graph.links)
        elif name == "lookahead":
            tokens = followed(graph, graph.links + values[None])
        elif name == "viterbi":
            tokens = best_of_paths(graph, graph.links_score, 2.0)
        else:
            tokens = best_of_paths(graph, lambda p, g=graph: g.path_score(p, best_tokens(g, p)), 2.0)
        wanted.append((*[token for token in tokens if token != EOS], EOS))
    for row, target in enumerate(wanted):
        [(tokens, log_prob, rank)] = hypotheses(found, row)
        assert tokens == target and rank == log_prob
        np.testing.assert_allclose(log_prob, graphs()[row].log_prob(target), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["viterbi", "joint_viterbi"])
def test_collapsed_outputs_have_no_equal_neighbours_and_the_score_of_what_is_left(name, monkeypatch):
    def repeated(*args, **options):
        """Vertices of all graphs emit one word, so that each path repeats it."""
        values, tokens = top_1(*args, **options)
        return values, jnp.where(tokens == EOS, EOS, 5)

    monkeypatch.setattr("emnat_jax.families.dag.top_1", repeated)
    plain, found = (
        decoded(model(collapse_repeats=c, length_exponent=2.0).with_decoder(name)) for c in (False, True)
    )
    several = []
    for row, graph in enumerate(graphs()):
        [(before, *_)], [(tokens, log_prob, rank)] = hypotheses(plain, row), hypotheses(found, row)
        assert tokens == tuple(token for token, _ in itertools.groupby(before)) and rank == log_prob
        np.testing.assert_allclose(log_prob, graph.log_prob(tokens), rtol=1e-4, atol=1e-5)
        several.append(len(before) > len(tokens))
    assert any(several)


@pytest.mark.parametrize("alpha, count", [(1.4, len(OUTPUTS)), (0.0, 1)])
def test_a_beam_of_all_outputs_has_the_n_best(alpha, count):
    found = decoded(model(beam=len(OUTPUTS), length_penalty=alpha).with_decoder("beam"), count)
    for row, graph in enumerate(graphs()):
        table = {target: graph.log_prob(target) for target in OUTPUTS}
        table = {target: value for target, value in table.items() if value > NEG_INF / 2}
        ranks = {t: v / brute_force.length_penalty(len(t), alpha) for t, v in table.items()}
        order, slots = sorted(ranks, key=lambda t, ranks=ranks: -ranks[t]), hypotheses(found, row)
        assert [tokens for tokens, _, _ in slots][:20] == order[: min(count, 20)]
        assert {tokens for tokens, _, _ in slots} == set(order[:count])
        wanted = [(table[tokens], ranks[tokens]) for tokens, _, _ in slots]
        np.testing.assert_allclose([slot[1:] for slot in slots], wanted, rtol=1e-4, atol=1e-4)


@jax.jit
def marginal_loss(floats, prediction, batch):
    """(loss, metrics) and the gradient by what is learned of the prediction."""

    def loss(floats):
        return parallel_parts(tiny.model("dag")).loss(prediction._replace(**floats), batch, None)

    return jax.value_and_grad(loss, has_aux=True)(floats)


def of_loss(batch):
    found = jax.tree.map(jnp.asarray, prediction())
    floats = {"logits": found.logits} | {"links": found.links}
    return marginal_loss(floats, found, jax.tree.map(jnp.asarray, batch))


def test_unreachable_targets_are_left_out_of_the_loss_and_counted():
    targets = [(5, 4, EOS), UNREACHABLE[1], (4, 4, 5, EOS), UNREACHABLE[0]]
    batch = tiny.batch_of(SOURCES, targets).replace(weight=np.array([1.0, 0.5, 0.5, 1.0], np.float32))
    (loss, metrics), grads = of_loss(batch)
    wanted = -graphs()[0].log_prob(targets[0]) - 0.5 * graphs()[2].log_prob(targets[2])
    np.testing.assert_allclose(loss, wanted / (3 + 2), rtol=1e-4)
    assert metrics["unreachable"] == (1.5, 3.0)
    kept = batch.replace(weight=batch.weight * np.array([1, 0, 1, 0], np.float32))
    _, without = of_loss(kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, without)


def test_a_batch_of_unreachable_targets_teaches_nothing():
    batch = tiny.batch_of(SOURCES, [*UNREACHABLE, *UNREACHABLE])
    (loss, metrics), grads = of_loss(batch)
    assert loss == 0 and metrics["loss"] == (0.0, 0.0) and metrics["unreachable"] == (4.0, 4.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))


def test_options_out_of_range_are_named():
    for options, name in [
        (dict(decoder="argmax"), "^decoder='argmax'"),
        (dict(factor=1), "^factor=1"),
        (dict(factor=4, max_jump=7), "^max_jump=7"),
        (dict(link_heads=0), "^link_heads=0"),
    ]:
        with pytest.raises(UserError, match=name):
            DAGOptions(**options)
    assert DAGOptions(factor=4, max_jump=8).max_jump == 8
    with pytest.raises(UserError, match="'odd': the family dag has greedy, lookahead"):
        tiny.model("dag").with_decoder("odd")
