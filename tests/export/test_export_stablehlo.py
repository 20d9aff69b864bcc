"""`emnat export --format=stablehlo`: a folder as of the other formats, which JAX runs."""

import dataclasses
import json

import jax
import jaxtyping
import pytest

import emnat_jax as em
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.errors import UserError
from emnat_jax.export.load import OPENERS
from emnat_jax.export.make import _MAKERS
from emnat_jax.export.packages import FORMATS
from emnat_jax.runtime.memory import most_rows
from tests.cli.commands import error_of, run
from tests.quick import quick


@pytest.fixture(scope="module", autouse=True)
def no_checks_of_shapes():
    """They cannot broadcast a number of rows that is not known yet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", params=quick(["student", "teacher"], ["teacher"]))
def exported(request, workdir, tmp_path_factory):
    """(role, folder): of either role, with the decoder that it has."""
    folder = tmp_path_factory.mktemp("stablehlo") / request.param
    options = (f"--workdir={workdir}", f"--role={request.param}", f"--output={folder}")
    assert run("export", *options, "--format=stablehlo", "--sentences=9")[0] == 0
    return request.param, folder


def test_translations_and_scores_are_those_of_the_trained_model(workdir, exported):
    role, folder = exported
    lines = [row.source_text for row in read_dataset(workdir / "data" / "test")]
    trained, found = em.load(workdir, role=role), em.load(folder)
    lines = [*lines, "", " ".join(lines[:4])]  # one without words, one that is too long
    with pytest.warns(UserWarning, match="translated in parts"):
        assert found.translate(lines) == trained.translate(lines)
    (ours,), (theirs,) = found.n_best(lines[:1], 1)[0], trained.n_best(lines[:1], 1)[0]
    assert ours.text == theirs.text and ours.log_prob == pytest.approx(theirs.log_prob, rel=1e-4)


def test_a_batch_has_no_more_rows_than_the_device_gains_from(exported):
    found, seen = em.load(exported[1]), []

    def watched(program):
        return lambda params, source: (seen.append(len(source)), program(params, source))[1]

    programs = {width: watched(program) for width, program in found.programs.items()}
    most, model = most_rows(jax.default_backend()), dataclasses.replace(found, programs=programs)
    assert model.translate(["s1"] * (most + 3)) == found.translate(["s1"]) * (most + 3)
    assert seen == [most, 4] and model.batch_rows == most


def test_a_benchmark_takes_it_as_it_is(workdir, exported, capsys):
    command = ("benchmark", "latency", f"--workdir={workdir}", f"--systems={exported[1]}:jax")
    assert "run by JAX as they were exported; leave out :jax" in error_of(capsys, *command)


def test_translate_takes_it_by_folder(workdir, exported, tmp_path):
    lines = [row.source_text for row in read_dataset(workdir / "data" / "test")][:3]
    (tmp_path / "in").write_text("\n".join(lines) + "\n")
    files = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    assert run("translate", f"--model={exported[1]}", "--scores", *files)[0] == 0
    written = [line.split("\t")[-1] for line in (tmp_path / "out").read_text().splitlines()]
    assert written == em.load(workdir, role=exported[0]).translate(lines)


def test_the_manifest_says_what_was_measured(exported):
    options = json.loads((exported[1] / "MANIFEST.json").read_text())["options"]
    assert (options["format"], options["precisions"], options["precision"]) == (
        "stablehlo",
        ["float32"],
        "float32",
    )
    measured = options["parity"]
    assert measured["float32"]["identical"] == measured["sentences"] == 9 and "int8" not in measured


def test_what_it_does_not_have_is_refused(workdir, exported, capsys):
    folder = exported[1]
    with pytest.raises(UserError, match="this model has float32"):
        em.load(folder, precision="int8")
    with pytest.raises(UserError, match="threads=2: XLA runs"):
        em.load(folder, threads=2)
    with pytest.raises(UserError, match="the best translation alone"):
        em.load(folder).n_best(["w1"], 2)
    program = next(folder.glob("*.stablehlo"))
    program.write_bytes(program.read_bytes()[:-9])
    with pytest.raises(UserError, match="was changed or damaged"):
        em.load(folder)
    command = ("export", f"--workdir={workdir}", "--format=stablehlo", "--shortlist=3", "--output=none")
    assert "format onnx, not stablehlo" in error_of(capsys, *command)


def test_every_format_is_made_and_opened():
    assert set(FORMATS) == set(OPENERS) == set(_MAKERS)
