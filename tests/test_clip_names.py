"""Names of CLIPs as people give them: what is advised works, and what cannot be built is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.command_line import CommandLine

from vqclip.cli.main import run
from vqclip.errors import UsageError, WeightsError
from vqclip.models import openclip
from vqclip.weights import cache, catalog, get, load

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("ViT-B/32", "ViT-B-32/openai"),
        ("ViT-B/16", "ViT-B-16/openai"),
        ("vit-l/14", "ViT-L-14/openai"),
        ("ViT-L/14@336px", "ViT-L-14-336/openai"),
        ("ViT-B/32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-H/14", "ViT-H-14/laion2b_s32b_b79k"),
        ("ViT-bigG/14", "ViT-bigG-14/laion2b_s39b_b160k"),
        ("RN50", "RN50/openai"),
        ("RN101", "RN101/openai"),
        ("RN50x4", "RN50x4/openai"),
        ("RN50x16", "RN50x16/openai"),
        ("RN50x64", "RN50x64/openai"),
    ],
)
def test_names_as_openai_and_older_tools_write_them(name: str, known: str, home: Path) -> None:
    assert catalog.public_clip(name) == known
    found, architecture = get._known("clip", name)
    assert found.name == known and architecture is not None and found.sources
    with pytest.raises(WeightsError, match=f"run 'vqclip models get {name}'"):
        load.locate("clip", name)
    file = cache.weights_file("clip", known)
    file.parent.mkdir(parents=True)
    file.touch()
    assert load.locate("clip", name) == file
    assert run(["models", "rm", name]) == 0 and not file.exists()


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ViT-B").mkdir()
    (tmp_path / "ViT-B" / "32").touch()
    assert catalog.public_clip("ViT-B/32") == "" and load.locate("clip", "ViT-B/32") == Path("ViT-B/32")


def test_what_models_get_advises_is_never_refused_afterwards() -> None:
    """Every tag of open_clip's is either refused at once, with the reason, or can be asked for."""
    offered = 0
    for arch, tag in openclip.open_clip.list_pretrained():
        name = f"{arch}/{tag}"
        try:
            load.locate("clip", name)
        except UsageError as error:
            assert "cannot be used: " in str(error) and openclip.obstacle(arch)
        except WeightsError as error:
            assert f"models get {name}" in str(error)
            assert get._known("clip", name)[0].sources, name
            offered += 1
    assert offered == len(openclip.pretrained_names()) == len(openclip.open_clip.list_pretrained()) > 190


def test_a_model_that_cannot_be_built_is_refused_at_once(
    cli: CommandLine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every architecture of this open_clip's can be built; one that names an unknown language model cannot."""
    config = openclip.open_clip.get_model_config("nllb-clip-base")
    config["text_cfg"] = config["text_cfg"] | {"hf_model_name": "somebody/new-model"}
    monkeypatch.setattr(openclip.open_clip, "get_model_config", lambda name: config)
    openclip.obstacle.cache_clear()
    try:
        told = cli.draw("a cat", "--clip", "nllb-clip-base/v1")
        assert told.code == 2 and "cannot be used" in told.complaints[0] and len(told.complaints) == 1
        assert run(["models", "get", "nllb-clip-base/v1"]) == 2
        assert "somebody/new-model" in capsys.readouterr().err
    finally:
        openclip.obstacle.cache_clear()


def test_the_advice_says_which_of_two_kinds(home: Path) -> None:
    sources = {"sources": [{"url": "http://localhost/a.ckpt"}]}
    parts = {"parts": {"encoder.pt": {"url": "http://localhost/e.pt"}}}
    home.mkdir()
    twins = [{"kind": "vqgan", "name": "twin"} | sources, {"kind": "prior", "name": "twin"} | parts]
    (home / "catalog.yaml").write_text(yaml.safe_dump(twins))
    with pytest.raises(WeightsError, match="models get --kind prior twin"):
        load.locate("prior", "twin")
