"""A teacher that checks drafts gives what its greedy search gives, whoever drafts."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import FAMILIES, GLATOptions, ModelConfig, ModelSpec
from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, make_redraft, make_verify, parallel_parts
from emnat_jax.families.ar import NextToken
from emnat_jax.types import BOS, EOS, HIDDEN, PAD, Batch
from tests import tiny
from tests.quick import quick

VOCAB, LONGEST, WIDTH = 24, 14, 10  # outputs end at WIDTH + 6, or at LONGEST
STUDENTS = [name for name, spec in FAMILIES.items() if spec.options.is_parallel]
BLOCKS = (1, 3, 8, 50)
NETWORKS = [{"norm": "post"}, {"positions": "sinusoidal"}, {"scan_layers": True}, {"extra_length": 1}]


@functools.cache
def model(name: str, **changes) -> ModelSpec:
    sizes = {"encoder_layers": 1, "decoder_layers": 2, "width": 16, "ff_width": 32, "heads": 2}
    config = ModelConfig(family=name, options=tiny.OPTIONS.get(name), **{**sizes, **changes})
    return config.resolve(VOCAB, LONGEST)


@functools.cache
def decode(name: str, **changes):
    return jax.jit(make_family(model(name, **changes)).decode, static_argnums=3)


@functools.cache
def verify(**changes):
    return jax.jit(make_verify(model("ar", **changes)), static_argnums=3)


def params(name: str, seed: int, *, eos: float | None = None, **changes):
    """Random weights; `eos` moves the lengths of outputs."""
    found = tiny.drawn(make_family(model(name, **changes)), seed)
    if eos is None:
        return found
    embedding = found["transformer"]["embedding"]
    bias = embedding["output_bias"].at[EOS].add(eos)
    return {**found, "transformer": {**found["transformer"], "embedding": {**embedding, "output_bias": bias}}}


def sources(rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, WIDTH + 1, rows)
    words = random.integers(4, VOCAB, (rows, WIDTH))
    place = np.arange(WIDTH)[None]
    return np.where(place < lengths[:, None] - 1, words, np.where(place == lengths[:, None] - 1, EOS, PAD))


def require_equal(found, expected):
    np.testing.assert_array_equal(found.hypotheses.tokens, expected.tokens)
    np.testing.assert_allclose(found.hypotheses.log_prob, expected.log_prob, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.hypotheses.rank_score, expected.rank_score, rtol=1e-5, atol=1e-5)


def adversaries(exact: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Drafts for the outputs `exact` i32[B, T], all of one width."""
    random = np.random.default_rng(seed)
    wrong = np.where(exact > 4, exact - 1, 5)
    rows, long = len(exact), 3 * LONGEST
    found = {
        "nothing": exact[:, :0],
        "exact": exact,
        "wrong": wrong,
        "repeated": np.repeat(exact, 2, axis=1),
        "end first": np.concatenate([np.full((rows, 1), EOS), exact], axis=1),
        "of every id": random.integers(0, 128, exact.shape),  # BOS and ids that pad the vocabulary among them
        "too long": np.concatenate([exact[:, :3], random.integers(4, VOCAB, (rows, long - 3))], axis=1),
        "every third wrong": np.where(np.arange(exact.shape[1])[None] % 3 == 2, wrong, exact),
        "without the first": exact[:, 1:],
        "of another row": exact[::-1],
    }
    return {
        name: np.pad(drafts, ((0, 0), (0, long - drafts.shape[1]))).astype(np.int32)
        for name, drafts in found.items()
    }


def verify_all(teacher, source, expected, *, seed=0, block=8, **changes):
    """What is found for all adversaries in one batch; it is compared with `expected`."""
    drafts = adversaries(expected.tokens[:, 0], seed)
    of_all = jnp.asarray(np.tile(source, (len(drafts), 1)))
    options = VerifiedOptions(draft_block=block)
    found = verify(**changes)(teacher, of_all, jnp.asarray(np.concatenate(list(drafts.values()))), options)
    found = jax.device_get(found)
    repeated = jax.tree.map(lambda x: np.tile(x, (len(drafts), *(1,) * (x.ndim - 1))), expected)
    require_equal(found, repeated)
    names = np.repeat(list(drafts), len(source))
    return found, repeated, names


@pytest.mark.parametrize("block", quick(BLOCKS, (3,)))
def test_any_draft_gives_the_output_of_greedy_search(block):
    ended = set()
    for seed, eos in itertools.product(range(2), (-4.0, 0.0, 4.0)):
        source, teacher = sources(16, seed), params("ar", seed, eos=eos)
        expected = jax.device_get(decode("ar")(teacher, source, jax.random.key(0), 1))
        found, repeated, names = verify_all(teacher, source, expected, seed=seed, block=block)
        lengths = np.sum(repeated.tokens[:, 0] != PAD, axis=1)
        ended |= set(lengths.tolist())
        assert (found.passes <= np.where(found.close, 2, 1) * lengths).all()
        exact = (names == "exact") & ~found.close
        fewest = -(-lengths // (min(block, LONGEST - 1) + 1))
        np.testing.assert_array_equal(found.passes[exact], fewest[exact])
    assert len(ended) > 3  # rows end at different times


@pytest.mark.parametrize("name", quick(STUDENTS, ("vanilla",)))
def test_a_student_of_any_family_drafts(name):
    for seed in range(3):
        source, teacher = sources(16, seed), params("ar", seed, eos=1.0)
        drafts = decode(name)(params(name, seed + 7), source, jax.random.key(0), 1).tokens[:, 0]
        expected = decode("ar")(teacher, source, jax.random.key(0), 1)
        require_equal(verify()(teacher, source, drafts, VerifiedOptions()), expected)


@pytest.mark.parametrize("changes", quick(NETWORKS, NETWORKS[2:3]))
def test_networks_of_other_kinds(changes):
    source, teacher = sources(16, 1), params("ar", 1, eos=-2.0, **changes)
    expected = jax.device_get(decode("ar", **changes)(teacher, source, jax.random.key(0), 1))
    verify_all(teacher, source, expected, **changes)


def test_a_close_choice_is_searched_anew():
    """Words 4 and 5 are nearly one word to the teacher: which of them comes is decided by rounding."""
    source, teacher = sources(16, 3), params("ar", 3, eos=-2.0)
    embedding = teacher["transformer"]["embedding"]
    noise = 1 + 1e-7 * np.random.default_rng(0).normal(size=16).astype(np.float32)
    twins = {
        "tokens": embedding["tokens"].at[5].set(embedding["tokens"][4] * noise),
        "output_bias": embedding["output_bias"].at[jnp.array([4, 5])].set(6.0),
    }
    teacher = {**teacher, "transformer": {**teacher["transformer"], "embedding": {**embedding, **twins}}}
    drafts = jnp.asarray(np.random.default_rng(0).integers(1, VOCAB, (160, LONGEST)))
    # In batches of another size greedy search itself is rounded otherwise, and finds other words here.
    of_all = jnp.asarray(np.tile(source, (10, 1)))
    expected = jax.device_get(decode("ar")(teacher, of_all, jax.random.key(0), 1))
    found = jax.device_get(verify()(teacher, of_all, drafts, VerifiedOptions()))
    require_equal(found, expected)
    assert found.close.any() and not found.close.all()
    lengths = np.sum(expected.tokens[:, 0] != PAD, axis=1)
    assert (found.passes[found.close] > lengths[found.close]).all()


def test_a_block_of_one_is_a_step():
    spec = model("ar").transformer
    module, variables = NextToken(spec), {"params": params("ar", 0)}

    @jax.jit
    def both(source, read):
        start = module.apply(variables, source, 1, LONGEST, method="start")
        found, caches = [], [start, start]
        for position in range(3):
            one = read[:, position : position + 1]
            step, caches[0] = module.apply(variables, one, caches[0], jnp.int32(position), method="step")
            places = jnp.full(len(read), position)
            block, caches[1] = module.apply(variables, one, caches[1], places, method="block")
            found.append((step, block))
        return found

    read = jnp.asarray(np.random.default_rng(0).integers(4, VOCAB, (3, 3))).at[:, 0].set(BOS)
    for step, block in both(jnp.asarray(sources(3, 0)), read):
        np.testing.assert_array_equal(step, block)


def test_rows_stand_where_they_are_and_go_back_over_what_was_not_accepted():
    spec = model("ar").transformer
    module, variables = NextToken(spec), {"params": params("ar", 0)}
    random, width = np.random.default_rng(0), 8
    source, begin = jnp.asarray(sources(3, 0)), jnp.array([2, 5, LONGEST - 3])
    read = jnp.asarray(random.integers(4, VOCAB, (3, LONGEST))).at[:, 0].set(BOS)
    wrong = jnp.asarray(random.integers(4, VOCAB, (3, width)))

    @jax.jit
    def found(read, wrong, begin):
        block = functools.partial(module.apply, variables, method="block")
        cache = module.apply(variables, source, 1, LONGEST, method="start")
        at_once, _ = block(read, cache, jnp.zeros(3, jnp.int32))
        for start in (0, LONGEST - width):
            _, cache = block(read[:, start : start + width], cache, jnp.full(3, start))
        _, cache = block(wrong, cache, begin)
        places = jnp.minimum(begin[:, None] + jnp.arange(4)[None], LONGEST - 1)
        behind, _ = block(jnp.take_along_axis(read, places, axis=1), cache, begin)
        return behind, jnp.take_along_axis(at_once, places[..., None], axis=1)

    inside = np.asarray(begin)[:, None] + np.arange(4) < LONGEST
    behind, at_once = found(read, wrong, begin)
    np.testing.assert_allclose(behind[inside], at_once[inside], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_checks_no_drafts(name):
    with pytest.raises(UserError, match=f"{name} checks no drafts"):
        make_verify(model(name))


@pytest.mark.parametrize("name", quick(["cmlm", "glat"], ["glat"]))
def test_a_new_draft_is_the_pass_that_is_shown_the_beginning(name):
    """Against the parts that training uses, given a target of as many tokens."""
    student, spec = params(name, 3), model(name)
    source = jnp.asarray(sources(6, 3))
    parts, again = parallel_parts(spec), make_redraft(spec)(student, source)
    batch = Batch(source, jnp.zeros((6, LONGEST), jnp.int32), jnp.ones(6), jnp.arange(6))
    encoded, length_scores = parts.encode(student, batch, None)
    likely = np.argmax(np.where(np.arange(LONGEST + 1) > 0, length_scores, -np.inf), axis=1)
    lengths = np.clip(likely, 2, LONGEST)  # decoding has no empty output
    for position in (0, 2, LONGEST - 1):
        written = np.random.default_rng(position).integers(4, VOCAB, (6, LONGEST))
        drafts = np.asarray(again(jnp.asarray(written), jnp.full(6, position)))
        of = np.maximum(lengths, position + 1)
        place = np.arange(LONGEST)[None]
        target = np.where(place < of[:, None] - 1, 5, np.where(place == of[:, None] - 1, EOS, PAD))
        shown = np.where(place < position, written, HIDDEN)
        given = batch.replace(target=jnp.asarray(target))
        scores = parts.logits(
            parts.predict(student, (encoded, length_scores), given, jnp.asarray(shown), None)
        )
        expected = np.where(place < position, written, np.argmax(scores, axis=-1))
        expected = np.where(place < of[:, None] - 1, expected, np.where(place == of[:, None] - 1, EOS, PAD))
        np.testing.assert_array_equal(
            drafts, np.where(place < position, written, expected)[:, : drafts.shape[1]]
        )


@pytest.mark.parametrize("name", quick(["cmlm", "glat"], ["glat"]))
def test_a_student_that_drafts_anew_gives_the_output_of_greedy_search(name):
    source, teacher, student = jnp.asarray(sources(16, 5)), params("ar", 5), params(name, 5)
    expected = jax.device_get(decode("ar")(teacher, source, jax.random.key(0), 1))
    again = make_redraft(model(name))(student, source)
    options = VerifiedOptions(draft_block=3, redraft=True)
    found = jax.jit(
        lambda: make_verify(model("ar"))(
            teacher, source, jnp.zeros((16, LONGEST), jnp.int32), options, redraft=again
        )
    )()
    require_equal(jax.device_get(found), expected)


@pytest.mark.parametrize("name", ["vanilla", "ctc", "dag"])
def test_a_family_that_sees_nothing_of_the_target_drafts_once(name):
    with pytest.raises(UserError, match="leave redraft out"):
        make_redraft(model(name))
    with pytest.raises(UserError, match="redraft"):
        make_redraft(ModelConfig(family="glat", options=GLATOptions(base="ctc")).resolve(VOCAB, LONGEST))
