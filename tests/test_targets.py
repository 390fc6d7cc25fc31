"""Targets that an embedding prior imagines: `--target prior`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import small

import vqclip
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.models.embedding import EmbeddingArchitecture, EmbeddingPrior
from vqclip.priors.embeddings import sample_embeddings
from vqclip.weights import files
from vqclip.weights.load import load_clip


def network(dimensions: int = 256, clip: str = "") -> EmbeddingPrior:
    torch.manual_seed(0)
    made = EmbeddingPrior(EmbeddingArchitecture(dimensions, clip, width=32, layers=2)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small embedding prior of random weights for the bundled CLIP."""
    return write(tmp_path_factory.mktemp("embedding") / "embedding.safetensors", load_clip("tiny")[1])


def write(path: Path, clip: str) -> Path:
    made = network(clip=clip)
    return files.save(path, "embedding", made.architecture.to_json(), made.state_dict(), {})


TEXT = torch.nn.functional.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)), dim=1)


def test_seeds_draw_unit_vectors_alone_or_beside_others() -> None:
    made = network(16)
    both = sample_embeddings(made, TEXT, (3, 4))
    assert both.shape == (2, 3, 16)
    assert torch.allclose(both.norm(dim=-1), torch.ones(2, 3))
    assert torch.allclose(both[1], sample_embeddings(made, TEXT, (4,))[0], atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_a_network_that_knows_the_picture_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, wanted = network(16), torch.nn.functional.normalize(torch.ones(16), dim=0)
    monkeypatch.setattr(made, "forward", lambda noisy, time, text: wanted.expand_as(noisy) * 4)
    assert torch.allclose(sample_embeddings(made, TEXT, (3,)), wanted.expand(1, 3, -1), atol=1e-5)


def test_every_picture_has_a_target_of_its_own(weights: Path) -> None:
    values = {"models": {"embedding": str(weights)}, "target": {"kind": "prior", "mix": 0.5}}
    config = small("a red cat", negative=("a dog",), count=2, batch_size=2, **values)
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    first, second = (ready.guidance.targets[0].of_seed(seed).embeddings for seed in (7, 8))
    plain = prepare(models.resolve(small("a red cat", negative=("a dog",))), models).guidance.targets[0].embeddings
    assert torch.equal(first[1], plain[1]) and not torch.allclose(first[0], plain[0], atol=1e-2)
    assert not torch.allclose(first[0], second[0], atol=1e-2)
    both = vqclip.generate(config, models)
    assert len({sha(image) for image in both.images}) == 2
    again = small("a red cat", negative=("a dog",), seed=8, run={"deterministic": True}, **values)
    batch = small("a red cat", negative=("a dog",), count=2, batch_size=2, run={"deterministic": True}, **values)
    assert sha(vqclip.generate(again, models).image) == sha(vqclip.generate(batch, models).images[1])
    none = small("a red cat", models={"embedding": str(weights)}, target={"kind": "prior", "mix": 0.0})
    text = small("a red cat")
    assert sha(vqclip.generate(none, models).image) == sha(vqclip.generate(text).image)
    assert "embedding:embedding.safetensors" in both.pictures[0].record["weights"]


def test_what_is_missing_or_of_another_clip_is_said(tmp_path: Path, cli: CommandLine) -> None:
    told = cli.draw("a cat", "--target", "prior", "--set", "models.embedding=")
    assert told.code == 3 and "models.embedding" in told.complaints[0] and len(told.complaints) == 1
    other = write(tmp_path / "other.safetensors", "0" * 64)
    told = cli.draw("a cat", "--target", "prior", "--set", f"models.embedding={other}")
    assert told.code == 3 and "another CLIP" in told.complaints[0]
    told = cli.draw("a cat", "--target", "picture")
    assert told.code == 2 and "prior, text" in told.complaints[0]
