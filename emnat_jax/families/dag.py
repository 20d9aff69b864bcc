"""DA-Transformer student (Huang et al., ICML 2022): a graph over the upsampled source, summed over its paths.

    p(y | x) = sum over paths 0 = a_0 < a_1 < ... < a_T = last of prod_t p(a_t | a_t-1, x) p(y_t | a_t, x)

A path starts at the first vertex, ends at the last and emits one token at each vertex behind the first. The
first is silent (it emits BOS with probability one, so that the choice of a path can decide the first word),
the last emits EOS with probability one and no other does. A target has probability 0 where it has more tokens
than there are vertices behind the first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.config import DAGOptions, TransformerSpec
from emnat_jax.decoding import dag as decoding
from emnat_jax.decoding.beam import LogProbsFn
from emnat_jax.decoding.top import top_1
from emnat_jax.families.base import Family
from emnat_jax.families.objective import bigram_loss
from emnat_jax.families.parallel import Parallel
from emnat_jax.families.upsampled import Beam, Decoder, upsampled_family, upsampled_parts
from emnat_jax.families.vocabulary import generable, only_eos
from emnat_jax.losses.bigrams import bigram_precision
from emnat_jax.losses.cross_entropy import emission_log_probs
from emnat_jax.losses.dag import dag_alignment, dag_log_prob
from emnat_jax.losses.dag_bigrams import dag_bigrams
from emnat_jax.models.heads import LinkHead
from emnat_jax.models.masking import masked_log_softmax
from emnat_jax.models.transformer import Encoded
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import BOS, EOS, HIDDEN, NEG_INF, PAD, Batch, Metrics


class Prediction(NamedTuple):
    """The graph."""

    logits: jax.Array  # f32[B, L, V]; masked; of every vertex but the last
    links: jax.Array  # f32[B, L, L]; log-probabilities
    last: jax.Array  # i32[B]; the vertex where paths end


class Graph(UpsampledDecoder):
    """Upsampled decoder whose positions are vertices, and the links between them."""

    link_heads: int
    max_jump: int | None

    def setup(self) -> None:
        super().setup()
        self.link_head = LinkHead(self.spec, self.link_heads, self.max_jump)

    def predict(self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None) -> Prediction:
        """One pass, in which the decoder is shown what is `revealed`."""
        states = self.states(encoded, revealed)
        logits = self.logits(states, generable(self.spec, eos=False))
        links = self.link_head(states, self.place(states.shape[1]), self.keep(encoded))
        return Prediction(logits, links, self.factor * jnp.sum(encoded.keep, axis=-1) - 1)


def make(spec: TransformerSpec, options: DAGOptions) -> Family:
    """The family; a source of S tokens gives `factor` x S vertices."""
    beam = Beam(
        start=_start_search,
        width=options.beam,
        always=options.decoder == "beam",
        length_penalty=options.length_penalty,
    )
    decoder = Decoder(
        log_probs=lambda prediction: _log_probs(spec, prediction),
        path=lambda prediction, log_probs, width: _path(options, log_probs, prediction, width),
        log_prob=_log_prob,
        beam=beam,
    )
    return upsampled_family(_module(spec, options), parts(spec, options), decoder)


def parts(spec: TransformerSpec, options: DAGOptions) -> Parallel:
    """Positions are vertices; the reference lies on its best path, without the last vertex."""
    return upsampled_parts(_module(spec, options), _log_prob, _reference)._replace(ngram_loss=_ngram_loss)


def _module(spec: TransformerSpec, options: DAGOptions) -> Graph:
    return Graph(spec, options.factor, options.link_heads, options.max_jump)


def _ngram_loss(prediction: Prediction, batch: Batch, hidden: Array | None) -> tuple[Array, Metrics]:
    """1 - precision of the bigrams with the brevity penalty."""
    emissions, links, lengths, _ = _program(prediction, batch.target)
    bigrams = dag_bigrams(emissions, links, _with_start(batch.target), lengths)
    return bigram_loss(bigram_precision(bigrams), bigrams, batch)


def _with_start(target: Array) -> Int[Array, "B T"]:
    return jnp.pad(target, ((0, 0), (1, 0)), constant_values=BOS)


def _program(prediction: Prediction, target: Array) -> tuple:
    """Arguments of the dynamic programs over BOS and a target: emissions, links, lengths, last vertices."""
    target = _with_start(target)
    # BOS and EOS are masked everywhere, but each is certain at its vertex, where nothing else is possible.
    emissions = emission_log_probs(prediction.logits, target)
    vertex = jnp.arange(emissions.shape[1])[None, :, None]
    for place, token in ((0, BOS), (prediction.last[:, None, None], EOS)):
        certain = jnp.where(target == token, 0.0, NEG_INF)[:, None]
        emissions = jnp.where(vertex == place, certain, emissions)
    return emissions, prediction.links, jnp.sum(target != PAD, axis=-1), prediction.last


def _log_prob(prediction: Prediction, target: Array) -> Float[Array, " B"]:
    return dag_log_prob(*_program(prediction, target))


def _reference(prediction: Prediction, batch: Batch) -> Int[Array, "B L"]:
    vertices = dag_alignment(*_program(prediction, batch.target))[:, 1:]
    count = prediction.logits.shape[1]
    shown = (vertices >= 0) & (batch.target != EOS)
    rows = jnp.arange(vertices.shape[0])[:, None]
    hidden = jnp.full(prediction.logits.shape[:2], HIDDEN, jnp.int32)
    return hidden.at[rows, jnp.where(shown, vertices, count)].set(batch.target, mode="drop")


def _log_probs(spec: TransformerSpec, prediction: Prediction) -> Float[Array, "B L V"]:
    """What each vertex emits; the last one EOS with probability one."""
    log_probs = masked_log_softmax(prediction.logits, generable(spec, eos=False))
    at_last = jnp.arange(log_probs.shape[1])[None] == prediction.last[:, None]
    return only_eos(log_probs, at_last)


def _path(options: DAGOptions, log_probs: Array, prediction: Prediction, width: int) -> Int[Array, "B T"]:
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
        case "joint_viterbi":
            found = decoding.joint_viterbi(tokens, values, links, last, width=width + 1, beta=beta)
        case name:  # `beam` searches outputs and asks for no path
            raise AssertionError(f"no path is found for the decoder {name!r} of DAGOptions.DECODERS")
    if options.collapse_repeats:
        return decoding.without_repeats(found[:, 1:], last, options.max_jump)
    return found[:, 1:]


def _start_search(
    prediction: Prediction, log_probs: Float[Array, "B L V"], beam: int
) -> tuple[LogProbsFn, Array]:
    """A search over outputs that starts after the silent vertex."""
    links = prediction.links
    cache = jnp.broadcast_to(jnp.exp(links[:, :1]), (links.shape[0], beam, links.shape[1]))
    return decoding.prefix_step(log_probs, links), cache
