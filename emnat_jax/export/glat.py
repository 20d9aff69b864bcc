"""The glancing student as an ONNX graph: that of its base."""

from emnat_jax.config import FAMILIES, GLATOptions, TransformerSpec
from emnat_jax.errors import require
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import Inputs
from emnat_jax.types import Params


def translate(
    graph: Graph, spec: TransformerSpec, options: GLATOptions, params: Params, inputs: Inputs
) -> Value:
    """As the base family."""
    base = FAMILIES[options.base].graph
    require(base is not None, f"glat.base={options.base}: this family has no ONNX graph.")
    assert base is not None
    return base(graph, spec, options.of_base, params, inputs)
