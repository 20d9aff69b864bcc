"""Autoregressive teacher: teacher forcing, exact chain-rule score, cached search and sampling."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from emnat_jax.config import AROptions, TransformerSpec
from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.decoding.beam import beam_search, greedy_search
from emnat_jax.decoding.rerank import first_candidates
from emnat_jax.decoding.sample import sample_search, source_keys
from emnat_jax.decoding.verified import DraftFn, Verified, verified_search
from emnat_jax.families.base import Family, Verify
from emnat_jax.families.parameters import init_and_axes
from emnat_jax.families.vocabulary import generable, output_loss
from emnat_jax.losses.cross_entropy import token_log_probs
from emnat_jax.models.dropout import dropout_rngs
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.stack import unscanned
from emnat_jax.models.transformer import Cache, Transformer, reorder
from emnat_jax.types import BOS, EOS, NEG_INF, PAD, Batch, Hypotheses, Key, Mean, Metrics, Params, Progress


class NextToken(nn.Module):
    """Encoder and causal decoder; logits of the token after each prefix."""

    spec: TransformerSpec

    def setup(self) -> None:
        self.transformer = Transformer(self.spec, causal=True)

    def __call__(
        self, source: Int[Array, "B S"], target: Int[Array, "B T"]
    ) -> tuple[Float[Array, "B T D"], OutputLayer]:
        """States of every token of the target, shifted right behind BOS, and the layer that scores them."""
        shifted = jnp.pad(target, ((0, 0), (1, 0)), constant_values=BOS)[:, :-1]
        # PAD inputs stand behind every real token, so the causal mask alone hides them.
        keep = jnp.ones(target.shape, bool)
        transformer = self.transformer
        states = transformer.decode(transformer.embedding(shifted), transformer.encode(source), keep)
        return states, transformer.embedding.output(generable(self.spec, eos=True))

    def start(self, source: Int[Array, "B S"], beams: int, length: int) -> Cache:
        """An empty cache for `beams` outputs of at most `length` tokens for each source."""
        return self.transformer.start(self.transformer.encode(source), beams, length)

    def step(
        self, tokens: Int[Array, "B K"], cache: Cache, position: Array
    ) -> tuple[Float[Array, "B K V"], Cache]:
        """Masked logits of what follows each of the tokens, at `position`, and the new cache."""
        states, cache = self.transformer.step(tokens, cache, position)
        allowed = generable(self.spec, eos=True)
        # With one finite logit EOS is certain at the last position; it costs no pass over all of them.
        only_eos = np.arange(len(allowed)) == EOS
        at_limit = position == self.spec.max_length - 1
        output = self.transformer.embedding.output(jnp.where(at_limit, only_eos, allowed))
        return output.logits(states), cache

    def block(
        self, tokens: Int[Array, "B W"], cache: Cache, position: Int[Array, " B"]
    ) -> tuple[Float[Array, "B W V"], Cache]:
        """As `step`, of W tokens of one output a row, the first of them at `position[b]`."""
        states, cache = self.transformer.block(tokens, cache, position)
        allowed = generable(self.spec, eos=True)
        logits = self.transformer.embedding.output(allowed).logits(states)
        place = position[:, None] + jnp.arange(tokens.shape[1])[None]
        excluded = (place >= self.spec.max_length - 1)[..., None] & (np.arange(len(allowed)) != EOS)[
            None, None
        ]
        return jnp.where(excluded, NEG_INF, logits), cache


def make(spec: TransformerSpec, options: AROptions) -> Family:
    """p(y | x) = prod_t p(y_t | y_<t, x) over tokens then EOS; EOS is certain at `max_length`."""
    module = NextToken(spec)
    tokens = jnp.full((1, 2), EOS, jnp.int32)
    init, axes = init_and_axes(module, tokens, tokens, method="__call__")
    return Family(
        init,
        axes,
        loss=functools.partial(_loss, spec, module),
        score=functools.partial(_score, spec, module),
        decode=functools.partial(_decode, spec, options),
    )


def _loss(
    spec: TransformerSpec,
    module: NextToken,
    params: Params,
    batch: Batch,
    key: Key | None,
    progress: Progress,
) -> tuple[Array, Metrics]:
    found: Any = module.apply({"params": params}, batch.source, batch.target, rngs=dropout_rngs(key))
    weight = _free_positions(spec, batch.target) * batch.weight[:, None]
    sums = output_loss(spec, found, batch.target, weight, eos=True)
    tokens = jnp.sum(weight)
    loss = Mean(sums.loss, tokens)
    metrics = {"loss": loss, "nll": Mean(sums.nll, tokens)}
    return loss.ratio(), metrics


def _score(spec: TransformerSpec, module: NextToken, params: Params, batch: Batch) -> Float[Array, " B"]:
    states, output = cast(Any, module.apply({"params": params}, batch.source, batch.target))
    log_probs = token_log_probs(output.logits(states), batch.target)
    total = jnp.sum(log_probs * _free_positions(spec, batch.target), axis=-1)
    fits = jnp.sum(batch.target != PAD, axis=-1) <= spec.max_length
    return jnp.where(fits, total, NEG_INF)


def _free_positions(spec: TransformerSpec, target: Array) -> Float[Array, "B T"]:
    """1 where a token was chosen: not padding, and not the EOS that the length limit forces."""
    return ((target != PAD) & (jnp.arange(target.shape[1]) < spec.max_length - 1)[None]).astype(jnp.float32)


def make_verify(spec: TransformerSpec, options: AROptions) -> Verify:
    """Greedy search that checks drafts. A row is searched anew, token by token, where a choice was too close.

    So the output is that of `decode` with a beam of 1, and not only nearly always.
    """
    return functools.partial(_verify, spec, options)


def _verify(
    spec: TransformerSpec,
    options: AROptions,
    params: Params,
    source: Array,
    drafts: Array,
    how: VerifiedOptions,
    *,
    redraft: DraftFn | None = None,
) -> Verified:
    spec, params = unscanned(spec, params)
    module, width = NextToken(spec), spec.output_length(source.shape[1])
    start = module.apply({"params": params}, source, 1, width, method="start")
    first = jnp.full((source.shape[0], 1), BOS, jnp.int32)
    step, block = (
        functools.partial(module.apply, {"params": params}, method=name) for name in ("step", "block")
    )
    sizes: dict[str, Any] = {"max_length": width, "log_total": functools.partial(jax.nn.logsumexp, axis=-1)}
    sizes["length_penalty"] = options.length_penalty
    found = verified_search(block, start, first[:, 0], drafts, options=how, redraft=redraft, **sizes)
    if not how.is_lossless:
        return found

    def searched_anew() -> Hypotheses:
        anew = greedy_search(step, start, first, **sizes)
        return jax.tree.map(functools.partial(_rows, found.close), anew, found.hypotheses)

    hypotheses = jax.lax.cond(jnp.any(found.close), searched_anew, lambda: found.hypotheses)
    passes = found.passes + jnp.where(found.close, jnp.sum(hypotheses.tokens[:, 0] != PAD, axis=-1), 0)
    return found.replace(hypotheses=hypotheses, passes=passes)


def _decode(
    spec: TransformerSpec, options: AROptions, params: Params, source: Array, key: Key, num_candidates: int
) -> Hypotheses:
    """The best of a beam of at least `num_candidates`, or that many draws; only these use `key`."""
    spec, params = unscanned(spec, params)
    module = NextToken(spec)
    beam = num_candidates if options.temperature is not None else max(num_candidates, options.beam)
    width = spec.output_length(source.shape[1])
    cache = module.apply({"params": params}, source, beam, width, method="start")
    first = jnp.full((source.shape[0], beam), BOS, jnp.int32)
    step = functools.partial(module.apply, {"params": params}, method="step")
    sizes: dict[str, Any] = {"max_length": width, "log_total": functools.partial(jax.nn.logsumexp, axis=-1)}
    if options.temperature is not None:
        keys = source_keys(jax.random.fold_in(key, options.seed), source)
        return sample_search(step, cache, first, keys, temperature=options.temperature, **sizes)
    alpha = options.length_penalty
    if beam == 1:
        return greedy_search(step, cache, first, length_penalty=alpha, **sizes)
    found = beam_search(step, cache, first, length_penalty=alpha, reorder=reorder, **sizes)
    return first_candidates(found, num_candidates)


def _rows(keep: Array, ours: Array, theirs: Array) -> Array:
    """The rows of one array [B, ...] where `keep` says so, else those of another."""
    return jnp.where(keep.reshape(-1, *(1,) * (ours.ndim - 1)), ours, theirs)
