"""Teachers under CTranslate2 against the family that they stand for."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from emnat_jax.config import AROptions, VanillaOptions
from emnat_jax.errors import UserError
from emnat_jax.export import ctranslate2_runtime
from emnat_jax.export.ctranslate2_runtime import CTranslate2Translator, open_ctranslate2
from emnat_jax.export.ctranslate2_teacher import write_ctranslate2
from emnat_jax.export.folder import About, Exported
from emnat_jax.families import make_family
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.types import BOS, EOS, is_impossible
from tests.export.teachers import (
    BUCKETS,
    MAX_LENGTH,
    NAMES,
    ROWS,
    SHAPES,
    TOLERANCE,
    Pair,
    Pieces,
    decoded,
    listed,
    random_params,
    scores_of,
    searched,
    sentences,
    spec_of,
)
from tests.quick import quick

shapes = pytest.mark.parametrize("shape", range(len(SHAPES)))
# Each shape with one of the two.
lists = pytest.mark.parametrize(
    ("shape", "alpha"),
    quick(list(itertools.product(range(len(SHAPES)), (0.0, 1.8))), [(0, 0.0), (1, 0.0), (2, 1.8), (3, 0.0)]),
)


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory):
    """A function: number of a shape -> Pair."""

    @functools.cache
    def make(shape: int, options: AROptions = AROptions()) -> Pair:
        spec, folder = spec_of(shape, options), tmp_path_factory.mktemp("teacher")
        family = make_family(spec)
        params = random_params(family, shape)
        write_ctranslate2(folder, spec, params, Pieces(*NAMES))
        about = About("ctranslate2", spec, BUCKETS, ("int8", "float32"), "float32", {})
        exported = open_ctranslate2(Exported(folder, about, Pieces(*NAMES), "files", "parameters"), threads=1)
        return Pair(spec, family, jax.tree.map(jax.numpy.asarray, params), exported)

    return make


@shapes
def test_greedy_gives_the_tokens_and_scores_of_the_family(shape, pair_of):
    pair, sources = pair_of(shape), sentences(0, shortest=2)
    ours, theirs = decoded(pair, sources, 1), listed(pair, sources, 1)
    assert [best.tokens for (best,) in theirs] == [best.tokens for (best,) in ours]
    for field in ("log_prob", "rank_score"):
        values = [[getattr(best, field) for (best,) in found] for found in (theirs, ours)]
        np.testing.assert_allclose(*values, atol=TOLERANCE)
    outputs = {best.tokens for (best,) in ours}
    # Some end by themselves, some at the limit of their bucket, some at the model's.
    assert {BUCKETS[0] + 6, MAX_LENGTH} <= {len(tokens) for tokens in outputs} and len(outputs) > 20


def tokens_of(found):
    return [one.tokens for one in found]


@lists
def test_lists_are_those_of_a_search_that_ends_the_best_alone(shape, alpha, pair_of):
    pair, sources = pair_of(shape, AROptions(length_penalty=alpha)), sentences(2, shortest=2)
    found, expected = listed(pair, sources, 3), searched(pair, sources, 3)
    other = [row for row in range(ROWS) if tokens_of(found[row]) != tokens_of(expected[row])]
    assert len(other) <= 2  # prefixes that are equal but for rounding, of which another one goes on
    for row in other:
        shaken = [searched(pair, [sources[row]], 3, shake=np.random.default_rng(n))[0] for n in range(20)]
        expected[row] = next(one for one in shaken if tokens_of(one) == tokens_of(found[row]))
    for field in ("log_prob", "rank_score"):
        values = [[getattr(one, field) for of_row in lists for one in of_row] for lists in (found, expected)]
        np.testing.assert_allclose(*values, atol=TOLERANCE)


@lists
def test_lists_come_near_those_of_the_family(shape, alpha, pair_of):
    """Which ends every prefix that is alive, so that it may find better ones, and never worse."""
    pair, sources = pair_of(shape, AROptions(length_penalty=alpha)), sentences(2, shortest=2)
    found, ours = listed(pair, sources, 3), decoded(pair, sources, 3)
    for theirs, mine in zip(found, ours, strict=True):
        assert all(a.rank_score <= b.rank_score + TOLERANCE for a, b in zip(theirs, mine, strict=True))
        score = {one.tokens: one.log_prob for one in mine}
        both = [(one.log_prob, score[one.tokens]) for one in theirs if one.tokens in score]
        assert all(abs(a - b) < TOLERANCE for a, b in both)


@shapes
def test_hypotheses_have_the_scores_of_the_family(shape, pair_of):
    """Those too that only CTranslate2 has found."""
    pair, sources = pair_of(shape, AROptions(beam=5, length_penalty=0.0)), sentences(3, shortest=2)
    found = listed(pair, sources, 1)
    expected = scores_of(pair, sources, [np.array(best.tokens, np.int32) for (best,) in found])
    np.testing.assert_allclose([best.log_prob for (best,) in found], expected, atol=TOLERANCE)


@shapes
def test_scores_are_those_of_the_family(shape, pair_of):
    pair, sources = pair_of(shape), sentences(4, shortest=2)
    targets = sentences(5, shortest=1, longest=MAX_LENGTH + 1)
    lengths = {len(target) for target in targets}
    assert {1, MAX_LENGTH, MAX_LENGTH + 1} <= lengths
    targets[0] = np.array([5, BOS, 6, EOS], np.int32)
    found = pair.exported.score_pairs(sentence_pairs(sources, targets))
    expected = scores_of(pair, sources, targets)
    assert is_impossible(found).tolist() == is_impossible(expected).tolist()
    possible = ~is_impossible(expected)
    assert 0 < possible.sum() < ROWS
    np.testing.assert_allclose(found[possible], expected[possible], atol=TOLERANCE)


def test_a_hypothesis_that_the_limit_cuts_is_scored_with_its_eos(pair_of, monkeypatch):
    """Only where it could be among the best; then it is all the same."""
    pair, sources = pair_of(0, AROptions(length_penalty=0.0)), sentences(6, shortest=2)
    scored = []

    def counted(self, pairs):
        scored.append(pairs.size)
        return score_pairs(self, pairs)

    score_pairs = CTranslate2Translator.score_pairs
    monkeypatch.setattr(CTranslate2Translator, "score_pairs", counted)
    few = listed(pair, sources, 3)
    monkeypatch.setattr(CTranslate2Translator, "_open_ones_needed", lambda self, found, count: found)
    assert listed(pair, sources, 3) == few
    assert sum(scored[:2]) < sum(scored[2:])


def test_rows_come_in_chunks_without_a_change(pair_of, monkeypatch):
    pair, sources = pair_of(1), sentences(7, shortest=2)
    whole = listed(pair, sources, 3)
    monkeypatch.setattr(ctranslate2_runtime, "CHUNK_HYPOTHESES", 100)
    for ours, theirs in zip(listed(pair, sources, 3), whole, strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]


def test_int8_is_another_precision(pair_of):
    pair, sources = pair_of(0), sentences(8, shortest=2)
    int8 = open_ctranslate2(pair.exported.exported, "int8", threads=1)
    floats = [found.log_prob[0] for found in pair.exported.decode(sentence_pairs(sources))]
    assert not np.array_equal([found.log_prob[0] for found in int8.decode(sentence_pairs(sources))], floats)
    with pytest.raises(UserError, match="int8, float32"):
        open_ctranslate2(pair.exported.exported, "int4")


def test_sources_without_words_and_sources_that_are_too_long(pair_of):
    exported = pair_of(0).exported
    empty = np.array([EOS], np.int32)
    words = np.array([7, EOS], np.int32)
    found = exported.decode(sentence_pairs([words, empty, words]), 3)
    assert [len(one.tokens) for one in found] == [3, 0, 3]
    assert exported.decode(sentence_pairs([])) == []
    with pytest.raises(UserError, match=r"1 sources are empty \(rows \[1\]\)"):
        exported.score_pairs(sentence_pairs([words, empty]))
    too_long = np.full(MAX_LENGTH + 1, 7, np.int32)
    for call in (exported.decode, exported.score_pairs):
        with pytest.raises(UserError, match="more than 16 tokens, the first that of row 1"):
            call(sentence_pairs([words, too_long]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family": "vanilla", "options": VanillaOptions()}, "a student goes to ONNX"),
        ({"pieces": Pieces(*NAMES[:-1])}, "39 pieces, the model 40"),
        ({"pieces": Pieces(*NAMES[:-1], "▁4")}, "twice"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, change, says):
    pieces = change.pop("pieces", Pieces(*NAMES))
    spec = dataclasses.replace(spec_of(0), **change)
    with pytest.raises(UserError, match=says):
        write_ctranslate2(tmp_path, spec, {}, pieces)
    assert not list(tmp_path.iterdir())
