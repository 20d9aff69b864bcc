"""A teacher as a model of CTranslate2, made of our parameters with its own description of a Transformer."""

from typing import Any

import numpy as np
from etils import epath

from emnat_jax.config import ModelSpec, TransformerSpec
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.export.packages import need
from emnat_jax.families.vocabulary import generable
from emnat_jax.models.embedding import sinusoids
from emnat_jax.models.stack import unscanned
from emnat_jax.models.transformer import NORM_EPSILON
from emnat_jax.tokens import BOS, EOS, NEG_INF, UNK
from emnat_jax.types import Params


def write_ctranslate2(
    directory: epath.PathLike, model: ModelSpec, params: Params, vocabulary: Vocabulary
) -> None:
    """Writes the files of a CTranslate2 model with float32 weights into an existing folder.

    Its tokens are the vocabulary's pieces, and a source ends in the piece of EOS. UserError for a family
    other than `ar`, and for a vocabulary of another size or with one piece twice.
    """
    if model.family != "ar":
        raise UserError(
            f"the family {model.family} does not go token by token, as the models that CTranslate2 runs; a "
            "student goes to ONNX."
        )
    transformer, pieces = model.transformer, vocabulary.pieces()
    require(
        len(pieces) == transformer.vocab_size,
        f"the vocabulary has {len(pieces)} pieces, the model {transformer.vocab_size}; give the model's own.",
    )
    require(
        len(set(pieces)) == len(pieces),
        "a piece stands in the vocabulary twice, and CTranslate2 knows tokens by their pieces alone.",
    )
    spec = _spec(transformer, params)
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.unk_token, spec.config.eos_token, spec.config.bos_token = (pieces[i] for i in (UNK, EOS, BOS))
    spec.config.decoder_start_token = pieces[BOS]
    spec.config.layer_norm_epsilon = NORM_EPSILON
    spec.validate()
    spec.optimize()  # the one table of embeddings is stored once
    spec.save(str(directory))


def _spec(transformer: TransformerSpec, params: Params) -> Any:
    """The filled description (ctranslate2.specs.TransformerSpec)."""
    transformer, params = unscanned(transformer, params)
    own = params["transformer"]
    specs = need("ctranslate2.specs")
    spec = specs.TransformerSpec.from_config(
        (transformer.encoder_layers, transformer.decoder_layers),
        transformer.heads,
        pre_norm=transformer.norm == "pre",
        layernorm_embedding=transformer.norm == "post",
        activation={"relu": specs.Activation.RELU, "gelu": specs.Activation.GELU}[transformer.activation],
    )
    positions = _positions(transformer, own)
    tokens = _array(own["embedding"]["tokens"])[: transformer.vocab_size]
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = tokens
    spec.encoder.position_encodings.encodings = positions + _array(own["source_bias"])
    spec.decoder.position_encodings.encodings = positions
    for stack, name in ((spec.encoder, "encoder_norm"), (spec.decoder, "decoder_norm")):
        _fill_norm(stack.layer_norm if transformer.norm == "pre" else stack.layernorm_embedding, own[name])
    allowed = generable(transformer, eos=True)
    bias = np.where(allowed, _array(own["embedding"]["output_bias"]), np.float32(NEG_INF))
    spec.decoder.projection.weight = tokens
    spec.decoder.projection.bias = bias[: transformer.vocab_size]
    for index, layer in enumerate(spec.encoder.layer):
        _fill_layer(layer, own["encoder"][f"layers_{index}"])
    for index, layer in enumerate(spec.decoder.layer):
        _fill_layer(layer, own["decoder"][f"layers_{index}"])
    return spec


def _positions(transformer: TransformerSpec, own: Params) -> np.ndarray:
    """f32[n, D]: what is added to the scaled embedding of the token at each position."""
    if transformer.positions == "learned":
        return _array(own["embedding"]["positions"]) * np.float32(transformer.width**0.5)
    return _array(sinusoids(transformer.max_length + 1, transformer.width))


def _fill_layer(layer: Any, params: Params) -> None:
    """A layer of the encoder, or of the decoder, which has attention to the encoder in between."""
    changes = [layer.self_attention]
    _fill_linears(layer.self_attention, params["attention"], "qkv", "out")
    if "cross" in params:
        changes.append(layer.attention)
        _fill_linears(layer.attention, params["cross"], "query", "key_value", "out")
    changes.append(layer.ffn)
    _fill_linear(layer.ffn.linear_0, params["feed_forward"]["up"])
    _fill_linear(layer.ffn.linear_1, params["feed_forward"]["down"])
    for index, change in enumerate(changes):
        _fill_norm(change.layer_norm, params[f"residuals_{index}"]["norm"])


def _fill_linears(attention: Any, params: Params, *names: str) -> None:
    for linear, name in zip(attention.linear, names, strict=True):
        _fill_linear(linear, params[name])


def _fill_linear(linear: Any, params: Params) -> None:
    """Weights (out, in); stacked maps, heads and their channels are one axis."""
    bias = _array(params["bias"]).reshape(-1)
    linear.weight = np.ascontiguousarray(_array(params["kernel"]).reshape(-1, bias.size).T)
    linear.bias = bias


def _fill_norm(norm: Any, params: Params) -> None:
    norm.gamma, norm.beta = _array(params["scale"]), _array(params["bias"])


def _array(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float32)
