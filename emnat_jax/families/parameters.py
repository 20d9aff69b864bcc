"""Parameters of a Linen module: the functions `init` and `axes` of a Family, and what families share."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from emnat_jax.types import Key, Params

# What the models of all families have in common, in the submodule "transformer" of each.
ENCODER_MODULES = ("embedding", "source_bias", "encoder", "encoder_norm")


def init_and_axes(
    module: nn.Module, *inputs: Any, method: Callable | str
) -> tuple[Callable[[Key], Params], Params]:
    """`init(key)` and the tree of logical axis names, by calling `method` on small abstract inputs."""

    def boxed(key):
        return module.init(key, *inputs, method=method)["params"]

    def is_box(leaf):
        return isinstance(leaf, nn.LogicallyPartitioned)

    def init(key: Key) -> Params:
        return nn.meta.unbox(boxed(key))

    shapes = jax.eval_shape(boxed, jax.random.key(0))
    axes = jax.tree.map(lambda box: box.names, shapes, is_leaf=is_box)
    return init, axes


def encoder_params(params: Params) -> Params:
    """The embeddings and the encoder of any family's parameters: a part of any other family's."""
    return {"transformer": {name: params["transformer"][name] for name in ENCODER_MODULES}}
