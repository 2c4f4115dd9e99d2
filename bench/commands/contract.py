"""check: the contract of an implementation, or the laws of a mixer."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .arguments import device_of, loaded_plugin
from .output import print_json, print_table

if TYPE_CHECKING:
    from impl.registry import Plugin


def check(args: argparse.Namespace) -> int:
    """Every check of a plugin; 1 when one is wrong."""
    from ..engine.runner import default_device

    plugin = loaded_plugin(args.id)
    device = device_of(args.machine) or default_device()
    rows = []
    for row in _checked(plugin, device):
        rows.append(row)
        if args.json or sys.stderr.isatty():
            print(f"{plugin.id} {row['name']}: {row['outcome']}", file=sys.stderr)
    outcomes = [row["outcome"] for row in rows]
    order = ("wrong", "ok", "unsupported", "not run")
    outcome = next((each for each in order if each in outcomes), "not run")
    if args.json:
        print_json({"id": plugin.id, "outcome": outcome, "device": device, "checks": rows})
    else:
        print_table(rows, ["name", "outcome", "error", "bound", "sizes", "dtype", "reason"])
        print(f"{plugin.id}: {outcome}")
    return 1 if outcome == "wrong" else 0


def _checked(plugin: "Plugin", device: str) -> Iterator[dict[str, Any]]:
    """Every check of an implementation, or every law of a mixer."""
    names = ("name", "outcome", "error", "bound", "sizes", "dtype", "reason")
    if plugin.kind == "mixer" and not plugin.missing():
        from correctness import mixer_laws

        for subject in mixer_laws.subjects(plugin):
            for name, broken in mixer_laws.answers(subject):
                outcome = "wrong" if broken else "ok"
                what = f"{subject.name}: {name}"
                yield dict(
                    zip(names, (what, outcome, None, None, "", "", broken or ""), strict=True)
                )
        return
    from correctness.contract import results

    for result in results(plugin, device=device):
        yield {name: getattr(result, name) for name in names} | {"outcome": str(result.outcome)}
