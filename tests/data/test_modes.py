import itertools

import pytest

from emnat_jax.config import ModesOptions
from emnat_jax.data.modes import generate, is_valid, mode_of, share_valid, valid_translations
from emnat_jax.errors import UserError


def test_the_valid_translations_are_the_ones_listed_by_hand():
    assert valid_translations("s3 s17 s5", ModesOptions(modes=4)) == {
        "a3 a17 a5",
        "b3 b17 b5",
        "a17 a5 a3",
        "b17 b5 b3",
    }
    assert valid_translations("s3 s17 s5", ModesOptions(modes=1)) == {"a3 a17 a5"}
    assert valid_translations("s3 s17", ModesOptions(modes=2)) == {"a3 a17", "a17 a3"}


def test_the_checker_agrees_with_enumeration_of_every_output():
    config = ModesOptions(modes=4, words=3, min_length=2, max_length=3)
    words = [style + str(i) for style in "ab" for i in range(3)]
    for source in ("s0 s1", "s2 s1 s0"):
        outputs = [" ".join(o) for n in range(5) for o in itertools.product(words, repeat=n)]
        accepted = [output for output in outputs if is_valid(source, output, config)]
        assert sorted(accepted) == sorted(valid_translations(source, config))
        assert {mode_of(source, output, config) for output in accepted} == {0, 1, 2, 3}
        assert mode_of(source, "a0 b1", config) is None


@pytest.mark.parametrize("modes", [1, 2, 4, 8, 120])
@pytest.mark.parametrize("length", [2, 3, 6])
def test_a_sentence_has_as_many_translations_as_modes(modes, length):
    config = ModesOptions(modes=modes, words=24, min_length=length, max_length=length)
    source = " ".join(f"s{i}" for i in range(length))
    assert len(valid_translations(source, config)) == modes
    assert not any("s" in translation for translation in valid_translations(source, config))


def test_generated_targets_are_valid_and_use_every_mode_alike():
    config = ModesOptions(train_rows=4_000)
    pairs = list(generate(config, "train", 1))
    assert [p.line for p in pairs] == list(range(4_000))
    counts = [0] * 4
    for pair in pairs:
        words = pair.source.split()
        assert len(set(words)) == len(words) and 3 <= len(words) <= 6
        counts[mode_of(pair.source, pair.target, config)] += 1
    assert all(abs(count - 1_000) < 4 * 27.4 for count in counts)  # sqrt(4000 * 1/4 * 3/4) = 27.4


def test_splits_share_no_source_for_any_seed():
    config = ModesOptions(words=6, min_length=2, max_length=4)  # 510 sentences, so repeats are certain
    sources = {
        (split, seed): {p.source for p in generate(config, split, seed)}
        for split in ("train", "valid", "test")
        for seed in (1, 2)
    }
    for (one, _), (other, _) in itertools.combinations(sources, 2):
        if one != other:
            assert not sources[one, 1] & sources[other, 2]


def test_a_space_too_small_to_divide_is_still_generated():
    config = ModesOptions(words=2, min_length=1, max_length=2, train_rows=20, eval_rows=20)
    for split in ("train", "valid", "test"):
        assert {p.source for p in generate(config, split, 1)} <= {"s0", "s1", "s0 s1", "s1 s0"}
        assert len(list(generate(config, split, 1))) == 20


def test_a_shorter_run_is_the_start_of_a_longer_one():
    short, long = ModesOptions(train_rows=10), ModesOptions(train_rows=50)
    assert list(generate(short, "train", 3)) == list(generate(long, "train", 3))[:10]


def test_share_valid_counts_outputs():
    config = ModesOptions(modes=2)
    assert share_valid(["s1 s2"] * 4, ["a1 a2", " a2  a1 ", "a1 a1", ""], config) == 0.5
    with pytest.raises(ValueError):
        share_valid(["s1 s2"], [], config)
    with pytest.raises(ValueError):
        share_valid([], [], config)


def test_sentences_longer_than_the_words_are_the_users_error():
    with pytest.raises(UserError, match="^words=4.*max_length=6"):
        ModesOptions(words=4)
