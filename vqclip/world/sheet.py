"""Contact sheets of the world: many scenes on one picture, and the sheets of the documentation.

`python -m vqclip.world.sheet FOLDER` writes them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vqclip.errors import UsageError
from vqclip.world.model import World
from vqclip.world.renderer import Renderer
from vqclip.world.scene import Scene
from vqclip.world.second_sheet import second_sheet

_GAP = 4
_LABEL = 14
_SECOND, _SECOND_SIZE = "world2.jpg", 52
_Rows = Sequence[Sequence[Scene]]


def sheet(
    rows: _Rows, renderer: Renderer, size: int = 64, labels: Sequence[Sequence[str]] | None = None
) -> Image.Image:
    """Render rows of scenes side by side, `size` pixels each, with an optional label under every picture."""
    pitch_x, pitch_y = size + _GAP, size + _GAP + (_LABEL if labels else 0)
    width, height = max(len(row) for row in rows) * pitch_x + _GAP, len(rows) * pitch_y + _GAP
    page = Image.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(10)
    for i, row in enumerate(rows):
        for j, scene in enumerate(row):
            corner = (_GAP + j * pitch_x, _GAP + i * pitch_y)
            page.paste(Image.fromarray(renderer.render(scene, size)), corner)
            if labels:
                place = (corner[0] + size // 2, corner[1] + size + 1)
                pen.text(place, labels[i][j], fill=(40, 40, 40), font=font, anchor="ma")
    return page


def subject_rows(world: World, columns: int = 16) -> list[list[Scene]]:
    """Every subject once, unstyled, on changing plain colours."""
    grounds = ("white", "yellow", "blue", "gray", "teal", "pink")
    scenes = [
        Scene(subject=name, background=grounds[(i + i // columns) % len(grounds)], scale=0.84, seed=i)
        for i, name in enumerate(world.subjects)
    ]
    return [scenes[start : start + columns] for start in range(0, len(scenes), columns)]


def style_rows(world: World) -> list[list[Scene]]:
    """A few scenes, each without a style and in every style."""
    scenes = (
        Scene(subject="cat", setting="in a meadow", seed=0),
        Scene(subject="sailboat", setting="by the sea", seed=1),
        Scene(subject="castle", setting="in the mountains", seed=2),
        Scene(subject="owl", setting="in the night sky", seed=6),
        Scene(subject="rose", background="blue", seed=1),
        Scene(shape="star shape", color="red", background="yellow", seed=8),
    )
    styles = (None, *world.styles)
    return [[Scene(**{**vars(scene), "style": style}) for style in styles] for scene in scenes]


def setting_rows(world: World) -> list[list[Scene]]:
    """Every setting, a few times, with a small subject; then every shape."""
    subjects = ("dog", "rocket", "whale")
    rows = [
        [Scene(subject=name, setting=setting, scale=0.4, seed=10 * k + j) for j, setting in enumerate(world.settings)]
        for k, name in enumerate(subjects)
    ]
    colors = tuple(world.colors)
    shapes = [
        Scene(shape=name, color=colors[i % len(colors)], background=colors[(i + 5) % len(colors)], seed=i)
        for i, name in enumerate(world.shapes)
    ]
    return [*rows, shapes[:10], shapes[10:]]


def write_sheets(folder: Path, renderer: Renderer | None = None) -> list[Path]:
    """Write world-subjects.jpg, world-styles.jpg, world-settings.jpg and world2.jpg into `folder`; gives their paths.

    Raises UsageError when the emoji font is not found.
    """
    painter = renderer if renderer is not None else Renderer()
    world = painter.world
    subjects = subject_rows(world)
    names = [[scene.subject or "" for scene in row] for row in subjects]
    styles = style_rows(world)
    heads = [[scene.style or "(none)" for scene in row] for row in styles]
    places = setting_rows(world)
    marks = [[(scene.shape or scene.setting or "").removeprefix("in the ") for scene in row] for row in places]
    pages = {
        "world-subjects.jpg": sheet(subjects, painter, 72, names),
        "world-styles.jpg": sheet(styles, painter, 96, heads),
        "world-settings.jpg": sheet(places, painter, 112, marks),
        _SECOND: second_sheet(painter, _SECOND_SIZE),
    }
    for name, page in pages.items():
        _save(page, folder / name)
    return [folder / name for name in pages]


def _save(page: Image.Image, path: Path) -> None:
    """Write a sheet; the second world's holds 275 pictures and is pressed harder."""
    page.save(path, quality=70 if path.name == _SECOND else 82, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheets into a folder, the world's font given or found."""
    parser = argparse.ArgumentParser(
        prog="python -m vqclip.world.sheet", description="Write the world's contact sheets."
    )
    parser.add_argument("folder", type=Path, help="where the pictures go; it is made if it does not exist")
    parser.add_argument("--font", type=Path, help="Noto Color Emoji, if it is not where fonts usually are")
    parser.add_argument("--second", action="store_true", help="only world2.jpg, the second world's sheet")
    parser.add_argument("--size", type=int, default=_SECOND_SIZE, help="side of the pictures on world2.jpg, in pixels")
    given = parser.parse_args(arguments)
    try:
        painter = Renderer(given.font)
        given.folder.mkdir(parents=True, exist_ok=True)
        if given.second:
            _save(second_sheet(painter, given.size), given.folder / _SECOND)
        else:
            write_sheets(given.folder, painter)
    except UsageError as error:
        parser.exit(error.exit_code, f"{error}\n")
    except OSError as error:
        parser.exit(1, f"cannot write into {given.folder}: {error}\n")


if __name__ == "__main__":
    main()
