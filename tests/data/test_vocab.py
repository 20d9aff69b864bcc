import json
import subprocess
import sys

import numpy as np
import pytest

from emnat_jax.config import VocabConfig
from emnat_jax.data import vocab_training
from emnat_jax.data.vocab import Vocabulary, load_vocabulary, vocabulary_made_from
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import UserError
from emnat_jax.types import BOS, EOS, PAD, UNK
from tests.data.rows import LINES, small_vocabulary

ODD_LINES = [
    "emoji 😀 family 👩‍👩‍👧",
    "line\u2028separator",
    "combining e\u0301 and ½ … ﬁ stay as written",
    "שלום עולם right to left",
    "<s> </s> <pad> <unk> <0x41> are text here",
    "日本語",
    "",
]


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_any_text_is_the_same_after_encode_and_decode(model):
    vocabulary = small_vocabulary(model)
    for line, ids in zip(LINES + ODD_LINES, vocabulary.encode(LINES + ODD_LINES), strict=True):
        assert ids.dtype == np.int32
        assert not set(ids.tolist()) & {PAD, EOS, UNK, BOS}
        assert vocabulary.decode(ids) == line


@pytest.mark.parametrize("model", ["word", "char"])
def test_models_without_bytes_mark_what_they_do_not_know(model):
    vocabulary = small_vocabulary(model)
    known, unknown = vocabulary.encode(["the cat", "the ☃"])
    assert vocabulary.decode(known) == "the cat"
    assert UNK in unknown
    assert "⁇" in vocabulary.decode(unknown)


def test_decode_stops_at_eos_and_skips_padding_and_start():
    vocabulary = small_vocabulary()
    (cat,) = vocabulary.encode(["the cat"])
    (dog,) = vocabulary.encode(["a dog"])
    assert vocabulary.decode([BOS, PAD, *cat, EOS, *dog, PAD]) == "the cat"
    assert vocabulary.decode(np.array([EOS, *cat])) == ""
    assert vocabulary.decode([*cat, vocabulary.size + 7]).startswith("the cat ⁇")


def test_control_characters_never_break_an_output_line():
    vocabulary = small_vocabulary()
    (spaced,) = vocabulary.encode(["a\tcat\x00a\x85dog"])
    (plain,) = vocabulary.encode(["a cat a dog"])
    np.testing.assert_array_equal(spaced, plain)
    newline = next(i for i in range(vocabulary.size) if vocabulary._processor.id_to_piece(i) == "<0x0A>")
    assert vocabulary.decode([*plain, newline, *plain]) == "a cat a dog  a cat a dog"


def test_the_same_text_gives_the_same_vocabulary_in_another_process():
    code = "from tests.data.rows import small_vocabulary as f; print(f('unigram').fingerprint)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == small_vocabulary("unigram").fingerprint
    assert "LOG(" not in other.stderr  # SentencePiece is silent
    assert small_vocabulary("bpe").fingerprint != small_vocabulary("unigram").fingerprint


@pytest.mark.parametrize("model", ["bpe", "unigram", "word", "char"])
def test_a_small_text_gives_a_smaller_vocabulary_than_asked(model):
    vocabulary = train_vocabulary(LINES, VocabConfig(size=8_000, model=model))
    assert 8 < vocabulary.size < 8_000


def test_a_vocabulary_too_small_for_the_characters_names_option_and_value():
    with pytest.raises(UserError, match=r"vocab.size=20 .*use \d+ or more"):
        train_vocabulary(LINES, VocabConfig(size=20))


@pytest.mark.parametrize("lines", [[], ["", "  "], ["x" * 5_000]])
def test_no_usable_text_is_the_users_error(lines):
    with pytest.raises(UserError, match="no text"):
        train_vocabulary(lines, VocabConfig(size=300))


def test_a_large_text_is_sampled_evenly_and_always_the_same():
    sample = vocab_training._sample((str(i) for i in range(20_000)), 1_000)
    assert sample == vocab_training._sample((str(i) for i in range(20_000)), 1_000)
    numbers = np.array(sample, int)
    assert len(set(sample)) == 1_000
    # Means of 1000 draws without replacement from 0..19999 have a standard error of 178.
    assert abs(numbers.mean() - 9_999.5) < 4 * 178
    assert abs(np.mean(numbers % 2) - 0.5) < 4 * 0.016  # source and target lines alternate
    assert vocab_training._sample(iter("abc"), 5) == ["a", "b", "c"]


def test_saved_and_loaded_vocabularies_are_equal(tmp_path):
    vocabulary = small_vocabulary()
    assert vocabulary_made_from(tmp_path / "vocab") is None
    vocabulary.save(tmp_path / "vocab", {"a": 1})
    loaded = load_vocabulary(tmp_path / "vocab")
    assert (loaded.model, loaded.size, loaded.fingerprint) == (
        vocabulary.model,
        vocabulary.size,
        vocabulary.fingerprint,
    )
    assert vocabulary_made_from(tmp_path / "vocab") == {"a": 1}


def test_a_missing_changed_or_foreign_vocabulary_is_refused(tmp_path):
    with pytest.raises(UserError, match="emnat prepare"):
        load_vocabulary(tmp_path)
    small_vocabulary().save(tmp_path)
    model = tmp_path / "model"
    good = model.read_bytes()
    model.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
    with pytest.raises(UserError, match="changed or damaged"):
        load_vocabulary(tmp_path)
    model.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_vocabulary(tmp_path)
    (tmp_path / "MANIFEST.json").write_text(
        json.dumps({"schema_version": 99, "fingerprint": "", "made_from": {}})
    )
    with pytest.raises(UserError, match="newer"):
        load_vocabulary(tmp_path)
    (tmp_path / "MANIFEST.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_vocabulary(tmp_path)
    with pytest.raises(UserError, match="not a SentencePiece model"):
        Vocabulary(b"nonsense")
