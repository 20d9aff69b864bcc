"""Meshes, shardings and global batches."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from emnat_jax.config import MeshConfig, OptimConfig
from emnat_jax.errors import UserError
from emnat_jax.runtime import mesh as layouts
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
    "config", [MeshConfig(model=3), MeshConfig(data=2), MeshConfig(8), MeshConfig(fsdp=3)]
)
def test_mesh_that_does_not_divide(config):
    with pytest.raises(UserError, match="4 devices"):
        layouts.make_layout(config, jax.devices()[:4])


def test_parameters_and_moments_follow_the_rules():
    layout = runs.layout(4, data=1, fsdp=2, model=2)
    tx = make_optimizer(OptimConfig(method="muon"), 10, tiny_family.AXES)
    shardings = state_shardings(tiny_family.AXES, tx, layout, ema=True)
    assert shardings.params["tokens"].spec == PartitionSpec("model", "fsdp")
    assert shardings.params["positions"].spec == PartitionSpec(None, "fsdp")
    assert shardings.params["output"]["bias"].spec == PartitionSpec("model")
    abstract = abstract_state(tiny_family.make(), tx, shardings)
    placed = {
        jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(abstract.opt_state)
    }
    moments = {
        of: [leaf.sharding.spec for name, leaf in placed.items() if name.endswith(of)]
        for of in ("['tokens']", "['kernel']")
    }
    assert moments["['tokens']"] == [PartitionSpec("model", "fsdp")] * 2  # two of AdamW
    assert moments["['kernel']"] == [PartitionSpec("fsdp", "model")]  # one of Muon


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


@dataclasses.dataclass(eq=False)
class Device:
    process_index: int


@dataclasses.dataclass(eq=False)
class Devices:
    """Stands in for a mesh."""

    devices: np.ndarray
    shape: dict[str, int]


def hosts(monkeypatch, processes, here, **sizes):
    """A layout whose devices belong to `processes`, seen from process `here`."""
    shape = {"data": len(processes), "fsdp": 1, "model": 1} | sizes
    devices = np.array([Device(process) for process in processes]).reshape(*shape.values())
    monkeypatch.setattr(layouts.jax, "process_index", lambda: here)
    return layouts.Layout(Devices(devices, shape), ())


@pytest.mark.parametrize(
    ("processes", "here", "sizes", "part", "rows"),
    [
        ([0, 0, 1, 1], 1, {}, (1, 2, True), [4, 5, 6, 7]),
        (
            [1, 1, 0, 0],
            0,
            {},
            (0, 2, True),
            [4, 5, 6, 7],
        ),  # the first process has the last rows: part 0 is its
        ([0, 1, 0, 1], 1, {}, (1, 2, True), [2, 3, 6, 7]),  # devices of a host need not be neighbours
        ([0, 1, 2, 3], 3, {"data": 1, "fsdp": 2, "model": 2}, (1, 2, False), [4, 5, 6, 7]),
        ([0, 1, 2, 3], 2, {"data": 2, "model": 2}, (1, 2, True), [4, 5, 6, 7]),
        ([0, 1], 1, {"data": 1, "model": 2}, (0, 1, False), list(range(8))),  # both feed the same rows
    ],
)
def test_every_process_reads_the_rows_of_its_devices(monkeypatch, processes, here, sizes, part, rows):
    layout = hosts(monkeypatch, processes, here, **sizes)
    assert layouts.data_part(layout) == layouts.DataPart(*part)
    assert layouts.local_rows(layout, np.arange(8)).tolist() == rows
    stacked = layouts.local_rows(layout, np.arange(8), accumulate=2)
    assert len(stacked) == len(rows)
    for micro, own in enumerate(np.split(stacked, 2)):  # of each micro-batch its own share
        assert all(4 * micro <= row < 4 * micro + 4 for row in own)


def test_rows_come_back_in_order():
    for sizes in ({}, {"fsdp": 2}, {"model": 2}):
        layout = runs.layout(4, **sizes)
        batch = tiny_family.batch(0)
        placed = layouts.to_global(layout, batch)
        np.testing.assert_array_equal(layouts.from_global(placed.source), batch.source)
    everywhere = jax.device_put(np.arange(3.0), layouts.replicated(layout.mesh))
    np.testing.assert_array_equal(layouts.from_global(everywhere), np.arange(3.0))
