"""Contestant: a mixer with its knobs, as suites and claims spell it, ``mixers.deltanet(beta=2)``."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from impl.registry import Plugin, lookup


def contestant(spec: str, find: Callable[[str], Plugin] = lookup) -> tuple[str, dict[str, Any]]:
    """``mixers.deltanet(beta=2)`` as its id and knobs. ValueError for what no mixer has."""
    if re.fullmatch(r"[^()]+?(?:\(.*\))?", spec) is None:
        raise ValueError(f"mixer {spec!r}, want something like mixers.deltanet(beta=2)")
    plugin = find(spec.partition("(")[0])
    if plugin.kind != "mixer":
        raise ValueError(f"{plugin.id} is no mixer: it computes the op {plugin.op}")
    return plugin.id, turned(spec, plugin)


def turned(spec: str, plugin: Plugin) -> dict[str, Any]:
    """The knobs in ``mixers.deltanet(beta=2)``. ValueError for what ``plugin`` does not have."""
    name, _, inside = spec.partition("(")
    knobs: dict[str, Any] = {}
    for item in filter(None, inside.removesuffix(")").split(",")):
        knob, _, text = (part.strip() for part in item.partition("="))
        value = _literal(text)
        if value not in plugin.knobs.get(knob, ()):
            wanted = plugin.knobs.get(knob) or f"one of the knobs {', '.join(plugin.knobs)}"
            raise ValueError(f"{spec}: {knob}={text}, want {wanted}")
        knobs[knob] = value
    if spec != (canonical := spelled(name, knobs)):
        raise ValueError(f"{plugin.kind} {spec!r}, want it spelled {canonical!r}")
    return knobs


def spelled(mixer: str, knobs: Mapping[str, Any]) -> str:
    """Id and knobs in the one spelling that measurements and claims share: sorted, no spaces."""
    inside = ",".join(f"{name}={knobs[name]}" for name in sorted(knobs))
    return f"{mixer}({inside})" if inside else mixer


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
