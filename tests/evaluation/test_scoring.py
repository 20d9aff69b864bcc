"""Scores in every script: sacrebleu's own numbers with the tokenizer of the language."""

import pytest
import sacrebleu
from sacrebleu.metrics import TER
from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_ko_mecab

from emnat_jax.config import Config, DataConfig, EvaluationConfig, Scoring, tokenizer_for
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import corpus_bleu, paired_significance, quality, sentence_quality
from emnat_jax.evaluation.lengths import bucket_name, buckets_of, by_length
from emnat_jax.evaluation.metrics import is_scored_so, make_tokenizer, require_metrics
from emnat_jax.evaluation.scripts import better_tokenizer, unspaced_language

# By tokenizer: references, and outputs that differ in a few places.
TEXTS = {
    "zh": (
        ["今天天气很好。", "他有两只猫。", "商店关门了。"],
        ["今天天气好。", "他有两只猫。", "商店已经关门了。"],
    ),
    "char": (["วันนี้อากาศดีมาก", "ฉันชอบดื่มชา"], ["วันนี้อากาศดี", "ฉันชอบดื่มกาแฟ"]),
    "ja-mecab": (["私は学生です。今日は天気がいいです。"], ["私は先生です。今日は天気がいいです。"]),
    "ko-mecab": (["나는 학생입니다. 오늘은 날씨가 좋습니다."], ["나는 선생입니다. 오늘은 날씨가 좋습니다."]),
    "13a": (
        ["Das ist 😀 gut, oder? Ja, das ist gut.", "مرحبا بالعالم، كيف حالك اليوم؟"],
        ["Das ist 😀 gut, oder? Nein, es ist gut.", "مرحبا بالعالم، كيف أنت اليوم؟"],
    ),
}
MODULES = {"ja-mecab": (tokenizer_ja_mecab, "ja"), "ko-mecab": (tokenizer_ko_mecab, "ko")}


def needs_no_package(tokenizer: str) -> bool:
    return tokenizer not in MODULES or MODULES[tokenizer][0].MeCab is not None


each_script = pytest.mark.parametrize(
    "tokenizer",
    [pytest.param(name, marks=pytest.mark.skipif(not needs_no_package(name), reason=name)) for name in TEXTS],
)


@each_script
def test_scores_are_sacrebleus_with_the_tokenizer_of_the_language(tokenizer):
    (references, outputs), scoring = TEXTS[tokenizer], Scoring(tokenizer)
    expected = sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenizer)
    found = quality(outputs, [references], scoring)
    assert 0 < found.bleu < 100 and f"tok:{tokenizer}" in found.bleu_signature
    assert found.bleu == expected.score == corpus_bleu(outputs, [references], scoring)
    assert found.length_ratio == expected.sys_len / expected.ref_len
    assert quality(references, [references], scoring).bleu == pytest.approx(100)
    assert is_scored_so(found.bleu_signature, scoring)
    assert not is_scored_so(found.bleu_signature, Scoring("intl"))
    own = sentence_quality("bleu", scoring)(outputs[:1], references[0])
    assert own == [sacrebleu.sentence_bleu(outputs[0], references[:1], tokenize=tokenizer).score / 100]
    tested = paired_significance(references, outputs, [references], scoring, samples=20)["BLEU"]
    assert tested.baseline == found.bleu and f"tok:{tokenizer}" in tested.signature


def test_repeats_and_variety_are_of_the_same_tokens_as_bleu():
    found = quality(["人人人好"], [["人人好"]], Scoring("zh"))
    assert (found.repeat_rate, found.type_token_ratio, found.length_ratio) == (2 / 3, 2 / 4, 4 / 3)
    found = quality(["Well, well, no."], [["No."]])
    assert (found.repeat_rate, found.type_token_ratio, found.length_ratio) == (0, 5 / 6, 6 / 2)
    assert quality(["Well well no"], [["No"]], Scoring(lowercase=True)).repeat_rate == 1 / 2


def test_lengths_are_counted_in_the_same_tokens():
    lines, scoring = ["今天天气很好。", "他有猫"], Scoring("zh")
    assert [bucket_name(place) for place in buckets_of(lines, scoring)] == ["6-10", "1-5"]
    found = by_length({"itself": lines}, lines, scoring)
    assert [bucket["bleu"]["itself"] for bucket in found][1] == pytest.approx(100)


@pytest.mark.parametrize("lowercase", [False, True])
def test_case_counts_unless_it_is_not_to(lowercase):
    outputs, references = ["the cat SAT on the Mat"], [["The cat sat on the mat"]]
    found = quality(outputs, references, Scoring(lowercase=lowercase, ter=True))
    assert found.bleu == sacrebleu.corpus_bleu(outputs, references, lowercase=lowercase).score
    assert found.ter == TER(case_sensitive=not lowercase).corpus_score(outputs, references).score
    case = "case:lc" if lowercase else "case:mixed"
    assert all(case in text for text in (found.bleu_signature, found.chrf_signature, found.ter_signature))
    assert (found.ter == 0) == (found.chrf == pytest.approx(100)) == lowercase


def test_the_edit_rate_of_text_without_spaces_is_of_its_tokens():
    outputs, references = ["今天天气好。"], ["今天天气很好。"]
    found = quality(outputs, [references], Scoring("zh", ter=True))
    assert found.ter == pytest.approx(100 / 7)  # one of seven is missing
    assert "|tok:zh+tercom|" in found.ter_signature
    assert "TER" in paired_significance(outputs, references, [references], Scoring("zh", ter=True), samples=9)
    assert quality(outputs, [references]).ter is None


@pytest.mark.parametrize("tokenizer", list(MODULES))
def test_a_missing_package_is_named_with_its_extra(tokenizer, monkeypatch):
    module, extra = MODULES[tokenizer]
    monkeypatch.setattr(module, "MeCab", None)
    with pytest.raises(UserError, match=rf"pip install 'emnat_jax\[{extra}\]'.*evaluation.tokenizer=char"):
        require_metrics(Scoring(tokenizer))


@pytest.mark.parametrize(
    "language, tokenizer",
    [(name, "zh") for name in ("zh", "zh-TW", "zh_Hans", "zh_CN", "yue", "cmn", "zho_Hans", "Chinese")]
    + [(name, "ja-mecab") for name in ("ja", "ja_XX", "jpn_Jpan")]
    + [(name, "ko-mecab") for name in ("ko", "kor_Hang", "ko-KR")]
    + [(name, "char") for name in ("th", "lo", "km", "my", "bo", "dz", "tha_Thai", "my_MM")]
    + [(name, "13a") for name in ("en", "de", "ar", "vi", "hi", "pt-BR", "ja-Latn", "nan_Latn", "", "mine")],
)
def test_every_language_has_its_tokenizer(language, tokenizer):
    assert tokenizer_for(language) == tokenizer


def test_the_configuration_names_the_tokenizer_or_leaves_it_to_the_language():
    data = DataConfig(target_language="zh-TW")
    assert Config(data=data).scoring == Scoring("zh") and Config().scoring == Scoring()
    asked = EvaluationConfig(tokenizer="char", lowercase=True, ter=True)
    assert Config(data=data, evaluation=asked).scoring == Scoring("char", lowercase=True, ter=True)
    with pytest.raises(UserError, match="tokenizer='spm': use None or one of 13a, intl, zh"):
        EvaluationConfig(tokenizer="spm")


def test_a_script_without_spaces_is_told_from_one_with_spaces():
    chinese, japanese, thai = (TEXTS[name][0] for name in ("zh", "ja-mecab", "char"))
    assert [unspaced_language(lines) for lines in (chinese, japanese, thai)] == ["zh", "ja", "th"]
    assert unspaced_language(["ຂ້ອຍມັກດື່ມຊາ"]) == "lo" and unspaced_language(["ខ្ញុំចូលចិត្តតែ"]) == "km"
    assert unspaced_language(["ကျွန်တော်လက်ဖက်ရည်ကြိုက်တယ်"]) == "my"
    assert unspaced_language(["今天 天气 很 好 。", "商店 关门 了"]) is None  # cut into words before
    for spaced in (*TEXTS["13a"], *TEXTS["ko-mecab"], ["Das Wort 茶 heißt Tee"], ["😀😀"], [""], [None]):
        assert unspaced_language(spaced) is None
    assert better_tokenizer(chinese, Scoring()) == "zh" and better_tokenizer(chinese, Scoring("char")) is None


def test_tokens_are_those_of_bleu():
    assert make_tokenizer()("Gut, oder?") == ["Gut", ",", "oder", "?"]
    assert make_tokenizer(Scoring("zh"))("我有 2 只cats") == ["我", "有", "2", "只", "cats"]
    assert make_tokenizer(Scoring("char", lowercase=True))("Ab ก") == ["a", "b", "ก"]
