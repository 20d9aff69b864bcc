"""Meshes, shardings and global batches."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from emnat_jax.config import MeshConfig, OptimConfig
from emnat_jax.errors import UserError
from emnat_jax.training import layout as layouts
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.state import abstract_params, abstract_state, state_shardings
from tests import tiny_family
from tests.training import runs


@pytest.mark.parametrize(
    ("config", "shape"),
    [(MeshConfig(), (4, 1, 1)), (MeshConfig(fsdp=2), (2, 2, 1)), (MeshConfig(2, 1, 2), (2, 1, 2))],
)
def test_mesh_takes_what_is_left(config, shape):
    assert tuple(layouts.make_layout(config, jax.devices()[:4]).mesh.shape.values()) == shape


@pytest.mark.parametrize(
    "config", [MeshConfig(model=3), MeshConfig(data=2), MeshConfig(8), MeshConfig(fsdp=0)]
)
def test_mesh_that_does_not_divide(config):
    with pytest.raises(UserError, match="4 devices"):
        layouts.make_layout(config, jax.devices()[:4])


def test_parameters_and_moments_follow_the_rules():
    layout = runs.layout(4, data=1, fsdp=2, model=2)
    tx = make_optimizer(OptimConfig(), 10, tiny_family.AXES)
    shardings = state_shardings(tiny_family.AXES, tx, layout, ema=True)
    assert shardings.params["tokens"].spec == PartitionSpec("model", "fsdp")
    assert shardings.params["positions"].spec == PartitionSpec(None, "fsdp")
    assert shardings.params["output"]["bias"].spec == PartitionSpec("model")
    abstract = abstract_state(tiny_family.make(), tx, shardings)
    placed = {
        jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(abstract.opt_state)
    }
    moments = [leaf for name, leaf in placed.items() if name.endswith("['tokens']")]
    assert [leaf.sharding.spec for leaf in moments] == [PartitionSpec("model", "fsdp")] * 2


def test_parameter_that_does_not_divide():
    family = tiny_family.make()
    odd = family._replace(
        init=lambda key: {"w": jax.random.normal(key, (3, 4))}, axes={"w": ("vocab", "embed")}
    )
    with pytest.raises(UserError, match=r"'w'.*axis of 3.*mesh.model=2"):
        abstract_params(odd, runs.layout(2, model=2))


def test_rows_reach_the_devices_in_order():
    batch = tiny_family.batch(0)
    layout = runs.layout(4, fsdp=2)
    placed = layouts.to_global(layout, batch)
    np.testing.assert_array_equal(placed.source, batch.source)
    assert placed.source.addressable_shards[0].data.shape == (2, tiny_family.LENGTH)
    stacked = layouts.to_global(layout, batch, accumulate=2)
    np.testing.assert_array_equal(np.concatenate(stacked.row), batch.row)
    assert stacked.target.shape == (2, 4, tiny_family.LENGTH)
    assert stacked.target.addressable_shards[0].data.shape == (2, 1, tiny_family.LENGTH)


def test_rows_that_do_not_divide():
    with pytest.raises(UserError, match=r"batch of 6 rows.*multiple of 4"):
        layouts.to_global(runs.layout(4), tiny_family.batch(0, rows=6))
    with pytest.raises(UserError, match="multiple of 16"):
        layouts.to_global(runs.layout(4), tiny_family.batch(0, rows=8), accumulate=4)
