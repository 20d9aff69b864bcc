"""Operations of an update, against the matrices one by one."""

import pytest

from emnat_jax.config import ModelConfig, TransformerSpec
from emnat_jax.models.embedding import padded_vocab
from emnat_jax.models.flops import training_flops


def by_hand(
    spec: TransformerSpec, sources: int, rows: int, source: int, target: int, decoder_layers: int
) -> float:
    """Three times (forward and twice for backward) two operations for each weight and position."""
    width, hidden = spec.width, spec.ff_width
    square, feed_forward = width * width, 2 * width * hidden

    def layer(positions: int) -> int:  # query, key, value, output; scores and their sums; feed-forward
        return positions * (4 * square + feed_forward) + 2 * positions * positions * width

    def cross() -> int:
        return 2 * target * square + 2 * source * square + 2 * target * source * width

    encoder = spec.encoder_layers * layer(source)
    decoder = decoder_layers * (layer(target) + cross()) + target * width * padded_vocab(spec)
    return 3 * 2 * (sources * encoder + rows * decoder)


@pytest.mark.parametrize(("family", "decoder_layers"), [("ar", 2), ("vanilla", 3)])
def test_operations_of_an_update(family, decoder_layers):
    config = ModelConfig(family=family, encoder_layers=3, decoder_layers=2, width=8, ff_width=20, heads=2)
    model = config.resolve(vocab_size=50, max_length=12)
    assert training_flops(model, 6, 5, 7) == by_hand(model.transformer, 6, 6, 5, 7, decoder_layers)
    assert training_flops(model, 6, 5, 7, targets_per_source=3) == by_hand(
        model.transformer, 2, 6, 5, 7, decoder_layers
    )
    assert training_flops(model, 6, 5, 7, targets_per_source=3, decodes_once=True) == by_hand(
        model.transformer, 2, 2, 5, 7, decoder_layers
    )
