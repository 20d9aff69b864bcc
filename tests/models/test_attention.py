"""The fused attention of CUDA devices: the same numbers as the plain one, and the kernel in the program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from emnat_jax.config import ModelConfig
from emnat_jax.errors import UserError
from emnat_jax.models.attention import attend, attend_fused
from tests import tiny


def inputs(length):
    keys = jax.random.split(jax.random.key(0), 4)
    query, key, value = (jax.random.normal(k, (3, length, 2, 16), jnp.float32) for k in keys[:3])
    keep = jax.random.bernoulli(keys[3], 0.7, (3, length, length)).at[:, :, 0].set(True)
    return query, key, value, keep


@pytest.mark.parametrize("length", [8, 7])
@pytest.mark.parametrize("rows", [8, 1], ids=["a mask for each query", "one mask"])
def test_fused_attention_has_the_numbers_of_the_plain_one(rows, length):
    query, key, value, keep = inputs(length)
    plain, fused = (
        f(query, key, value, keep[:, :rows], *rest) for f, rest in ((attend, ()), (attend_fused, ("xla",)))
    )
    np.testing.assert_allclose(plain, fused, rtol=1e-5, atol=1e-6)


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
