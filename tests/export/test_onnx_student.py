"""Graphs of students against the families that they stand for."""

import dataclasses
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from emnat_jax.config import (
    FAMILIES,
    CMLMOptions,
    CTCOptions,
    DAGOptions,
    FamilyOptions,
    FamilySpec,
    GLATOptions,
    ModelConfig,
    ModelSpec,
    VanillaOptions,
)
from emnat_jax.errors import UserError
from emnat_jax.export.onnx_student import Student, write_float32, write_int8
from emnat_jax.families import make_family
from emnat_jax.types import EOS, NUM_SPECIAL, PAD, is_impossible

MAX_LENGTH, VOCAB, ROWS = 12, 40, 48


class Case(NamedTuple):
    """A student that can be exported."""

    name: str
    family: str
    options: FamilyOptions
    sizes: Mapping[str, Any] = MappingProxyType({})


POST = {"norm": "post", "positions": "sinusoidal", "decoder_layers": 2, "activation": "gelu"}
CASES = [
    Case("odd", "vanilla", VanillaOptions()),
    Case("five lengths", "vanilla", VanillaOptions(length_candidates=5, length_penalty=1.3), POST),
    Case("single pass", "cmlm", CMLMOptions(iterations=1)),
    Case("collapse", "ctc", CTCOptions(decoder="greedy"), {"scan_layers": True, "encoder_layers": 2}),
    Case("shorter outputs", "ctc", CTCOptions(decoder="greedy", length_reward=-3.0)),
    Case("lookahead", "dag", DAGOptions(decoder="lookahead", factor=3), POST),
    Case("joint Viterbi", "dag", DAGOptions(max_jump=8, link_heads=2)),
    Case("no repeats", "dag", DAGOptions(decoder="lookahead", max_jump=8, collapse_repeats=True)),
    Case("copied source", "vanilla", VanillaOptions(decoder_input="source", length_candidates=3)),
]
MORE = [
    Case("argmax", "vanilla", VanillaOptions(decoder="argmax")),
    Case("soft penalty", "vanilla", VanillaOptions(odd_penalty=0.5)),
    Case("lengths, argmax", "vanilla", VanillaOptions(length_candidates=4, decoder="argmax")),
    Case("three frames a token", "ctc", CTCOptions(decoder="greedy", factor=3), POST),
    Case("greedy", "dag", DAGOptions(decoder="greedy")),
    Case("Viterbi", "dag", DAGOptions(decoder="viterbi", length_exponent=0.7)),
    Case("no repeats, Viterbi", "dag", DAGOptions(max_jump=8, collapse_repeats=True)),
    Case("glancing", "glat", GLATOptions(base="ctc", base_options=CTCOptions(decoder="greedy"))),
]
NAMED = {case.name: case for case in (*CASES, *MORE)}


def spec_of(case: Case, vocab: int = VOCAB) -> ModelSpec:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "ff_width": 32, "heads": 2} | dict(
        case.sizes
    )
    return ModelConfig(family=case.family, options=case.options, **sizes).resolve(vocab, MAX_LENGTH)


def random_params(family, seed: int = 0):
    """Weights that make all outputs different, and often words twice in a row."""
    shapes = jax.eval_shape(family.init, jax.random.key(0))
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        around = 1.0 if path[-1].key == "scale" else 0.0  # a layer norm's
        return around + 0.3 * random.standard_normal(leaf.shape, np.float32)

    return jax.tree.map_with_path(draw, shapes)


def student_of(spec, buckets=(MAX_LENGTH,)) -> Student:
    return Student(spec, random_params(make_family(spec)), buckets)


def random_sources(vocab: int = VOCAB) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    lengths = random.integers(1, MAX_LENGTH + 1, ROWS)
    return [np.append(random.integers(NUM_SPECIAL, vocab, n - 1), EOS).astype(np.int32) for n in lengths]


def padded(rows, width: int) -> np.ndarray:
    return np.array([np.pad(row, (0, width - len(row))) for row in rows])


def unpadded(tokens) -> list[list[int]]:
    return [row[row != PAD].tolist() for row in np.asarray(tokens)]


def decoded(family, params, sources) -> list[list[int]]:
    found = jax.jit(lambda source: family.decode(params, source, jax.random.key(0), 1))(
        padded(sources, MAX_LENGTH)
    )
    empty = is_impossible(np.asarray(found.rank_score[:, 0]))
    return [[] if none else row for row, none in zip(unpadded(found.tokens[:, 0]), empty, strict=True)]


def outputs_of(spec) -> list[list[int]]:
    family = make_family(spec)
    return decoded(family, jax.tree.map(jax.numpy.asarray, random_params(family)), random_sources())


def run(path, sources) -> list[list[int]]:
    return unpadded(session_of(path).run(None, {"source": padded(sources, MAX_LENGTH)})[0])


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "case",
    [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)],
    ids=lambda case: case.name,
)
def test_the_graph_gives_the_tokens_of_the_family(case, tmp_path):
    spec, sources = spec_of(case), random_sources()
    family = make_family(spec)
    params = random_params(family)
    write_float32(tmp_path / "float32.onnx", Student(spec, params, (MAX_LENGTH,)))
    session = session_of(tmp_path / "float32.onnx")
    expected = decoded(family, jax.tree.map(jax.numpy.asarray, params), sources)
    assert len({tuple(row) for row in expected}) > 4
    together = session.run(None, {"source": padded(sources, MAX_LENGTH)})[0]
    assert unpadded(together) == expected
    for source, tokens in zip(sources, expected, strict=True):  # alone and without padding
        assert unpadded(session.run(None, {"source": source[None]})[0]) == [tokens]


def test_some_outputs_need_the_search_for_repeats_and_some_do_not(tmp_path):
    """Of the case above: without these both branches of its graph would not be run."""
    plain, odd = (outputs_of(spec_of(case)) for case in (NAMED["argmax"], NAMED["odd"]))
    repeats = [any(a == b for a, b in itertools.pairwise(row)) for row in plain]
    assert any(repeats) and not all(repeats)
    assert [a == b for a, b in zip(plain, odd)] == [not repeat for repeat in repeats]


def test_outputs_are_as_long_as_the_bucket_of_their_source_allows(tmp_path):
    """As in JAX, where a source is padded to its bucket and the output may be `extra_length` longer."""
    spec = spec_of(NAMED["collapse"]._replace(sizes={"extra_length": 1}))
    write_float32(tmp_path / "float32.onnx", student_of(spec, (4, MAX_LENGTH)))
    sources = random_sources()
    found = run(tmp_path / "float32.onnx", sources)
    short = [len(row) for row, source in zip(found, sources, strict=True) if len(source) <= 4]
    assert max(short) == 5 < max(map(len, found))


def test_int8_keeps_what_it_is_told_to_in_float(tmp_path):
    spec = spec_of(NAMED["odd"])
    student, rounded = student_of(spec), []
    for name, floats in (("all", ()), ("most", ("output",))):
        write_int8(tmp_path / name, student, floats=floats)
        rounded.append(
            [node.op_type for node in onnx.load(tmp_path / name).graph.node].count("MatMulInteger")
        )
        assert all(row[-1] == EOS for row in run(tmp_path / name, random_sources()))
    assert rounded[1] == rounded[0] - 1 > 0


@pytest.mark.parametrize(
    ("family", "options", "remedy"),
    [
        ("ctc", CTCOptions(decoder="beam"), "--decoder=greedy"),
        ("dag", DAGOptions(decoder="beam"), "--decoder=joint_viterbi"),
        ("cmlm", CMLMOptions(iterations=3), "--decoder=single_pass"),
        ("ar", None, "CTranslate2"),
    ],
)
def test_what_has_no_graph_is_refused_with_what_has(tmp_path, family, options, remedy):
    spec = spec_of(Case("", family, options))
    with pytest.raises(UserError, match=remedy):
        write_float32(tmp_path / "float32.onnx", student_of(spec))


def test_a_family_from_outside_brings_its_own_graph(tmp_path, monkeypatch):
    def copy(graph, spec, options, params, inputs):
        return inputs.source

    monkeypatch.setitem(FAMILIES, "mine", FamilySpec(VanillaOptions, FAMILIES["vanilla"].make, graph=copy))
    spec = dataclasses.replace(spec_of(NAMED["odd"]), family="mine")
    write_float32(tmp_path / "float32.onnx", Student(spec, {}, (MAX_LENGTH,)))
    source = padded(random_sources(), MAX_LENGTH)
    assert (session_of(tmp_path / "float32.onnx").run(None, {"source": source})[0] == source).all()
