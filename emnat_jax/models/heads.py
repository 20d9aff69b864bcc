"""Output heads besides the softmax over the vocabulary."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from emnat_jax.config import ModelConfig


class LengthHead(nn.Module):
    """Scores of absolute target lengths, EOS counted: state . table[length], no bias (METHOD 1.6)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, state: Float[Array, "B D"]) -> Float[Array, "B L"]:
        init = nn.with_logical_partitioning(nn.initializers.normal(self.config.width**-0.5), (None, "embed"))
        table = self.param("table", init, (self.config.max_length + 1, self.config.width), jnp.float32)
        # float32 at full precision: [B, 1] rows cost nothing and lengths decide the whole output.
        return jnp.einsum("bd,ld->bl", state, table, precision=jax.lax.Precision.HIGHEST)
