"""A stack of layers of one class, and the same stack with its layers apart."""

import dataclasses
from typing import Any

import jax
from flax import linen as nn

from emnat_jax.config import TransformerSpec
from emnat_jax.types import Params


class Stack(nn.Module):
    """N layers of one class, each compiled, or one scanned over; optionally rematerialised."""

    spec: TransformerSpec
    layer: type[nn.Module]
    count: int

    def setup(self) -> None:
        layer = nn.remat(self.layer) if self.spec.remat else self.layer
        if self.spec.scan_layers:
            self.layers: Any = nn.scan(
                layer,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(0, nn.broadcast),
                length=self.count,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )(self.spec)
        else:
            self.layers = [layer(self.spec) for _ in range(self.count)]

    def __call__(
        self, carry: Any, own: Any = None, shared: Any = None, method: str = "__call__"
    ) -> tuple[Any, Any]:
        """(carry, what each layer gives) after all layers; scanned ones have the first method, no own.

        What they give is a list, of scanned ones an array with a leading axis of layers.
        """
        if self.spec.scan_layers:
            return self.layers(carry, own, shared)
        outputs = []
        for index, layer in enumerate(self.layers):
            carry, output = getattr(layer, method)(carry, own and own[index], shared)
            outputs.append(output)
        return carry, outputs


def unscanned(spec: TransformerSpec, params: Params) -> tuple[TransformerSpec, Params]:
    """The same model with its layers one by one, as step-by-step decoding needs it.

    A loop over layers would copy each layer's cache out of the stack of all of them, and back, at every
    token.
    """
    if not spec.scan_layers:
        return spec, params

    def one_by_one(stack: Params) -> Params:
        count = jax.tree.leaves(stack)[0].shape[0]
        return {f"layers_{n}": jax.tree.map(lambda leaf, n=n: leaf[n], stack["layers"]) for n in range(count)}

    transformer = params["transformer"]
    stacks = {name: one_by_one(transformer[name]) for name in ("encoder", "decoder")}
    params = {**params, "transformer": {**transformer, **stacks}}
    return dataclasses.replace(spec, scan_layers=False), params
