"""Pictures of other programs: which prompt, negative prompt, seed, size and steps their metadata tell.

Read are the text of AUTOMATIC1111's web UI and its kin, ComfyUI's graphs (`writers/comfyui.py`), InvokeAI's JSON, also
its older forms, and flat JSON as Fooocus and NovelAI write it. All of it is data from a stranger: nothing is executed,
opened or fetched, and what does not have the expected form is left out.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqclip import prompts
from vqclip.writers import comfyui, metadata

MAX_SEED, _MAX_SIDE, _MAX_STEPS = 2**64 - 1, 16_384, 1_000_000
_MAX_LINE = 100_000  # characters
# the program of a picture of vqclip's that lost its record, but not the text for other tools
OWN = "vqclip"
_SHOWN = 200  # characters of a name
_NETWORK = re.compile(r"<(\w{1,20}):([^<>]{1,200})>")
_EMBEDDING = re.compile(r"\bembedding:([\w.-]{1,100})")
# `(word:1.3)` of most programs; `(word)1.3` and `word++` of InvokeAI
_WEIGHT = re.compile(
    r":\s*-?\d{1,9}(?:\.\d{0,9})?\s*(?=[)\]])|(?<=\))(?:\d{1,9}(?:\.\d{1,9})?|[+-]{1,9})|\b[+-]{2,9}(?=[\s,]|$)"
)
_SWITCH = re.compile(r"\[([^\[\]]*)\]")
_ESCAPED = {"\\(": "\ufdd0", "\\)": "\ufdd1", "\\[": "\ufdd2", "\\]": "\ufdd3"}
# names of one and the same thing in JSON, the program's own first
_KEYS = {
    "prompt": ("positive_prompt", "prompt", "full_prompt"),
    "negative": ("negative_prompt", "uc", "full_negative_prompt"),
    "seed": ("seed",),
    "steps": ("steps",),
    "width": ("width",),
    "height": ("height",),
}


@dataclass(frozen=True)
class Foreign:
    """What the metadata of a picture of `program` say.

    Texts are plain: brackets and weights inside them are gone. `size` is width and height in pixels. What they
    leave out is empty or None; `left` names what else the metadata hold.
    """

    program: str
    prompt: str = ""
    negative: str = ""
    seed: int | None = None
    size: tuple[int, int] | None = None
    steps: int | None = None
    left: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return what the picture gives as values of config keys, the texts in the grammar of prompts."""
        values = {
            "prompts": self._grammar(self.prompt),
            "negative": self._grammar(self.negative),
            "seed": self.seed,
            "size": None if self.size is None else list(self.size),
            "steps": self.steps,
        }
        return {key: value for key, value in values.items() if value is not None}

    def _grammar(self, text: str) -> tuple[str, ...] | None:
        if not text:
            return None
        return (text if self.program == OWN else str(prompts.Prompt(text)),)

    def facts(self) -> list[tuple[str, str]]:
        """Return the names and values that the picture gives, for people; each value is one printable line."""
        size = "" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        values = {
            "prompt": self.prompt,
            "negative": self.negative,
            "seed": self.seed,
            "size": size,
            "steps": self.steps,
        }
        return [(name, str(value)) for name, value in values.items() if value not in (None, "")]


def read(path: str | Path) -> Foreign | None:
    """Return what a PNG, JPEG or WebP file of another program tells; None if it tells nothing that is understood.

    Raises UsageError for a file that is no such picture.
    """
    texts = metadata.read_texts(path)
    for reader in (_comfyui, _invokeai, _dream, _json, _parameters):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            record = reader(texts)
            if record is not None and record.facts():
                return _plain(record)
    return None


def _plain(record: Foreign) -> Foreign:
    """Return the same with plain texts; what was in them beside words is among what is left."""
    left, texts = list(record.left), [record.prompt, record.negative]
    texts = [prompts.clean(text) if record.program == OWN else _words(text, left) for text in texts]
    shown = [prompts.clean(metadata.clean(name))[:_SHOWN] for name in left]
    return replace(
        record, prompt=texts[0], negative=texts[1], left=tuple(dict.fromkeys(name for name in shown if name))
    )


def _words(text: str, left: list[str]) -> str:
    """Return a prompt without weights, brackets and networks, which are added to `left`."""
    text = metadata.clean(text)
    left += [f"{kind}:{name}" for kind, name in _NETWORK.findall(text)]
    left += [f"embedding:{name}" for name in _EMBEDDING.findall(text)]
    text = _EMBEDDING.sub("", _NETWORK.sub("", text))
    for escaped, private in _ESCAPED.items():
        text = text.replace(escaped, private)
    bare = _WEIGHT.sub("", text)
    bare = _SWITCH.sub(lambda match: re.sub("[:|]", ", ", match[1]), bare)
    bare = re.sub(r"[()\[\]]", "", bare)
    if bare != text:
        left.append("weights inside the prompt")
    for escaped, private in _ESCAPED.items():
        bare = bare.replace(private, escaped[1])
    bare = re.sub(r"\bBREAK\b", ",", bare)
    return re.sub(r"(?:\s*,)+", ",", prompts.clean(bare)).strip(" ,")


def _parameters(texts: Mapping[str, str]) -> Foreign | None:
    """Read the text of AUTOMATIC1111's web UI: prompt, `Negative prompt:`, and a line `Steps: ..., Seed: ...`."""
    lines = texts.get("parameters", "").replace("\r\n", "\n").split("\n")
    where = next((i for i in range(len(lines) - 1, -1, -1) if len(_settings(lines[i])) >= 3), None)
    if where is None:
        return None
    settings = _settings(lines[where])
    text = "\n".join(lines[:where])
    positive, _, negative = text.partition("\nNegative prompt:")
    if text.startswith("Negative prompt:"):
        positive, negative = "", text.removeprefix("Negative prompt:")
    width, _, height = settings.get("Size", "").partition("x")
    program = OWN if settings.get("Version", "").startswith("vqclip") else "AUTOMATIC1111's web UI or its kin"
    left = [name for name in settings if name not in ("Steps", "Seed", "Size")]
    record = Foreign(program, positive, negative, left=tuple(left))
    return _with_numbers(record, settings.get("Seed"), settings.get("Steps"), width, height)


def _settings(line: str) -> dict[str, str]:
    """Return the pairs of a line `Steps: 20, Sampler: Euler a, ...`; nothing if it is no such line."""
    if len(line) > _MAX_LINE or not line.lstrip().startswith("Steps:"):
        return {}
    pairs = [piece.partition(":") for piece in _pieces(line)]
    return {name.strip(): value.strip().strip('"') for name, colon, value in pairs if colon and name.strip()}


def _pieces(line: str) -> Iterator[str]:
    """Yield what stands between the commas of a line, those in quotes left aside."""
    begin, quoted, escaped = 0, False, False
    for place, character in enumerate(line):
        if character == "," and not quoted:
            yield line[begin:place]
            begin = place + 1
        elif character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and not escaped
    yield line[begin:]


def _comfyui(texts: Mapping[str, str]) -> Foreign | None:
    for name, read_graph in (("prompt", comfyui.graph_of_prompt), ("workflow", comfyui.graph_of_workflow)):
        graph = read_graph(_object(texts.get(name)))
        settings = comfyui.read(graph) if graph else None
        if settings is not None:
            record = Foreign("ComfyUI", settings["prompt"], settings["negative"], left=tuple(settings["left"]))
            return _with_numbers(record, settings["seed"], settings["steps"], settings["width"], settings["height"])
    return None


def _invokeai(texts: Mapping[str, str]) -> Foreign | None:
    new = _object(texts.get("invokeai_metadata"))
    if new:
        return _flat("InvokeAI", new, [name for name in ("invokeai_graph", "invokeai_workflow") if name in texts])
    old = _object(texts.get("sd-metadata"))
    image = old.get("image")
    if not isinstance(image, Mapping):
        return None
    prompt = image.get("prompt")
    parts = prompt if isinstance(prompt, list) else [prompt]
    said = [part.get("prompt") if isinstance(part, Mapping) else part for part in parts]
    positive, negative = _without_brackets(", ".join(text for text in said if isinstance(text, str)))
    rest = [name for name in old if name != "image"]
    return _flat("InvokeAI", {**image, "prompt": positive, "negative_prompt": negative}, rest)


def _dream(texts: Mapping[str, str]) -> Foreign | None:
    """Read InvokeAI's oldest form, `"a cat [dog]" -s 50 -S 3 -W 512 -H 512 -C 7.5 -A k_lms`."""
    said = re.fullmatch(r'\s*"(.*)"([^"]*)', texts.get("Dream", "")[:_MAX_LINE], re.DOTALL)
    if said is None:
        return None
    flags = dict(re.findall(r"(?<=\s)-(\w{1,20}) ?([\w.]{1,40})", said[2]))
    positive, negative = _without_brackets(said[1])
    record = Foreign("InvokeAI", positive, negative, left=tuple(f"-{name}" for name in flags if name not in "sSWH"))
    return _with_numbers(record, flags.get("S"), flags.get("s"), flags.get("W"), flags.get("H"))


def _without_brackets(text: str) -> tuple[str, str]:
    """Return what stands outside of square brackets, and what stands in them: InvokeAI's old negative prompts."""
    return _SWITCH.sub("", text), ", ".join(_SWITCH.findall(text))


def _json(texts: Mapping[str, str]) -> Foreign | None:
    """Read flat JSON: Fooocus under `parameters`, NovelAI under `Comment` with the prompt in `Description`."""
    fooocus = _object(texts.get("parameters"))
    if fooocus:
        size = re.findall(r"\d{1,6}", str(fooocus.get("resolution", "")))
        sides = dict(zip(("width", "height"), size, strict=False)) if len(size) == 2 else {}
        return _flat("Fooocus or its kin", {**sides, **{k: v for k, v in fooocus.items() if k != "resolution"}})
    novel = _object(texts.get("Comment"))
    if "uc" not in novel and "steps" not in novel:
        return None
    return _flat("NovelAI", {"prompt": texts.get("Description", ""), **novel})


def _flat(program: str, values: Mapping[str, Any], left: list[str] | None = None) -> Foreign:
    """Return what a flat object tells under the usual names."""
    taken = {key: next((name for name in names if name in values), "") for key, names in _KEYS.items()}
    prompt, negative = (values.get(taken[key]) for key in ("prompt", "negative"))
    rest = [name for name in values if name not in taken.values() and values[name] not in (None, "", [], {})]
    texts = [text if isinstance(text, str) else "" for text in (prompt, negative)]
    record = Foreign(program, prompt=texts[0], negative=texts[1], left=(*(left or ()), *(str(name) for name in rest)))
    return _with_numbers(record, *(values.get(taken[key]) for key in ("seed", "steps", "width", "height")))


def _with_numbers(record: Foreign, seed: Any, steps: Any, width: Any, height: Any) -> Foreign:
    """Return `record` with the numbers that are some; others are among what is left."""
    columns, rows = (_whole(side, _MAX_SIDE, 1) for side in (width, height))
    size = None if columns is None or rows is None else (columns, rows)
    numbers: dict[str, Any] = {"seed": _whole(seed, MAX_SEED), "steps": _whole(steps, _MAX_STEPS), "size": size}
    said = {"seed": seed, "steps": steps, "size": width}
    wrong = [name for name, value in numbers.items() if value is None and said[name] not in (None, "")]
    return replace(record, **numbers, left=(*record.left, *wrong))


def _whole(value: Any, highest: int, lowest: int = 0) -> int | None:
    """Return a value as a whole number in a range, None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,20}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and lowest <= value <= highest else None


def _object(text: str | None) -> dict[str, Any]:
    """Return the JSON object in a text, an empty one for anything else."""
    return metadata.parsed(text) or {}
