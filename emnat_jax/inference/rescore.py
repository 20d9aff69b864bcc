"""Student hypotheses ranked by the teacher: two models that meet only here (docs/method.md, section 10.5)."""

import jax
import jax.numpy as jnp

from emnat_jax.decoding.rerank import rerank
from emnat_jax.families.base import Family
from emnat_jax.inference.decode import DecodeStep
from emnat_jax.runtime.mesh import Layout, batch_sharding
from emnat_jax.types import Batch, Hypotheses, Params


def make_rescored_step(
    student: Family, teacher: Family, layout: Layout, *, count: int, alpha: float
) -> DecodeStep:
    """Compiled ((student, teacher) params, batch) -> the student's hypotheses in the teacher's order.

    The teacher scores all of them in one teacher-forced pass, by log p_teacher / ((5 + T) / 6)^alpha.
    """

    def decode(params: tuple[Params, Params], batch: Batch) -> Hypotheses:
        found = student.decode(params[0], batch.source, jax.random.key(0), count)
        tokens = found.tokens.reshape(-1, found.tokens.shape[-1])
        source = jnp.repeat(batch.source, count, axis=0)
        ones = jnp.ones(len(tokens), jnp.float32)
        pairs = Batch(source, tokens, ones, jnp.zeros(len(tokens), jnp.int32))
        log_prob = teacher.score(params[1], pairs).reshape(found.log_prob.shape)
        return rerank(found, log_prob, alpha)

    rows = batch_sharding(layout.mesh)
    return jax.jit(decode, in_shardings=(None, rows), out_shardings=rows)
