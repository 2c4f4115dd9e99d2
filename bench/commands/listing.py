"""What there is: plugins, proposals and tricks as rows of plain values. No torch."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from impl import registry
from suites import catalogue

from ..verdict import claims

Row = dict[str, Any]


def plugins(family: str | None = None) -> list[Row]:
    """Every plugin of a family, absent ones with the reason. ValueError for an unknown family."""
    index = registry.index()
    families = sorted({name.partition(".")[0] for name in index})
    if family is not None and family not in families:
        raise ValueError(f"no family is called {family!r}{near(family, families)}")
    needed = proposals_by_plugin()
    return [
        plugin_row(plugin, needed.get(name, []))
        for name, plugin in index.items()
        if family in (None, name.partition(".")[0])
    ]


def plugin_row(plugin: registry.Plugin, proposals: list[str]) -> Row:
    """One plugin as ``madbench list --json`` shows it."""
    reason = plugin.missing()
    return {
        "id": plugin.id,
        "op": plugin.op,
        "kind": plugin.kind,
        "trick": plugin.trick,
        "proposals": proposals,
        "backend": plugin.backend,
        "needs": list(plugin.needs),
        "available": reason is None,
        "reason": reason,
        "file": shown(plugin.file),
    }


def proposals_by_plugin() -> dict[str, list[str]]:
    """Plugin id to the proposals whose claims need it."""
    found: dict[str, list[str]] = {}
    for number, case in claims.load_all().items():
        for need in sorted({need.partition("(")[0] for need in case.needs}):
            found.setdefault(need, []).append(number)
    return found


def coverage() -> list[Row]:
    """Per family and category: proposals with claims and with code, tricks with code, of how many."""
    index = registry.index()
    cases = claims.load_all()
    with_code = {
        number
        for number, case in cases.items()
        if all(need.partition("(")[0] in index for need in case.needs)
    }
    done = {plugin.trick for plugin in index.values()}
    proposals, tricks = catalogue.names("proposals"), catalogue.names("tricks")
    rows = [
        _covered("proposals", proposals, group, cases, with_code) for group in _groups(proposals)
    ]
    return rows + [_covered("tricks", tricks, group, (), done) for group in _groups(tricks)]


def _covered(
    kind: str, names: Mapping[str, str], group: str, claimed: Iterable[str], coded: Iterable[Any]
) -> Row:
    members = {name for name, each in names.items() if each == group}
    return {
        "kind": kind,
        "group": group,
        "total": len(members),
        "with_claims": len(members & set(claimed)) if kind == "proposals" else None,
        "with_code": len(members & set(coded)),
    }


def _groups(names: Mapping[str, str]) -> list[str]:
    return sorted(set(names.values()))


def show(name: str) -> Row:
    """Everything about a proposal or goal (by number), a plugin (by id) or a trick (by slug)."""
    if entry := catalogue.subject(name):
        return _proposal(entry)
    if name in registry.index():
        return _plugin(registry.index()[name])
    if entry := catalogue.trick(name):
        return _trick(entry)
    known = [*catalogue.judged_names(), *registry.index(), *catalogue.names("tricks")]
    known_by_end = [each for each in registry.index() if each.endswith(f".{name}")]
    hint = near(name, known) if not known_by_end else f"; near names: {', '.join(known_by_end)}"
    raise ValueError(f"no proposal, plugin or trick is called {name!r}{hint}")


def _proposal(entry: catalogue.Entry) -> Row:
    case = claims.load_all().get(entry["id"])
    row: Row = {"kind": "proposal", **entry}
    # the catalogue's claims are what was printed; these are what is judged here
    row["judged"] = [
        {
            "id": claim.id,
            "says": claim.says,
            "role": claim.role,
            "metric": claim.metric,
            "plugin": claim.plugin,
            "against": claim.against,
            claim.comparison: dict(claim.bounds)
            | ({"over": claim.over} if claim.over else {})
            | ({"along": list(claim.along)} if claim.along else {}),
            "where": dict(claim.where),
        }
        for claim in (case.claims if case else ())
    ]
    row["claims_file"] = shown(case.file) if case else None
    return row | {"needs": list(case.needs) if case else []}


def _plugin(plugin: registry.Plugin) -> Row:
    row = {"kind": plugin.kind} | plugin_row(plugin, proposals_by_plugin().get(plugin.id, []))
    row |= {
        "line": plugin.line,
        "says": plugin.doc,
        "about": ast.get_docstring(ast.parse(plugin.file.read_text())),
        "source": plugin.source,
        "accepts": dict(plugin.accepts),
        "knobs": {name: list(values) for name, values in plugin.knobs.items()},
        "excuses": dict(plugin.excuses),
    }
    return row


def _trick(entry: catalogue.Entry) -> Row:
    using = [each.id for each in registry.index().values() if each.trick == entry["slug"]]
    return {"kind": "trick", **entry, "plugins": using}


def near(name: str, known: Iterable[str]) -> str:
    """``; near names: a, b`` for an error message, or a way to find them."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; near names: {', '.join(found)}" if found else "; `madbench list` shows all"


def shown(file: Path) -> str:
    """The path from the root of the project, or whole for a plugin from elsewhere."""
    root = registry.ROOT.parent
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
