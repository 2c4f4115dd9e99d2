"""Plugins as the site shows them: what they are, where their contract stands, and their source."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from impl import registry

from ...record.measurement import Measurement
from .paths import base, file_of, ours

Row = dict[str, Any]


def plugins(known: Iterable[Measurement], reasons: Iterable[Row]) -> dict[str, Row]:
    """Every plugin of this tree by id."""
    checked: dict[str, list[Measurement]] = {}
    for one in known:
        if one.contract != "not run":
            checked.setdefault(base(one.plugin), []).append(one)
    return {
        each.id: _plugin(each, checked.get(each.id, ()), reasons)
        for each in registry.index().values()
    }


def sources() -> Mapping[str, str]:
    """The text of every plugin's file, by the path that the site shows."""
    return {
        file_of(each): each.file.read_text(encoding="utf-8")
        for each in registry.index().values()
        if ours(each)
    }


def _plugin(plugin: registry.Plugin, checked: Iterable[Measurement], reasons: Iterable[Row]) -> Row:
    names = ("kind", "op", "trick", "backend", "source", "line")
    row: Row = {name: getattr(plugin, name) for name in names}
    text = plugin.file.read_text(encoding="utf-8")
    return row | {
        "needs": list(plugin.needs),
        "accepts": dict(plugin.accepts),
        "knobs": {name: list(values) for name, values in plugin.knobs.items()},
        "excuses": dict(plugin.excuses),
        "file": file_of(plugin),
        "about": ast.get_docstring(ast.parse(text)) or plugin.doc,
        "contract": list(_contracts(plugin.id, checked, reasons)),
    }


def _contracts(
    plugin: str, checked: Iterable[Measurement], reasons: Iterable[Row]
) -> Iterator[Row]:
    """Per machine the newest commit at which the contract was checked, and how it ended."""
    for name in sorted({one.machine for one in checked}):
        here = [one for one in checked if one.machine == name]
        _, committed, newest = max(one.moment for one in here)
        wrong = any(one.contract == "wrong" for one in here if one.commit == newest)
        said = [
            each["reason"]
            for each in reasons
            if (each["machine"], base(each["plugin"])) == (name, plugin)
            and newest.startswith(each["commit"])
            and each["outcome"] == "wrong"
        ]
        yield {
            "machine": name,
            "commit": newest,
            "committed": committed,
            "outcome": "wrong" if wrong else "ok",
            "reason": min(said) if wrong and said else None,
        }
