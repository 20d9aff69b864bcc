"""Where long text is cut: every character is kept, and what is cut is what a reader would cut."""

import time

import pytest

from emnat_jax.inference.segments import join, segments


def fits(limit: int):
    """At most so many characters, a stand-in for tokens."""
    return lambda text: len(text.strip()) <= limit


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("Er kam. Sie ging.", 20, ["Er kam. Sie ging."]),
        ("Er kam. Sie ging.", 16, ["Er kam.", "Sie ging."]),
        ("Er kam! Ging sie? Ja.", 10, ["Er kam!", "Ging sie?", "Ja."]),
        (
            "\u201eEr kam.\u201d \u00bbSie ging.\u00ab Gut.",
            15,
            ["\u201eEr kam.\u201d", "\u00bbSie ging.\u00ab", "Gut."],
        ),
        ("er kam. sie ging.", 16, ["er kam.", "sie ging."]),
        ("Er kam... Sie ging?!) Gut.", 11, ["Er kam...", "Sie ging?!)", "Gut."]),
        ("Er kam usw. und sie ging", 12, ["Er kam usw.", "und sie ging"]),
        # Clauses, as many as fit in each part; then words.
        ("eins, zwei, drei; vier", 12, ["eins, zwei,", "drei; vier"]),
        ("eins zwei drei vier", 10, ["eins zwei", "drei vier"]),
        # No ends of sentences: an abbreviation, a number, a small letter that follows.
        ("Dr. Adam kam am 3. Mai. Er ging.", 24, ["Dr. Adam kam am 3. Mai.", "Er ging."]),
        ("Das ist z. B. gut. Und das?", 20, ["Das ist z. B. gut.", "Und das?"]),
        # Japanese, Chinese, Arabic, Urdu, Hindi: no space behind the mark is needed.
        ("今日は。お元気ですか\uff1fはい。", 9, ["今日は。", "お元気ですか\uff1f", "はい。"]),
        ("「今日は。」と言った。", 8, ["「今日は。」", "と言った。"]),
        ("他来了\uff0c她走了\uff0c好。", 5, ["他来了\uff0c", "她走了\uff0c", "好。"]),
        ("كيف حالك؟ أنا بخير.", 12, ["كيف حالك؟", "أنا بخير."]),
        ("वह आया। वह गया।", 9, ["वह आया।", "वह गया।"]),
    ],
)
def test_it_is_cut_where_a_reader_would(text, limit, parts):
    found = segments(text, fits(limit))
    assert found.parts == parts and not found.in_word
    assert "".join("".join(found.parts).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Donaudampfschiff" * 9, 10),
        ("ฉันไปตลาดเมื่อวานนี้และซื้อผลไม้มากมาย", 9),
        ("👩‍👩‍👧‍👦👍🏽é" * 5, 12),
        ("ab " + "x" * 50, 7),
    ],
)
def test_what_has_no_ends_is_divided_between_characters(text, limit):
    found = segments(text, fits(limit))
    assert found.in_word and max(map(len, found.parts)) <= limit
    assert "".join(found.parts) == text.replace(" ", "")


@pytest.mark.parametrize("whole", ["👩‍👩‍👧", "👍🏽", "e\u0301", "ก็", "❤️"])
def test_a_character_of_several_code_points_stays_whole(whole):
    found = segments(whole * 20, fits(2 * len(whole) + 1))
    assert all(part == whole * (len(part) // len(whole)) for part in found.parts)


def test_what_can_never_fit_is_a_part_of_its_own():
    assert segments("abc", lambda text: False) == (["a", "b", "c"], True)


def test_joined_as_the_script_is_written():
    assert join("One.", "Two.") == "One. Two."
    assert join("今日は。", "お元気か。") == "今日は。お元気か。"
    assert join("", "x") == join("x", "") == "x"
    assert join("สวัสดี", "ครับ") == "สวัสดี ครับ"


def test_a_very_long_line_takes_linear_time():
    """A quadratic search would take minutes."""
    calls = [0]

    def count(text: str) -> bool:
        calls[0] += len(text)
        return len(text.split()) <= 10

    text = "wort " * 20_000
    assert len(segments(text, count).parts) == 2_000
    assert calls[0] < 40 * len(text)


@pytest.mark.parametrize("text", ["." * 40_000, ",;" * 20_000, "a" + ".)" * 20_000])
def test_a_row_of_marks_takes_linear_time(text):
    begin = time.process_time()
    assert "".join(segments(text, fits(1_000)).parts) == text
    assert time.process_time() - begin < 4  # a quadratic search took 20 s
