"""DA-Transformer student (Huang et al., ICML 2022): a graph over the upsampled source, summed over its paths.

A path starts at the first vertex, ends at the last and emits one token at each vertex in between. The
first is silent (it emits BOS for certain, so that the choice of a path can decide the first word), the
last emits EOS for certain and no other does. A target with more tokens than vertices behind the first is
impossible: training leaves it out and counts it as `unreachable`. There is no length head; label
smoothing is not used.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.config import DAGOptions, TransformerSpec
from emnat_jax.decoding import dag as decoding
from emnat_jax.decoding.beam import beam_search
from emnat_jax.decoding.rerank import first_candidates
from emnat_jax.decoding.top import top_1
from emnat_jax.families.base import Family
from emnat_jax.families.parallel import Parallel, marginal_loss, parallel_family
from emnat_jax.families.vocabulary import generable, masked_log_softmax, only_eos
from emnat_jax.losses.dag import dag_alignment, dag_log_prob
from emnat_jax.losses.emission import emission_log_probs
from emnat_jax.models.dropout import dropout_rngs
from emnat_jax.models.heads import LinkHead
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import BOS, EOS, HIDDEN, NEG_INF, PAD, Batch, Hypotheses, Key, Params


class Graph(UpsampledDecoder):
    """Upsampled decoder whose positions are vertices, and the links between them."""

    link_heads: int
    max_jump: int | None

    def setup(self):
        super().setup()
        self.link_head = LinkHead(self.spec, self.link_heads, self.max_jump)

    def __call__(self, source):
        encoded = self.encode(source)
        return self.links(encoded, self.states(encoded))

    def links(self, encoded, states: Float[Array, "B L D"]) -> Float[Array, "B L L"]:
        """Log-probability of each vertex to follow each."""
        return self.link_head(states, self.place(states.shape[1]), self.keep(encoded))


class Prediction(NamedTuple):
    """The graph."""

    logits: jax.Array  # f32[B, L, V]; masked; of every vertex but the last
    links: jax.Array  # f32[B, L, L]; log-probabilities
    last: jax.Array  # i32[B]; the vertex where paths end


def make(spec: TransformerSpec, options: DAGOptions) -> Family:
    """The family; a source of S tokens gives `dag.factor` x S vertices."""
    tokens = jnp.full((1, 2), EOS, jnp.int32)
    decode = functools.partial(_decode, spec, options)
    return parallel_family(_module(spec, options), (tokens,), parts(spec, options), decode)


def parts(spec: TransformerSpec, options: DAGOptions) -> Parallel:
    """Decoder positions are vertices; the reference lies on those of its best path, the last one aside."""
    return Parallel(
        encode=functools.partial(_encode, spec, options),
        predict=functools.partial(_predict, spec, options),
        reference=_reference,
        logits=lambda prediction: prediction.logits,
        log_prob=_log_prob,
        loss=lambda prediction, batch, hidden: marginal_loss(_log_prob(prediction, batch.target), batch),
    )


def _module(spec, options: DAGOptions) -> Graph:
    return Graph(spec, options.factor, options.link_heads, options.max_jump)


def _encode(spec, options, params: Params, batch: Batch, key: Key | None):
    return _module(spec, options).apply(
        {"params": params}, batch.source, rngs=dropout_rngs(key), method="encode"
    )


def _predict(
    spec, options, params: Params, memory, batch: Batch | None, revealed, key: Key | None
) -> Prediction:
    def graph(module):
        states = module.states(memory, revealed)
        return module.logits(states, generable(spec, eos=False)), module.links(memory, states)

    logits, links = _module(spec, options).apply({"params": params}, rngs=dropout_rngs(key), method=graph)
    return Prediction(logits, links, options.factor * jnp.sum(memory.keep, axis=-1) - 1)


def _program(prediction: Prediction, target) -> tuple:
    """What the dynamic programs over BOS and a target want: emissions, links, number of tokens, last vertex."""
    target = jnp.pad(target, ((0, 0), (1, 0)), constant_values=BOS)
    # BOS and EOS are masked everywhere, but each is certain at its vertex, where nothing else is possible.
    emissions = emission_log_probs(prediction.logits, target)
    vertex = jnp.arange(emissions.shape[1])[None, :, None]
    for place, token in ((0, BOS), (prediction.last[:, None, None], EOS)):
        certain = jnp.where(target == token, 0.0, NEG_INF)[:, None]
        emissions = jnp.where(vertex == place, certain, emissions)
    return emissions, prediction.links, jnp.sum(target != PAD, axis=-1), prediction.last


def _log_prob(prediction: Prediction, target) -> Float[Array, " B"]:
    return dag_log_prob(*_program(prediction, target))


def _reference(prediction: Prediction, batch: Batch) -> Int[Array, "B L"]:
    vertices = dag_alignment(*_program(prediction, batch.target))[:, 1:]
    count = prediction.logits.shape[1]
    shown = (vertices >= 0) & (batch.target != EOS)
    rows = jnp.arange(vertices.shape[0])[:, None]
    hidden = jnp.full(prediction.logits.shape[:2], HIDDEN, jnp.int32)
    return hidden.at[rows, jnp.where(shown, vertices, count)].set(batch.target, mode="drop")


def _decode(
    spec, options: DAGOptions, params: Params, source: Array, key: Key, num_candidates: int
) -> Hypotheses:
    """The tokens of one good path, or the best of a beam; with their exact log-probability.

    `key` is not used.
    """
    del key
    width = spec.output_length(source.shape[1])
    memory = _module(spec, options).apply({"params": params}, source, method="encode")
    prediction = _predict(spec, options, params, memory, None, None, None)
    log_probs = masked_log_softmax(prediction.logits, generable(spec, eos=False))
    at_last = jnp.arange(log_probs.shape[1])[None] == prediction.last[:, None]
    log_probs = only_eos(log_probs, at_last)
    if num_candidates > 1 or options.decoder == "beam":
        return _search(options, log_probs, prediction.links, width, num_candidates)
    tokens = _path(options, log_probs, prediction, width)
    log_prob = _log_prob(prediction, tokens)[:, None]
    return Hypotheses(tokens[:, None], log_prob, log_prob)


def _path(options: DAGOptions, log_probs, prediction: Prediction, width: int) -> Int[Array, "B T"]:
    """The tokens of one path without the silent start."""
    values, tokens = top_1(log_probs)
    values = values.at[:, 0].set(0.0)
    links, last, beta = prediction.links, prediction.last, options.length_exponent
    match options.decoder:
        case "greedy":
            found = decoding.greedy(tokens, links, last, width=width + 1)
        case "lookahead":
            found = decoding.lookahead(tokens, values, links, last, width=width + 1)
        case "viterbi":
            found = decoding.viterbi(tokens, links, last, width=width + 1, beta=beta)
        case _:
            found = decoding.joint_viterbi(tokens, values, links, last, width=width + 1, beta=beta)
    return found[:, 1:]


def _search(options: DAGOptions, log_probs, links, width: int, num_candidates: int) -> Hypotheses:
    beam = max(num_candidates, options.beam)
    step = decoding.prefix_step(log_probs, links)
    # The silent start has been passed: every vertex that it links to may emit the first token.
    cache = jnp.broadcast_to(jnp.exp(links[:, :1]), (links.shape[0], beam, links.shape[1]))
    first = jnp.full((log_probs.shape[0], beam), BOS, jnp.int32)
    alpha = options.length_penalty
    return first_candidates(
        beam_search(step, cache, first, max_length=width, length_penalty=alpha), num_candidates
    )
