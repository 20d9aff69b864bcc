"""Shortlists: what is learned, and graphs that look for words there alone."""

import itertools
import math

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from emnat_jax.config import DAGOptions
from emnat_jax.decoding.top import CHUNK
from emnat_jax.errors import UserError
from emnat_jax.export.graph import Graph
from emnat_jax.export.head import Head, Listed
from emnat_jax.export.onnx_student import Student, write_float32, write_int8
from emnat_jax.export.shortlist import Shortlist, learn_shortlist, log_likelihood_ratio, random_shortlist
from emnat_jax.families import make_family
from emnat_jax.types import EOS, NEG_INF, NUM_SPECIAL, PAD
from tests.export.test_onnx_student import (
    MAX_LENGTH,
    MORE,
    NAMED,
    Case,
    padded,
    random_params,
    random_sources,
    session_of,
    spec_of,
    unpadded,
)

VOCAB = 3 * CHUNK - 20  # three chunks; what a batch may use fills two or three


def some_pairs(vocab: int = 30, count: int = 60):
    """Sentences in which word w is often translated by vocab - w."""
    random = np.random.default_rng(0)
    for _ in range(count):
        source = random.integers(NUM_SPECIAL, vocab, 5)
        target = np.where(random.random(5) < 0.8, vocab + NUM_SPECIAL - 1 - source, NUM_SPECIAL)
        yield np.append(source, EOS), np.append(target, EOS)


def g_squared(pairs, one: int, other: int) -> float:
    """By the four cells of the table, each counted; negative for words that avoid each other."""
    has = [(one in source, other in target) for source, target in pairs]
    total = 0.0
    for cell in itertools.product((True, False), repeat=2):
        observed = has.count(cell)
        expected = math.prod(sum(h[side] == cell[side] for h in has) for side in (0, 1)) / len(has)
        total += observed * math.log(observed / expected) if observed else 0.0
    both = has.count((True, True)) * len(has)
    return total if both > sum(h[0] for h in has) * sum(h[1] for h in has) else -total


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_shortlist_has_the_words_that_go_best_with_each_word(count):
    pairs, vocab = list(some_pairs()), 30
    found = learn_shortlist(pairs, vocab, count)
    frequency = [sum(word in target for _, target in pairs) for word in range(vocab)]
    frequent = sorted(range(NUM_SPECIAL, vocab), key=lambda word: -frequency[word])[:count]
    always = {*range(NUM_SPECIAL), *(word for word in frequent if frequency[word])}
    assert set(found.always.tolist()) == always and found.per_word == count
    others = [word for word in range(vocab) if word not in always]
    for word in range(vocab):
        scores = {other: g_squared(pairs, word, other) for other in others}
        best = sorted((other for other in others if scores[other] > 0), key=lambda other: -scores[other])
        expected = best[:count] + [PAD] * (count - len(best))
        assert found.by_source[word].tolist() == expected, word
    assert (found.words(np.array([7, EOS])) == sorted(always | set(found.by_source[7].tolist()))).all()


def test_more_pairs_than_one_block_of_words_give_the_same():
    """The count of co-occurrences goes by blocks of the vocabulary; words behind the first are not lost."""
    shift, pairs = 1_000, list(some_pairs())
    far = [(np.where(source < NUM_SPECIAL, source, source + shift), target) for source, target in pairs]
    near, moved = learn_shortlist(pairs, 30, 3), learn_shortlist(far, 30 + shift, 3)
    assert (moved.by_source[NUM_SPECIAL + shift :] == near.by_source[NUM_SPECIAL:]).all()
    assert (near.by_source[NUM_SPECIAL:] != PAD).any()


def test_what_it_cannot_be_learned_from_is_refused():
    with pytest.raises(UserError, match="no pairs of sentences"):
        learn_shortlist([], 30, 3)
    with pytest.raises(AssertionError, match="ids of the vocabulary"):
        learn_shortlist([(np.array([5]), np.array([30]))], 30, 3)


def test_the_ratio_is_nothing_for_words_that_are_independent():
    found = log_likelihood_ratio(np.array([10.0, 11.0]), 20.0, np.array([50.0, 50.0]), 100)
    assert found[0] == pytest.approx(0) and found[1] > 0.1


def whole_vocabulary() -> Shortlist:
    """All words for each word of the source."""
    by_source = np.tile(np.arange(VOCAB, dtype=np.int32), (VOCAB, 1))
    by_source[PAD] = PAD
    return Shortlist(np.arange(NUM_SPECIAL), by_source)


# Random weights would jump to the end at once.
SHORT_JUMPS = Case("lookahead", "dag", DAGOptions(decoder="lookahead", factor=2, max_jump=4))
each_case = pytest.mark.parametrize(
    "case",
    [NAMED["odd"], NAMED["collapse"], SHORT_JUMPS]
    + [
        pytest.param(case, marks=pytest.mark.slow)
        for case in (NAMED["five lengths"], NAMED["single pass"], NAMED["joint Viterbi"], *MORE)
    ],
    ids=lambda case: case.name,
)


@each_case
def test_the_graph_decodes_as_a_family_that_has_no_other_words(case, tmp_path):
    """Each sentence those of its own shortlist, whatever else is in its batch."""
    spec, sources = spec_of(case, VOCAB), random_sources(VOCAB)
    family, shortlist = make_family(spec), random_shortlist(VOCAB, 12, seed=3)
    params = random_params(family)
    write_float32(tmp_path / "float32.onnx", Student(spec, params, (MAX_LENGTH,)), shortlist)
    session = session_of(tmp_path / "float32.onnx")
    decode = jax.jit(lambda params, source: family.decode(params, source, jax.random.key(0), 1).tokens[:, 0])
    expected = []
    for source in sources:
        limited = with_words(params, shortlist.words(source))
        expected += unpadded(decode(limited, padded([source], MAX_LENGTH)))
    unlimited = unpadded(decode(params, padded(sources, MAX_LENGTH)))
    assert sum(ours != theirs for ours, theirs in zip(expected, unlimited, strict=True)) > len(sources) // 2
    assert unpadded(session.run(None, {"source": padded(sources, MAX_LENGTH)})[0]) == expected
    for source, tokens in zip(sources, expected, strict=True):
        assert unpadded(session.run(None, {"source": source[None]})[0]) == [tokens]


def with_words(params, words):
    """The same model, in which all other words are impossible."""
    embedding = params["transformer"]["embedding"]
    bias = np.where(
        np.isin(np.arange(len(embedding["output_bias"])), words), embedding["output_bias"], NEG_INF
    )
    changed = {**embedding, "output_bias": bias.astype(np.float32)}
    return {**params, "transformer": {**params["transformer"], "embedding": changed}}


def test_a_shortlist_of_all_words_is_none(tmp_path):
    spec, sources = spec_of(NAMED["odd"], VOCAB), padded(random_sources(VOCAB), MAX_LENGTH)
    student = Student(spec, random_params(make_family(spec)), (MAX_LENGTH,))
    found = []
    for name, shortlist in (("none", None), ("all", whole_vocabulary())):
        write_float32(tmp_path / name, student, shortlist)
        found.append(session_of(tmp_path / name).run(None, {"source": sources})[0])
    assert (found[0] == found[1]).all()


def scores_of(path, head_of, table, bias, states) -> np.ndarray:
    """What a head gives for states f32[B, T, D], in a graph of its own."""
    graph = Graph()
    given = graph.input("states", "float32", ["B", "T", states.shape[2]])
    chunks = head_of(graph).scores(given, table, bias, log_probs=False).chunks
    onnx.save(graph.model("scores", chunks.reshape(0, 0, -1), ["B", "T", "K"]), str(path))
    return session_of(path).run(None, {"states": states})[0]


def test_rounded_products_are_as_near_as_rounding_allows(tmp_path):
    """By at most half a step of each number: weights by row (63 steps a sign), states all together (255)."""
    random, words = np.random.default_rng(0), np.arange(0, 2 * CHUNK, 2)
    table = random.standard_normal((2 * CHUNK, 24), np.float32) * random.uniform(0.1, 3, (2 * CHUNK, 1))
    table, bias = table.astype(np.float32), random.standard_normal(2 * CHUNK, np.float32)
    table[0] = 0  # a row without a scale
    states = random.standard_normal((2, 3, 24), np.float32)

    def head(graph):
        own = graph.weight("own", np.ones((2, len(words)), bool))
        return Head(Listed(graph.weight("ids", words), own), is_int8=True)

    found = scores_of(tmp_path / "rounded", head, table, bias, states)
    kept, weight_step = table[words], np.abs(table[words]).max(axis=1) / 63
    state_step = (states.max() - states.min()) / 255
    bound = (
        np.abs(states).sum(-1)[..., None] * weight_step / 2
        + np.abs(kept).sum(1) * state_step  # a half for the number, a half for the zero point
        + 24 * weight_step * state_step
    )
    error = np.abs(found - (states @ kept.T + bias[words]))
    assert (error <= bound + 1e-5).all() and error.max() > 0


@pytest.mark.parametrize("floats", [(), ("output",)])
def test_int8_keeps_its_output_layer_once_and_in_the_type_that_it_is_told_to(tmp_path, floats):
    spec = spec_of(NAMED["odd"], VOCAB)
    student = Student(spec, random_params(make_family(spec)), (MAX_LENGTH,))
    write_int8(tmp_path / "int8.onnx", student, random_shortlist(VOCAB, 12, seed=3), floats)
    model = onnx.load(tmp_path / "int8.onnx")
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    rows = [array for name, array in arrays.items() if name.startswith("output.") and array.ndim == 2]
    assert [array.dtype.name for array in rows] == ["float32" if floats else "int8"]
    sources = random_sources(VOCAB)
    found = unpadded(session_of(tmp_path / "int8.onnx").run(None, {"source": padded(sources, MAX_LENGTH)})[0])
    shortlist = random_shortlist(VOCAB, 12, seed=3)
    assert all(
        set(tokens) <= set(shortlist.words(source).tolist())
        for tokens, source in zip(found, sources, strict=True)
    )
