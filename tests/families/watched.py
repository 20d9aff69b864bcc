"""A family whose losses also tell what its decoder was shown."""

from collections.abc import Callable
from unittest import mock

import jax

from emnat_jax.config import ModelConfig
from emnat_jax.families import MODULES, make_family


def watched_loss(config: ModelConfig, base: str) -> Callable:
    """Compiled (params, batch, key, step) -> (loss, metrics, passes), as `Family.loss` has the first two.

    `passes` has (revealed, prediction) of every call of the decoder, which is the one of `base`.
    """
    parts, passes = MODULES[base].parts(config), []

    def predict(params, memory, batch, revealed, key):
        prediction = parts.predict(params, memory, batch, revealed, key)
        passes.append((revealed, prediction))
        return prediction

    with mock.patch.object(MODULES[base], "parts", lambda config: parts._replace(predict=predict)):
        family = make_family(config)

    def loss(params, batch, key, step):
        passes.clear()
        value, metrics = family.loss(params, batch, key, step)
        return value, metrics, list(passes)

    return jax.jit(loss)
