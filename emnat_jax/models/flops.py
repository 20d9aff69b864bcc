"""Floating-point operations of the one Transformer, for the log's model FLOP/s."""

from emnat_jax.config import ModelSpec
from emnat_jax.models.embedding import padded_vocab


def training_flops(
    model: ModelSpec,
    rows: int,
    source: int,
    target: int,
    targets_per_source: int = 1,
    *,
    decodes_once: bool = False,
) -> float:
    """Operations of one step on `rows` x (`source` + `target`) positions, padding counted.

    `targets_per_source` rows share a source, which is encoded once, and where the model `decodes_once` one
    pass of the decoder serves them all. Matrix products only, two operations a
    multiply-add, backward twice the forward (Kaplan et al. 2020, 2.1). Recomputation by `remat` and passes
    without gradient (glancing, the E-step inside the loss) are not model work and are left out, heads besides
    the vocabulary's are too small to count.
    """
    spec, target = model.transformer, model.options.decoder_positions(source, target)
    width, hidden = spec.width, spec.ff_width
    layer = 4 * width**2 + 2 * width * hidden
    encoder = spec.encoder_layers * source * (layer + 2 * source * width)
    # Cross-attention: query and output for each target position, key and value for each source one.
    cross = 2 * width**2 * (source + target) + 2 * source * target * width
    decoder = spec.decoder_layers * (target * (layer + 2 * target * width) + cross)
    softmax = target * width * padded_vocab(spec)
    if model.options.deep_supervision:
        softmax *= spec.decoder_layers
    decoded = rows / targets_per_source if decodes_once else rows
    return 6.0 * (rows / targets_per_source * encoder + decoded * (decoder + softmax))
