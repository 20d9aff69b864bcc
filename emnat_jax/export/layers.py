"""The Transformer of models/ as an ONNX graph: the same mathematics over the same parameters, in float32."""

from typing import Any, NamedTuple

import numpy as np

from emnat_jax.config import TransformerSpec
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import Head
from emnat_jax.export.top import Chunked
from emnat_jax.models.embedding import sinusoids
from emnat_jax.models.stack import unscanned
from emnat_jax.models.transformer import NORM_EPSILON
from emnat_jax.tokens import NEG_INF, PAD
from emnat_jax.types import Params

_ACTIVATIONS = {"relu": "Relu", "gelu": "Gelu"}  # operators of ONNX, with their defaults


class Encoded(NamedTuple):
    """What the decoder sees of the source."""

    states: Value  # f32[B, S, D]
    keep: Value  # bool[B, S]


class Layers:
    """The parts of a Transformer over one set of parameters."""

    def __init__(self, graph: Graph, spec: TransformerSpec, params: Params, head: Head):
        self.graph, self._head = graph, head
        self.spec, self.params = unscanned(spec, params)
        self._own = self.params["transformer"]
        tokens = np.asarray(self._own["embedding"]["tokens"])
        self._table = graph.weight("embedding", tokens[: spec.vocab_size] * np.float32(spec.width**0.5))
        self._output = tokens

    def encode(self, source: Value, slot: np.ndarray | None = None) -> Encoded:
        """Encoder output; a `slot` f32[D] stands before the words and takes no position."""
        graph, keep = self.graph, ~source.equals(PAD)
        x = self.embed(source) + np.asarray(self._own["source_bias"])
        if slot is not None:
            first = graph.weight("slot", (slot + np.asarray(self._own["source_bias"]))[None, None])
            batch = source.size(0)
            x = graph.concat([first.expand(batch, 1, self.spec.width), x], axis=1)
            keep = graph.concat([graph.weight("true", np.ones((1, 1), bool)).expand(batch, 1), keep], axis=1)
        x = self._enter(x, "encoder_norm")
        visible = self._visible(keep, keep)
        for index in range(self.spec.encoder_layers):
            layer = _Named(f"encoder.{index}", self._own["encoder"][f"layers_{index}"])
            x = self._residual(layer, 0, x, lambda y, layer=layer: self._self_attention(layer, y, visible))
            x = self._residual(layer, 1, x, lambda y, layer=layer: self._feed_forward(layer, y))
        return Encoded(self._leave(x, "encoder_norm"), keep)

    def decode(self, x: Value, encoded: Encoded, keep: Value) -> Value:
        """Decoder output f32[B, L, D] for inputs of which those of `keep` are seen by all."""
        x = self._enter(x, "decoder_norm")
        own, memory = self._visible(keep, keep), self._visible(keep, encoded.keep)
        for index in range(self.spec.decoder_layers):
            layer = _Named(f"decoder.{index}", self._own["decoder"][f"layers_{index}"])
            x = self._residual(layer, 0, x, lambda y, layer=layer: self._self_attention(layer, y, own))
            x = self._residual(
                layer, 1, x, lambda y, layer=layer: self._cross_attention(layer, y, encoded.states, memory)
            )
            x = self._residual(layer, 2, x, lambda y, layer=layer: self._feed_forward(layer, y))
        return self._leave(x, "decoder_norm")

    def embed(self, tokens: Value) -> Value:
        """Scaled embeddings plus positions."""
        return self._table.take(tokens) + self.positions(tokens.size(1))

    def embedding_of(self, token: int) -> np.ndarray:
        """f32[D]: the scaled embedding of one id."""
        return self._output[token] * np.float32(self.spec.width**0.5)

    def positions(self, count: Value) -> Value:
        """f32[n, D]: the first n positions, scaled as they are added."""
        return self.graph.weight("positions", self._position_table()).slice(0, 0, count)

    def scores(
        self,
        states: Value,
        allowed: np.ndarray,
        *,
        copies: int = 1,
        log_probs: bool,
        added: np.ndarray | None = None,
    ) -> Chunked:
        """As `Head.scores`, to look for the best; ids that are not allowed are far below.

        `added` f32[V] is added to the logits.
        """
        bias = np.where(allowed, np.asarray(self._own["embedding"]["output_bias"]), np.float32(NEG_INF))
        bias = bias if added is None else bias + added
        return self._head.scores(states, self._output, bias, copies=copies, log_probs=log_probs)

    def projection(self, name: str, params: Params, x: Value) -> Value:
        """A linear map whose output axes are one."""
        kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
        return self._linear(name, x, kernel.reshape(-1, bias.size), bias.reshape(-1))

    def _visible(self, queries: Value, keys: Value) -> Value:
        """What is added to scores, f32[B, 1, T, S]."""
        added = self.graph.where(keys, np.float32(0), np.float32(NEG_INF)).unsqueeze(1, 2)
        return added.expand(keys.size(0), 1, queries.size(1), keys.size(1))

    def _position_table(self) -> np.ndarray:
        spec = self.spec
        if spec.positions == "learned":
            return np.asarray(self._own["embedding"]["positions"]) * np.float32(spec.width**0.5)
        return np.asarray(sinusoids(spec.max_length + 1, spec.width))

    def _linear(self, name: str, x: Value, kernel: np.ndarray, bias: np.ndarray) -> Value:
        product = x @ self.graph.weight(f"{name}.kernel", kernel)
        return product + self.graph.weight(f"{name}.bias", bias)

    def _self_attention(self, layer: "_Named", x: Value, visible: Value) -> Value:
        attention = layer.params["attention"]
        qkv = self.projection(f"{layer.name}.qkv", attention["qkv"], x)
        split = self.graph.ops("Split", qkv, axis=-1, num_outputs=3, dtypes=["float32"] * 3)
        return self._attend(f"{layer.name}.out", attention["out"], *split, visible=visible)

    def _cross_attention(self, layer: "_Named", x: Value, states: Value, visible: Value) -> Value:
        cross = layer.params["cross"]
        query = self.projection(f"{layer.name}.query", cross["query"], x)
        key_value = self.projection(f"{layer.name}.key_value", cross["key_value"], states)
        split = self.graph.ops("Split", key_value, axis=-1, num_outputs=2, dtypes=["float32"] * 2)
        return self._attend(f"{layer.name}.cross_out", cross["out"], query, *split, visible=visible)

    def _attend(
        self, name: str, out: Params, query: Value, key: Value, value: Value, *, visible: Value
    ) -> Value:
        heads = self.spec.heads
        attended = self.graph.op(
            "Attention", query, key, value, visible, q_num_heads=heads, kv_num_heads=heads, dtype="float32"
        )
        kernel, bias = np.asarray(out["kernel"]), np.asarray(out["bias"])
        return self._linear(name, attended, kernel.reshape(-1, bias.size), bias)

    def _feed_forward(self, layer: "_Named", x: Value) -> Value:
        params = layer.params["feed_forward"]
        hidden = self.projection(f"{layer.name}.up", params["up"], x)
        hidden = self.graph.op(_ACTIVATIONS[self.spec.activation], hidden, dtype="float32")
        return self.projection(f"{layer.name}.down", params["down"], hidden)

    def _residual(self, layer: "_Named", index: int, x: Value, change: Any) -> Value:
        norm = layer.params[f"residuals_{index}"]["norm"]
        name = f"{layer.name}.norm_{index}"
        if self.spec.norm == "pre":
            return x + change(self._norm(name, norm, x))
        return self._norm(name, norm, x + change(x))

    def _enter(self, x: Value, norm: str) -> Value:
        return self._norm(norm, self._own[norm], x) if self.spec.norm == "post" else x

    def _leave(self, x: Value, norm: str) -> Value:
        return self._norm(norm, self._own[norm], x) if self.spec.norm == "pre" else x

    def _norm(self, name: str, params: Params, x: Value) -> Value:
        scale, bias = (np.asarray(params[part]) for part in ("scale", "bias"))
        weights = self.graph.weight(f"{name}.scale", scale), self.graph.weight(f"{name}.bias", bias)
        return self.graph.op(
            "LayerNormalization", x, *weights, axis=-1, epsilon=NORM_EPSILON, dtype="float32"
        )


class _Named(NamedTuple):
    name: str
    params: Params
