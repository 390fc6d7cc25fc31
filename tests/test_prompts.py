"""The grammar of prompts, to the letter of DESIGN section 7."""

from __future__ import annotations

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqclip.errors import UsageError
from vqclip.prompts import (
    LARGEST_WEIGHT,
    MAX_LENGTH,
    NO_STOP,
    Prompt,
    clean,
    is_visible,
    parse,
    parse_all,
    remarks,
    split_long,
    unknown_words,
    words_of,
)

# texts that look like the grammar: what plain random text hardly ever hits
GRAMMATICAL = st.text(st.sampled_from("ab1२8.:|\\-+e \t\n\u0301'()[]"), max_size=20)
ANY_TEXT = st.one_of(st.text(st.characters(), max_size=40), GRAMMATICAL)
FINITE = st.floats(-LARGEST_WEIGHT, LARGEST_WEIGHT)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        # brackets that weigh a prompt in other programs
        ("(a cat:1.3)", [Prompt("a cat", 1.3)]),
        ("(a cat:1.3):2:0.5 | (a dog)", [Prompt("a cat", 2.6, 0.5), Prompt("a dog", 1.1)]),
        ("((a cat))", [Prompt("a cat", 1.21)]),
        ("[a cat]", [Prompt("a cat", 0.909091)]),
        ("[[a cat]]", [Prompt("a cat", 0.826446)]),
        ("(rain:-0.5)", [Prompt("rain", -0.5)]),
        ("(Blade Runner 2049:1.3)", [Prompt("Blade Runner 2049", 1.3)]),
        ("(a clock at 8:30)", [Prompt("a clock at 8:30", 1.1)]),
        ("a (red:1.3) cat, ((blue eyes)), [[mist]]", [Prompt("a red cat, blue eyes, mist")]),
        (r"\(a cat\)", [Prompt("(a cat)")]),
        (r"a \[red\] cat:2", [Prompt("a [red] cat", 2.0)]),
        ("a cat (black)", [Prompt("a cat (black)")]),
        ("(a cat) (a dog)", [Prompt("(a cat) (a dog)")]),
        ("[a cat:a dog:0.5]", [Prompt("[a cat:a dog:0.5]")]),
        ("a cat", [Prompt("a cat")]),
        ("a cat:2", [Prompt("a cat", 2.0)]),
        ("a cat:2:0.5", [Prompt("a cat", 2.0, 0.5)]),
        ("a fox:1.5 | ink wash:0.5", [Prompt("a fox", 1.5), Prompt("ink wash", 0.5)]),
        ("rain:-0.5", [Prompt("rain", -0.5)]),
        ("cat:-1:-.5", [Prompt("cat", -1.0, -0.5)]),
        ("cat: 2 : .5 ", [Prompt("cat", 2.0, 0.5)]),
        ("cat:1e-2", [Prompt("cat", 0.01)]),
        ("cat:5.", [Prompt("cat", 5.0)]),
        ("cat:+3", [Prompt("cat", 3.0)]),
        ("cat\n:2\n", [Prompt("cat", 2.0)]),
        ("  a   cat\t ", [Prompt("a cat")]),
        ("cat||dog|", [Prompt("cat"), Prompt("dog")]),
        # a digit before the colon: text
        ("a clock at 8:30", [Prompt("a clock at 8:30")]),
        ("16:9", [Prompt("16:9")]),
        ("a clock at 8:30 :2", [Prompt("a clock at 8:30", 2.0)]),
        # a word after the colon: text
        ("cat:abc", [Prompt("cat:abc")]),
        ("title: the cat", [Prompt("title: the cat")]),
        ("title: the cat:2", [Prompt("title: the cat", 2.0)]),
        ("cat:nan", [Prompt("cat:nan")]),
        ("cat:inf", [Prompt("cat:inf")]),
        ("cat:", [Prompt("cat:")]),
        # escapes
        (r"cat\:2", [Prompt("cat:2")]),
        (r"cat\:2:3", [Prompt("cat:2:3")]),
        (r"cat\:2 :3", [Prompt("cat:2", 3.0)]),
        (r"either\|or", [Prompt("either|or")]),
        (r"back\slash", [Prompt("back\\slash")]),
        # never evaluated, never opened
        ("@/etc/passwd", [Prompt("@/etc/passwd")]),
        ("${oc.env:HOME}", [Prompt("${oc.env:HOME}")]),
        ("photo.png:2", [Prompt("photo.png", 2.0)]),
    ],
)
def test_a_prompt_reads_as_the_grammar_says(given_text: str, expected: list[Prompt]) -> None:
    assert parse(given_text) == expected


@pytest.mark.parametrize(
    "bad",
    ["", "   ", "|", " | | ", "\x00", ":2", " :2:3", "cat | :2", "cat:1:abc", "cat:1:nan", "cat:1:",
     "cat:1: two\nlines", r"cat:1:b\:c", "cat:1e39", "(cat:1e39)", "cat:1:1e39", "((a:999):999):999",
     "\u200b", "\ufeff \u2060", "(\u200b:1.3)", "(:1.3)", "cat:1e999", "cat:1:-1e999",
     "x" * (MAX_LENGTH + 1), "cat:1:" + "z" * 5000],
)  # fmt: skip
def test_a_bad_prompt_is_a_usage_error_of_one_short_line(bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(bad)
    message = str(caught.value)
    assert message.isprintable(), "one line, nothing that moves the cursor"
    assert 10 < len(message) < 300


@given(ANY_TEXT.map(clean).filter(is_visible), FINITE, FINITE | st.just(NO_STOP))
def test_a_prompt_survives_being_written_and_read(text: str, weight: float, stop: float) -> None:
    prompt = Prompt(text, weight, stop)
    assert parse(str(prompt)) == [prompt]


@given(st.one_of(ANY_TEXT, st.text(st.characters(categories=["Cs", "Cn", "Cc", "Mn"]), max_size=8)))
def test_any_text_is_prompts_or_a_usage_error(text: str) -> None:
    try:
        prompts = parse(text)
    except UsageError:
        return
    for prompt in prompts:
        assert prompt.text == clean(prompt.text) != ""
        assert math.isfinite(prompt.weight)
        assert parse(str(prompt)) == [prompt]


@pytest.mark.parametrize(
    "hostile",
    [
        "(" * 9_000 + "a" + ")" * 9_000,
        "(a:1" * 5_000,
        "[[" * 9_999,
        "(a:1." + "1" * 19_000 + "x)",
        "cat:" + "1" * 9000 + "x",
        "cat:" + "1" * 300 + ":" + "1" * 300 + "x",
        "cat" + ":" * 9000,
    ],
)
def test_hostile_prompts_are_parsed_in_no_time(hostile: str) -> None:
    began = time.process_time()
    with contextlib.suppress(UsageError):
        parse(hostile)
        remarks([hostile])
    assert time.process_time() - began < 0.25


def test_a_weight_that_is_too_large_is_told_as_that() -> None:
    for text in ("a cat:1e39", "a cat:1:-1e39", "(a cat:1e39)", "a cat:1000001"):
        with pytest.raises(UsageError, match="is too large: give a finite number of at most 1000000"):
            parse(text)
    assert parse("a cat:1000000") == [Prompt("a cat", 1e6)]


def test_how_brackets_were_read_is_told_once_and_of_plain_prompts_nothing() -> None:
    assert remarks(["a cat:1.5 | a dog (black)", r"\(a cat\)", "8:30"]) == []
    (told,) = remarks(["(a cat:1.3):2 | a (red:1.2) fox", "[mist]"])
    for read in ("'(a cat:1.3):2' as 'a cat:2.6'", "'a (red:1.2) fox' as 'a red fox'", "'[mist]' as 'mist:0.909091'"):
        assert read in told
    (told,) = remarks(["[a cat:a dog:0.5]"])
    assert "'[a cat:a dog:0.5]' changes on the way in other programs" in told


def test_what_nobody_sees_is_told_and_what_joins_emoji_is_none_of_it() -> None:
    (told,) = remarks(["a\u200b cat\u2060", "a \u200bdog"])
    assert "(U+200B, U+2060)" in told
    assert remarks(["a \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f"]) == []


def test_emoji_and_signs_are_words_that_a_model_may_not_know() -> None:
    known = frozenset({"a", "cat", "and"})
    texts = [
        "\U0001f431",
        "a cat and \U0001f431\U0001f436!",
        "a \u2764\ufe0f \u2192, cat's \u2014 \u00abcat\u00bb?",
    ]
    unknown = ["\U0001f431", "\U0001f431\U0001f436", "\u2764\ufe0f", "\u2192"]
    assert unknown_words(map(Prompt, texts), known) == unknown
    assert unknown_words([Prompt("\U0001f431")], frozenset()) == []


def test_a_negative_prompt_counts_minus_three_tenths_of_its_weight() -> None:
    prompts = parse_all(["cat:2", "dog|fox"], negative=["rain:2:0.5"])
    assert prompts == [Prompt("cat", 2.0), Prompt("dog"), Prompt("fox"), Prompt("rain", -0.6, 0.5)]


def test_texts_are_cleaned_to_composed_unicode_without_control_characters() -> None:
    assert clean("cafe\u0301\x1b[31m \ud800 x\u2028y") == "caf\u00e9 [31m x y"


def test_words_keep_hyphens_and_apostrophes_inside() -> None:
    assert words_of("A Well-known cat's_tail, n\u00b0 2!") == ["a", "well-known", "cat's", "tail", "n", "2"]


def test_unknown_words_are_named_once_in_order_and_an_empty_vocabulary_knows_all() -> None:
    prompts = [Prompt("a red Zebra"), Prompt("zebra-red quagga")]
    assert unknown_words(prompts, frozenset({"a", "red"})) == ["zebra", "quagga"]
    assert unknown_words(prompts, frozenset()) == []


def test_the_genitive_is_not_an_unknown_word() -> None:
    assert unknown_words([Prompt("the cat's house")], frozenset({"the", "cat", "house"})) == []


def count(text: str) -> int:
    """A tokenizer of three letters a token, words apart, with start and end marks."""
    return 2 + sum(-(-len(word) // 3) for word in text.split())


def test_a_text_that_fits_is_not_split() -> None:
    assert split_long("a red, red fox.", 20, count) == ["a red, red fox."]


def test_a_long_text_is_split_at_commas_and_full_stops() -> None:
    text = "a red fox, a blue sky. the moon; rain"
    assert split_long(text, 7, count) == ["a red fox,", "a blue sky.", "the moon; rain"]


@pytest.mark.parametrize("limit", [4, 12, 77])
@pytest.mark.parametrize(
    "text",
    ["x" * 10_000, "x " * 5_000, "a " + "b" * 10_000, "b" * 10_000 + " a", "," * 10_000, ", " * 5_000,
     "\U0001f98a" * 3_000, "a. b, " + "c" * 999 + " d"],
    ids=lambda text: text[:6],
)  # fmt: skip
def test_splitting_hostile_texts_ends_and_loses_nothing_but_blanks(text: str, limit: int) -> None:
    text = clean(text)
    parts = split_long(text, limit, count)
    assert max(map(count, parts)) <= limit
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


@given(st.text(st.sampled_from("ab ,.;!\u00e9"), max_size=80), st.integers(3, 12))
def test_splitting_any_text_loses_nothing_but_blanks(text: str, limit: int) -> None:
    parts = split_long(text, limit, count)
    assert all(count(part) <= limit for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
