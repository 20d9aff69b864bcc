"""The estimate of a program's memory against what XLA allots."""

import jax
import jax.numpy as jnp
import pytest

from emnat_jax.config import FAMILIES, AROptions, CTCOptions, MeshConfig, ModelConfig
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.inference.alternatives import make_alternatives_step
from emnat_jax.inference.batching import abstract_batch
from emnat_jax.inference.decode import make_decode_step
from emnat_jax.inference.rescore import make_rescored_step
from emnat_jax.inference.score import make_loss_step, make_score_step
from emnat_jax.runtime.memory import compiled_bytes, device_memory, estimated_bytes
from emnat_jax.runtime.mesh import make_layout, use_layout

LOOSE = 4  # times what XLA allots, at most
ONE = make_layout(MeshConfig(), jax.devices()[:1])


def model_of(family, vocab=300, max_length=16, options=None, **sizes):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 64, "ff_width": 128, "heads": 2, **sizes}
    model = ModelConfig(family=family, options=options, **sizes).resolve(vocab, max_length)
    made = make_family(model)
    return model, made, jax.eval_shape(made.init, jax.random.key(0))


def check(step, params, rows, source, target):
    arguments = params, abstract_batch(rows, source, target)
    estimate, actual = estimated_bytes(step, *arguments), compiled_bytes(step.lower(*arguments).compile())
    assert actual <= estimate <= LOOSE * actual


@pytest.mark.parametrize("family, count", [("ar", 5), ("vanilla", 1), ("cmlm", 3), ("ctc", 1), ("dag", 1)])
def test_decoding_is_bounded(family, count):
    _, made, params = model_of(family, 300, 48)
    check(make_decode_step(made, ONE, count), params, 8, 48, 1)


@pytest.mark.parametrize("family", ["ar", "ctc", "dag"])
def test_losses_are_bounded(family):
    _, made, params = model_of(family, 1_000, 24)
    check(make_loss_step(made, ONE), params, 16, 24, 24)


def test_a_choice_by_another_model_is_bounded():
    _, teacher, teacher_params = model_of("ar", 1_000, 24)
    _, student, params = model_of("vanilla", 1_000, 24)
    rescored = make_rescored_step(student, teacher, ONE, count=4, alpha=1.0)
    check(rescored, (params, teacher_params), 16, 24, 1)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_a_family_is_bounded(family):
    model, made, params = model_of(family, 4_000, 16)
    check(make_decode_step(made, ONE, 5), params, 32, 16, 1)
    check(make_score_step(made, ONE), params, 32, 16, 16)
    check(make_loss_step(made, ONE), params, 32, 16, 16)
    if parts := parallel_parts(model):
        check(make_alternatives_step(parts, ONE, 3), params, 8, 16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows, vocab, length, count", [(4, 8_000, 128, 1), (16, 8_000, 64, 20)])
def test_decoding_of_middle_size_is_bounded(family, rows, vocab, length, count):
    sizes = {"encoder_layers": 3, "decoder_layers": 3, "width": 256, "ff_width": 1024, "heads": 4}
    _, made, params = model_of(family, vocab, length, **sizes)
    check(make_decode_step(made, ONE, count), params, rows, length, 1)


def test_a_wider_beam_needs_more():
    """The cache of keys and values grows with the beam."""
    sizes = []
    for beam in (4, 8):
        _, made, params = model_of("ar", 64, 128, AROptions(beam=beam))
        sizes.append(estimated_bytes(make_decode_step(made, ONE, 1), params, abstract_batch(64, 128, 1)))
    assert 1.5 < sizes[1] / sizes[0] < 2.5


def test_the_estimate_does_not_depend_on_the_mesh_in_use():
    """It is that of one device, also where the rules of a mesh of four are set."""
    four = make_layout(MeshConfig(data=2, model=2), jax.devices()[:4])
    _, made, params = model_of("ctc", options=CTCOptions(decoder="greedy"))
    step, batch = make_decode_step(made, four, 1), abstract_batch(3, 16, 1)
    alone = estimated_bytes(make_decode_step(made, ONE, 1), params, batch)
    with use_layout(four):
        assert estimated_bytes(step, params, batch) == alone


def test_lanes_fill_up_the_last_axis():
    def step(x):
        return x + 1.0

    x = jax.ShapeDtypeStruct((256, 64), jnp.float32)
    assert estimated_bytes(step, x, lanes=128) == 2 * estimated_bytes(step, x)


def test_a_device_without_a_known_memory_holds_everything():
    memory = device_memory(ONE)
    assert memory.size is None  # a CPU
    huge = jax.ShapeDtypeStruct((1 << 40,), jnp.float32)
    assert memory.holds(lambda x: x + 1.0, huge)
    assert not memory._replace(size=1 << 30).holds(lambda x: x + 1.0, huge)
