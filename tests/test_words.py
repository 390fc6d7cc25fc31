"""Prompts read into what the models know: plurals, senses, relations, settings, styles, one's own things."""

from __future__ import annotations

import dataclasses
import gzip
import json
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import vqclip
from vqclip.cli.main import cli, run
from vqclip.cli.words import words as command
from vqclip.words import RELATIONS, SETTINGS, STYLES, Noun, Reading, Relation, read, suggestions
from vqclip.words import lexicon as lexicons
from vqclip.words.inflection import is_plural, pluralize, singulars, verb_forms
from vqclip.words.listing import matching, vocabulary
from vqclip.words.reading import FRAMINGS, SEASONS, TIMES, WEATHERS

ROOT = Path(__file__).resolve().parent.parent
ROWS = [line.split("\t") for line in (ROOT / "tests/prompts_read.tsv").read_text("utf-8").splitlines()]
PROMPTS = [row for row in ROWS if not row[0].startswith("#")]
STRANGERS = [
    line for line in (ROOT / "configs/evaluate/strangers.txt").read_text("utf-8").splitlines() if line[0] != "#"
]
WORLD = yaml.safe_load((ROOT / "vqclip/world/world.yaml").read_text("utf-8"))
LEXICON = lexicons.load()
SUBJECTS = [name for name in LEXICON.subjects if name not in lexicons.PLACES]


def spoken(noun: Noun) -> str:
    """Return a noun as the table spells it."""
    parts = [str(noun.count) if noun.count > 1 else "", noun.size, noun.color, noun.subject]
    return " ".join(part for part in parts if part) + {"subject": "", "shape": "+", "own": "!"}[noun.kind]


def columns(reading: Reading) -> list[str]:
    """Return a reading as a row of the table."""
    names = ("setting", "background", "season", "weather", "time", "style", "framing")
    others = [f"{name}={value}" for name in names if (value := getattr(reading, name))]
    changes = [f"{written} > {drawn}" for written, drawn in reading.replaced] + [f"- {w}" for w in reading.unknown]
    relations = [f"{r.first} {r.kind} {r.second}" for r in reading.relations]
    return ["; ".join(part) for part in ([spoken(n) for n in reading.nouns], relations, others, changes)]


def said(reading: Reading) -> tuple[object, ...]:
    """Return all that a reading says of the picture, without how it was written."""
    nouns = [dataclasses.replace(noun, text="") for noun in reading.nouns]
    bare = dataclasses.replace(reading, text="", nouns=tuple(nouns), replaced=(), unknown=())
    return dataclasses.astuple(bare)


def test_the_table_is_long_enough() -> None:
    assert len(PROMPTS) >= 120
    assert all(len(row) == 5 for row in PROMPTS), [row for row in PROMPTS if len(row) != 5]


@pytest.mark.parametrize("row", PROMPTS, ids=lambda row: row[0])
def test_a_prompt_says_what_people_mean(row: list[str]) -> None:
    assert columns(read(row[0])) == row[1:]


@pytest.mark.parametrize("text", [*(row[0] for row in PROMPTS), *STRANGERS])
def test_the_caption_of_a_prompt_reads_back(text: str) -> None:
    reading = read(text)
    again = read(reading.caption())
    assert said(again) == said(reading), reading.caption()
    assert again.replaced == () and again.unknown == ()
    assert again.caption() == reading.caption()


def test_strangers_prompts_are_understood() -> None:
    assert len(STRANGERS) == 60
    readings = [read(text) for text in STRANGERS]
    assert all(reading.known for reading in readings)
    left_out = {word for reading in readings for word in reading.unknown}
    assert left_out == {"cyberpunk"}


def test_every_subject_reads_as_itself() -> None:
    texts = [(name, text) for name in SUBJECTS for text in (f"a {name}", name.upper(), name.replace(" ", "-"))]
    assert [text for name, text in texts if columns(read(text)) != [name, "", "", ""]] == []


def test_the_plural_of_every_subject_reads_as_two_of_it() -> None:
    names = [name for name in SUBJECTS if name not in ("houses", "eyes", "mrs. claus")]
    texts = {name: f"two {pluralize(name)}" for name in names}
    assert [text for name, text in texts.items() if columns(read(text)) != [f"2 {name}", "", "", ""]] == []


def test_a_plural_that_is_drawn_itself_is_counted_by_its_singular() -> None:
    assert [spoken(noun) for text in ("houses", "two houses", "eyes", "two eyes") for noun in read(text).nouns] == [
        "houses", "2 house", "eyes", "2 eye"
    ]  # fmt: skip


def test_places_among_the_subjects_are_settings() -> None:
    assert {name: columns(read(f"a {name}"))[2] for name in lexicons.PLACES} == {
        "beach": "setting=on the beach", "city": "setting=in the city", "desert": "setting=in the desert",
        "sunset": "setting=at sunset", "sunrise": "time=dawn", "rain": "setting=in the rain",
    }  # fmt: skip


def test_names_of_the_world_are_all_known() -> None:
    for name, others in WORLD["subjects"].items():
        for other in others[1:]:
            expected = other if other in LEXICON.subjects else name
            assert [noun.subject for noun in read(f"a {other}").nouns] == [expected], other
    assert tuple(WORLD["settings"]) == SETTINGS[:10]
    assert tuple(WORLD["styles"]) == STYLES[:13]
    assert tuple(WORLD["shapes"]) == LEXICON.shapes
    assert tuple(vocabulary()["colors"]) == tuple(WORLD["colors"])


@pytest.mark.parametrize("style", STYLES)
def test_every_style_reads_as_itself(style: str) -> None:
    for text in (f"a fox, {style}", f"{style} of a fox", f"a fox in {style} style", f"a {style.upper()} fox"):
        assert columns(read(text)) == ["fox", "", f"style={style}", ""], text


@pytest.mark.parametrize("style", WORLD["styles"])
def test_every_phrase_of_a_style_is_read(style: str) -> None:
    for phrase in WORLD["style_phrases"][style]:
        assert columns(read(phrase.format(x="a fox", bare="fox"))) == ["fox", "", f"style={style}", ""], phrase


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_reads_as_itself(setting: str) -> None:
    assert columns(read(setting)) == ["", "", f"setting={setting}", ""]
    assert columns(read(f"a fox {setting}")) == ["fox", "", f"setting={setting}", ""]


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_reads_as_itself(relation: str) -> None:
    assert read(f"a fox {relation} a tree").relations == (Relation(relation, 0, 1),)


def test_every_colored_shape_reads_as_itself() -> None:
    things = [f"{color} {shape}" for color in WORLD["colors"] for shape in WORLD["shapes"]]
    assert [thing for thing in things if columns(read(f"a {thing}")) != [f"{thing}+", "", "", ""]] == []


def test_held_out_subjects_are_never_known() -> None:
    rows = [line.split("\t") for line in (ROOT / "vqclip/world/drawings.tsv").read_text("utf-8").splitlines()]
    held = sorted({row[0] for row in rows if row[4] == "subject"})
    assert len(held) == 40
    for name in held:
        reading = read(f"a {name}")
        assert name not in {noun.subject for noun in reading.nouns}
        assert reading.replaced or reading.unknown, name
        assert [noun.kind for noun in read(f"a {name}", like=[name]).nouns] == ["own"]


@pytest.mark.parametrize(
    ("text", "own", "nouns"),
    [
        ("my dog at the beach", ["my dog"], "my dog!"),
        ("My Dog at the beach", ["my dog"], "my dog!"),
        ("two Bellos and Bello's ball", ["Bello"], "2 Bello!; Bello!; ball"),
        ("a bello and the castle", ["Bello", "castle"], "Bello!; castle!"),
        ("the red car of grandma", ["the red car"], "the red car!; grandmother"),
        ("a red car", ["car"], "red car!"),
        ("two cars", ["car"], "2 car!"),
        ("a dog", ["my dog"], "dog"),
        ("Snow White with a dog", ["snow white"], "snow white!; dog"),
        ("a cat", ["", "  "], "cat"),
    ],
)
def test_own_names_come_first(text: str, own: list[str], nouns: str) -> None:
    assert "; ".join(spoken(noun) for noun in read(text, own).nouns) == nouns


def test_a_caption_with_own_names_reads_back() -> None:
    reading = read("two big Rexes on a chair with my cat", ["Rex", "my cat"])
    assert said(read(reading.caption(), ["Rex", "my cat"])) == said(reading)


def test_notices_tell_what_a_person_wants_to_know() -> None:
    assert read("a photo of a cyberpunk terrier").notices() == [
        "terrier: drawn as 'dog'",
        "'photo': photographs are beyond the bundled models: left out",
        "'cyberpunk' is unknown: left out",
    ]
    assert read("a happy puppy, sitting on an old chair").notices() == []


def test_nothing_known_gets_suggestions() -> None:
    reading = read("qwzx elephamtidae")
    assert not reading.known
    assert reading.caption() == ""
    assert suggestions("qwzx elephamtidae")[0] == "elephant"
    assert suggestions("") == []


@pytest.mark.parametrize("word", ["brave", "morale", "stacks", "machines", "steampunk", "purser"])
def test_real_words_are_not_taken_for_typing_errors(word: str) -> None:
    assert read(f"a {word} cat").replaced == ()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("elefant", "elephant"),
        ("girafe", "giraffe"),
        ("buterfly", "butterfly"),
        ("pinguin", "penguin"),
        ("castel", "castle"),
    ],
)
def test_typing_errors_are_mended_and_told(typed: str, meant: str) -> None:
    reading = read(f"a {typed}")
    assert [noun.subject for noun in reading.nouns] == [meant]
    assert reading.replaced == ((typed, meant),)


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_read(text: str) -> None:
    reading = read(text)
    assert all(1 <= noun.count <= 5 for noun in reading.nouns)
    assert all(max(r.first, r.second) < len(reading.nouns) and r.kind in RELATIONS for r in reading.relations)
    assert reading.setting in (None, *SETTINGS)
    assert isinstance(reading.caption(), str)
    assert reading.known == bool(reading.caption())


PIECES = sorted({word for row in PROMPTS for word in row[0].split()} | {",", ".", "|", ":", "'s", "-", "a", "the"})


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.lists(st.sampled_from(PIECES), max_size=2))
@settings(max_examples=100, deadline=None)
def test_known_words_in_any_order_can_be_read(pieces: list[str], own: list[str]) -> None:
    reading = read(" ".join(pieces), own)
    assert all(max(r.first, r.second) < len(reading.nouns) and r.first != r.second for r in reading.relations)
    for name, known in (("season", SEASONS), ("weather", WEATHERS), ("time", TIMES), ("framing", FRAMINGS)):
        assert getattr(reading, name) in (None, *known)
    read(reading.caption(), own)


def test_very_long_texts_are_read_at_once() -> None:
    started = time.perf_counter()
    read("a cat on a chair, " * 10_000)
    assert time.perf_counter() - started < 2


def test_reading_is_quick() -> None:
    text = "two cats on a red chair with a hat and an elefant in a snowy forest at night, watercolor {}"
    best = min(timed(text.format(index)) for index in range(20))
    assert best < 0.002


def timed(text: str) -> float:
    started = time.perf_counter()
    read(text)
    return time.perf_counter() - started


def test_tables_are_small_and_sound() -> None:
    table = (ROOT / "vqclip/words/synonyms.tsv").read_bytes()
    assert len(table) < 400_000 and len(gzip.compress(table)) < 150_000
    rows = [line.split("\t") for line in table.decode().splitlines() if not line.startswith("#")]
    assert {kind for _, _, kind in rows} == {"same", "nearer", "plural", "word"}
    assert {value for _, value, kind in rows if kind in ("same", "nearer")} <= set(LEXICON.subjects)
    words = [row[0] for row in rows]
    assert len(words) == len(set(words))
    by_hand = [line.split("\t") for line in (ROOT / "vqclip/words/nouns.tsv").read_text("utf-8").splitlines()[1:]]
    assert {value for _, value, kind in by_hand if kind != "word"} <= set(LEXICON.subjects)
    assert len({row[0] for row in by_hand}) == len(by_hand)


@pytest.mark.parametrize("name", ["nouns", "synonyms"])
def test_every_word_of_the_tables_is_understood(name: str) -> None:
    lines = (ROOT / f"vqclip/words/{name}.tsv").read_text("utf-8").splitlines()
    for words, subject, kind in (line.split("\t") for line in lines if not line.startswith("#")):
        if kind in ("same", "nearer"):
            entry = LEXICON.find(lexicons.key(words))
            assert entry is not None and entry.value == ("subject", subject), words
            assert entry.notable is (kind == "nearer")


def test_the_words_of_a_subject_match_no_held_out_drawing_by_name() -> None:
    held = {"squid", "moose", "cockroach", "genie"}
    assert held.isdisjoint(LEXICON.subjects)


@pytest.mark.parametrize(
    ("one", "many"),
    [("cat", "cats"), ("fox", "foxes"), ("cherry", "cherries"), ("monkey", "monkeys"), ("leaf", "leaves"),
     ("sheep", "sheep"), ("police officer", "police officers"),
     ("glass of wine", "glasses of wine"), ("man with a beard", "men with a beard"),
     ("fisherman", "fishermen"), ("glasses", "glasses"), ("person in bed", "people in bed")],
)  # fmt: skip
def test_plurals(one: str, many: str) -> None:
    assert pluralize(one) == many
    assert is_plural("glasses") and not is_plural("compass") and not is_plural("stack of books")


def test_singulars_and_verbs() -> None:
    assert singulars("leaves") == ["leaf"]
    assert singulars("berries")[0] == "berry"
    assert singulars("bus") == ["bu"]
    assert singulars("cat") == []
    assert verb_forms("sit") == ("sit", "sits", "sitting")
    assert verb_forms("dance") == ("dance", "dances", "dancing")
    assert verb_forms("lie") == ("lie", "lies", "lying")
    assert verb_forms("fly") == ("fly", "flies", "flying")


def test_the_reading_is_exported_and_frozen() -> None:
    reading = vqclip.read_prompt("a cat")
    assert isinstance(reading, vqclip.Reading)
    with pytest.raises(dataclasses.FrozenInstanceError):
        reading.style = "neon"  # type: ignore[misc]


def test_words_lists_everything() -> None:
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 0
    for word in (
        "subjects (",
        "zebra",
        "in a kitchen",
        "low poly",
        "left of",
        "checkerboard",
        "winter",
        "foggy",
        "dawn",
        "logo",
    ):
        assert word in done.output
    known = json.loads(CliRunner().invoke(command, ["--json"]).output)
    assert known == {kind: {name: list(more) for name, more in names.items()} for kind, names in vocabulary().items()}
    assert "kitten" in known["subjects"]["cat"] and "crimson" in known["colors"]["red"]


def test_words_searches() -> None:
    assert CliRunner().invoke(command, ["*berry"]).output.splitlines()[0].startswith("subjects: blueberries (blueberry")
    assert set(matching("gogh")) == {"styles"}
    assert "orange" in matching("orange")["colors"]


def test_words_shows_how_a_prompt_is_read() -> None:
    done = CliRunner().invoke(command, ["a", "cyberpunk", "cat", "in the rain"])
    assert done.output.splitlines() == [
        "read as: a cat in the rain",
        "subject: 1 cat",
        "setting: in the rain",
        "note: 'cyberpunk' is unknown: left out",
    ]
    shown = json.loads(CliRunner().invoke(command, ["--json", "--own", "Rex", "rex on a chair"]).output)
    assert shown["caption"] == "Rex on a chair" and shown["relations"] == [{"kind": "on", "first": 0, "second": 1}]


def test_words_with_nothing_known_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["words", "qwzx", "elephamtidae"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "elephant" in error
    assert run(["words", "qqqqqq"]) == 2
    assert "vqclip words" in capsys.readouterr().err


def test_words_is_a_subcommand_on_an_exact_match_only() -> None:
    assert "words" in cli.list_commands(None)  # type: ignore[arg-type]
    assert cli.get_command(None, "word") is None  # type: ignore[arg-type]
