"""Contestant: a mixer with its knobs, as suites and claims spell it, ``mixers.deltanet(beta=2)``."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from impl.registry import Plugin, lookup


def contestant(spec: str, find: Callable[[str], Plugin] = lookup) -> tuple[str, dict[str, Any]]:
    """``mixers.deltanet(beta=2)`` as its id and knobs. ValueError for what no mixer has."""
    match = re.fullmatch(r"([^()]+?)(?:\((.*)\))?", spec)
    if match is None:
        raise ValueError(f"mixer {spec!r}, want something like mixers.deltanet(beta=2)")
    plugin = find(match[1])
    if plugin.kind != "mixer":
        raise ValueError(f"{plugin.id} is no mixer: it computes the op {plugin.op}")
    knobs: dict[str, Any] = {}
    for item in filter(None, (match[2] or "").split(",")):
        name, _, text = (part.strip() for part in item.partition("="))
        value = _literal(text)
        if value not in plugin.knobs.get(name, ()):
            wanted = plugin.knobs.get(name) or f"one of the knobs {', '.join(plugin.knobs)}"
            raise ValueError(f"{spec}: {name}={text}, want {wanted}")
        knobs[name] = value
    if spec != (canonical := spelled(plugin.id, knobs)):
        raise ValueError(f"mixer {spec!r}, want it spelled {canonical!r}")
    return plugin.id, knobs


def spelled(mixer: str, knobs: Mapping[str, Any]) -> str:
    """Id and knobs in the one spelling that measurements and claims share: sorted, no spaces."""
    inside = ",".join(f"{name}={knobs[name]}" for name in sorted(knobs))
    return f"{mixer}({inside})" if inside else mixer


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
