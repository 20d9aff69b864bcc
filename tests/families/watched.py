"""A family whose losses also tell what its decoder was shown."""

from collections.abc import Callable

import jax

from emnat_jax.config import ModelSpec
from emnat_jax.families import parallel_parts


def watched_loss(model: ModelSpec) -> Callable:
    """Compiled (params, batch, key, progress) -> (loss, metrics, passes), as `Family.loss` has the first two.

    `passes` has (revealed, prediction) of every call of the decoder.
    """
    parts, passes = parallel_parts(model), []

    def predict(params, memory, batch, revealed, key):
        prediction = parts.predict(params, memory, batch, revealed, key)
        passes.append((revealed, prediction))
        return prediction

    watched = parts.make_loss(parts._replace(predict=predict))

    def loss(params, batch, key, progress):
        passes.clear()
        value, metrics = watched(params, batch, key, progress)
        return value, metrics, list(passes)

    return jax.jit(loss)
