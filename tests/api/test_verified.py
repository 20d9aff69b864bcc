"""A teacher that checks the drafts of a student, as users open and call it."""

import dataclasses

import numpy as np
import pytest

import emnat_jax as em
from emnat_jax.config import VocabConfig
from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.families import FAMILIES
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.inference.verified import VerifiedModel
from emnat_jax.types import EOS
from tests import tiny
from tests.quick import quick

STUDENTS = [name for name, spec in FAMILIES.items() if spec.options.is_parallel]
LINES = ["a b", "", "c a", "b", "a b c"]


def random_pairs(count: int):
    """Sources of all lengths: more than one batch on the four devices of the tests."""
    random = np.random.default_rng(0)
    words = [random.choice(tiny.WORDS, random.integers(0, tiny.MAX_LENGTH)) for _ in range(count)]
    return sentence_pairs([np.append(one, EOS).astype(np.int32) for one in words])


@pytest.mark.parametrize("name", quick(STUDENTS, ("ctc",)))
def test_the_translations_are_the_teachers_whoever_drafts(name, trained):
    teacher = trained("ar")
    model = VerifiedModel(teacher, trained(name))
    assert model.translate(LINES) == teacher.translate(LINES)
    pairs = random_pairs(37)
    expected, found = teacher.decode(pairs), model.decode(pairs)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.tokens[0], theirs.tokens[0])
        np.testing.assert_allclose(ours.log_prob, theirs.log_prob, rtol=1e-5, atol=1e-5)
    counted = model.count_passes(pairs)
    assert counted.sources == 37 and counted.tokens == sum(len(one.tokens[0]) for one in expected)
    # A choice that is searched anew takes up to twice the passes.
    assert 37 <= counted.passes <= 2 * counted.tokens
    assert teacher.count_passes(pairs) is None


def test_it_is_the_teacher_in_all_that_it_says(trained):
    teacher, student = trained("ar"), trained("ctc")
    model = VerifiedModel(teacher, student, VerifiedOptions(draft_block=2))
    assert model.config == teacher.config and model.fingerprint == teacher.fingerprint
    assert model.decoding_options() == teacher.decoding_options()
    assert model.made_from() != teacher.made_from() != student.made_from()
    np.testing.assert_array_equal(model.score(["a"], ["b"]), teacher.score(["a"], ["b"]))
    (one,) = model.n_best(["a b"], 1)[0]
    assert one.log_prob == pytest.approx(teacher.n_best(["a b"], 1)[0][0].log_prob, abs=1e-5)
    drawn, expected = (x.sampling(1.0, 3).n_best(["a b"], 2) for x in (model, teacher))
    assert drawn == expected
    assert "not lossless" not in repr(model)


def test_a_rule_is_named_where_the_output_may_be_another(trained):
    options = VerifiedOptions(accept_margin=50.0)
    model = VerifiedModel(trained("ar"), trained("vanilla"), options)
    assert "not lossless" in repr(model)
    assert model.decoding_options()["accept_margin"] == 50.0
    # Everything possible is accepted, so that the student's translations are what comes out.
    pairs = random_pairs(9)
    student = trained("vanilla").decode(pairs)
    for ours, theirs in zip(model.decode(pairs), student, strict=True):
        np.testing.assert_array_equal(ours.tokens[0], theirs.tokens[0])


def test_mistakes_say_what_to_do(trained):
    teacher, student = trained("ar"), trained("vanilla")
    with pytest.raises(em.UserError, match="one translation and not 2; use decoder=beam"):
        VerifiedModel(teacher, student).n_best(["a"], 2)
    with pytest.raises(em.UserError, match="drafts token by token; name a student"):
        VerifiedModel(teacher, teacher)
    with pytest.raises(em.UserError, match="family vanilla checks no drafts; name a teacher"):
        VerifiedModel(student, student)
    words = train_vocabulary(["d e f", "f e d"] * 20, VocabConfig(size=60, model="word"))
    other = dataclasses.replace(student, vocabulary=words)
    with pytest.raises(em.UserError, match="has not the vocabulary"):
        VerifiedModel(teacher, other)
    for mistake in ({"draft_block": 0}, {"accept_top": 0}, {"accept_margin": -1.0}):
        with pytest.raises(em.UserError, match=f"{next(iter(mistake))}=.*: use "):
            VerifiedOptions(**mistake)


@pytest.mark.slow
def test_either_model_of_a_round_is_loaded_with_the_other(workdir):
    teacher = em.load(workdir, role="teacher", round=0, decoder="greedy")
    lines = ["s1 s2 s3", "s2", "", "s4 s5 s1 s1"]
    expected = teacher.translate(lines)
    student = workdir / "rounds/0/student"
    for model in (
        em.load(workdir, round=0, decoder="verified"),
        em.load(workdir, role="teacher", round=0, decoder="verified", draft_block=2),
        em.load(workdir / "rounds/0/teacher", decoder="verified", draft=student),
        em.load(workdir, role="teacher", round=0, decoder="verified", draft=student),
    ):
        assert isinstance(model, VerifiedModel) and model.fingerprint == teacher.fingerprint
        assert model.translate(lines) == expected
    last = em.load(workdir / "rounds/0/teacher", decoder="verified", accept_top=2)
    assert last.student.fingerprint == em.load(workdir).fingerprint
    assert last.options == VerifiedOptions(accept_top=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draft_block": 3}, "draft_block: options of decoder=verified; add it"),
        ({"decoder": "greedy", "draft": "x"}, "draft: options of decoder=verified"),
        ({"decoder": "verified", "rescore": "teacher"}, "leave out rescore"),
        ({"decoder": "verified", "draft": "x"}, "draft=x: the model that is asked for is a student"),
        ({"decoder": "verified", "draft_block": 0}, "draft_block=0: use a positive number"),
        ({"decoder": "verified", "round": 7}, "rounds/7/teacher"),
        ({"decoder": "verified", "role": "teacher", "round": 7}, "rounds/7/student is no finished student"),
        ({"decoder": "verified", "role": "teacher", "draft": "rounds/0/teacher"}, "drafts token by token"),
        ({"decoder": "verified", "length_candidates": 0}, "length candidates 0"),
    ],
)
def test_what_can_not_be_loaded_says_why(workdir, options, message, monkeypatch):
    monkeypatch.chdir(workdir)
    with pytest.raises(em.UserError, match=message):
        em.load(workdir, **options)
