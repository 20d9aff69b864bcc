"""What weights start from (docs/method.md, section 8.1)."""

import math

import jax
from flax import linen as nn

from emnat_jax.config import TransformerSpec

NORMAL = 0.02  # standard deviation of init=normal (Devlin et al., NAACL 2019)


def vectors(spec: TransformerSpec) -> nn.initializers.Initializer:
    """Of embeddings, positions and other tables of vectors [..., D]."""
    return nn.initializers.normal(NORMAL if spec.init == "normal" else spec.width**-0.5)


def linear_map(spec: TransformerSpec, inputs: int, parts: int) -> nn.initializers.Initializer:
    """Of a matrix with so many input axes, then `parts` axes of maps that are stacked, then output axes."""
    return nn.initializers.normal(NORMAL) if spec.init == "normal" else _glorot(inputs, parts)


def _glorot(inputs: int, parts: int) -> nn.initializers.Initializer:
    """Glorot uniform over one part's fan-in and fan-out."""

    def init(key, shape, dtype):
        fan_in, fan_out = math.prod(shape[:inputs]), math.prod(shape[inputs + parts :])
        limit = (6.0 / (fan_in + fan_out)) ** 0.5
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
