"""The CTC student as an ONNX graph: the best frame by frame, collapsed."""

import numpy as np

from emnat_jax.config import CTCOptions, TransformerSpec
from emnat_jax.errors import require
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import Inputs
from emnat_jax.export.layers import Layers
from emnat_jax.export.top import top_1
from emnat_jax.export.upsampled import Upsampled, kept_tokens
from emnat_jax.families.vocabulary import generable
from emnat_jax.types import BLANK, EOS, PAD, Params


def translate(
    graph: Graph, spec: TransformerSpec, options: CTCOptions, params: Params, inputs: Inputs
) -> Value:
    """i32[B, T]: what `families.ctc` decodes greedily.

    UserError for its beam.
    """
    require(
        options.decoder == "greedy",
        f"ctc.decoder={options.decoder}: the best path can be exported; use --decoder=greedy.",
    )
    layers = Layers(graph, spec, params, inputs.head)
    frames = Upsampled(layers, params, options.factor, inputs.source)
    allowed = generable(spec, eos=False, blank=True)
    added = np.where(np.arange(len(allowed)) == BLANK, -options.length_reward, 0.0).astype(np.float32)
    found = layers.scores(frames.states, allowed, log_probs=False, added=added)
    return _collapse(graph, found.words(top_1(found)), frames.keep, inputs.limit).cast("int32")


def _collapse(graph: Graph, path: Value, real: Value, limit: Value) -> Value:
    """As `decoding.ctc.collapse`: i64[B, T], T the longest output."""
    before = graph.concat([path.slice(1, 0, 1) * 0 + BLANK, path.slice(1, 0, -1)], axis=1)
    keep = real & ~path.equals(BLANK) & ~path.equals(before)
    length = graph.minimum(keep.cast("int64").sum(1), limit - 1)
    width = length.max(0, keepdims=True) + 1
    tokens = kept_tokens(path, keep, width)
    column, end = graph.arange(width).unsqueeze(0), length.unsqueeze(1)
    return graph.where(column < end, tokens, graph.where(column.equals(end), np.array(EOS), np.array(PAD)))
