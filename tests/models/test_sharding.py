"""Lookups in a table whose rows lie on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import MeshConfig
from emnat_jax.models.sharding import rows_of
from emnat_jax.profiling.hlo import parse
from emnat_jax.runtime.mesh import batch_sharding, make_layout, param_shardings, use_layout

TABLE = jax.random.normal(jax.random.key(0), (20, 8))
INDEX = jnp.array([[0, 11, 3], [5, 6, 6], [2, 9, 0], [1, 4, 10]])


def lookup(table, index):
    found = rows_of(table, index, "vocab")
    return jnp.sum(found * jnp.arange(8.0)[None, None]), found


@pytest.mark.parametrize("sizes", [{}, {"model": 4}, {"model": 2}, {"fsdp": 2, "model": 2}])
def test_lookup_and_gradient_do_not_depend_on_the_layout(sizes):
    whole = jax.value_and_grad(lookup, has_aux=True)(TABLE, INDEX)
    layout = make_layout(MeshConfig(**sizes), jax.devices()[:4])
    places = param_shardings(layout, {"table": ("vocab", "embed")})["table"], batch_sharding(layout.mesh)
    with use_layout(layout):
        spread = jax.jit(jax.value_and_grad(lookup, has_aux=True), in_shardings=places)
        compiled = spread.lower(TABLE, INDEX).compile()
        found = compiled(*jax.device_put((TABLE, INDEX), places))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, found)
    instructions = [
        i for computation in parse(compiled.as_text()).computations.values() for i in computation.values()
    ]
    gathered = [shape.size for i in instructions if i.opcode.startswith("all-gather") for shape in i.shapes]
    assert instructions and TABLE.nbytes not in gathered  # the table is nowhere made whole
