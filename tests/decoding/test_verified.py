"""Verified search against greedy search, over a table of scores for every prefix and over every draft."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.decoding.beam import greedy_search
from emnat_jax.decoding.verified import align, verified_search
from emnat_jax.types import BOS, EOS, NEG_INF, PAD

VOCAB, LONGEST = 6, 5
DRAFTS = np.array(
    list(itertools.product(range(VOCAB), repeat=4)), np.int32
)  # all that there are, PAD anywhere


def table(seed: int, eos: float = 0.0) -> np.ndarray:
    """f32[prefixes, V]: a log-probability of every token behind every prefix of up to LONGEST tokens."""
    logits = np.random.default_rng(seed).normal(size=(VOCAB**LONGEST, VOCAB)).astype(np.float32) * 2
    logits[:, [PAD, BOS]] = NEG_INF
    logits[:, EOS] += eos
    return logits - np.log(np.exp(np.float64(logits)).sum(1, keepdims=True)).astype(np.float32)


def place_of(tokens, position):
    """The row of the table for the prefix of `position` tokens: a number in base V, its length included."""
    place = jnp.zeros(position.shape, jnp.int32)
    for index in range(tokens.shape[-1]):
        place = jnp.where(index <= position, place * VOCAB + tokens[..., index], place)
    return place


def block_fn(scores, tokens, cache, position):
    """The cache is what has been read so far, one token a position."""
    width = tokens.shape[1]
    write = jax.vmap(lambda row, new, at: row.at[at + jnp.arange(width)].set(new, mode="drop"))
    cache = write(cache, tokens, position)
    places = position[:, None] + jnp.arange(width)[None]
    prefixes = jnp.broadcast_to(cache[:, None], (*places.shape, cache.shape[1]))
    return scores[place_of(prefixes, jnp.minimum(places, LONGEST - 1))], cache


def step_fn(scores, tokens, cache, position):
    found, cache = block_fn(scores, tokens, cache, jnp.full(len(tokens), position))
    return found, cache


@functools.partial(jax.jit, static_argnames=("limit", "options"))
def verified(scores, drafts, *, limit=LONGEST, options=VerifiedOptions()):
    first, cache = jnp.full(len(drafts), BOS), jnp.zeros((len(drafts), LONGEST), jnp.int32)
    block = functools.partial(block_fn, scores)
    return verified_search(block, cache, first, drafts, max_length=limit, options=options)


@functools.partial(jax.jit, static_argnames="limit")
def greedy(scores, *, limit=LONGEST):
    first, cache = jnp.full((1, 1), BOS), jnp.zeros((1, LONGEST), jnp.int32)
    return greedy_search(functools.partial(step_fn, scores), cache, first, max_length=limit)


@pytest.mark.parametrize("block", [1, 3, 20])
@pytest.mark.parametrize(
    "seed, eos, limit", [(0, 0.0, 5), (1, -2.0, 5), (2, -9.0, 5), (3, -1.0, 2), (4, 0.0, 1)]
)
def test_every_draft_gives_the_output_of_greedy_search(seed, eos, limit, block):
    scores = table(seed, eos)
    expected = greedy(scores, limit=limit)
    found = verified(scores, DRAFTS, limit=limit, options=VerifiedOptions(draft_block=block))
    for ours, theirs in zip(jax.tree.leaves(found.hypotheses), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(ours, np.broadcast_to(theirs, ours.shape))
    length = int(np.sum(np.asarray(expected.tokens) != PAD))
    assert 1 <= int(found.passes.min()) <= int(found.passes.max()) <= length


def test_passes_are_as_many_as_the_draft_deserves():
    """Worked out by hand for an output of four words and EOS."""
    scores = np.full((VOCAB**LONGEST, VOCAB), -5.0, np.float32)
    output = [4, 5, 2, 4, EOS]
    for length, token in enumerate(output):
        scores[int(place_of(jnp.array([BOS, *output[:4]]), jnp.array(length))), token] = -0.1
    drafts = {
        (4, 5, 2, 4): 1,  # EOS is the teacher's own token behind them
        (4, 5, 2, PAD): 2,  # 4 is its own, then EOS alone
        (PAD, PAD, PAD, PAD): 5,
        (5, 5, 2, 4): 2,  # the first token is another, and the draft goes on behind it
        (EOS, 5, 2, 4): 2,  # and so where it is the end
        (4, 2, 4, EOS): 3,  # 5 is left out: 4 5, then 2, behind which the draft is recognised
        (4, 4, 5, 2): 3,  # 4 is there twice: 4 5, recognised and gone on with 2 4, then EOS
    }
    found = verified(scores, np.array(list(drafts), np.int32), options=VerifiedOptions(draft_block=4))
    np.testing.assert_array_equal(found.hypotheses.tokens[:, 0], [output] * len(drafts))
    assert dict(zip(drafts, found.passes.tolist())) == drafts


def test_new_drafts_after_every_pass_give_the_same_output_too():
    scores = table(8, -9.0)
    expected, drafts = greedy(scores), np.pad(DRAFTS[:: len(DRAFTS) // 50], ((0, 0), (0, LONGEST - 4)))
    length = int(np.sum(np.asarray(expected.tokens) != PAD))

    def arbitrary(tokens, position):
        return (tokens * 5 + position[:, None] * 3 + jnp.arange(LONGEST)[None]) % VOCAB

    found = redrafted(scores, drafts, arbitrary, VerifiedOptions(draft_block=2))
    np.testing.assert_array_equal(
        found.hypotheses.tokens, np.broadcast_to(expected.tokens, (len(drafts), 1, LONGEST))
    )

    def exact(tokens, position):
        return jnp.broadcast_to(expected.tokens[:, 0], tokens.shape)

    found = redrafted(scores, jnp.zeros((1, LONGEST), jnp.int32), exact, VerifiedOptions(draft_block=2))
    np.testing.assert_array_equal(found.hypotheses.tokens, expected.tokens)
    assert int(found.passes[0]) == 1 + -(-(length - 1) // 3)  # one token, then as many as are checked and one


def redrafted(scores, drafts, redraft, options):
    first, cache = jnp.full(len(drafts), BOS), jnp.zeros((len(drafts), LONGEST), jnp.int32)
    block = functools.partial(block_fn, jnp.asarray(scores))
    return verified_search(
        block, cache, first, jnp.asarray(drafts), max_length=LONGEST, options=options, redraft=redraft
    )


RULES = [
    VerifiedOptions(accept_top=2),
    VerifiedOptions(accept_margin=1.5),
    VerifiedOptions(draft_block=2, accept_top=3, accept_margin=1.0),
]


def accepts(options, scores, token) -> bool:
    """The rule in plain words; it never refuses the most probable token."""
    among = options.accept_top is None or np.sum(scores > scores[token]) < options.accept_top
    near = options.accept_margin is None or scores.max() - scores[token] <= options.accept_margin
    return scores[token] > NEG_INF / 2 and bool(among and near)


def log_probs_of(scores, tokens):
    """Those of every token of one output, each with all others of its position."""
    place, found = BOS, []
    for token in tokens:
        found.append((scores[place], token))
        place = (place * VOCAB + token) % len(scores)  # behind the last there is nothing to look up
    return found


@pytest.mark.parametrize("options", RULES)
def test_a_rule_accepts_what_it_says_and_nothing_else(options):
    scores, drafts = table(5, -1.0), DRAFTS[::7]
    found = jax.device_get(verified(scores, drafts, options=options)).hypotheses
    changed = 0
    for draft, row, log_prob in zip(drafts, found.tokens[:, 0], found.log_prob[:, 0]):
        tokens = row[row != PAD].tolist()
        steps = log_probs_of(scores, tokens)
        assert tokens[-1] == EOS and EOS not in tokens[:-1]
        assert all(accepts(options, around, token) for around, token in steps[: LONGEST - 1])
        np.testing.assert_allclose(log_prob, sum(around[token] for around, token in steps), rtol=1e-5)
        # What the draft begins with is in the output as far as it is accepted and checked in the first pass.
        proposed = log_probs_of(scores, draft[: np.append(draft == EOS, True).argmax() + 1].tolist())
        fits = [accepts(options, around, token) for around, token in proposed]
        kept = min([*fits, False].index(False), options.draft_block)
        assert tokens[:kept] == draft[:kept].tolist()
        changed += any(around.argmax() != token for around, token in steps[:kept])
    assert changed >= 10


@pytest.mark.parametrize("options", [VerifiedOptions(accept_top=1), VerifiedOptions(accept_margin=0.0)])
def test_the_strictest_rule_is_greedy_search(options):
    scores = table(6, -1.0)
    expected, found = greedy(scores), verified(scores, DRAFTS[::5], options=options)
    np.testing.assert_array_equal(
        found.hypotheses.tokens, np.broadcast_to(expected.tokens, (len(DRAFTS[::5]), 1, LONGEST))
    )


def test_a_close_choice_is_told_where_the_output_meets_it():
    scores = table(7, -9.0)
    drafts = np.array([[4, 4, 4, 4], greedy(scores).tokens[0, 0, :4]])
    assert not verified(scores, drafts).close.any()
    best, second = np.argsort(scores[BOS])[::-1][:2]
    scores[BOS, second] = scores[BOS, best] - 1e-4
    assert verified(scores, drafts).close.all()
    scores = table(7, -9.0)
    off = int(place_of(np.array([BOS, int(second), 0, 0, 0]), np.array(1)))
    scores[off] = np.where(scores[off] > NEG_INF / 2, -1.0, scores[off])  # a tie, behind another first token
    assert not verified(scores, drafts).close.any()


@pytest.mark.parametrize(
    "draft, written, expected, place",
    [
        ([4, 5, 6, 7], [4, 5], 2, 2),
        ([4, 8, 6, 7], [4, 5], 2, 2),  # another word: by position
        ([5, 6, 7, 8], [4, 5], 2, 1),  # the first word was left out
        ([9, 9, 4, 5, 6], [4, 5], 2, 4),
        ([5, 4, 9, 5, 8], [5], 1, 1),  # the nearest of equals
        ([4, 9, 9, 9, 9, 9, 9, 6], [4], 7, 7),  # one word, too far away
        ([4, 5, 6, 9, 9, 9, 9, 9, 9, 9], [4, 5, 6], 9, 3),  # three words
        ([4, 5], [], 0, 0),
        ([PAD, PAD], [4], 1, 1),
    ],
)
def test_a_draft_goes_on_behind_what_is_written(draft, written, expected, place):
    tokens = np.array([[*written, *[PAD] * (10 - len(written))]])
    found = align(*map(jnp.asarray, ([draft], tokens, [len(written)], [expected])))
    assert found.tolist() == [place]
