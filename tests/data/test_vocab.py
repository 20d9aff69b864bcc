import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from emnat_jax.config import VocabConfig
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
    "一方、彼は「ﾊﾝｶｸ」と１２３と書いた。",  # half-width and full-width forms
    "ภาษาไทยไม่มีช่องว่าง",
    "العَرَبِيَّةُ بِالتَّشْكِيلِ",
    "e\u0301 u\u0308 in NFD, \u00e9 \u00fc in NFC, \u1112\u1161\u11ab",
    "👩🏽‍🚀 🏳️‍🌈 👨‍👩‍👧‍👦 and ❤️ with ZWJ and VS16",
    "no\u00a0break, ideographic\u3000space, zero\u200bwidth",
    "▁",
    "▁a▁▁b ▁ c▁",
    "a lower one eighth block: ▁",
    "stand-ins \ufdd0 \ufdd1 \ufdd1\ufdd0▁\ufdd1▁ of our own",
    "<2de> <noise> a tag that the vocabulary does not know",
]


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_any_text_is_the_same_after_encode_and_decode(model):
    vocabulary = small_vocabulary(model)
    for line, ids in zip(LINES + ODD_LINES, vocabulary.encode(LINES + ODD_LINES), strict=True):
        assert ids.dtype == np.int32
        assert not set(ids.tolist()) & {PAD, EOS, UNK, BOS}
        assert vocabulary.decode(ids) == line


def test_spaces_alone_are_not_kept_as_they_are():
    vocabulary = small_vocabulary()
    (ids,) = vocabulary.encode(["  the   cat \t sat  "])
    assert vocabulary.decode(ids) == "the cat sat"


def test_a_space_mark_of_the_text_is_no_space():
    vocabulary = small_vocabulary()
    marked, spaced, joined = vocabulary.encode(["the▁cat", "the cat", "thecat"])
    assert marked.tolist() not in (spaced.tolist(), joined.tolist())
    # As a model would spell it, in bytes.
    names = vocabulary.pieces()
    spelled = [names.index(f"<0x{byte:02X}>") for byte in "▁".encode()]
    assert vocabulary.decode([*joined, *spelled, *joined]) == "thecat▁ thecat"


@pytest.mark.parametrize("model", ["bpe", "unigram", "char", "word"])
def test_a_vocabulary_learns_the_space_mark_from_its_text(model):
    lines = ["draw ▁ here", "and ▁ there", "▁ ▁▁"]
    vocabulary = train_vocabulary(lines * 3, VocabConfig(size=320, model=model, byte_fallback=False))
    assert [vocabulary.decode(ids) for ids in vocabulary.encode(lines)] == lines


def test_text_without_a_space_mark_is_cut_as_by_sentencepiece_itself():
    """So that vocabularies and records of before are the same."""
    lines = [line for line in LINES + ODD_LINES if not set(line) & set("▁\ufdd0\ufdd1")]
    vocabulary = small_vocabulary()
    assert [ids.tolist() for ids in vocabulary.encode(lines)] == vocabulary._processor.encode(lines)


TAGS = ("<2de>", "<noise>", "[a,b]", '"')


@pytest.mark.parametrize("model", ["bpe", "unigram", "char"])
def test_control_tags_are_single_pieces_and_nothing_else_makes_them(model):
    lines = [f"<2de> {line} <noise> < 2de >" for line in LINES] * 3
    vocabulary = train_vocabulary(lines, VocabConfig(size=340, model=model, user_symbols=TAGS))
    names = vocabulary.pieces()
    assert [name for name in names if any(tag in name for tag in TAGS)] == list(TAGS)
    texts = [
        "<2de> the cat",
        "the<noise>cat",
        "<2de><2de> a",
        "a dog <noise>",
        '" a ["',
        "<2de> <noise> [a,b]",
    ]
    for text, ids in zip(texts, vocabulary.encode(texts), strict=True):
        assert [names[i] for i in ids if names[i] in TAGS] == re.findall(r'<2de>|<noise>|\[a,b\]|"', text)
        assert model == "char" or vocabulary.decode(ids) == text
    (split,) = vocabulary.encode(["< 2de > < noise >"])
    assert not {names[i] for i in split} & set(TAGS)


ENGLISH = [
    "I don't know what he's seen",
    "don't say we've lost",
    "it's that man's, isn't it",
    "'tis a 's",
] * 5


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_contractions_of_the_text_are_single_pieces(model):
    vocabulary = train_vocabulary(LINES + ENGLISH, VocabConfig(size=340, model=model))
    names = vocabulary.pieces()
    assert [name for name in names if "'" in name] == ["'s", "'t", "'ve"]
    for text, ids in zip(ENGLISH, vocabulary.encode(ENGLISH), strict=True):
        assert [names[i] for i in ids if "'" in names[i]] == re.findall("'(?:s|ve|t)", text)
        assert vocabulary.decode(ids) == text


def test_contractions_can_be_left_out_and_change_no_text_without_them():
    without = VocabConfig(size=340, contractions=())
    assert not {"'s", "'t"} & set(train_vocabulary(LINES + ENGLISH, without).pieces())
    assert train_vocabulary(LINES, VocabConfig(size=320)).model == small_vocabulary().model
    assert train_vocabulary(LINES, dataclasses.replace(without, size=320)).model == small_vocabulary().model


@pytest.mark.parametrize("model", ["word", "char"])
def test_vocabularies_without_subwords_have_no_contractions(model):
    assert "'s" not in train_vocabulary(LINES + ENGLISH, VocabConfig(size=340, model=model)).pieces()


@pytest.mark.parametrize(
    "options, part",
    [
        ({"contractions": ("'s", "'s")}, 'contractions=("\'s", "\'s"): name each of them once'),
        ({"contractions": ("' s",)}, "contractions: \"' s\" is empty or holds a space; use some such as 's"),
        ({"user_symbols": ("<2de>", "a b")}, "'a b' is empty or holds a space"),
        ({"user_symbols": ("",)}, "'' is empty"),
        ({"user_symbols": ("▁x",)}, "'▁x' is empty or holds a space"),
        ({"user_symbols": ("<s>",)}, "'<s>' is a piece of every vocabulary"),
        ({"user_symbols": ("<0x41>",)}, "'<0x41>' is a piece"),
        ({"user_symbols": ("<a>", "<a>")}, "each of them once"),
        ({"user_symbols": ("<a>",), "model": "word"}, "use bpe, unigram or char"),
        ({"character_coverage": 0.97}, "character_coverage=0.97: use a number from 0.98 to 1"),
        ({"character_coverage": 1.01}, "from 0.98 to 1"),
    ],
)
def test_options_that_no_training_takes_are_refused(options, part):
    with pytest.raises(UserError, match=re.escape(part)):
        VocabConfig(**options)


def test_the_lowest_coverage_is_taken():
    assert train_vocabulary(LINES, VocabConfig(size=320, character_coverage=0.98)).size > 256


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


def many_characters() -> list[str]:
    """Thirty letters that make up nearly all of the text, and two hundred that occur once."""
    common = [f"{''.join(chr(97 + (i * j) % 26) for j in range(9))} und 123" for i in range(1500)]
    return [*common, *(chr(0x4E00 + i) for i in range(200))]


@pytest.mark.parametrize(
    "size, model", [(60, "bpe"), (60, "unigram"), (120, "unigram"), (150, "bpe"), (310, "bpe")]
)
def test_every_remedy_for_too_many_characters_works(size, model):
    config = VocabConfig(size=size, model=model, byte_fallback=size > 256)
    with pytest.raises(UserError, match="or more, or vocab.character_coverage=") as caught:
        train_vocabulary(many_characters(), config)
    larger, coverage = re.search(r"use (\d+) or more, or .*=(\d\.\d+)\.$", str(caught.value)).groups()
    for remedy in ({"size": int(larger)}, {"character_coverage": float(coverage)}):
        assert train_vocabulary(many_characters(), dataclasses.replace(config, **remedy)).size > 8


def test_no_coverage_is_advised_where_none_is_enough():
    with pytest.raises(UserError, match=r"use \d+ or more\.$"):
        train_vocabulary(LINES, VocabConfig(size=20))


@pytest.mark.parametrize("lines", [[], ["", "  "], ["x" * 5_000]])
def test_no_usable_text_is_the_users_error(lines):
    with pytest.raises(UserError, match="no text"):
        train_vocabulary(lines, VocabConfig(size=300))


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
