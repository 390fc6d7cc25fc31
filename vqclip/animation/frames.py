"""The frames of a film's file: those that were drawn, and those made of their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from PIL import Image
from torch import Tensor

from vqclip import images
from vqclip.animation.between import between
from vqclip.animation.camera import warp
from vqclip.animation.plan import Plan


def frames_between(plan: Plan, drawn: Mapping[int, Image.Image], numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Yield the frames of a film's file as far as `numbers`, those of the drawn ones, go; others lie between two.

    A frame that was not drawn is a cross-fade of its neighbours as the camera sees them from there; with a flow network
    it follows what else moves. Those of a video move as that does.
    """
    shown, place = set(plan.shown), 0
    for number in (n for n in plan.shown if numbers and n <= numbers[-1]):
        while place + 1 < len(numbers) and numbers[place + 1] <= number:
            place += 1
        if numbers[place] == number:
            yield drawn[number]
            continue
        first, last = numbers[place], numbers[place + 1]
        inner = [n for n in range(first + 1, last) if n in shown]
        if number == inner[0]:
            made = _made(plan, drawn[first], drawn[last], first, last)
        yield images.to_pil(made[number - first - 1][0])


def _made(plan: Plan, one: Image.Image, two: Image.Image, first: int, last: int) -> list[Tensor]:
    """Return all frames between two that were drawn."""
    before, after = images.to_tensor(one), images.to_tensor(two)
    count = last - first - 1
    if plan.source is not None:
        return between(before, after, count, flow=plan.source.network)
    if _is_cut(plan, first, last):  # a cut is one in the file too
        return [before] * count

    def seen(picture: Tensor, start: int) -> Callable[[float], Tensor]:
        def at(share: float) -> Tensor:
            number = first + round(share * (count + 1))
            return warp(picture, plan.timeline.between(start, number), border=plan.timeline.border)[0]

        return at

    return between(before, after, count, forward=seen(before, first), backward=seen(after, last), flow=plan.flow)


def _is_cut(plan: Plan, first: int, last: int) -> bool:
    return any(first < scene.at <= last and not scene.fade for scene in plan.scenes[1:])
