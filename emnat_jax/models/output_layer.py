"""The softmax layer over the vocabulary, kept apart from the states that it is applied to."""

import functools
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Float

from emnat_jax.models.products import product
from emnat_jax.models.sharding import constrain


@struct.dataclass
class OutputLayer:
    """Scores of the padded vocabulary are states . table^T + bias.

    The losses of `ar`, `vanilla`, `cmlm` and `glat` on `vanilla` take it together with the states and do not
    keep the scores of all positions (`losses/output_layer.py`); those of `ctc` and `dag` ask for `logits`.
    """

    table: Any  # f32[V, D]; the embedding
    bias: Any  # f32[V]; about NEG_INF where an id is not allowed
    dtype: str = struct.field(pytree_node=False)  # of the product

    def logits(self, states: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """Scores of the padded vocabulary; ids that are not allowed get about `NEG_INF`."""
        rows = _times_table(states.reshape(-1, states.shape[-1]), self.table, self.dtype)
        # Rows, and only then [B, T, V]: the losses take the rows, and nothing is copied into another shape.
        return constrain(rows + self.bias[None], "batch", "vocab").reshape(*states.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _times_table(x: Float[Array, "N D"], table: Float[Array, "V D"], dtype: str) -> Float[Array, "N V"]:
    """x . table^T in `dtype`, summed in float32."""
    return product(x, table, ((1,), (1,)), dtype)


def _times_table_forward(x, table, dtype):
    return _times_table(x, table, dtype), (x, table)


def _times_table_backward(dtype, saved, gradient):
    """As automatic differentiation has it, but the large [N, V] gradient is never transposed."""
    x, table = saved
    by_dimension = jax.lax.optimization_barrier(x.astype(dtype).T)
    by_column = jax.lax.optimization_barrier(product(by_dimension, gradient, ((1,), (0,)), dtype))  # [D, V]
    return product(gradient, table, ((1,), (0,)), dtype), by_column.T


_times_table.defvjp(_times_table_forward, _times_table_backward)
