"""The layers and fences of the house (ARCHITECTURE), kept by reading every import with `ast`."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vqclip"

GROUND = [
    "errors",
    "architecture",
    "types",
    "registry",
    "resources",
    "images",
    "seeding",
    "atomic",
    "version",
    "terminal",
    "waiting",
]
DESCRIPTION = ["prompts", "schedules", "tracks", "config"]
PARTS = ["drawables", "guidance", "optim", "precision", "priors"]
AROUND = ["animation", "editing", "batch", "evaluation", "training"]
BELOW_PARTS = {*GROUND, *DESCRIPTION}
BELOW_GENERATION = {*BELOW_PARTS, *PARTS, "world", "words", "sketch", "models", "weights"}
BELOW_SESSION = {*BELOW_GENERATION, "generation", "writers"}
BELOW_AROUND = {*BELOW_SESSION, "session"}
FACES = {"__init__", "__main__", "cli", "web"}

# what each part of the package may import of the others
MAY_IMPORT: dict[str, set[str]] = {
    **{part: set(GROUND) for part in GROUND},
    **dict.fromkeys(DESCRIPTION, BELOW_PARTS),
    "world": set(GROUND),
    "words": set(GROUND),
    "sketch": {*BELOW_PARTS, "words", "world", "models"},
    "models": set(GROUND),
    "weights": {*GROUND, "models"},
    **{part: {*BELOW_PARTS, "precision"} for part in PARTS},
    "guidance": {*BELOW_PARTS, "precision", "drawables"},
    "generation": BELOW_GENERATION,
    "writers": BELOW_PARTS,
    "session": BELOW_SESSION,
    **dict.fromkeys(AROUND, BELOW_AROUND),
    **{part: {*BELOW_AROUND, *AROUND, *FACES} for part in FACES},
}
# foreign packages and where alone they may be imported (a file, or a folder ending in a slash)
FENCES: dict[str, tuple[str, ...]] = {
    "taming": ("models/vqgan.py",),
    "open_clip": ("models/clip.py", "models/openclip.py"),
    "timm": (),
    "skimage": ("models/judge.py", "animation/flow.py"),
    "torchvision": ("animation/flow.py",),
    "torchmetrics": ("evaluation/metrics.py",),
    "matplotlib": ("evaluation/report.py",),
    "omegaconf": ("config/",),
    "imageio": ("writers/ffmpeg.py",),
    "imageio_ffmpeg": ("writers/ffmpeg.py",),
    "click": ("cli.py", "cli/"),
    "kornia": ("animation/",),
    "tokenizers": ("models/tokenizing.py",),
    "transformers": (),
    "pickle": (),
    "marshal": (),
    "shelve": (),
    "dill": (),
}
TORCH_FREE = [*GROUND, *DESCRIPTION, "world", "words"]
TORCH_FREE += [
    "weights.catalog",
    "weights.cache",
    "weights.fetch",
    "weights.memory",
    "weights.clip_names",
    "weights.hub_clips",
    "weights.clip_facts",
]
TORCH_FREE += ["weights.hub", "weights.plan", "weights.manifest", "weights.exchange"]

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text("utf-8")) for file in FILES}


def test_there_is_a_package_to_look_at() -> None:
    assert {"errors.py", "models/vqgan.py"} <= set(TREES)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported(tree: ast.AST, typing_too: bool) -> Iterator[str]:
    """Yield the dotted names a file imports, `from a import b` as `a.b`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}: write it out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif typing_too or not is_type_checking(node):
            yield from imported(node, typing_too)


def module_of(name: str) -> str | None:
    """Return the file, relative to the package, that holds the dotted name `name`; None for a foreign one."""
    first, *parts = name.split(".")
    if first != "vqclip":
        return None
    while parts:
        for candidate in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
            if candidate in TREES:
                return candidate
        parts.pop()
    return "__init__.py"


def part_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("file", TREES)
def test_a_file_imports_only_what_lies_below_it(file: str) -> None:
    part = part_of(file)
    assert part in MAY_IMPORT, f"{file} has no layer: give it one in this test and in ARCHITECTURE"
    used = {part_of(found) for name in imported(TREES[file], True) if (found := module_of(name))}
    assert used - MAY_IMPORT[part] - {part} == set()


@pytest.mark.parametrize("file", TREES)
def test_a_foreign_package_stays_behind_its_fence(file: str) -> None:
    for name in imported(TREES[file], True):
        allowed = FENCES.get(name.split(".")[0], (file,))
        assert any(file == place or (place.endswith("/") and file.startswith(place)) for place in allowed), name


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        file: {found for name in imported(tree, False) if (found := module_of(name)) and found != file}
        for file, tree in TREES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def danger(call: ast.Call) -> str | None:
    """Return why a call could run code that came from outside, None if it cannot."""
    name, options = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
    if name in ("eval", "exec", "os.system", "os.popen"):
        return name
    if name == "torch.load" and options.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
        return name
    if name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
        return "numpy.load with allow_pickle"
    return "shell=True" if options.get("shell", "False") != "False" else None


@pytest.mark.parametrize(
    ("code", "found"),
    [("eval(x)", True), ("net.eval()", False), ("torch.load(f)", True), ("torch.load(f, weights_only=True)", False),
     ("yaml.load(t)", True), ("yaml.safe_load(t)", False), ("run(a, shell=True)", True), ("run(a)", False)],
)  # fmt: skip
def test_the_danger_check_sees_what_it_should(code: str, found: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert bool(danger(call)) is found


@pytest.mark.parametrize("file", TREES)
def test_nothing_from_outside_can_run_as_code(file: str) -> None:
    calls = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    assert [(call.lineno, why) for call in calls if (why := danger(call))] == []


Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(node: ast.ClassDef | Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def arguments_of(function: Function) -> list[str]:
    """Return the names of a function's arguments without its object; none for a command, whose options click reads."""
    if any("click" in ast.unparse(decorator) or ".command" in ast.unparse(decorator) for decorator in
           function.decorator_list):  # fmt: skip
        return []
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


@pytest.mark.parametrize("file", TREES)
def test_files_classes_and_functions_stay_short(file: str) -> None:
    nodes = list(ast.walk(TREES[file]))
    functions = [node for node in nodes if isinstance(node, Function)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    too_long = [file] if len((PACKAGE / file).read_text("utf-8").splitlines()) > 350 else []
    too_long += [f"{file}: {function.name}" for function in functions if lines_of(function) > 60]
    too_long += [f"{file}: {kind.name}" for kind in classes if lines_of(kind) > 250]
    too_long += [f"{file}: {function.name}" for function in functions if len(arguments_of(function)) > 8]
    assert too_long == []


@pytest.mark.parametrize("file", TREES)
def test_nothing_is_global(file: str) -> None:
    assert [node.lineno for node in ast.walk(TREES[file]) if isinstance(node, ast.Global)] == []


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.relative_to(ROOT / "tests").as_posix())
def test_no_file_of_tests_imports_another_test_file(file: Path) -> None:
    """What several share is in `tests/support`, fixtures of several in `conftest.py`."""
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    parts = {part for name in names for part in name.split(".")}
    assert parts & {"conftest", *(other.stem for other in TESTS if other.stem.startswith("test_"))} == set()


def test_drawing_with_the_bundled_models_imports_little(tmp_path: Path) -> None:
    """What takes seconds to import and is not needed: the time until the first step is most of a short run."""
    code = (
        "import sys, torch; usual = set(sys.modules); from vqclip.cli.main import run; "
        "code = run(sys.argv[1:]); "
        "heavy = {'open_clip', 'timm', 'torchvision', 'torch._dynamo', 'sympy', 'kornia', 'skimage', 'matplotlib'}; "
        "assert code == 0 and not heavy & (set(sys.modules) - usual), (code, heavy & set(sys.modules))"
    )
    flags = (
        "a cat",
        "--steps",
        "2",
        "--size",
        "64",
        "--candidates",
        "1",
        "--seed",
        "1",
        "-o",
        str(tmp_path / "cat.png"),
    )
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def test_ground_and_description_load_without_torch() -> None:
    names = [n for n in TORCH_FREE if module_of(f"vqclip.{n}") not in (None, "__init__.py", "weights/__init__.py")]
    assert {"errors", "prompts", "world"} <= set(names)
    heavy = "{'torch', 'open_clip', 'taming', 'kornia', 'omegaconf', 'timm', 'gradio'}"
    lines = ["import sys", "import vqclip"]
    for name in ("", *names):
        dotted = f"vqclip.{name}".rstrip(".")
        lines += [
            f"import {dotted}",
            f"assert not {heavy} & set(sys.modules), ({dotted!r}, {heavy} & set(sys.modules))",
        ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == ""
