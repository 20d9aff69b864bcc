"""Programs compiled for slices that are not here, where libtpu is installed."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS_LIBTPU = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the extra `tpu` is not installed"
)


def compile_for(topology: str, *options: str, timeout: int = 400) -> tuple[int, str, str]:
    """Status, output and errors of `emnat compile`, in a process that has not touched a device."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("JAX_PLATFORMS", "XLA_FLAGS")
    }
    command = [sys.executable, "-m", "emnat_jax", "compile", f"--topology={topology}", "--json", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


TINY = [
    f"--config.{role}.{key}"
    for role in ("teacher", "student")
    for key in ("encoder_layers=1", "width=128", "ff_width=128", "heads=2", "dtype=bfloat16")
]


@pytest.mark.slow
@NEEDS_LIBTPU
def test_a_train_step_is_compiled_for_eight_chips():
    status, output, errors = compile_for(
        "v5e:2x4", "--steps=train ar", *TINY, "--config.data.batch_tokens=16384"
    )
    assert status == 0, errors
    figures = json.loads(output)
    assert (figures["chips"], figures["hosts"], figures["mesh"]["data"]) == (8, 2, 8)
    step = figures["steps"]["train ar"]
    assert step["fits"] and 0 < step["peak_bytes"] < step["chip_bytes"]
    assert set(step["collectives"]) == {"all-reduce"}  # nothing of the weights or the logits is gathered
    assert step["collectives"]["all-reduce"] <= 3  # gradients and metrics, not one for each weight


@pytest.mark.slow
@NEEDS_LIBTPU
def test_the_e_step_inside_the_loss_moves_no_rows():
    """Groups of targets lie whole on a device: the collectives are those of a step without it."""
    options = (
        "--steps=train vanilla",
        *TINY,
        "--config.data.batch_tokens=16384",
        "--config.em.student_data=candidates",
    )
    status, output, errors = compile_for("v5e:2x4", *options)
    assert status == 0, errors
    assert set(json.loads(output)["steps"]["train vanilla"]["collectives"]) == {"all-reduce"}


@pytest.mark.slow
@NEEDS_LIBTPU
def test_what_is_unknown_ends_with_status_2():
    status, _, errors = compile_for("v9:2x4")
    assert status == 2 and "--topology=v9:2x4" in errors


@NEEDS_LIBTPU
@pytest.mark.slow
def test_what_does_not_fit_two_slices_ends_with_status_2():
    wide = ("--config.data.batch_tokens=400000000", "--config.data.row_multiple=16")
    status, output, errors = compile_for("v5e:2x4", "--slices=2", "--steps=train ar", *TINY, *wide)
    assert (
        status == 2 and "does not fit v5e:2x4: train ar" in errors and "teacher_train.batch_tokens=" in errors
    )
    figures = json.loads(output)
    assert (figures["chips"], figures["mesh"]["data"]) == (16, 16) and not figures["steps"]["train ar"][
        "fits"
    ]


@pytest.mark.slow
@NEEDS_LIBTPU
def test_the_advice_about_a_batch_that_is_too_large_helps():
    options, tried = ["--steps=train ar", *TINY, "--config.data.batch_tokens=1500000"], 0
    while (found := compile_for("v5e:1x1", *options, timeout=1_200))[0] == 2 and tried < 6:
        options += re.findall(
            r"--config\.\S+_train\.accumulate=\d+|--config\.data\.row_multiple=\d+", found[2]
        )
        tried += 1
    assert found[0] == 0 and tried, found[2]


@pytest.mark.slow
@NEEDS_LIBTPU
@pytest.mark.parametrize("name", ["iwslt14_de_en", "wmt14_en_de"])
@pytest.mark.parametrize("steps", ["train", "candidates", "rescored"])
def test_a_paper_size_configuration_fits_what_it_names(name, steps):
    """The slice that its opening docstring names, at its whole batch."""
    path = Path(__file__).parents[2] / f"configs/{name}.py"
    topology = re.search(r"Fits (\S+),", path.read_text())[1]
    status, output, errors = compile_for(topology, f"--config={path}", f"--steps={steps}", timeout=3_000)
    assert status == 0, errors
    assert all(step["fits"] for step in json.loads(output)["steps"].values())


@NEEDS_LIBTPU
def test_slices_share_rows_alone():
    mesh = ("--config.mesh.data=1", "--config.mesh.fsdp=16")
    status, _, errors = compile_for("v5e:2x4", "--slices=2", "--steps=train ar", *TINY, *mesh)
    assert status == 2 and "number of slices, 2" in errors


@pytest.mark.slow
@NEEDS_LIBTPU
@pytest.mark.parametrize("mesh", ["--config.mesh.fsdp=2", "--config.mesh.model=2"])
def test_every_step_is_compiled_for_other_meshes(mesh):
    status, output, errors = compile_for("v5e:2x4", mesh, *TINY)
    assert status == 0, errors
    assert len(json.loads(output)["steps"]) == 11


def test_without_the_compiler_the_error_says_what_to_install():
    if importlib.util.find_spec("libtpu") is not None:
        pytest.skip("libtpu is installed")
    status, _, errors = compile_for("v5e:2x4")
    assert status == 2 and "emnat_jax[tpu]" in errors
