"""`vqclip words`: what the words of a prompt may be, and how a prompt is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict

import click

from vqclip.cli import streams
from vqclip.errors import UsageError


@click.command()
@click.argument("pattern", nargs=-1)
@click.option("--own", multiple=True, metavar="NAME", help="A name of your own, as --like takes it; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def words(pattern: tuple[str, ...], own: tuple[str, ...], as_json: bool) -> None:
    """List the words that are known, or those that PATTERN names; show how a prompt is read.

    PATTERN is a part of a word or a glob ("*berry"). What matches nothing is read as a prompt:
    vqclip words "two kittens on a red chair"
    """
    from vqclip.words.listing import matching, vocabulary

    text = " ".join(pattern)
    if not pattern:
        known = vocabulary()
        streams.say(json.dumps(known, indent=2, ensure_ascii=False) if as_json else "\n\n".join(_columns(known)))
        return
    found = {} if own else matching(text)
    if not found:
        _read(text, own, as_json)
    elif as_json:
        streams.say(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for kind, names in found.items():
            for name, others in names.items():
                streams.say(f"{kind}: {name}" + (f" ({', '.join(others)})" if others else ""))


def _read(text: str, own: tuple[str, ...], as_json: bool) -> None:
    """Show a prompt's reading; UsageError where nothing in it is known."""
    from vqclip.words import read, suggestions

    reading = read(text, own)
    if not reading.known:
        near = suggestions(text)
        hint = f"the nearest names are {', '.join(near)}" if near else "'vqclip words' lists all that is known"
        raise UsageError(f"nothing is known in {text!r}: {hint}")
    if as_json:
        streams.say(json.dumps({**asdict(reading), "caption": reading.caption()}, indent=2, ensure_ascii=False))
        return
    streams.say(f"read as: {reading.caption()}")
    for noun in reading.nouns:
        looks = [word for word in (noun.size, noun.color) if word]
        kind = "your own" if noun.kind == "own" else noun.kind
        streams.say(f"{kind}: {' '.join([str(noun.count), *looks, noun.subject])}")
    for relation in reading.relations:
        streams.say(
            f"where: {reading.nouns[relation.first].subject} {relation.kind} {reading.nouns[relation.second].subject}"
        )
    for name in ("setting", "background", "season", "weather", "time", "style", "framing"):
        if value := getattr(reading, name):
            streams.say(f"{name}: {value}")
    for notice in reading.notices():
        streams.say(f"note: {notice}")


def _columns(known: Mapping[str, Mapping[str, Iterable[str]]]) -> Iterable[str]:
    """Yield every kind with its names in columns as wide as the terminal."""
    width = shutil.get_terminal_size((100, 24)).columns
    for kind, names in known.items():
        wide = max(map(len, names)) + 2
        across = max(1, (width - 2) // wide)
        cells = [f"{name:{wide}}" for name in names]
        lines = ["".join(cells[at : at + across]).rstrip() for at in range(0, len(cells), across)]
        count = f" ({len(cells)})" if len(cells) > 30 else ""
        yield "\n".join([f"{kind}{count}:", *("  " + line for line in lines)])
