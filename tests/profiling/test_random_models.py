"""Random weights: every output has the length that was asked for, whatever runs the model."""

import dataclasses

import pytest

from emnat_jax.config import FAMILIES, MeshConfig
from emnat_jax.errors import UserError
from emnat_jax.export.load import load_exported
from emnat_jax.profiling.random_models import RandomSize, export_random, layers_of, random_model
from emnat_jax.profiling.random_systems import RandomSystems, default_names
from emnat_jax.profiling.system_names import SystemName
from emnat_jax.runtime.mesh import make_layout
from emnat_jax.tokens import EOS, NUM_SPECIAL

LENGTH = 7
SIZE = RandomSize("tiny", 50, LENGTH)
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "ff_width": 32, "heads": 2}


@pytest.fixture(scope="module")
def models():
    """By family and decoder."""
    layout, vocabulary = make_layout(MeshConfig()), SIZE.vocabulary()

    def make(family, decoder=None):
        return random_model(SIZE.model(family, decoder=decoder, **SMALL), vocabulary, layout)

    return make


def outputs(model, candidates=1):
    found = SIZE.sample(3).call(model, range(3), candidates)()
    return [tokens.tolist() for one in found for tokens in one.tokens]


def assert_long(found):
    assert all(len(tokens) == LENGTH and tokens.index(EOS) == LENGTH - 1 for tokens in found), found


@pytest.mark.parametrize(("family", "decoder"), [("ar", "greedy"), ("ar", "beam"), ("vanilla", "argmax")])
def test_outputs_have_exactly_the_length(models, family, decoder):
    found = outputs(models(family, decoder))
    assert len(found) == 3
    assert_long(found)


def test_so_have_all_of_a_list(models):
    found = outputs(models("ar"), candidates=4)
    assert_long(found[::4])


def test_so_has_an_exported_student_in_each_precision(models, tmp_path):
    model = models("vanilla")
    export_random(model, tmp_path / "student", "onnx")
    for precision in ("float32", "int8"):
        assert_long(outputs(load_exported(tmp_path / "student", precision, 1)))
    assert outputs(load_exported(tmp_path / "student", "float32", 1)) == outputs(model)


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_so_has_an_exported_teacher_in_each_precision(models, tmp_path, batch_tokens):
    model = models("ar")
    export_random(model, tmp_path / "teacher", "ctranslate2")
    for precision in ("float32", "int8"):
        exported = load_exported(tmp_path / "teacher", precision, 1)
        exported = dataclasses.replace(exported, batch_tokens=batch_tokens)
        assert_long(outputs(exported))
        assert_long(outputs(exported, candidates=4)[::4])
    assert outputs(load_exported(tmp_path / "teacher", "float32", 1)) == outputs(model)


def test_sources_are_full_and_the_same_each_time():
    sample = SIZE.sample(4)
    assert sample.lengths == [LENGTH] * 4 and sample.bleu([]) is None
    assert all(source[-1] == EOS and min(source[:-1]) >= NUM_SPECIAL for source in sample.sources)
    assert all((a == b).all() for a, b in zip(sample.sources, SIZE.sample(4).sources, strict=True))


def test_the_vocabulary_has_as_many_pieces():
    assert RandomSize("tiny", 1234, LENGTH).vocabulary().size == 1234


@pytest.mark.slow
def test_systems_are_named_by_family_with_a_choice_of_layers(tmp_path):
    systems = RandomSystems(SIZE, make_layout(MeshConfig()), tmp_path, threads=1)
    named = [
        SystemName("ar", None, None, {"layers": "2+1"}),
        SystemName("vanilla", "onnx", "int8", {"layers": "1+1"}),
        SystemName("vanilla", None, "float32", {"layers": "1+1"}),
    ]
    deep, int8, float32 = systems.open(named)
    sizes = deep.model.config.transformer
    assert (sizes.encoder_layers, sizes.decoder_layers) == (2, 1)
    assert [system.about.name for system in (deep, int8)] == [
        "ar, layers=2+1",
        "vanilla, layers=1+1, onnx int8",
    ]
    assert [system.about.role for system in (deep, int8)] == ["teacher", "student"]
    assert float32.model.precision == "float32" and len(list(tmp_path.iterdir())) == 1  # exported once


@pytest.mark.slow
def test_a_shortlist_is_an_export_of_its_own(tmp_path):
    systems = RandomSystems(SIZE, make_layout(MeshConfig()), tmp_path, threads=1)
    options = {"layers": "1+1"}
    named = [
        SystemName("vanilla", "onnx", "int8", options),
        SystemName("vanilla", "onnx", "int8", options | {"shortlist": "2"}),
    ]
    whole, listed = systems.open(named)
    assert [system.model.exported.about.shortlist for system in (whole, listed)] == [None, 2]
    assert listed.about.name == "vanilla, layers=1+1, shortlist=2, onnx int8"
    assert_long(outputs(listed.model))
    with pytest.raises(UserError, match="a model of ctranslate2 has none"):
        systems.open([SystemName("ar", None, "int8", options | {"shortlist": "2"})])


def test_by_default_there_are_the_teacher_and_the_students_in_jax_and_exported():
    assert [str(name) for name in default_names(["vanilla", "cmlm"])] == [
        "ar:jax",
        "ar:ctranslate2:int8",
        "ar:ctranslate2:float32",
        "vanilla:jax",
        "vanilla:onnx:int8",
        "vanilla:onnx:float32",
        "cmlm:jax",
    ]
    students = [name for name, spec in FAMILIES.items() if spec.options.is_parallel]
    assert len(default_names(students)) == 3 * (1 + len(students)) - 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: default_names(["ar"]), "--families: 'ar' is none of vanilla"),
        (lambda: default_names(["ctc", "ctc"]), "--families=ctc,ctc: name each once"),
        (lambda: layers_of("12"), "layers=12: give"),
        (lambda: layers_of("0+1"), r"layers=0\+1: give"),
        (lambda: RandomSize("tiny", 50, 1), "--length=1: use 2"),
        (lambda: SIZE.model("ar", decoder="viterbi"), "decoder 'viterbi'"),
        (lambda: SIZE.model("ar", dtype="int4"), "dtype='?int4"),
    ],
)
def test_mistakes(call, says):
    with pytest.raises(UserError, match=says):
        call()
