"""Glancing Transformer (Qian et al., ACL 2021): its base family with another loss."""

import functools

import jax
import jax.numpy as jnp

from emnat_jax.config import FAMILIES, GLATOptions, LengthOptions, TransformerSpec
from emnat_jax.decoding.top import top_1
from emnat_jax.families import vanilla
from emnat_jax.families.base import Family, Redraft
from emnat_jax.families.parallel import Parallel, plain_loss
from emnat_jax.losses.glance import glanced, glancing_ratio
from emnat_jax.types import HIDDEN, Array, Batch, Key, Mean, Metrics, Params, Progress


def make(spec: TransformerSpec, options: GLATOptions) -> Family:
    """The family `glat.base`, trained by glancing."""
    glancing = parts(spec, options)
    base = FAMILIES[options.base].make(spec, options.of_base)
    return base._replace(loss=glancing.make_loss(glancing))


def parts(spec: TransformerSpec, options: GLATOptions) -> Parallel:
    """Those of the base; training reveals some of the reference where a first pass was wrong."""
    parallel = FAMILIES[options.base].parallel
    assert parallel is not None  # GLATOptions takes no other base
    base = parallel(spec, options.of_base)
    return base._replace(make_loss=lambda parts: functools.partial(_loss, options, parts))


def make_redraft(spec: TransformerSpec, options: GLATOptions) -> Redraft | None:
    """Drafts given the beginning, shown as in training; None of a base with positions of its own."""
    base = options.of_base
    return functools.partial(vanilla.redraft, spec, base) if isinstance(base, LengthOptions) else None


def _loss(
    options: GLATOptions, parts: Parallel, params: Params, batch: Batch, key: Key | None, progress: Progress
) -> tuple[Array, Metrics]:
    """The base's loss after a look at some of the reference, the more the worse a first pass is.

    The first pass has no gradient and no dropout in the decoder. In evaluation nothing is shown.
    """
    if key is None:
        return plain_loss(parts)(params, batch, None, progress)
    encode_key, decode_key, glance_key = jax.random.split(key, 3)
    memory = parts.encode(params, batch, encode_key)
    first = parts.predict(*jax.lax.stop_gradient((params, memory)), batch, None, None)
    reference = parts.reference(first, batch)
    eligible = reference != HIDDEN
    ratio = glancing_ratio(progress, options.start_ratio, options.end_ratio, options.anneal_share)
    shown = glanced(glance_key, top_1(parts.logits(first))[1], reference, eligible, ratio)
    prediction = parts.predict(params, memory, batch, jnp.where(shown, reference, HIDDEN), decode_key)
    loss, metrics = parts.loss(prediction, batch, ~shown)
    weight = batch.weight[:, None]
    return loss, metrics | {"glanced": Mean(jnp.sum(shown * weight), jnp.sum(eligible * weight))}
