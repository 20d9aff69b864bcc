"""Quality of outputs: what sacrebleu says, and counts of words by hand."""

import dataclasses

import pytest
import sacrebleu

from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import paired_significance, quality, sentence_quality

REFERENCES = [["the cat sat on the mat", "a b c d e"], ["a cat sat on a mat", None]]
OUTPUTS = ["the cat cat sat on the mat", "a b c d"]


def test_quality_is_sacrebleus_and_counts_words():
    found = quality(OUTPUTS, REFERENCES)
    assert found.bleu == sacrebleu.corpus_bleu(OUTPUTS, REFERENCES).score
    assert found.chrf == sacrebleu.corpus_chrf(OUTPUTS, REFERENCES, word_order=2).score
    assert found.bleu_signature.startswith("nrefs:var") and "nw:2" in found.chrf_signature
    assert found.length_ratio == 11 / 11  # the first references have 6 + 5 words
    assert found.repeat_rate == 1 / 9  # "cat cat", of 6 + 3 neighbours
    assert found.type_token_ratio == 9 / 11  # the, cat, sat, on, mat, a, b, c, d
    assert found.sentences == 2


def test_quality_is_plain_values_for_json():
    assert set(dataclasses.asdict(quality(OUTPUTS, REFERENCES))) == {
        "bleu",
        "bleu_signature",
        "chrf",
        "chrf_signature",
        "length_ratio",
        "repeat_rate",
        "type_token_ratio",
        "sentences",
        "ter",
        "ter_signature",
    }


def test_unequal_numbers_of_lines_are_refused():
    with pytest.raises(UserError, match="2 outputs but 1 lines in reference set 2"):
        quality(OUTPUTS, [REFERENCES[0], ["one"]])


def test_significance_of_a_better_system_and_of_an_equal_one():
    references = [[f"sentence number {i} of a small corpus" for i in range(50)]]
    worse = [line.replace("small", "large") for line in references[0]]
    found = paired_significance(references[0], worse, references, samples=100, names=("BLEU",))["BLEU"]
    assert found.system == pytest.approx(100) and found.baseline < found.system and found.p_value < 0.05
    assert found.signature == quality(worse, references).bleu_signature.replace(
        "nrefs:1|", "nrefs:1|bs:100|seed:12345|"
    )
    equal = paired_significance(worse, worse, references, samples=100)
    assert {name: result.p_value for name, result in equal.items()} == {"BLEU": 1.0, "chrF2++": 1.0}


def test_sentence_quality_is_sacrebleus_as_a_share():
    outputs, reference = ["the cat sat", "a dog"], "the cat sat on the mat"
    chrf, bleu = (sentence_quality(kind)(outputs, reference) for kind in ("chrf", "bleu"))
    assert chrf == [sacrebleu.sentence_chrf(line, [reference], word_order=2).score / 100 for line in outputs]
    assert bleu == [sacrebleu.sentence_bleu(line, [reference]).score / 100 for line in outputs]
    assert 0 <= min(bleu) < max(bleu) < 1
