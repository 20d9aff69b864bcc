"""Output heads besides the softmax over the vocabulary."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from emnat_jax.config import TransformerSpec
from emnat_jax.models import initial
from emnat_jax.models.attention import Projection
from emnat_jax.models.masking import mask, masked_log_softmax


class LengthHead(nn.Module):
    """Scores of absolute target lengths, EOS counted: state . table[length], no bias (method.md, 8.3)."""

    spec: TransformerSpec

    @nn.compact
    def __call__(self, state: Float[Array, "B D"]) -> Float[Array, "B L"]:
        init = nn.with_logical_partitioning(initial.vectors(self.spec), (None, "embed"))
        table = self.param("table", init, (self.spec.max_length + 1, self.spec.width), jnp.float32)
        # float32 at full precision: [B, 1] rows cost nothing and lengths decide the whole output.
        return jnp.einsum("bd,ld->bl", state, table, precision=jax.lax.Precision.HIGHEST)


class LinkHead(nn.Module):
    """Log-probability of each vertex to follow each (DA-Transformer, Huang et al., ICML 2022, 3.1).

    A mixture of heads, each a softmax over the allowed successors; in float32. NEG_INF where no link is
    allowed: back, to padding, or further than `max_jump` vertices.
    """

    spec: TransformerSpec
    heads: int
    max_jump: int | None

    @nn.compact
    def __call__(
        self, states: Float[Array, "B L D"], place: Float[Array, "L D"], keep: Bool[Array, "B L"]
    ) -> Float[Array, "B L L"]:
        spec, heads = self.spec, self.heads
        x = jnp.concatenate([states, jnp.broadcast_to(place[None], states.shape)], axis=-1)
        inputs = ((2 * spec.width, "embed"),)
        outputs = ((heads, "heads"), (spec.width // spec.heads, None))
        pair = Projection(inputs, outputs, spec, parts=2, name="query_key")(x)
        query, key = pair[:, :, 0] * pair.shape[-1] ** -0.5, pair[:, :, 1]
        scores = jnp.einsum("blhc,bmhc->bhlm", query, key, preferred_element_type=jnp.float32)
        allowed = successors(keep, self.max_jump)
        by_head = masked_log_softmax(scores, allowed[:, None])
        gate = jax.nn.log_softmax(Projection(inputs, ((heads, None),), spec, name="gate")(x))
        mixed = jax.nn.logsumexp(by_head + gate.swapaxes(1, 2)[..., None], axis=1)
        return mask(mixed, allowed)


def successors(keep: Bool[Array, "B L"], max_jump: int | None) -> Bool[Array, "B L L"]:
    """Which vertices may follow each: later ones that are real, at most `max_jump` ahead."""
    place = jnp.arange(keep.shape[1])
    ahead = place[None, :] - place[:, None]
    reach = (ahead > 0) & (ahead <= (keep.shape[1] if max_jump is None else max_jump))
    return reach[None] & keep[:, None] & keep[:, :, None]
