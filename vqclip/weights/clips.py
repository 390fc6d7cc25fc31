"""CLIPs as others publish them: a folder or file of open_clip's, with its `open_clip_config.json`, or transformers'.

What network it is, mean and deviation, QuickGELU and tokenizer are told by the configurations beside the weights. These
are data: a name in them opens no file and fetches nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.types import CLIPArchitecture
from vqclip.weights import collected, transformers_clip
from vqclip.weights.layouts import under

OPEN_CLIP_CONFIG, CONFIG = "open_clip_config.json", "config.json"
TOKENIZER, TOKENIZER_CONFIG, PREPROCESSOR = "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"
# of a folder, the first that is there
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
TRANSFORMERS_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
# what published configurations say wrong or leave out, by the last part of the repository's name. The L/14 of
# Schlarmann et al. 2024 began as OpenAI's, and its authors' own evaluation forces QuickGELU
# (github.com/chs20/RobustVLM, CLIP_eval/eval_utils.py)
KNOWN_WRONG: dict[str, dict[str, Any]] = {
    name: {"quick_gelu": True} for name in ("fare2-clip", "fare4-clip", "tecoa2-clip", "tecoa4-clip")
}
_MAX_JSON = 8 << 20  # bytes of a configuration
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# of training, and of other networks that stand in the same file
_DROPPED = re.compile(r"text_decoder\..*|.*\.position_ids|.*embed_positions\.weights|input_resolution|context_length"
                      r"|vocab_size|text\.transformer\.pooler\..*")  # fmt: skip
_TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer.", "ln_final.")

# files of a repository of the Hub by their names, as far as they are here
Lookup = Callable[[str, tuple[str, ...]], Mapping[str, Path]]


@dataclass(frozen=True)
class ReadCLIP:
    """A CLIP of another program: its network, its tensors under open_clip's names, its `tokenizer.json` if any."""

    architecture: CLIPArchitecture
    tensors: dict[str, Tensor]
    tokenizer: bytes | None = None


def read_clip(place: Path, name: str = "", lookup: Lookup | None = None) -> ReadCLIP:
    """Return the CLIP in a folder, or in a file beside its configuration, as float32.

    `name` is the repository it came from; `lookup` finds the files of others, of a tokenizer or a language model that
    its configuration names. Raises WeightsError, in one line, for what is absent, damaged, or no CLIP that is built.
    """
    folder = place if place.is_dir() else place.parent
    try:
        held = {file.name: file for file in folder.iterdir()}
    except OSError as error:
        raise WeightsError(f"cannot read the CLIP {place}: {error.strerror or error}") from None
    return read_held(held, place, name or folder.resolve().name, lookup)


def read_held(held: Mapping[str, Path], place: Path, name: str, lookup: Lookup | None = None) -> ReadCLIP:
    """Return the CLIP in files by their names, wherever they lie; see `read_clip`."""
    described = describe(held, place, name, lookup)
    tensors = collected.read_all(_weights(held, place, described.weights))
    if described.rename is not None:
        tensors = described.rename(tensors, held[CONFIG])
    where = described.config
    return ReadCLIP(described.architecture, fitted(tensors, described.architecture, place, where), described.tokenizer)


@dataclass(frozen=True)
class Described:
    """What the configurations beside a CLIP's weights say; `weights` are the names that its file may have."""

    config: Path
    architecture: CLIPArchitecture
    tokenizer: bytes | None
    weights: tuple[str, ...]
    rename: Callable[[Mapping[str, Tensor], Path], dict[str, Tensor]] | None = None


def describe(held: Mapping[str, Path], place: Path, name: str, lookup: Lookup | None = None) -> Described:
    """Return what the configurations among some files say of a CLIP; WeightsError if they describe none."""
    if OPEN_CLIP_CONFIG in held:
        return _open_clips(held, name, lookup)
    config = read_json(held[CONFIG]) if CONFIG in held else {}
    if config.get("model_type") in transformers_clip.KINDS:
        return _transformers(held, config)
    kind = f"a {config['model_type']!r}, no CLIP or SigLIP" if config.get("model_type") else ""
    reason = f"its {CONFIG} describes {kind[:60]}" if kind else f"there is no {OPEN_CLIP_CONFIG} beside it"
    raise WeightsError(f"{place} does not say what CLIP it is ({reason}): put its publisher's {OPEN_CLIP_CONFIG} there")


def _open_clips(held: Mapping[str, Path], name: str, lookup: Lookup | None) -> Described:
    from vqclip.models import openclip

    file = held[OPEN_CLIP_CONFIG]
    content = read_json(file)
    config, preprocess = content.get("model_cfg"), content.get("preprocess_cfg") or {}
    if not isinstance(config, Mapping) or not isinstance(preprocess, Mapping):
        raise WeightsError(f"{file} is no configuration of open_clip's: it has no model_cfg")
    config = {**config, **_corrections(name)}
    try:
        text = config["text_cfg"]
        tower = _language_model(text, held, lookup)
        usual = CLIPArchitecture({"vision_cfg": {}, "text_cfg": {}})
        mean, std = (preprocess.get(part) or getattr(usual, part) for part in ("mean", "std"))
        architecture = openclip.architecture_of(config, mean, std, tower)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{file} describes no CLIP that can be built: {said}") from None
    return _with_tokenizer(Described(file, architecture, None, OPEN_CLIP_WEIGHTS), text, held, lookup)


def _corrections(name: str) -> dict[str, Any]:
    """Return what is known better than a repository's configuration: by our table, or as open_clip lists it."""
    from vqclip.models import openclip

    last = name.rpartition("/")[2].lower()
    if last in KNOWN_WRONG:
        return dict(KNOWN_WRONG[last])
    listed = openclip.published(name) if "/" in name else None
    if listed is None:
        return {}
    model = openclip.pretrained(*listed).architecture.model
    return {"quick_gelu": bool(model.get("quick_gelu"))}


def _transformers(held: Mapping[str, Path], config: Mapping[str, Any]) -> Described:
    preprocess = read_json(held[PREPROCESSOR]) if PREPROCESSOR in held else {}
    try:
        architecture, text = transformers_clip.architecture(config, preprocess)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        said = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{held[CONFIG]} describes no CLIP that can be built: {said}") from None
    kind = str(config["model_type"])
    described = Described(
        held[CONFIG], architecture, None, TRANSFORMERS_WEIGHTS, lambda t, f: transformers_clip.renamed(t, kind, f)
    )
    return _with_tokenizer(described, text, held, None)


def _with_tokenizer(
    described: Described, text: Mapping[str, Any], held: Mapping[str, Path], lookup: Lookup | None
) -> Described:
    """Add the tokenizer that a `text_cfg` names, if it names one."""
    from vqclip.models import tokenizing

    named = text.get("hf_tokenizer_name")
    if not named:
        return described
    there = held if TOKENIZER in held else _looked_up(str(named), (TOKENIZER, TOKENIZER_CONFIG), lookup)
    if TOKENIZER not in there:
        of = "" if named == transformers_clip.ITS_OWN else f" of {str(named)[:80]}"
        raise WeightsError(
            f"{described.config.parent} has no {TOKENIZER}: put the one{of} there, beside its {TOKENIZER_CONFIG}"
        )
    if there[TOKENIZER].stat().st_size > tokenizing.MAX_SIZE:
        raise WeightsError(f"{there[TOKENIZER]} has over {tokenizing.MAX_SIZE >> 20} MB: that is no tokenizer")
    content = there[TOKENIZER].read_bytes()
    config = read_json(there[TOKENIZER_CONFIG]) if TOKENIZER_CONFIG in there else {}
    options = tokenizing.options_of(content, config, text)
    return replace(described, architecture=replace(described.architecture, tokenizer=options), tokenizer=content)


def _language_model(text: Mapping[str, Any], held: Mapping[str, Path], lookup: Lookup | None) -> dict[str, Any] | None:
    """Return the `config.json` of the language model that is a text tower; None for one that is known."""
    from vqclip.models import text_towers

    name = text.get("hf_model_name")
    if not name or name in text_towers.KNOWN:
        return None
    beside = read_json(held[CONFIG]) if CONFIG in held else {}
    if beside.get("model_type") in text_towers.FAMILIES:
        return beside
    there = _looked_up(str(name), (CONFIG,), lookup)
    return read_json(there[CONFIG]) if CONFIG in there else None


def _looked_up(name: str, wanted: tuple[str, ...], lookup: Lookup | None) -> Mapping[str, Path]:
    return lookup(name, wanted) if lookup is not None and _REPOSITORY.fullmatch(name) else {}


def in_hub_cache(name: str, wanted: tuple[str, ...]) -> Mapping[str, Path]:
    """Return those files of a repository of the Hub that its own library has in its cache."""
    import huggingface_hub

    there: dict[str, Path] = {}
    for file in wanted:
        try:
            path = huggingface_hub.try_to_load_from_cache(name, file)
        except ValueError:  # no name of the Hub's
            return {}
        if isinstance(path, str):
            there[file] = Path(path)
    return there


def sha256(place: Path) -> str:
    """Return the sha256 of the weights of a CLIP of another program's: of a file, or of the one in a folder."""
    if not place.is_dir():
        return collected.sha256(place)
    held = {file.name: file for file in place.iterdir()}
    names = OPEN_CLIP_WEIGHTS if OPEN_CLIP_CONFIG in held else TRANSFORMERS_WEIGHTS
    return collected.sha256(_weights(held, place, names))


def _weights(held: Mapping[str, Path], place: Path, names: tuple[str, ...]) -> Path:
    if not place.is_dir():
        return place
    first = next((held[name] for name in names if name in held), None)
    if first is None:
        raise WeightsError(f"{place} has no weights: it must hold {names[0]}, or one of {', '.join(names[1:])}")
    return first


def fitted(
    held: Mapping[str, Tensor], architecture: CLIPArchitecture, place: Path, config: Path | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a network of open_clip's, as float32, under the names that it has today.

    Wrappers, what only training needs, and the old place of the text tower are seen to. Raises WeightsError for tensors
    that the configuration does not describe.
    """
    tensors = under(held, "logit_scale") or dict(held)
    expected = shapes_of(architecture, place)
    tensors = {name: value for name, value in tensors.items() if name in expected or not _DROPPED.fullmatch(name)}
    if "text_projection" in tensors and not any(name.startswith("text.") for name in tensors):
        moved = "text.text_projection" in expected or "text.text_projection.weight" in expected
        tensors = {f"text.{n}" if moved and n.startswith(_TEXT) else n: value for n, value in tensors.items()}
    for name in ("logit_scale", "logit_bias"):
        if name in expected and name in tensors and tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(expected[name])
    _check(tensors, expected, place, config)
    return {name: value if value.dtype is torch.int64 else value.float() for name, value in tensors.items()}


def shapes_of(architecture: CLIPArchitecture, place: Path) -> dict[str, torch.Size]:
    """Return the shapes of all tensors of a network, by name; WeightsError for one that cannot be built."""
    from vqclip.models.clip import builder

    model = architecture.model
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return {name: value.shape for name, value in builder(model)(**model).state_dict().items()}
    except Exception as error:  # noqa: BLE001 - open_clip and timm raise anything for sizes that make no network
        said = one_line(error)[:120]
        raise WeightsError(f"{place}: its configuration describes no network that can be built ({said})") from None


def _check(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size], place: Path, config: Path | None) -> None:
    """Raise WeightsError unless the tensors are exactly those expected."""
    known = config.name if config else "architecture"
    wrong = next((n for n, value in tensors.items() if n in expected and value.shape != expected[n]), None)
    if wrong:
        there, said = ("x".join(map(str, shape)) or "a number" for shape in (tensors[wrong].shape, expected[wrong]))
        raise WeightsError(f"{place} holds another network than its {known} says: {wrong} is {there}, not {said}")
    missing, surplus = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or surplus:
        first = (missing or surplus)[0]
        raise WeightsError(
            f"{place} holds another network than its {known} says: {len(missing)} tensors missing, {len(surplus)} too "
            f"many (first: {first[:80]})"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Return the mapping in a small JSON file; WeightsError if it is none."""
    try:
        if file.stat().st_size > _MAX_JSON:
            raise WeightsError(f"{file} is over {_MAX_JSON >> 20} MB: that is no configuration")
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {file}: {one_line(error)[:100]}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{file} is no configuration: it holds no mapping")
    return content
