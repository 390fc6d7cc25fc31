"""ComfyUI's graphs: the prompt, seed, size and steps of the sampler that a picture came from.

Such a file holds the graph that was run (`prompt`: nodes by number, each with `class_type` and `inputs`, an input being
a value or a link `[node, output]`) and the one on the screen (`workflow`: nodes with the values of their widgets in a
row, and links between them). Which nodes there are is open; these are walked along their links, by the names of inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

# nodes by number: the class of each, and its inputs
Graph: TypeAlias = dict[str, tuple[str, dict[str, Any]]]

_MAX_NODES, _MAX_SAMPLERS = 5000, 50
# inputs that hold the words of a prompt, and those of nodes that only hand on a text or a number
_TEXTS = ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "positive_prompt", "wildcard_text", "populated_text")
_VALUES = ("value", "string", "text", "int", "number", "seed", "noise_seed", "steps", "width", "height")
_CONDITIONS = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from")
# what leads away from the words of a prompt
_ASIDE = ("clip", "model", "vae", "image", "control_net", "latent", "latent_image", "samples", "mask", "pixels")
# nodes whose prompt counts for nothing
_NOTHING = ("ConditioningZeroOut",)
_STEPS, _SEEDS = ("steps",), ("seed", "noise_seed")
# widgets of a screen's nodes, in their order
_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "RandomNoise": ("noise_seed", ""),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "PrimitiveNode": ("value",),
}


def graph_of_prompt(prompt: Mapping[str, Any]) -> Graph:
    """Return the graph of a `prompt`; nodes of another form are left out."""
    nodes = {str(number): node for number, node in prompt.items() if isinstance(node, Mapping)}
    return {
        number: (str(node.get("class_type")), dict(node["inputs"]))
        for number, node in list(nodes.items())[:_MAX_NODES]
        if isinstance(node.get("inputs"), Mapping)
    }


def graph_of_workflow(workflow: Mapping[str, Any]) -> Graph:
    """Return the graph of a `workflow`: the values of known widgets, and the links between all nodes."""
    nodes, links = workflow.get("nodes"), workflow.get("links")
    if not isinstance(nodes, list) or not isinstance(links, list):
        return {}
    origins = {link[0]: [str(link[1]), link[2]] for link in links if isinstance(link, list) and len(link) >= 5}
    graph: Graph = {}
    for node in nodes[:_MAX_NODES]:
        # modes 2 and 4: muted and bypassed
        if not isinstance(node, Mapping) or node.get("mode") in (2, 4):
            continue
        kind, held = str(node.get("type")), node.get("widgets_values")
        values = held if isinstance(held, list) else []
        inputs: dict[str, Any] = dict(zip(_WIDGETS.get(kind, ()), values, strict=False))
        for each in node.get("inputs") or ():
            link = each.get("link") if isinstance(each, Mapping) else None
            if isinstance(link, int) and link in origins:
                inputs[str(each.get("name"))] = origins[link]
        graph[str(node.get("id"))] = (kind, inputs)
    return graph


def read(graph: Graph) -> dict[str, Any] | None:
    """Return what the first sampler tells: `prompt`, `negative`, `seed`, `steps`, `width`, `height`, and `left`.

    The first one is that which no other feeds: later ones refine its picture. None if there is none.
    """
    samplers = [number for number, (_, inputs) in graph.items() if _is_sampler(inputs)][:_MAX_SAMPLERS]
    first = next((s for s in samplers if not set(samplers) & (set(_above(graph, s)) - {s})), None)
    first = first or (samplers[0] if samplers else None)
    if first is None:
        return None
    above = _above(graph, first)
    settings = {
        "prompt": ", ".join(_words(graph, above, "positive")),
        "negative": ", ".join(_words(graph, above, "negative")),
        "seed": _number(graph, above, _SEEDS),
        "steps": _number(graph, above, _STEPS),
        "width": None,
        "height": None,
    }
    sized = [n for n in above if {"width", "height"} <= set(graph[n][1]) and "atent" in graph[n][0]]
    if sized:
        settings |= {side: _value(graph, graph[sized[0]][1][side]) for side in ("width", "height")}
    left = [name for name, value in graph[first][1].items() if name and not _link(graph, value)]
    settings["left"] = [name for name in left if name not in (*_SEEDS, *_STEPS)] + _others(graph)
    return settings


def _is_sampler(inputs: Mapping[str, Any]) -> bool:
    """Whether a node of these inputs clears noise: it takes a latent, and a prompt itself or through a guider."""
    guided = {"positive", "guider"} & set(inputs)
    return bool(guided) and bool({"latent_image", "latent", "samples"} & set(inputs))


def _others(graph: Graph) -> list[str]:
    """Return what the models of a graph are called."""
    names = ("ckpt_name", "unet_name", "lora_name", "vae_name", "control_net_name")
    return [f"{n} {inputs[n]}" for _, inputs in graph.values() for n in names if isinstance(inputs.get(n), str)]


def _above(graph: Graph, start: str) -> list[str]:
    """Return the numbers of a node and of all that feed it, near ones first."""
    seen = {start: None}
    for number in (queue := [start]):
        for value in graph[number][1].values():
            origin = _link(graph, value)
            if origin and origin not in seen:
                seen[origin] = None
                queue.append(origin)
    return list(seen)


def _words(graph: Graph, above: list[str], role: str) -> list[str]:
    """Return the texts that come to the sampler as `role`, which it names itself or its guider does."""
    names = [role] if role == "negative" else [role, "conditioning"]
    for number in above:
        for name in names:
            origin = _link(graph, graph[number][1].get(name))
            if origin:
                return list(dict.fromkeys(_texts(graph, origin, role)))
    return []


def _texts(graph: Graph, start: str, role: str) -> Iterator[str]:
    """Yield the texts of the nodes from which a condition comes, in their order; each node is visited once."""
    seen, stack = set(), [start]
    while stack:
        number = stack.pop()
        if number in seen or graph[number][0] in _NOTHING:
            continue
        seen.add(number)
        inputs = graph[number][1]
        values = [_value(graph, inputs[name]) for name in (*_TEXTS, role) if name in inputs]
        said = [text for text in values if isinstance(text, str) and text.strip()]
        if said:
            yield from said
            continue
        named = [inputs[name] for name in (role, *_CONDITIONS) if name in inputs]
        rest = named or [value for name, value in inputs.items() if name not in _ASIDE]
        stack += [origin for value in reversed(rest) if (origin := _link(graph, value))]


def _number(graph: Graph, above: list[str], names: tuple[str, ...]) -> Any:
    """Return the first value of one of these names, from the sampler upwards."""
    for number in above:
        for name in names:
            value = _value(graph, graph[number][1].get(name))
            if type(value) is int:
                return value
    return None


def _value(graph: Graph, value: Any) -> Any:
    """Return a value, or what the node it comes from holds, through a few nodes that hand it on."""
    for _ in range(10):
        origin = _link(graph, value)
        if not origin:
            return value
        inputs = graph[origin][1]
        value = next((inputs[name] for name in _VALUES if name in inputs), None)
    return None


def _link(graph: Graph, value: Any) -> str:
    """Return the number of the node that a link names; nothing for a value."""
    linked = isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int))
    return str(value[0]) if linked and str(value[0]) in graph else ""
