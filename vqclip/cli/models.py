"""`vqclip models`: which weights there are, which are here, and getting those that are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import click

from vqclip import resources
from vqclip.cli import streams
from vqclip.cli.clips import check, list_clips
from vqclip.cli.values import FILE
from vqclip.errors import OutputError, UsageError, VqclipError, WeightsError, one_line
from vqclip.weights import cache, catalog, clip_names
from vqclip.weights.catalog import Weights

_KINDS = ("vqgan", "clip", "prior", "upsampler", "embedding", "judge", "memory", "depth")
_KIND = click.option("--kind", type=click.Choice(_KINDS), help="Which, where several have one name.")


@click.group()
def models() -> None:
    """Show, fetch and check weights."""


@models.command("list")
@click.option("--all", "every", is_flag=True, help="All of open_clip's pretrained CLIPs too.")
@click.option("--clips", is_flag=True, help="CLIPs only: accuracy, cost of a view, size, licence, how they guide.")
def list_models(every: bool, clips: bool) -> None:
    """List known weights: kind, name, size in MB, whether they are here, licence, what they draw."""
    if clips:
        list_clips()
        return
    for record in catalog.records():
        draws = f"{record.draws} ({record.doubt})" if record.doubt else record.draws
        streams.say(_line(record.kind, record.name, _megabytes(record), _state(record), record.licence, draws))
    shown = list(catalog.RECOMMENDED_CLIPS)
    if every:
        from vqclip.models.openclip import pretrained_names

        shown = pretrained_names()
    for name in shown:
        path = cache.weights_file("clip", name)
        known, draws = catalog.RECOMMENDED_CLIPS.get(name, (None, "what its pictures showed"))
        size = path.stat().st_size if path.exists() else known
        state, licence = "here" if path.exists() else "to get", "MIT" if known else "its publisher's"
        streams.say(_line("clip", name, f"{size / 1e6:.1f}" if size else "?", state, licence, draws))
    if not every:
        streams.tell("and all of open_clip's other CLIPs: --all")


@models.command("get")
@click.argument("name")
@_KIND
@click.option("--to", type=FILE, help="Folder to keep it in; elsewhere VQCLIP_HOME names it.")
@click.option("--yes", is_flag=True, help="Fetch all that a preset needs without asking.")
@click.option("--decoder-only", is_flag=True, help="Of a VQGAN, leave the encoder out: smaller, but one stage only.")
@click.option("--dtype", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True, help="As it is kept.")
@click.option("--keep-original", is_flag=True, help="Keep the file that was fetched, too.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
def get_model(
    name: str,
    kind: str | None,
    to: Path | None,
    yes: bool,
    decoder_only: bool,
    dtype: str,
    keep_original: bool,
    offline: bool,
) -> None:
    """Fetch the weights NAME once, or all that the preset NAME needs, verify them and keep what drawing needs."""
    from vqclip.cli import getting
    from vqclip.weights.get import How

    how = How(decoder_only, dtype, keep_original)
    preset = kind is None and name in resources.presets()
    with cache.no_network(offline), cache.kept_in(to):
        pairs = getting.of_preset(name) if preset else [(_kind_of(name, kind), name)]
        getting.get_all(pairs, how, preset=name if preset else "", yes=yes)


@models.command("export")
@click.argument("target", type=FILE)
@click.argument("names", nargs=-1)
@_KIND
@click.option("--yes", is_flag=True, help="Replace an archive of that name.")
def export_models(target: Path, names: tuple[str, ...], kind: str | None, yes: bool) -> None:
    """Copy fetched weights, all of them or NAMES, which presets may be too, to the folder or .tar file TARGET.

    'models import' takes them over on another machine; a folder also serves there as VQCLIP_HOME.
    """
    from vqclip.cli import getting
    from vqclip.weights import exchange

    pairs = []
    for name in names:
        pairs += getting.of_preset(name) if name in resources.presets() else [(_kind_of(name, kind), name)]
    places = [catalog.locate(*pair) for pair in dict.fromkeys(pairs)] if names else getting.kept()
    for line in exchange.export(target, places, yes):
        streams.say(line)


@models.command("import")
@click.argument("source", type=FILE)
@click.option("--yes", is_flag=True, help="Replace other weights of the same names.")
def import_models(source: Path, yes: bool) -> None:
    """Take over weights from SOURCE, a folder or .tar file that 'models export' wrote, and verify them."""
    from vqclip.weights import exchange

    for place in exchange.take(source, yes):
        streams.say(place)


@models.command("convert")
@click.argument("file", type=FILE)
@click.option("--output", "-o", type=FILE, help="Default: beside it, as .safetensors.")
@click.option("--vqgan-config", type=FILE, help="Its YAML, which must agree with its tensors.")
@click.option("--decoder-only", is_flag=True, help="Leave the encoder out.")
@click.option("--dtype", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True)
def convert_model(file: Path, output: Path | None, vqgan_config: Path | None, decoder_only: bool, dtype: str) -> None:
    """Convert the VQGAN in the checkpoint FILE of another program; nothing that stands in it is run."""
    from vqclip.weights.convert import convert_vqgan

    if not file.name:
        raise UsageError(f"{file} is no checkpoint: give a file, or a folder with its weights")
    target = output or file.with_suffix(".safetensors")
    if target.exists():
        raise UsageError(f"{target} exists: give another name with --output")
    convert_vqgan(file, target, config=vqgan_config, decoder_only=decoder_only, dtype=dtype)
    streams.say(target)


@models.command("verify")
@click.argument("names", nargs=-1)
@_KIND
def verify(names: tuple[str, ...], kind: str | None) -> None:
    """Read the weights NAMES, or all that are here: each must be undamaged and fit its architecture."""
    from vqclip.weights import load

    loaders: dict[str, Callable[[str], tuple[object, str]]] = {
        "vqgan": load.load_vqgan,
        "clip": load.load_clip,
        "prior": load.load_prior,
        "upsampler": load.load_upsampler,
        "embedding": load.load_embedding,
        "judge": load.load_judge,
        "memory": load.load_memory,
        "depth": load.load_depth,
    }
    chosen = [(_kind_of(name, kind), name) for name in names] or _here()
    bad = 0
    for found, name in chosen:
        try:
            _, digest = loaders[found](name)
            known = cache.known_digest(cache.weights_file(found, _file_name(found, name)).name)
            if known not in (None, digest):
                raise WeightsError(f"it is not what was kept: its sha256 is {digest[:12]}, not {known[:12]}")
            streams.say(f"{found:9} {name:24} good  sha256 {digest}")
        except WeightsError as error:
            bad += 1
            streams.say(f"{found:9} {name:24} BAD   {one_line(error)}")
    if bad:
        raise WeightsError(f"{bad} of {len(chosen)} are absent or damaged: 'vqclip models rm' and 'get' them")


@models.command("check")
@click.argument("name")
def check_model(name: str) -> None:
    """Let the CLIP NAME name drawings, with QuickGELU and without: is its configuration right?"""
    check(name)


@models.command("where")
@click.argument("name", required=False)
@_KIND
def where(name: str | None, kind: str | None) -> None:
    """Print the folders of bundled and of fetched weights, or the file of NAME."""
    if name is None:
        streams.say(resources.path("checkpoints"))
        streams.say(cache.home() / "weights")
    else:
        streams.say(catalog.locate(_kind_of(name, kind), name))


@models.command("rm")
@click.argument("name")
@_KIND
def remove(name: str, kind: str | None) -> None:
    """Remove the fetched weights NAME from this machine."""
    chosen = _kind_of(name, kind)
    path = cache.weights_file(chosen, _file_name(chosen, name))
    found = next((p for p in (path, path.with_suffix("")) if cache.exists(p)), None)
    if found is None:
        raise UsageError(f"{name} is not among the fetched weights in {path.parent}: 'vqclip models list' shows them")
    try:
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()
    except OSError as error:
        raise OutputError(f"cannot remove {found}: {error.strerror or error}") from None
    streams.say(found)


def _line(kind: str, name: str, size: str, state: str, licence: str, draws: str) -> str:
    return f"{kind:9} {name:28} {size:>7} MB  {state:7}  {licence}  draws {draws}"


def _megabytes(record: Weights) -> str:
    path = _place(record)
    parts = path.iterdir() if path.is_dir() else [path]
    size = sum(part.stat().st_size for part in parts) if path.exists() else record.size
    return f"{size / 1e6:.1f}" if size else "?"


def _state(record: Weights) -> str:
    there = _place(record).exists()
    return ("bundled" if there else "MISSING") if record.file else "here" if there else "to get"


def _place(record: Weights) -> Path:
    """Return where the weights of a record lie, or would; a bundled file may be missing."""
    try:
        return catalog.place(record)
    except VqclipError:
        return Path(record.file)


def _here() -> list[tuple[str, str]]:
    """Return kind and name of all weights on this machine."""
    found = [(record.kind, record.name) for record in catalog.records() if _place(record).exists()]
    fetched = sorted((cache.home() / "weights").glob("clip-*--*.safetensors"))
    return [*found, *(("clip", clip_names.of_file(path.stem.removeprefix("clip-"))) for path in fetched)]


def _file_name(kind: str, name: str) -> str:
    """Return the name under which weights are kept: of a CLIP in open_clip's form, however it was given."""
    return str(clip_names.hub_name(name) or catalog.public_clip(name) or name) if kind == "clip" else name


def _kind_of(name: str, kind: str | None) -> str:
    """Return the kind that a name has; UsageError if several have it and none is said."""
    kinds = [record.kind for record in catalog.records() if record.name == name]
    if kind or len(kinds) == 1:
        return kind or kinds[0]
    if kinds:
        raise UsageError(f"{name} names {', '.join(kinds)}: give --kind with one of them")
    return "clip" if clip_names.has_place(name) or catalog.public_clip(name) else "vqgan"
