"""Tokenizers other than CLIP's: those of a `tokenizer.json`, read by the package `tokenizers`.

SigLIP, CLIPA and towers of many languages bring one. What that file leaves open (padding, marks at the ends, cleaning)
is settled once, when a CLIP is converted, and recorded as `CLIPArchitecture.tokenizer`:

- `clean`: what open_clip does to a text first (`whitespace`, `lower`, `canonicalize`);
- `pad`: the token that fills the context, `left` whether it stands before the text;
- `marks`: whether the file's own rule puts marks at the ends; `first` and `last`, tokens that must stand there;
- `strip`: a token that becomes 0, as CLIPA drops its end mark;
- `languages`: the mark of each script, by its name, where the first token names the language (NLLB).
"""

from __future__ import annotations

import functools
import json
import unicodedata
import zlib
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from vqclip.errors import WeightsError, one_line

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

# the name of the tensor of bytes in a CLIP's file that holds `tokenizer.json`, packed by zlib
TENSOR = "tokenizer.json"
# bytes of a `tokenizer.json`: the largest known one, of 900,000 tokens, has about 70 MB
MAX_SIZE = 256 << 20
CLEANING = ("whitespace", "lower", "canonicalize")
_LANGUAGES = {
    "LATIN": "eng_Latn", "CJK": "zho_Hans", "HIRAGANA": "jpn_Jpan", "KATAKANA": "jpn_Jpan", "HANGUL": "kor_Hang",
    "CYRILLIC": "rus_Cyrl", "ARABIC": "arb_Arab", "DEVANAGARI": "hin_Deva", "GREEK": "ell_Grek", "HEBREW": "heb_Hebr",
    "THAI": "tha_Thai", "BENGALI": "ben_Beng", "TAMIL": "tam_Taml", "ARMENIAN": "hye_Armn", "GEORGIAN": "kat_Geor",
}  # fmt: skip


class JSONTokenizer:
    """Texts to rows of tokens by a `tokenizer.json` and what `CLIPArchitecture.tokenizer` says of it."""

    def __init__(self, content: bytes, options: Mapping[str, Any], context_length: int) -> None:
        """Read the file's content; WeightsError if it is none, or the package that reads it is absent."""
        self.options, self.context_length = options, context_length
        self._read = parse(content)
        self._read.no_truncation()
        self._read.no_padding()
        self.size: int = self._read.get_vocab_size()

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text, those at the ends included, however many they are."""
        options, text = self.options, cleaned(text, self.options["clean"])
        ids: list[int] = self._read.encode(text, add_special_tokens=options["marks"]).ids
        first, last = list(options["first"]), list(options["last"])
        if options.get("languages"):
            marks = options["languages"]
            first = [marks.get(script_of(text), marks["LATIN"])]
        if first and ids[: len(first)] != first:
            ids = first + ids
        if last and ids[-len(last) :] != last:
            ids = ids + last
        return ids

    def __call__(self, texts: list[str]) -> Tensor:
        """Return the tokens (n, T) of texts, filled up to the context; ValueError for one that exceeds it."""
        rows = torch.full((len(texts), self.context_length), self.options["pad"], dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = torch.tensor(self.ids(text), dtype=torch.long)
            if len(ids) > self.context_length:
                raise ValueError(f"text of {len(ids)} tokens; the context holds {self.context_length}")
            start = self.context_length - len(ids) if self.options["left"] else 0
            row[start : start + len(ids)] = ids
        strip = self.options["strip"]
        return rows if strip is None else rows.masked_fill(rows == strip, 0)


def parse(content: bytes) -> Any:
    """Return the package `tokenizers`' reader of a `tokenizer.json`; WeightsError if it is none."""
    check_package()
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # noqa: BLE001 - a compiled library's own
        raise WeightsError(f"its tokenizer.json cannot be read ({one_line(error)[:100]}): fetch it again") from None


def check_package() -> None:
    """Raise WeightsError if the package that reads tokenizers is absent."""
    if find_spec("tokenizers") is None:
        raise WeightsError(
            "this CLIP reads prompts by a tokenizer that needs the package 'tokenizers': pip install 'vqclip[clips]'"
        )


def options_of(content: bytes, config: Mapping[str, Any], text_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a tokenizer is used, of its `tokenizer.json`, its `tokenizer_config.json` and open_clip's `text_cfg`.

    Raises WeightsError for what cannot be followed.
    """
    given = dict(text_cfg.get("tokenizer_kwargs") or {})
    if text_cfg.get("tokenizer_mode"):
        raise WeightsError(
            f"its tokenizer has the mode {text_cfg['tokenizer_mode']!r}, which is not read: take another"
        )
    clean = given.get("clean", "whitespace")
    if clean not in CLEANING:
        raise WeightsError(f"its texts are cleaned by {clean!r}: known are {', '.join(CLEANING)}")
    read = parse(content)
    ids = {name: _id(read, config.get(f"{name}_token")) for name in ("pad", "bos", "eos", "sep")}
    pad = ids["pad"] if ids["pad"] is not None else (read.padding or {}).get("pad_id", _usual_pad(content))
    options: dict[str, Any] = {
        "clean": clean, "pad": pad, "left": config.get("padding_side") == "left", "marks": True, "first": [],
        "last": [ids["eos"]] if config.get("add_eos_token") and ids["eos"] is not None else [],
        "strip": ids["sep"] if given.get("strip_sep_token") else None,
    }  # fmt: skip
    if str(config.get("tokenizer_class", "")).startswith("Nllb"):
        known = {script: read.token_to_id(mark) for script, mark in _LANGUAGES.items()}
        marks = {script: number for script, number in known.items() if number is not None}
        if "LATIN" not in marks or ids["eos"] is None:
            raise WeightsError("its tokenizer.json is not NLLB's: it has no mark of English or no end")
        options |= {"marks": False, "languages": marks, "last": [ids["eos"]]}
    return options


def _usual_pad(content: bytes) -> int:
    """Return the pad of a tokenizer that names none: by its own list of added tokens, else 0."""
    added = json.loads(content).get("added_tokens") or []
    names = {token.get("content"): token.get("id") for token in added}
    return int(next((names[name] for name in ("<pad>", "[PAD]") if isinstance(names.get(name), int)), 0))


def _id(read: Any, token: Any) -> int | None:
    """Return the number of a special token, given as a text or as a mapping with its content."""
    content = token.get("content") if isinstance(token, Mapping) else token
    number: int | None = read.token_to_id(content) if isinstance(content, str) else None
    return number


def cleaned(text: str, how: str) -> str:
    """Return a text as open_clip cleans it before a tokenizer."""
    out: str = open_clip_tokenizers().get_clean_fn(how)(text)
    return out


def script_of(text: str) -> str:
    """Return the script of most letters of a text, as Unicode's names begin; Japanese if there is any kana."""
    scripts = [unicodedata.name(letter, "LATIN").split(" ")[0] for letter in text if letter.isalpha()]
    kana = next((script for script in scripts if script in ("HIRAGANA", "KATAKANA")), None)
    return kana or max(dict.fromkeys(scripts), key=scripts.count, default="LATIN")


def pack(content: bytes) -> Tensor:
    """Return the content of a `tokenizer.json` as a tensor of bytes, packed; WeightsError if it is too long."""
    if len(content) > MAX_SIZE:
        raise WeightsError(f"its tokenizer.json has {len(content) >> 20} MB, over {MAX_SIZE >> 20} MB: that is none")
    return torch.frombuffer(bytearray(zlib.compress(content, 9)), dtype=torch.uint8)


def unpack(packed: Tensor) -> bytes:
    """Return what `pack` packed; WeightsError if it is damaged or would unfold to more than is allowed."""
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed.numpy().tobytes(), MAX_SIZE)
    except (zlib.error, TypeError, RuntimeError):
        raise WeightsError("the tokenizer in its file is damaged: fetch it again") from None
    if not unpacker.eof:
        raise WeightsError("the tokenizer in its file is damaged or too long: fetch it again")
    return content


@functools.cache
def open_clip_tokenizers() -> Any:
    """Return open_clip's module of tokenizers alone: its package brings torchvision and timm, which take seconds."""
    package = find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("open_clip_torch, whose tokenizer reads the prompts, is not installed")
    file = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    loader = SourceFileLoader("vqclip_tokenizers", str(file))
    module = module_from_spec(cast("ModuleSpec", spec_from_loader("vqclip_tokenizers", loader)))
    loader.exec_module(module)
    return module
