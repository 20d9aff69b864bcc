"""The fused attention of CUDA devices: the same numbers as the plain one, and the kernel in the program."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax._src.cudnn import fused_attention_stablehlo

from emnat_jax.config import ModelConfig
from emnat_jax.errors import UserError
from emnat_jax.models.attention import (
    Projection,
    Visible,
    as_cached,
    attend,
    attend_cached,
    attend_fused,
)
from tests import tiny


def inputs(length):
    keys = jax.random.split(jax.random.key(0), 3)
    query, key, value = (jax.random.normal(k, (3, length, 2, 16), jnp.float32) for k in keys)
    keep = np.arange(length) < np.array([3, length, 1])[:, None]
    return query, key, value, jnp.asarray(keep)


@pytest.mark.parametrize("length", [8, 7])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_has_the_numbers_of_the_plain_one(causal, length):
    *arrays, keep = inputs(length)
    visible = Visible(keep, causal)
    with jax.numpy_rank_promotion("allow"):  # in JAX's own mask of lengths
        fused = attend_fused(*arrays, visible, "xla")
    np.testing.assert_allclose(attend(*arrays, visible.mask()), fused, rtol=1e-5, atol=1e-6)


def test_cached_attention_has_the_numbers_of_the_plain_one():
    query, key, value, keep = inputs(6)
    some, every = (
        query[:, :2],
        jnp.broadcast_to(keep[:, None], (3, 2, 6)) & jnp.tri(2, 6, 3, dtype=bool)[None],
    )
    for mask in (every, keep[:, None]):  # of each query, of all alike
        cached = attend_cached(some, *as_cached(key, value), mask)
        np.testing.assert_allclose(attend(some, key, value, mask), cached, rtol=1e-5, atol=1e-6)


def test_a_causal_query_sees_itself_and_real_keys_before_it():
    seen = Visible(jnp.array([[True, True, False]]), causal=True).mask()
    assert seen.tolist() == [[[True, False, False], [True, True, False], [True, True, False]]]


def test_narrow_products_have_the_gradients_of_wide_ones_to_their_precision():
    """Weights [D, parts, H, C] and [H, C, D], the two shapes that there are."""
    for inputs, outputs, parts in (
        (((6, None),), ((2, None), (3, None)), 3),
        (((2, None), (3, None)), ((6, None),), 1),
    ):
        wide, narrow = (
            Projection(inputs, outputs, tiny.model("ar", dtype=dtype).transformer, parts)
            for dtype in ("float32", "bfloat16")
        )
        x = jax.random.normal(jax.random.key(0), (4, 5, *(size for size, _ in inputs)))
        params = wide.init(jax.random.key(1), x)

        def loss(module, params, x):
            return jnp.sum(jnp.square(module.apply(params, x)))

        exact, near = (
            jax.grad(functools.partial(loss, module), (0, 1))(params, x) for module in (wide, narrow)
        )
        for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(near), strict=True):
            assert a.dtype == b.dtype and np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)


@pytest.mark.parametrize("outputs", [3, 9])  # fewer than the 6 inputs, more
def test_a_linear_map_has_the_gradients_of_a_plain_product(outputs):
    module = Projection(((6, None),), ((outputs, None),), tiny.model("ar").transformer)
    x = jax.random.normal(jax.random.key(0), (4, 5, 6))
    params = nn.unbox(module.init(jax.random.key(1), x))["params"]

    def plain(params, x):
        return (
            jnp.einsum("btd,do->bto", x, params["kernel"], precision="highest") + params["bias"][None, None]
        )

    def loss(apply, params, x):
        return jnp.sum(jnp.sin(apply(params, x)))

    wanted = jax.grad(functools.partial(loss, plain), (0, 1))(params, x)
    found = jax.grad(functools.partial(loss, lambda p, x: module.apply({"params": p}, x)), (0, 1))(params, x)
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "layers"), [("ar", 3), ("vanilla", 5)]
)  # self-attention and cross-attention
def test_training_for_cuda_holds_the_kernel_forward_and_backward(family, layers, monkeypatch):
    """The encoder of `vanilla` has one place more than the source is wide: an odd number here."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda *_: True, raising=False)
    options = {"attention": "cudnn", "dtype": "bfloat16", "attention_dropout": 0.0}
    family = tiny.family(family, **options)
    params = jax.eval_shape(family.init, jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda p, batch: family.loss(p, batch, jax.random.key(1), 0)[0]))
    program = gradient.trace(params, tiny.batch()).lower(lowering_platforms=("cuda",)).as_text()
    kernels = re.findall(r"__cudnn\$fmha\w+", program)
    backward = [name for name in kernels if name.endswith("Backward")]
    assert (len(kernels), len(backward)) == (2 * layers, layers)


@pytest.mark.parametrize(
    "change", [{"dtype": "float32"}, {"attention_dropout": 0.1}, {"attention_dropout": None}]
)
def test_what_the_kernel_cannot_do_is_refused(change):
    with pytest.raises(UserError, match="attention=cudnn"):
        ModelConfig(**{"attention": "cudnn", "dtype": "bfloat16", "attention_dropout": 0.0, **change})
