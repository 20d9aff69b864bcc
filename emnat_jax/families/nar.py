"""Position-wise non-autoregressive student: p(y | x) = p(T | x) prod_t p(y_t | T, t, x).

Network and loss of Sun & Yang (ICML 2020) as METHOD 1.6 and 1.7 give them, without the faults of
1.10: the decoder sees every source token and not the length slot, and EOS is no input at all.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from emnat_jax.config import ModelConfig
from emnat_jax.decoding.length_parallel import candidate_lengths
from emnat_jax.decoding.odd import argmax_decode, odd_decode
from emnat_jax.decoding.rerank import rerank
from emnat_jax.families.base import Family
from emnat_jax.families.parameters import init_and_axes
from emnat_jax.families.vocabulary import generable, mask, masked_log_softmax, only_eos
from emnat_jax.losses.cross_entropy import smoothed_cross_entropy, token_log_probs
from emnat_jax.models.heads import LengthHead
from emnat_jax.models.transformer import Encoded, Transformer
from emnat_jax.types import EOS, NEG_INF, PAD, Batch, Hypotheses, Key, Mean, Metrics, Params


def _with_decoder(config: ModelConfig, name: str) -> ModelConfig:
    return dataclasses.replace(config, nar=dataclasses.replace(config.nar, decoder=name))


DECODERS = {
    "odd": lambda config: _with_decoder(config, "odd"),
    "argmax": lambda config: _with_decoder(config, "argmax"),
}


class LengthThenTokens(nn.Module):
    """Encoder with a length slot, length head, and a decoder that sees positions only."""

    config: ModelConfig

    def setup(self):
        # METHOD 1.6: one decoder layer more than the autoregressive model.
        self.transformer = Transformer(self.config, causal=False, extra_decoder_layers=1)
        self.length_head = LengthHead(self.config)

    def __call__(self, source, lengths, width: int):
        encoded, length_logits = self.encode(source)
        return self.tokens(encoded, lengths, width), length_logits

    def encode(self, source: Int[Array, "B S"]) -> tuple[Encoded, Float[Array, "B L"]]:
        """What the decoder sees of the source, and scores of each target length."""
        states, keep = self.transformer.encode(source, slot=True)
        return Encoded(states[:, 1:], keep[:, 1:]), self.length_head(states[:, 0])

    def tokens(self, encoded: Encoded, lengths: Int[Array, " B"], width: int) -> Float[Array, "B T V"]:
        """Scores of the token at each of `width` positions for targets of given lengths, EOS counted."""
        keep = jnp.arange(width)[None] < lengths[:, None]
        inputs = self.transformer.embedding(jnp.full(keep.shape, PAD, jnp.int32))
        states = self.transformer.decode(inputs, encoded, keep)
        return self.transformer.embedding.logits(states, generable(self.config, eos=False))


def make(config: ModelConfig) -> Family:
    """The family; lengths are 1 to `max_length`, the last token is EOS with probability one."""
    module = LengthThenTokens(config)
    tokens = jnp.full((1, 2), EOS, jnp.int32)
    init, axes = init_and_axes(module, tokens, jnp.array([2]), 2, method="__call__")
    return Family(
        init,
        axes,
        loss=functools.partial(_loss, config, module),
        score=functools.partial(_score, config, module),
        decode=functools.partial(_decode, config, module),
    )


def _lengths(target) -> Int[Array, " B"]:
    return jnp.sum(target != PAD, axis=-1)


def _free_positions(target) -> Float[Array, "B T"]:
    """1 at every token but the EOS, which the length alone decides."""
    return (jnp.arange(target.shape[1])[None] < _lengths(target)[:, None] - 1).astype(jnp.float32)


def _allowed_lengths(config) -> np.ndarray:
    return np.arange(config.max_length + 1) > 0


def _logits(config, module, params, batch, key):
    """Masked scores of the tokens [B, T, V] and of the lengths [B, L]."""
    rngs = None if key is None else {"dropout": key}
    width = batch.target.shape[1]
    tokens, lengths = module.apply({"params": params}, batch.source, _lengths(batch.target), width, rngs=rngs)
    return tokens, mask(lengths, _allowed_lengths(config))


def _loss(config, module, params: Params, batch: Batch, key: Key | None, step) -> tuple[Array, Metrics]:
    """Mean smoothed token loss plus a share of the mean smoothed length loss (METHOD 1.7)."""
    logits, length_logits = _logits(config, module, params, batch, key)
    lengths, smoothing = _lengths(batch.target), config.label_smoothing
    token = smoothed_cross_entropy(logits, batch.target, smoothing, generable(config, eos=False))
    length = smoothed_cross_entropy(length_logits, lengths, smoothing, _allowed_lengths(config))
    weight = _free_positions(batch.target) * batch.weight[:, None]
    tokens, rows = jnp.sum(weight), jnp.sum(batch.weight)
    token_mean = jnp.sum(token * weight) / jnp.maximum(tokens, 1.0)
    length_mean = jnp.sum(length * batch.weight) / jnp.maximum(rows, 1.0)
    loss = token_mean + config.nar.length_loss_weight * length_mean
    token_nll = -token_log_probs(logits, batch.target)
    length_nll = -token_log_probs(length_logits, lengths)
    return loss, {
        "loss": Mean(loss * tokens, tokens),
        "nll": Mean(jnp.sum(token_nll * weight), tokens),
        "length_nll": Mean(jnp.sum(length_nll * batch.weight), rows),
    }


def _score(config, module, params: Params, batch: Batch) -> Float[Array, " B"]:
    logits, length_logits = _logits(config, module, params, batch, None)
    token = token_log_probs(logits, batch.target)
    length = token_log_probs(length_logits, _lengths(batch.target))
    return jnp.sum(token * _free_positions(batch.target), axis=-1) + length


def length_log_probs(config: ModelConfig, length_logits: Float[Array, "B L"]) -> Float[Array, "B L"]:
    """log p(T | x) of each length; length 0 is impossible, for every target ends in EOS."""
    return masked_log_softmax(length_logits, _allowed_lengths(config))


def _decode(config, module, params: Params, source: Array, key: Key, num_candidates: int) -> Hypotheses:
    """One hypothesis for each of n lengths around the most likely one, best first by own score.

    `key` is not used.
    """
    del key
    count = max(num_candidates, config.nar.length_candidates)
    width = min(config.max_length, source.shape[1] + config.extra_length)
    encoded, length_logits = module.apply({"params": params}, source, method="encode")
    length_lp = length_log_probs(config, length_logits)
    lengths, valid = candidate_lengths(jnp.argmax(length_lp, axis=-1), count, width)
    tokens, log_prob = _tokens_of_lengths(config, module, params, encoded, lengths, width)
    log_prob += jnp.take_along_axis(length_lp, lengths, axis=-1)
    found = Hypotheses(tokens, jnp.where(valid, log_prob, NEG_INF), jnp.where(valid, log_prob, NEG_INF))
    found = rerank(found, found.log_prob, config.nar.length_penalty)
    return jax.tree.map(lambda x: x[:, :num_candidates], found)


def _tokens_of_lengths(config, module, params, encoded, lengths, width):
    """Best tokens i32[B, K, T] and their log-probability f32[B, K] for each candidate length."""
    batch, count = lengths.shape
    repeated = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), encoded)
    flat = lengths.reshape(-1)
    logits = module.apply({"params": params}, repeated, flat, width, method="tokens")
    log_probs = masked_log_softmax(logits, generable(config, eos=False))
    log_probs = only_eos(log_probs, jnp.arange(width)[None] == flat[:, None] - 1)
    if config.nar.decoder == "argmax":
        tokens, log_prob = argmax_decode(log_probs, flat)
    else:
        penalty = jnp.inf if config.nar.odd_penalty is None else config.nar.odd_penalty
        tokens, log_prob = odd_decode(log_probs, flat, penalty)
    return tokens.reshape(batch, count, width), log_prob.reshape(batch, count)
