"""Sentences by length."""

from emnat_jax.evaluation.lengths import bucket_name, buckets_of, by_length, sample_over_lengths

REFERENCES = ["a b c", "d e f g h i j", "k l m n o p q r s t u v", "w x"]


def test_buckets_are_by_tokens():
    assert [bucket_name(place) for place in buckets_of((*REFERENCES, "", "a " * 30, "a " * 90))] == [
        "1-5",
        "6-10",
        "11-20",
        "1-5",
        "1-5",
        "21-40",
        "81+",
    ]


def test_quality_of_each_length_there_is():
    found = by_length({"good": REFERENCES, "bad": ["x"] * 4}, REFERENCES)
    assert [(b["tokens"], b["sentences"]) for b in found] == [("1-5", 2), ("6-10", 1), ("11-20", 1)]
    assert found[1]["bleu"]["good"] > 99 > 1 > found[1]["bleu"]["bad"]


def test_examples_are_spread_over_lengths():
    assert sample_over_lengths(REFERENCES, 3) == [0, 1, 2]
    assert sample_over_lengths(REFERENCES, 6) == [0, 3, 1, 2]
    assert sample_over_lengths(["a"] * 100, 4) == [0, 25, 50, 75]
    assert sample_over_lengths([], 3) == sample_over_lengths(REFERENCES, 0) == []
