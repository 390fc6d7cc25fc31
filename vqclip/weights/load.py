"""Names and files become networks, ready for guidance: float32, evaluating, no gradients for their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from torch import Tensor, channels_last, nn, random
from torch.overrides import TorchFunctionMode

from vqclip.errors import UsageError, WeightsError, one_line
from vqclip.models import tokenizing
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import catalog, clip_names, clips, collected, containers, files
from vqclip.weights.catalog import locate
from vqclip.weights.foreign import read_vqgan

if TYPE_CHECKING:
    from vqclip.models.amused import Amused
    from vqclip.models.clip import CLIP
    from vqclip.models.dalle import DalleMini
    from vqclip.models.depth import DepthNetwork
    from vqclip.models.embedding import EmbeddingPrior
    from vqclip.models.gpt import GPTPrior
    from vqclip.models.judge import Judge
    from vqclip.models.memory import Memory
    from vqclip.models.prior import AutoregressivePrior, FlowPrior, MaskedPrior
    from vqclip.models.upsampler import Upsampler
    from vqclip.models.vqgan import VQGAN

    Prior: TypeAlias = MaskedPrior | AutoregressivePrior | FlowPrior | GPTPrior | DalleMini | Amused

Network = TypeVar("Network", bound=nn.Module)


def load_vqgan(name: str, config: str = "") -> tuple[VQGAN, str]:
    """Return the VQGAN of a catalog name or a file's path, and the sha256 of its weights.

    A file of another program's is read by its tensors' shapes; `config` is its YAML, which must agree with them.
    """
    from vqclip.models.vqgan import VQGAN

    path = locate("vqgan", name)
    architecture, tensors, digest = _read_vqgan(path, config)
    vqgan = _build(VQGAN, architecture, path)
    fill(vqgan.network, tensors, path, assign=True)
    del tensors  # or every kernel that is laid out anew would be there twice
    vqgan.leave_out_dead_codes()
    # its convolutions and norms are faster on pixels than on planes
    vqgan.network.to(memory_format=channels_last)
    return _frozen(vqgan), digest


def _read_vqgan(path: Path, config: str) -> tuple[VQGANArchitecture, dict[str, Tensor], str]:
    """Return architecture, tensors and sha256 of a VQGAN's file, vqclip's own or another program's."""
    if config or not _is_own(path):
        return *read_vqgan(path, Path(config) if config else None), collected.sha256(path)
    file = files.read(path, "vqgan")
    return VQGANArchitecture.from_json(file.architecture), file.tensors, file.sha256


def _is_own(path: Path) -> bool:
    """Whether a file is to be read as vqclip's own: it is, or it is nothing that another program's could be."""
    if os.path.isdir(path) or path.name.endswith(".index.json") or containers.is_gzip(path) or files.is_pickle(path):
        return False
    files.sniff(path)
    return files.is_own(path) or not files.is_safetensors(path)


def load_clip(name: str, folded: bool = True, quick_gelu: bool | None = None) -> tuple[CLIP, str]:
    """Return the CLIP of a catalog name or a file's path, and the sha256 of its weights.

    It is `folded`, so that steps take less, unless its parameters are wanted one by one as the file has them.
    `quick_gelu` decides what its configuration would.
    """
    from vqclip.models.clip import CLIP, builder

    path = locate("clip", name)
    read, digest = _read_clip(path)
    if quick_gelu is not None:
        model = {**read.architecture.model, "quick_gelu": quick_gelu}
        read = replace(read, architecture=replace(read.architecture, model=model))
    builder(read.architecture.model)  # a package that is missing or broken is no damaged file
    clip = _build(CLIP, read.architecture, path)
    fill(clip.network, read.tensors, path, assign=True)
    if read.tokenizer is not None:
        clip.take_tokenizer(read.tokenizer)
    _frozen(clip)
    if folded:
        clip.fold()
    clip.network.visual.to(memory_format=channels_last)
    return clip, digest


def load_judge_clip(name: str, guides: Sequence[str]) -> tuple[CLIP, str]:
    """Return the CLIP that judges and the sha256 of its weights; UsageError for one of those, by sha256, that guide."""
    clip, digest = load_clip(name)
    if digest in guides:
        raise UsageError(f"the judge CLIP {name!r} guides this run too, and would praise itself: give another, or none")
    return clip, digest


def _read_clip(path: Path) -> tuple[clips.ReadCLIP, str]:
    """Return the CLIP of a file of vqclip's, or of another program's file or folder, and the sha256 of its weights."""
    if not _is_own(path):
        return clips.read_clip(path, lookup=clips.in_hub_cache), clips.sha256(path)
    file = files.read(path, "clip")
    architecture, packed = CLIPArchitecture.from_json(file.architecture), file.tensors.pop(tokenizing.TENSOR, None)
    if architecture.tokenizer is not None and packed is None:
        raise WeightsError(f"{path} lacks the tokenizer that its texts are read by: fetch it again")
    tokenizer = None if packed is None else tokenizing.unpack(packed)
    return clips.ReadCLIP(architecture, file.tensors, tokenizer), file.sha256


def load_judge(name: str) -> tuple[Judge, str]:
    """Return the judge of a catalog name or a file's path, and the sha256 of its weights."""
    from vqclip.models.judge import Judge, JudgeArchitecture

    path = locate("judge", name)
    file = files.read(path, "judge")
    judge = _build(Judge, JudgeArchitecture.from_json(file.architecture), path)
    fill(judge, file.tensors, path)
    return _frozen(judge), file.sha256


def load_prior(name: str) -> tuple[Prior, str]:
    """Return the prior of a catalog name or a path, and the sha256 of its weights.

    A pickled file is a bundle of taming's (Net2NetTransformer), a folder an aMUSEd as diffusers saves it, or a DALL-E
    mini in its public files.
    """
    from vqclip.models import prior as priors

    path = locate("prior", name)
    if path.is_dir():
        return _load_amused(path) if (path / "transformer").is_dir() else _load_dalle(path)
    if containers.is_gzip(path) or files.is_pickle(path):
        return _load_gpt(path)
    file = files.read(path, "prior")
    prior = _build(priors.build, priors.PriorArchitecture.from_json(file.architecture), path)
    fill(prior, file.tensors, path)
    return _frozen(prior), file.sha256


def load_upsampler(name: str) -> tuple[Upsampler, str]:
    """Return the upsampler of a catalog name or a file's path, and the sha256 of its weights."""
    from vqclip.models.upsampler import Upsampler, UpsamplerArchitecture

    path = locate("upsampler", name)
    file = files.read(path, "upsampler")
    network = _build(Upsampler, UpsamplerArchitecture.from_json(file.architecture), path)
    fill(network, file.tensors, path)
    return _frozen(network), file.sha256


def load_embedding(name: str) -> tuple[EmbeddingPrior, str]:
    """Return the embedding prior of a catalog name or a file's path, and the sha256 of its weights."""
    from vqclip.models.embedding import EmbeddingArchitecture, EmbeddingPrior

    path = locate("embedding", name)
    file = files.read(path, "embedding")
    network = _build(EmbeddingPrior, EmbeddingArchitecture.from_json(file.architecture), path)
    fill(network, file.tensors, path)
    return _frozen(network), file.sha256


def load_depth(name: str) -> tuple[DepthNetwork, str]:
    """Return the depth network of a catalog name or a file's path, also of others, and the sha256 of its weights."""
    from vqclip.models.depth import DepthNetwork
    from vqclip.weights.depth import read_depth

    path = locate("depth", name)
    architecture, tensors = read_depth(path)
    network = _build(DepthNetwork, architecture, path)
    fill(network, tensors, path)
    return _frozen(network), collected.sha256(path)


def load_memory(name: str) -> tuple[Memory, str]:
    """Return the memory of a catalog name or a file's path, and the sha256 of its file."""
    from vqclip.models.memory import Memory, MemoryArchitecture

    path = locate("memory", name)
    file = files.read(path, "memory")
    sizes = [file.tensors[part].numel() if part in file.tensors else 0 for part in ("packed", "outlines")]
    memory = _build(lambda a: Memory(a, *sizes), MemoryArchitecture.from_json(file.architecture), path)
    fill(memory, file.tensors, path)
    memory.check_ends()
    return memory, file.sha256


def _load_gpt(path: Path) -> tuple[GPTPrior, str]:
    from vqclip.models.gpt import GPTPrior
    from vqclip.weights.taming import read_net2net

    architecture, tensors, codebook = read_net2net(path)
    prior = _build(GPTPrior, architecture, path)
    fill(prior, tensors, path)
    prior.codebook = codebook
    return _frozen(prior), files.sha256(path)


def _load_amused(folder: Path) -> tuple[Amused, str]:
    from vqclip.models.amused import Amused, FullPrecision
    from vqclip.weights import amused

    architecture, tensors = amused.read(folder)
    shapes, codes = read_vqgan(folder / "vqvae")
    if shapes.n_embed != architecture.codes or shapes.pixels != "unit":
        raise WeightsError(f"{folder} holds a VQGAN of {shapes.n_embed} codes, and {architecture.codes} are drawn")
    detokenizer = _build(FullPrecision, replace(shapes, encoder=False), folder)
    kept = {name: value for name, value in codes.items() if not name.startswith(("encoder.", "quant_conv."))}
    fill(detokenizer.network, kept, folder / "vqvae")
    prior = _build(lambda a: Amused(a, detokenizer), architecture, folder)
    held = {f"detokenizer.{name}": value for name, value in detokenizer.state_dict().items()}
    fill(prior, tensors | held, folder, assign=True)
    return _frozen(prior), amused.sha256(folder)


def _load_dalle(folder: Path) -> tuple[DalleMini, str]:
    from vqclip.models.dalle import DalleMini
    from vqclip.models.vqgan import Detokenizer
    from vqclip.weights import dalle

    files_of = dalle.find(folder)
    shapes, tensors = dalle.read_detokenizer(files_of)
    detokenizer = _build(Detokenizer, shapes, folder)
    fill(detokenizer.network, tensors, files_of["detoker.pt"])
    architecture, tensors = dalle.read_networks(files_of, shapes.n_embed)
    pieces = dalle.read_pieces(files_of, architecture.words, architecture.places)
    prior = _build(lambda a: DalleMini(a, pieces, detokenizer), architecture, folder)
    needed = {name for name in prior.state_dict() if not name.startswith("detokenizer.")}
    # the public files hold more than the networks need
    kept = {name: value for name, value in tensors.items() if name in needed}
    kept |= {f"detokenizer.{name}": value for name, value in detokenizer.state_dict().items()}
    fill(prior, kept, folder)
    return _frozen(prior), dalle.sha256(files_of)


def recorded_name(kind: str, name: str) -> str:
    """Return a name as metadata record it: itself if it is no path, of a path the last part."""
    if kind == "clip" and (name.startswith(clip_names.HUB) or ("/" in name and catalog.public_clip(name))):
        return name
    if kind == "clip" and name.startswith(clip_names.LOCAL):
        return f"{Path(name.removeprefix(clip_names.LOCAL)).name}/"
    return base_name(name)


def base_name(name: str) -> str:
    """Return the last part of a path, a slash behind that of a folder, or a catalog name as it is."""
    plain = Path(name).name
    return plain if plain == name or Path(name).suffix else f"{plain}/"


class _Undrawn(TorchFunctionMode):
    """Networks that are built in it get no random weights: memory that a file's tensors replace is never touched."""

    _DRAWS = frozenset({
        nn.init.kaiming_uniform_, nn.init.xavier_uniform_, nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_,
        Tensor.normal_, Tensor.uniform_,
    })  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch's, unless it draws values into a tensor: that comes back as it is."""
        named = kwargs or {}
        return (args[0] if args else named["tensor"]) if func in self._DRAWS else func(*args, **named)


def _build(network: Callable[[Any], Network], architecture: Any, path: Path) -> Network:
    """Return a network whose tensors a file must give it, all of them."""
    try:
        # what is drawn all the same comes from the global generator
        with random.fork_rng(devices=[]), _Undrawn():
            return network(architecture)
    except Exception as error:  # noqa: BLE001 - taming and open_clip raise anything for sizes that make no network
        raise WeightsError(
            f"{path} describes no network that can be built ({one_line(error)[:120]}); fetch or train it again"
        ) from None


def fill(network: nn.Module, tensors: dict[str, Tensor], path: Path, assign: bool = False) -> None:
    """Put the tensors of a file into a network; raise WeightsError if they are not exactly its own.

    With `assign` the network takes them as they are: a copy would double the memory.
    """
    expected = network.state_dict()
    missing = sorted(set(expected) - set(tensors))
    surplus = sorted(set(tensors) - set(expected))
    wrong = sorted(n for n in set(expected) & set(tensors) if expected[n].shape != tensors[n].shape)
    if missing or surplus or wrong:
        first = (missing or surplus or wrong)[0]
        raise WeightsError(
            f"{path} does not fit its architecture: {len(missing)} tensors missing, {len(surplus)} too many, "
            f"{len(wrong)} of another shape (first: {first}); fetch or train it again"
        )
    bad = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    if bad:
        raise WeightsError(f"{path} holds values that are not finite (first: {bad[0]}); fetch or train it again")
    network.load_state_dict(tensors, assign=assign)


def _frozen(network: Network) -> Network:
    return network.eval().requires_grad_(False)
