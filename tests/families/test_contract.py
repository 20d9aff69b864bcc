"""What every line of the table of families promises."""

from collections import Counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emnat_jax.families import FAMILIES, make_family
from emnat_jax.types import EOS, NEG_INF, PAD, Batch
from tests import tiny
from tests.quick import quick

NAMES = list(FAMILIES)
# The networks of cmlm and glat are vanilla's: what tests networks alone runs on them in the slow suite.
NETWORKS = [pytest.param(name, marks=[pytest.mark.slow] * (name in ("cmlm", "glat"))) for name in NAMES]


def score(name, batch):
    return tiny.jitted(name, "score")(tiny.params(name), batch)


def decode(name, source, count):
    return tiny.jitted(name, "decode")(tiny.params(name), source, jax.random.key(0), count)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_all_targets_sum_to_one(name):
    targets = tiny.all_targets()
    for source in ([4, EOS], [5, 6, EOS]):
        log_prob = score(name, tiny.batch_of([source] * len(targets), targets))
        np.testing.assert_allclose(np.exp(np.float64(log_prob)).sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_score_ignores_padding(name):
    batch = tiny.batch()
    np.testing.assert_allclose(score(name, batch), score(name, tiny.widen(batch)), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_scores_as_in_the_batch(name):
    batch = tiny.batch()
    alone = [score(name, jax.tree.map(lambda x, i=i: x[i : i + 1], batch))[0] for i in range(3)]
    np.testing.assert_allclose(score(name, batch)[:3], alone, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_score_depends_on_the_source(name):
    target = [5, 6, EOS]
    values = score(name, tiny.batch_of([[4, EOS], [5, EOS], [4, 4, EOS]], [target] * 3))
    assert len(np.unique(np.round(values, 4))) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3])
def test_decoded_hypotheses_are_finished_sorted_distinct_and_scored(name, count):
    batch = tiny.batch()
    found = jax.device_get(decode(name, batch.source, count))
    chex.assert_shape(found.log_prob, (len(batch.weight), count))
    filled = found.rank_score > NEG_INF / 2
    assert filled[:, 0].all()
    assert (np.diff(found.rank_score, axis=1) <= 0).all()
    for row, source in enumerate(np.asarray(batch.source)):
        sequences = [tuple(tokens[tokens != PAD].tolist()) for tokens in found.tokens[row][filled[row]]]
        assert len(set(sequences)) == len(sequences)
        assert all(sequence in set(tiny.all_targets()) for sequence in sequences)
        three = (sequences * 3)[:3]  # one shape, compiled once
        expected = score(name, tiny.batch_of([source] * 3, three))[: len(sequences)]
        np.testing.assert_allclose(found.log_prob[row][filled[row]], expected, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_ignores_padding(name):
    batch = tiny.batch()
    narrow, wide = (decode(name, b.source, 3) for b in (batch, tiny.widen(batch)))
    for a, b in zip(jax.device_get(narrow.tokens), jax.device_get(wide.tokens)):
        assert [t[t != PAD].tolist() for t in a] == [t[t != PAD].tolist() for t in b]


@pytest.mark.parametrize("name", NAMES)
def test_filler_rows_do_not_change_the_loss(name):
    loss, params, batch = tiny.jitted(name, "loss"), tiny.params(name), tiny.batch()
    filler = Batch(np.full((2, 4), PAD), np.full((2, 4), PAD), np.zeros(2), np.full(2, -1))
    filler.source[:, 0] = filler.target[:, 0] = EOS
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b, a.dtype)]), batch, filler)
    plain, metrics = loss(params, batch, None, 0)
    filled, filled_metrics = loss(params, both, None, 0)
    np.testing.assert_allclose(plain, filled, rtol=1e-5)
    chex.assert_trees_all_close(metrics, filled_metrics, rtol=1e-5)
    np.testing.assert_allclose(plain, metrics["loss"].value(), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_on_the_longest_row_and_on_fillers_alone(name):
    family, params = tiny.family(name), tiny.params(name)
    longest = jax.tree.map(lambda x: x[-1:], tiny.batch())
    gradient = jax.jit(jax.grad(lambda p, b: family.loss(p, b, jax.random.key(0), 0)[0]))
    for example in (longest, longest.replace(weight=jnp.zeros(1))):
        chex.assert_tree_all_finite(gradient(params, example))


@pytest.mark.parametrize("name", NAMES)
def test_dropout_follows_the_key(name):
    loss, params, batch = tiny.jitted(name, "loss"), tiny.params(name), tiny.batch()
    values = [float(loss(params, batch, jax.random.key(k), 0)[0]) for k in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    assert values[0] != float(loss(params, batch, None, 0)[0])


@pytest.mark.parametrize("name", NAMES)
def test_loss_gradient_integrates_to_the_loss(name):
    """Along a line, where ReLUs bend the loss so often that one finite difference proves nothing."""
    family, params, batch = tiny.family(name), tiny.params(name), jax.tree.map(jnp.asarray, tiny.batch())
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(random.standard_normal(x.shape), x.dtype), params)

    def along(distance):
        return family.loss(jax.tree.map(lambda p, d: p + distance * d, params, direction), batch, None, 0)[0]

    ends = jax.jit(along)
    slope = jax.jit(jax.grad(along))
    reach, points = 1e-3, 20
    middles = (np.arange(points, dtype=np.float32) + 0.5) / points * 2 - 1
    integral = 2 * reach * np.mean([slope(reach * middle) for middle in middles])
    np.testing.assert_allclose(ends(reach) - ends(-reach), integral, rtol=5e-3)


@pytest.mark.parametrize("name", quick(NAMES, ("ctc",)))
def test_overfits_one_batch_and_decodes_it(name):
    family, batch = make_family(tiny.model(name, dropout=0.0, label_smoothing=0.0, width=32)), _lesson()
    params, tx = jax.jit(family.init)(jax.random.key(3)), optax.adam(6e-3)

    @jax.jit
    def train(params, state, batch):
        def update(carry, key):
            params, state = carry
            grads = jax.grad(lambda p: family.loss(p, batch, key, 0)[0])(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(update, (params, state), jax.random.split(jax.random.key(4), 200))[0]

    loss = jax.jit(family.loss)
    before = loss(params, batch, None, 0)[0]
    params, _ = train(params, tx.init(params), batch)
    assert loss(params, batch, None, 0)[0] < 0.05 < before
    found = jax.jit(family.decode, static_argnums=3)(params, batch.source, jax.random.key(0), 1)
    np.testing.assert_array_equal(found.tokens[:, 0, :4], batch.target)


def _lesson() -> Batch:
    """Pairs with different sources and no equal neighbours, so that every decoder can produce them."""
    sources = [[4, EOS], [5, EOS], [6, 6, EOS], [4, 5, EOS], [5, 6, EOS], [6, 4, 5, EOS]]
    targets = [[5, 4, EOS], [6, EOS], [4, 5, 6, EOS], [5, EOS], [4, 6, EOS], [6, 5, EOS]]
    return tiny.batch_of(sources, targets)


@pytest.mark.parametrize("name", quick(NAMES, ("ctc", "dag")))
def test_variants_keep_the_probability_space(name):
    change = {"norm": "post", "positions": "sinusoidal", "remat": True}
    targets = tiny.all_targets()
    family, params = tiny.family(name, **change), tiny.params(name, **change)
    batch = tiny.batch_of([[4, 6, EOS]] * len(targets), targets)
    scores = jax.jit(family.score)(params, batch)
    np.testing.assert_allclose(np.exp(np.float64(scores)).sum(), 1.0, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda p, b: family.loss(p, b, jax.random.key(0), 0)[0]))
    chex.assert_tree_all_finite(gradient(params, tiny.batch()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_scanned_layers_equal_unrolled_ones(name):
    layers = {"encoder_layers": 2, "decoder_layers": 2}
    plain, scanned = (tiny.family(name, scan_layers=scan, **layers) for scan in (False, True))
    params = tiny.params(name, **layers)
    stacked, batch = _stacked(params), tiny.batch()
    a, b = (jax.jit(f.score)(p, batch) for f, p in ((plain, params), (scanned, stacked)))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    decoded = [
        jax.jit(f.decode, static_argnums=3)(p, batch.source, jax.random.key(0), 1).tokens
        for f, p in ((plain, params), (scanned, stacked))
    ]
    np.testing.assert_array_equal(*decoded)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0))
    chex.assert_trees_all_equal_shapes(shapes, stacked)


def _stacked(tree):
    """layers_0, layers_1, ... as one entry `layers` with a leading axis."""
    if not isinstance(tree, dict):
        return tree
    layers = sorted((k for k in tree if k.startswith("layers_")), key=lambda k: int(k.split("_")[1]))
    rest = {k: _stacked(v) for k, v in tree.items() if k not in layers}
    if layers:
        rest["layers"] = jax.tree.map(lambda *x: jnp.stack(x), *(tree[k] for k in layers))
    return rest


@pytest.mark.parametrize("name", NAMES)
def test_axes_name_every_dimension_of_every_parameter(name):
    family = tiny.family(name)
    shapes = jax.eval_shape(family.init, jax.random.key(0))
    jax.tree.map(lambda s, names: chex.assert_rank(s, len(names)), shapes, family.axes)
    for names in jax.tree.leaves(family.axes, is_leaf=lambda leaf: isinstance(leaf, tuple)):
        assert max(Counter(filter(None, names)).values(), default=1) == 1, (
            names
        )  # a mesh axis shards one dimension


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_close(name):
    batch, params = tiny.batch(), tiny.params(name)
    exact = score(name, batch)
    rough = tiny.jitted(name, "score", dtype="bfloat16")(params, batch)
    np.testing.assert_allclose(exact, rough, rtol=0.1, atol=0.5)
