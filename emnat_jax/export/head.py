"""The output layer of an ONNX graph: over the whole vocabulary, or over a shortlist of it."""

from typing import NamedTuple

import numpy as np

from emnat_jax.decoding.top import CHUNK
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.shortlist import Shortlist
from emnat_jax.export.top import Chunked, chunked
from emnat_jax.tokens import BOS, NEG_INF, PAD

OUTPUT = "output"  # is in the names of the weights of this layer
_LARGEST = 63  # of 7 bits with a sign: the products of x86 processors without VNNI overflow with 8


class Inputs(NamedTuple):
    """What the graph of a student starts from."""

    source: Value  # i32[B, S]
    limit: Value  # i64[B]; the most tokens of each output
    head: "Head"


class Listed(NamedTuple):
    """The words that the outputs of a batch may have."""

    ids: Value  # i64[K] of all its sentences, ascending; then BOS, to fill a chunk
    own: Value  # bool[B, K]: which of them each sentence has


class Head(NamedTuple):
    """Where the words of the outputs are looked for."""

    listed: Listed | None = None  # None: in the whole vocabulary
    is_int8: bool = False  # of a shortlist: the weights are kept in 8 bits

    def scores(
        self, states: Value, table: np.ndarray, bias: np.ndarray, *, copies: int = 1, log_probs: bool
    ) -> Chunked:
        """Of each state f32[B x copies, T, D] the scores of the rows f32[V, D] of the output layer.

        V fills chunks. Log-probabilities (of a shortlist: among its words), or logits, which have the same
        order at less cost.
        """
        graph = states.graph
        if self.listed is None:
            scores = states @ graph.weight(f"{OUTPUT}.kernel", table.T) + graph.weight(f"{OUTPUT}.bias", bias)
        else:
            scores = self._listed_scores(self.listed, states, table, bias, copies)
        if log_probs:
            # Over twice the speed of ReduceLogSumExp, and one array as large as the logits more.
            scores = graph.op("LogSoftmax", scores, axis=-1, dtype="float32")
        if self.listed is None:
            return chunked(scores, len(table))
        return chunked(scores, None, self.listed.ids)

    def _listed_scores(
        self, listed: Listed, states: Value, table: np.ndarray, bias: np.ndarray, copies: int
    ) -> Value:
        graph, own = states.graph, listed.own
        product = _rounded if self.is_int8 else _exact
        own = own if copies == 1 else own.repeat(copies)
        of_words = graph.weight(f"{OUTPUT}.bias", bias).take(listed.ids).unsqueeze(0)
        return product(states, table, listed.ids) + graph.where(own, of_words, NEG_INF).unsqueeze(1)


def listed_words(graph: Graph, shortlist: Shortlist, source: Value) -> Listed:
    """The words of a shortlist for sentences i32[B, S]: those of each do not depend on the others."""
    assert (shortlist.by_source[PAD] == PAD).all(), "padding brings no words"
    size = len(shortlist.by_source)
    found = graph.weight("shortlist", shortlist.by_source).take(source).reshape(0, -1)
    always = graph.weight("always_listed", np.isin(np.arange(size), shortlist.always)[None].astype(np.uint8))
    marks = always.expand(source.size(0), size)
    # Marks in rows over the vocabulary: far faster than Unique, and in the vocabulary's order.
    mark = graph.weight("mark", np.ones((1, 1), np.uint8)).expand(found.size(0), found.size(1))
    marks = graph.op("ScatterElements", marks, found, mark, axis=1, dtype="uint8")
    ids = graph.op("NonZero", marks.max(0), dtype="int64").squeeze(0)
    missing = graph.op("Mod", ids.size(0) * -1, np.array([CHUNK]), dtype="int64")
    ids = graph.concat([ids, graph.weight("filling", np.array([BOS])).expand(missing)], axis=0)
    return Listed(ids, marks.take(ids, 1).cast("bool"))


def _exact(states: Value, table: np.ndarray, ids: Value) -> Value:
    return states @ states.graph.weight(f"{OUTPUT}.rows", table).take(ids).transpose(1, 0)


def _rounded(states: Value, table: np.ndarray, ids: Value) -> Value:
    """As `write_int8` makes its products: weights by output channel, states as they come."""
    graph = states.graph
    scale = np.maximum(np.abs(table).max(axis=1), np.finfo(np.float32).tiny) / np.float32(_LARGEST)
    rows = graph.weight(f"{OUTPUT}.rows", np.rint(table / scale[:, None]).astype(np.int8)).take(ids)
    rounded, state_scale, zero = graph.ops(
        "DynamicQuantizeLinear", states, dtypes=["uint8", "float32", "uint8"]
    )
    product = graph.op("MatMulInteger", rounded, rows.transpose(1, 0), zero, dtype="int32")
    return product.cast("float32") * (graph.weight(f"{OUTPUT}.scales", scale).take(ids) * state_scale)
