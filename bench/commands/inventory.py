"""list, show and doctor: what there is, in the project and on this machine."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from .output import print_entry, print_json, print_table


def list_plugins(args: argparse.Namespace) -> int:
    """Plugins, or with ``--coverage`` what has claims and code."""
    from . import listing

    if args.coverage:
        rows = listing.coverage()
        if not args.json:
            rows += _totals(rows)
        columns = ["kind", "group", "with_claims", "with_code", "total"]
    else:
        rows = listing.plugins(args.family)
        columns = ["id", "kind", "op", "trick", "proposals", "backend", "available"]
    if args.json:
        return print_json(rows)
    if not args.coverage:
        for row in rows:
            row["available"] = row["reason"] or "yes"
    return print_table(rows, columns)


def _totals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for kind in ("proposals", "tricks"):
        mine = [row for row in rows if row["kind"] == kind]
        total: dict[str, Any] = {"kind": kind, "group": "all"}
        for column in ("total", "with_claims", "with_code"):
            numbers = [row[column] for row in mine if row[column] is not None]
            total[column] = sum(numbers) if numbers else None
        found.append(total)
    return found


def show(args: argparse.Namespace) -> int:
    """One proposal, plugin or trick."""
    from . import listing

    row = listing.show(args.name)
    return print_json(row) if args.json else print_entry(row)


def doctor(args: argparse.Namespace) -> int:
    """What this machine has, and what each absence costs."""
    from ..hardware import machine

    rows = [{name: str(value) for name, value in vars(one).items()} for one in machine.doctor()]
    return print_json(rows) if args.json else print_table(rows, list(rows[0]))
