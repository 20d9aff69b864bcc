"""CTC decoding against all alignments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.beam import beam_search
from emnat_jax.decoding.ctc import BLANK, best_path, collapse, prefix_search
from emnat_jax.types import BOS, EOS, NEG_INF, PAD
from tests import brute_force

WORDS = (2, 3, 4)  # not BLANK and not EOS
VOCAB, FRAMES = 5, 4


def frames_table(seed: int, frames: int = FRAMES) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, VOCAB)) * 2
    logits[:, EOS] = -np.inf
    log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return np.maximum(log_probs, NEG_INF).astype(np.float32)


def padded(tables: list[np.ndarray], width: int = FRAMES + 1) -> tuple[jax.Array, jax.Array]:
    """Tables of different lengths in one batch, garbage beyond their ends."""
    batch = np.random.default_rng(5).normal(size=(len(tables), width, VOCAB)).astype(np.float32)
    for row, table in enumerate(tables):
        batch[row, : len(table)] = table
    return jnp.asarray(batch), jnp.array([len(table) for table in tables])


@pytest.mark.parametrize(
    "path, words",
    [
        ((2, 2, 0, 2), (2, 2)),
        ((0, 0, 0, 0), ()),
        ((2, 3, 3, 2), (2, 3, 2)),
        ((0, 4, 0, 0), (4,)),
        ((2, 3, 2, 3), (2, 3, 2, 3)),
    ],
)
def test_collapse(path, words):
    found = collapse(jnp.array([[*path, 3]]), jnp.array([4]), 7)  # the fifth frame is padding
    assert found.tolist() == [[*words, EOS, *[PAD] * (6 - len(words))]]
    cut = collapse(jnp.array([path]), jnp.array([4]), 3)
    assert cut.tolist() == [[*words[:2], EOS, PAD, PAD][:3]]


@pytest.mark.parametrize("reward", [0.0, 0.7, -0.7])
def test_the_best_path_is_that_of_frames_with_the_reward(reward):
    """Without one it is exactly the best of the frames, ties and impossible tokens included."""
    tables = [np.round(frames_table(seed)) for seed in range(20)]
    log_probs, frames = padded(tables)
    shifted = np.stack(tables) + reward * (np.arange(VOCAB) != BLANK)
    wanted = [brute_force.collapsed(tuple(path)) for path in np.argmax(shifted, axis=-1).tolist()]
    found = best_path(log_probs, frames, FRAMES + 1, reward)
    assert [tuple(row[row > EOS].tolist()) for row in np.asarray(found)] == wanted
    if reward == 0:
        assert found.tolist() == best_path(log_probs, frames, FRAMES + 1).tolist()
        assert found.tolist() == collapse(jnp.argmax(log_probs, axis=-1), frames, FRAMES + 1).tolist()


def test_greedy_and_best_output_of_the_specification():
    probs = np.array([[0.6, 0.3, 0.1], [0.1, 0.5, 0.4], [0.3, 0.2, 0.5], [0.2, 0.5, 0.3]])
    table = np.full((4, VOCAB), NEG_INF, np.float32)
    table[:, [BLANK, 2, 3]] = np.log(probs)  # its tokens 1 and 2 as 2 and 3, for 1 is EOS here
    log_probs, frames = padded([table])
    assert best_path(log_probs, frames, 5).tolist() == [[2, 3, 2, EOS, PAD]]
    found = search(log_probs, frames, 4)
    assert found.tokens[0, 0].tolist() == [2, 3, EOS, PAD, PAD]
    np.testing.assert_allclose(found.log_prob[0, 0], -1.465338, rtol=1e-5)


def search(log_probs, frames, beams: int, width: int = FRAMES + 1, reward: float = 0.0):
    def run(log_probs, frames):
        step, cache = prefix_search(log_probs, frames, beams)
        first = jnp.full((log_probs.shape[0], beams), BOS, jnp.int32)
        return beam_search(step, cache, first, max_length=width, length_penalty=0.0, length_reward=reward)

    return jax.device_get(jax.jit(run)(log_probs, frames))


@pytest.mark.parametrize("reward", [0.0, 1.5, -0.5])
def test_a_wide_beam_finds_every_output_in_order_with_its_exact_log_prob(reward):
    tables = [frames_table(seed, frames) for seed, frames in ((0, 4), (1, 4), (2, 3), (3, 1), (4, 2))]
    log_probs, frames = padded(tables)
    found = search(log_probs, frames, 81, reward=reward)
    for row, table in enumerate(tables):
        outputs = {o: v for o, (v, _) in brute_force.ctc_outputs(table).items() if v > NEG_INF / 2}
        rank = {output: value + reward * (len(output) + 1) for output, value in outputs.items()}
        filled = found.rank_score[row] > NEG_INF / 2
        assert filled.sum() == len(outputs)
        np.testing.assert_allclose(found.rank_score[row][filled], sorted(rank.values())[::-1], atol=2e-5)
        for tokens, value in zip(found.tokens[row][filled], found.log_prob[row][filled]):
            output = tuple(tokens[tokens > EOS].tolist())
            np.testing.assert_allclose(value, outputs.pop(output), rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(np.exp(found.log_prob[row][filled]).sum(), 1.0, rtol=1e-5)


def test_a_narrow_beam_merges_alignments_that_no_best_path_finds():
    """Both frames prefer a blank, yet the token's three alignments weigh more together."""
    table = np.full((2, VOCAB), NEG_INF, np.float32)
    table[:, [BLANK, 2]] = np.log([0.6, 0.4])
    log_probs, frames = padded([table])
    assert best_path(log_probs, frames, 3).tolist() == [[EOS, PAD, PAD]]
    found = search(log_probs, frames, 1)
    assert found.tokens[0, 0].tolist()[:2] == [2, EOS]
    np.testing.assert_allclose(np.exp(found.log_prob[0, 0]), 0.64, rtol=1e-5)


def test_long_confident_frames_do_not_underflow():
    """200 frames, tokens far apart in probability."""
    tokens = np.tile([BLANK, 2, BLANK, 3], 50)
    table = np.full((200, VOCAB), -60.0, np.float32)
    table[np.arange(200), tokens] = 0.0
    table[:, EOS] = NEG_INF
    found = search(jnp.asarray(table)[None], jnp.array([200]), 2, width=120)
    assert found.tokens[0, 0].tolist() == [*[2, 3] * 50, EOS, *[PAD] * 19]
    np.testing.assert_allclose(found.log_prob[0, 0], 0.0, atol=1e-3)
