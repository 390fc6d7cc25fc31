"""What a picture says of itself: the settings that draw it again, in the forms that other tools read.

The record is a plain dict `{"schema": 1, "vqclip": version, "config": {...}, "weights": {name: sha256},
"versions": {...}}`. A file carries it as

- `parameters`, the text of AUTOMATIC1111's web UI, which galleries and viewers parse (PNG text chunk; EXIF
  UserComment in JPEG and WebP, as that program writes it);
- `vqclip`, the whole record as JSON (PNG text chunk; an element of the XMP packet in JPEG and WebP);
- XMP with the IPTC DigitalSourceType that marks media made by a trained algorithm.

What is read back is data from a stranger: sizes are capped, nothing is executed, resolved or opened.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, PngImagePlugin

from vqclip import prompts
from vqclip.errors import UsageError
from vqclip.images import DAMAGE, open_image
from vqclip.writers import comment

# of the record under `vqclip`: a version that reads another one refuses it
SCHEMA = 1
MAX_JSON = 2**20
_FORMATS = ("PNG", "JPEG", "WEBP")
# A JPEG segment holds 65 535 bytes: its length, a header of up to 29 bytes, and the rest of the packet share them.
MAX_JPEG = 56_000
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "vqclip": "urn:vqclip:metadata:1",
}


def clean(text: str) -> str:
    """Return `text` without control characters, noncharacters and lone surrogates; tab and newline stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "", text)
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def parameters_text(record: Mapping[str, Any]) -> str:
    """Return the record in the form of AUTOMATIC1111's `parameters`: prompt, negative prompt, `Steps: ...` line.

    Prompts of negative weight, without their numbers, make up the second line, which is left out if there are none.
    Missing keys of the record are left out as well.
    """
    parts = [part for text in _texts(_at(record, "config", "prompts")) for part in _signed(text)]
    parts += [part for text in _texts(_at(record, "config", "negative")) for part in _signed(text, -1)]
    lines = [" | ".join(text for text, sign in parts if sign > 0)]
    negative = [text for text, sign in parts if sign < 0]
    if negative:
        lines.append("Negative prompt: " + " | ".join(negative))
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in _settings(record) if value is not None))
    return "\n".join(lines)


def embed(record: Mapping[str, Any], format: str) -> dict[str, Any]:
    """Return the arguments of `PIL.Image.save` that put `record` into a file of `format` "PNG", "JPEG" or "WEBP".

    A record that the format cannot hold (see `fits`) is shortened and marked with `"shortened": true`.
    """
    text, data = parameters_text(record), _json(record, format)
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("parameters", text)
        info.add_itxt("vqclip", data)
        info.add_itxt("XML:com.adobe.xmp", _xmp(record, None).decode())
        return {"pnginfo": info}
    if format in ("JPEG", "WEBP"):
        return {"exif": comment.exif_block(_comment(text)), "xmp": _xmp(record, data)}
    raise ValueError(f"metadata go into PNG, JPEG and WEBP, not {format}")


def fits(record: Mapping[str, Any], format: str) -> bool:
    """Say whether a file of `format` holds the whole record: JPEG has room for 56 KB, the others for 1 MiB."""
    return len(_escaped(record)) <= _room(format)


def read(path: str | Path) -> dict[str, Any]:
    """Return what a PNG, JPEG or WebP file says of itself: `{"parameters": str or None, "record": dict or None}`.

    Absent, damaged and foreign metadata give None; the record is not validated beyond being a JSON object. Raises
    UsageError for a file that is no such picture.
    """
    with open_image(path, _FORMATS) as image:
        texts = _texts_of(image)
        packet = image.info.get("xmp")
    record = parsed(texts.get("vqclip"))
    if record is None:
        record = parsed(_xmp_record(packet))
    return {"parameters": texts.get("parameters"), "record": record}


def read_texts(path: str | Path) -> dict[str, str]:
    """Return the texts of a PNG, JPEG or WebP file by name, whatever program wrote them, none above 1 MiB.

    The UserComment of EXIF stands under `parameters`; what ComfyUI puts into EXIF fields of WebP, as `prompt:{...}`,
    under the name in front of the colon. Raises UsageError for a file that is no such picture.
    """
    with open_image(path, _FORMATS) as image:
        return _texts_of(image)


def _texts_of(image: Image.Image) -> dict[str, str]:
    """Return the texts of an open picture; those of a PNG may stand behind its pixels, where some tools put them."""
    if image.format == "PNG" and not any(isinstance(value, str) for value in image.info.values()):
        with contextlib.suppress(*DAMAGE):
            image.load()
    texts = {str(name): text for name, value in image.info.items() if (text := _bounded(value)) is not None}
    said = _bounded(comment.read_comment(image)) if "parameters" not in texts else None
    if said is not None:
        texts["parameters"] = said
    with contextlib.suppress(*DAMAGE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for field in map(_bounded, image.getexif().values()):
            name, colon, text = (field or "").partition(":")
            if colon and name.lower() in ("prompt", "workflow") and name.lower() not in texts:
                texts[name.lower()] = text.rstrip("\0 ")
    return texts


def _signed(text: str, sign: int = 1) -> list[tuple[str, int]]:
    """Return the parts of a prompt with the signs of their weights times `sign`.

    The numbers of a part stay where its sign is that of its weight alone and not negative: `1.5` tells how much it
    counts, `-0.3` what the line for negative prompts says already.
    """
    try:
        parts = prompts.written_parts(text)
    except UsageError:
        return [(text, sign)]
    signed = []
    for part, numbers in parts:
        negative = bool(numbers.numbers) and numbers.numbers[0] < 0
        bare = part[: len(part) - len(numbers.text)].strip()
        signed.append((bare if negative or sign < 0 else part, -sign if negative else sign))
    return signed


def _settings(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the pairs of the last line of `parameters`; a value is None where the record lacks it."""
    config = record.get("config")
    model, size = _at(config, "models", "vqgan"), _at(config, "size")
    digest = _at(record, "weights", f"vqgan:{model}")
    return [
        ("Steps", _steps(record)),
        ("Sampler", _at(config, "optimizer", "name")),
        ("Seed", record.get("seed", _at(config, "seed"))),
        ("Size", f"{size[0]}x{size[1]}" if isinstance(size, (list, tuple)) and len(size) == 2 else None),
        ("Model hash", digest[:10] if isinstance(digest, str) else None),
        ("Model", model),
        ("Version", f"vqclip {record['vqclip']}" if "vqclip" in record else None),
    ]


def _steps(record: Mapping[str, Any]) -> Any:
    """Return how many steps were done: fewer than planned if the run was stopped, more if it was drawn on."""
    planned, extra = (_at(record, "config", name) for name in ("steps", "extra_steps"))
    total = planned + extra if isinstance(planned, int) and isinstance(extra, int) else planned
    return record.get("stopped_at_step", total)


def _at(tree: Any, *keys: Any) -> Any:
    """Return a nested value, or None as soon as a level is missing or no mapping."""
    for key in keys:
        if not isinstance(tree, Mapping) or not isinstance(key, str):
            return None
        tree = tree.get(key)
    return tree


def _texts(value: Any) -> list[str]:
    """Return a text or a list of texts as a list, each on one line: a line break would end the prompt for readers."""
    values = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    lines = (" ".join(clean(str(v)).split()) for v in values)
    return [line for line in lines if line]


def _quoted(value: Any) -> str:
    """Return a value as AUTOMATIC1111 writes it: as JSON if it holds a comma, a colon or a line break."""
    text = clean(str(value))
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def _comment(text: str) -> str:
    """Return `parameters` short enough for EXIF: a long prompt loses its end, the line of settings stays whole."""
    if _utf16_bytes(text) <= comment.MAX_BYTES:
        return text
    prompt, _, settings = text.rpartition("\n")
    settings = _cut(settings, comment.MAX_BYTES // 2)
    return f"{_cut(prompt, comment.MAX_BYTES - _utf16_bytes(settings) - 10)}...\n{settings}"


def _utf16_bytes(text: str) -> int:
    return len(text.encode("utf-16-be"))


def _cut(text: str, limit: int) -> str:
    """Return as much of the beginning of a text as `limit` bytes of UTF-16 hold."""
    return text.encode("utf-16-be")[:limit].decode("utf-16-be", "ignore")


def _room(format: str) -> int:
    return MAX_JPEG if format == "JPEG" else MAX_JSON


def _escaped(record: Mapping[str, Any]) -> str:
    """Return the record as XML text; its JSON is ASCII, so that no reader's encoding can harm it."""
    return escape(json.dumps(record))


def _json(record: Mapping[str, Any], format: str) -> str:
    """Return the record as ASCII JSON, shortened to what `format` holds."""
    if fits(record, format):
        return json.dumps(record)
    kept = {key: record[key] for key in ("schema", "vqclip") if key in record}
    config = {key: _at(record, "config", key) for key in ("seed", "steps", "size", "models", "optimizer")}
    middle = {**kept, "config": config, "weights": record.get("weights"), "shortened": True}
    return json.dumps(middle if fits(middle, format) else {**kept, "shortened": True})


def _xmp(record: Mapping[str, Any], data: str | None) -> bytes:
    """Return an XMP packet (ISO 16684-1): who made the picture, that a trained algorithm did, the record's JSON."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    tool = quoteattr(clean(f"vqclip {record.get('vqclip', '')}".strip()))
    element = "" if data is None else f"<vqclip:record>{escape(data)}</vqclip:record>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about="" '
        f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}" xmp:CreatorTool={tool}>{element}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def _bounded(value: Any) -> str | None:
    """Return `value` if it is a text of bearable length."""
    return str(value) if isinstance(value, str) and len(value) <= MAX_JSON else None


def parsed(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object in `text`, or None for anything else."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text or "")
        return value if isinstance(value, dict) else None
    return None


def _xmp_record(packet: Any) -> str | None:
    """Return the JSON in an XMP packet, found as text: no XML parser meets a stranger's entities.

    Tools that rewrite XMP may turn the element into an attribute; both forms are found.
    """
    if not isinstance(packet, bytes) or len(packet) > 2 * MAX_JSON:
        return None
    text = packet.decode("utf-8", "replace")
    for start, end in (("<vqclip:record>", "</vqclip:record>"), ('vqclip:record="', '"'), ("vqclip:record='", "'")):
        _, start_tag, rest = text.partition(start)
        body, closed, _ = rest.partition(end)
        if start_tag and closed:
            return _bounded(html.unescape(body))
    return None
