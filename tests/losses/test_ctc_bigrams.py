"""Expected bigrams of CTC frames against all alignments, and a sure output."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from emnat_jax.losses.bigrams import bigram_f1
from emnat_jax.losses.ctc_bigrams import ctc_bigrams
from emnat_jax.types import BLANK, BOS, EOS, NEG_INF, UNK
from tests import bigrams, brute_force

VOCAB, FRAMES, WIDTH = 6, 4, 6
WORDS = (4, 5)
bigrams_of = jax.jit(ctc_bigrams)
value_and_gradient = jax.jit(jax.value_and_grad(lambda *arrays: jnp.sum(bigram_f1(ctc_bigrams(*arrays)))))


def frames_table(seed: int, frames: int = FRAMES) -> np.ndarray:
    """Log-probabilities [L, V] of words and the blank; the others are impossible."""
    logits = np.random.default_rng(seed).normal(size=(frames, VOCAB)) * 2
    logits[:, [BOS, EOS, UNK]] = NEG_INF
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def all_targets(frames: int = FRAMES) -> list[tuple[int, ...]]:
    """Every target of up to two more words than there are frames; most have repeats."""
    return [t for n in range(frames + 3) for t in itertools.product(WORDS, repeat=n)]


def by_enumeration(table: np.ndarray) -> dict:
    """Mean count of each bigram of the outputs."""
    outputs = brute_force.ctc_outputs(table)
    return bigrams.expected_bigrams(
        {(BOS, *output, EOS): np.exp(value) for output, (value, _) in outputs.items()}
    )


def arrays_of(tables, targets, *, width=WIDTH, extra_frames=2, filler=WORDS[0]):
    """One row a target, behind garbage in the padding of tokens and frames."""
    longest = max(map(len, tables)) + extra_frames
    logits = np.random.default_rng(9).normal(size=(len(targets), longest, VOCAB))
    tokens = np.full((len(targets), width), filler, np.int32)
    for row, (table, target) in enumerate(zip(tables, targets, strict=True)):
        logits[row, : len(table)] = np.where(table > NEG_INF / 2, table + 0.7, NEG_INF)
        tokens[row, : len(target)] = target
    frames, lengths = (jnp.array([len(x) for x in rows]) for rows in (tables, targets))
    return jnp.asarray(logits, jnp.float32), frames, jnp.asarray(tokens), lengths


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_sum_over_all_alignments(seed):
    targets = all_targets()
    tables = [frames_table(seed + row, row % (FRAMES + 1)) for row in range(len(targets))]
    found = bigrams_of(*arrays_of(tables, targets))
    wanted = [by_enumeration(table) for table in tables]
    matched = [bigrams.matched_bigrams(c, (BOS, *target, EOS)) for c, target in zip(wanted, targets)]
    np.testing.assert_allclose(found.matched, matched, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found.expected, [sum(c.values()) for c in wanted], rtol=1e-5)
    np.testing.assert_array_equal(found.wanted, [len(target) + 1 for target in targets])
    assert np.max(bigram_f1(found)) > 0.5


def test_a_peaked_table_clips():
    """Counts above those of the target: the model expects (4, 5) 1.8 times, of which the target has one."""
    table = np.full((4, VOCAB), NEG_INF)
    table[range(4), [4, 5, 4, 5]] = np.log(0.95)
    table[range(4), BLANK] = np.log(0.05)
    expected = by_enumeration(table)
    assert expected[4, 5] > 1.5
    found = bigrams_of(*arrays_of([table], [(4, 5)]))
    np.testing.assert_allclose(
        found.matched, [bigrams.matched_bigrams(expected, (BOS, 4, 5, EOS))], rtol=1e-5
    )


@pytest.mark.parametrize("output", [(), (4,), (4, 4, 5), (5, 4, 4)])
def test_a_sure_output_has_an_f1_of_one_with_itself(output):
    """Each word twice and a blank behind it; the reversed order matches less."""
    emitted = [symbol for word in output for symbol in (word, word, BLANK)]
    table = np.full((len(emitted), VOCAB), NEG_INF)
    table[range(len(emitted)), emitted] = 0.0
    rows = [table] * 2
    found = bigram_f1(bigrams_of(*arrays_of(rows, [output, (*output[::-1], 5, 4)])))
    np.testing.assert_allclose(found[0], 1.0, rtol=1e-6)
    assert found[1] < 0.9


def test_padding_never_matters():
    targets = [(), (4,), (4, 4, 5), (5, 4, 5, 4, 5, 5)]
    tables = [frames_table(row) for row in range(4)]
    narrow = arrays_of(tables, targets, extra_frames=0, filler=BLANK)
    wide = arrays_of(tables, targets, width=9, extra_frames=4)
    for a, b in zip(bigrams_of(*narrow), bigrams_of(*wide), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    (_, found), (_, of_wide) = value_and_gradient(*narrow), value_and_gradient(*wide)
    np.testing.assert_allclose(found, of_wide[:, :FRAMES], atol=1e-6)
    np.testing.assert_array_equal(of_wide[:, FRAMES:], 0.0)


def test_gradients():
    tables = [frames_table(row) for row in range(4)]
    logits, *rest = arrays_of(tables, [(), (4,), (4, 4, 5), (5, 4, 5, 4, 5)])
    found = ctc_bigrams(logits, *rest)
    assert np.min(np.abs(found.matched - np.round(found.matched))) > 1e-3  # away from the kinks

    emitted = jnp.array([BLANK, *WORDS])  # a step of the others from NEG_INF would be lost in rounding

    @jax.jit
    def f1(values):
        return bigram_f1(ctc_bigrams(logits.at[:, :, emitted].set(values), *rest))

    check_grads(f1, (logits[:, :, emitted],), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


def test_a_masked_word_and_long_rows_are_finite():
    table = frames_table(0)
    table[:, 4] = NEG_INF
    arrays = arrays_of([table, np.zeros((200, VOCAB))], [(4, 4), (5, 4) * 150], width=300)
    value, gradient = value_and_gradient(*arrays)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_no_array_holds_frames_times_words_times_vocabulary():
    vocab, frames = 1000, 5
    arrays = jnp.zeros((1, frames, vocab)), jnp.array([5]), jnp.array([[4, 5, 5, 4]]), jnp.array([3])
    assert bigrams.largest_array(jax.make_jaxpr(value_and_gradient)(*arrays)) == frames * vocab
