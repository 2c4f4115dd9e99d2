"""What ``madbench history`` and ``madbench bisect`` tell: rows, and a line a step."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from impl import registry
from suites import catalogue

from ...engine import checkout, runner
from .. import claims, current
from . import bisection, changes, points


def account(name: str | None, metric: str | None, results: Path | None) -> dict[str, Any]:
    """Changes of a plugin, of a proposal's contestants, or of all, and the turns of a verdict."""
    known = current.measurements(results)
    cases = claims.load_all(plugins=registry.index())
    turns = current.turned(known)
    if name is not None:
        plugins = _plugins(name, cases, {one.plugin for one in known})
        known = [one for one in known if {one.plugin, one.plugin.partition("(")[0]} & plugins]
        turns = {name: turns[name]} if name in turns else {}
    if metric:
        known = [one for one in known if metric in (one.metric, "contract")]
    series = [one for one in points.series(known) if metric in (None, one.metric)]
    found = [change for change in changes.changes(known) if metric in (None, change.series.metric)]
    turned = [turn.facts() for each in turns.values() for turn in each]
    return {
        "changes": [_row(change) for change in found],
        "turns": sorted(turned, key=lambda row: row["committed"], reverse=True),
        "series": len(series),
        "commits": len({point.commit for one in series for point in one.points}),
    }


def short(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with hashes and dates as a reader wants them."""
    cut = {"commit": 8, "recovered": 8, "committed": len("2026-01-01")}
    return [
        {
            name: value[: cut[name]] if name in cut and value else value
            for name, value in row.items()
        }
        | ({"worse": "worse" if row["worse"] else ""} if "worse" in row else {})
        for row in rows
    ]


def bisected(
    name: str, good: str, bad: str, say: Callable[[str], None], *, keep: bool
) -> bisection.Bisection:
    """The bisection of the claim called ``name``, told step by step."""
    full, claim = bisection.claim_called(name, claims.load_all(plugins=registry.index()))
    ask = bisection.Prober(claim, current.measurements(), device=runner.default_device(), keep=keep)

    def tell(commit: str) -> bisection.Step:
        step = ask(commit)
        answer = {True: "holds", False: "does not hold", None: "passed over"}[step.holds]
        origin = "" if step.measured else " (stored)"
        subject = checkout.git("log", "-1", "--format=%s", commit)
        say(f"{commit[:8]} {answer}: {step.said}{origin}  {subject}")
        return step

    return bisection.bisect(good, bad, full, tell)


def _plugins(name: str, cases: dict[str, claims.Case], measured: set[str]) -> set[str]:
    """The plugins behind a name. ValueError when it is neither a proposal nor a plugin."""
    if name in catalogue.judged_names():
        about = cases[name].claims if name in cases else ()
        return {each for claim in about for each in (claim.plugin, claim.against) if each}
    known = {*registry.index(), *measured}
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise ValueError(f"no proposal or plugin is called {name!r}{hint}")
    return {name}


def _row(change: changes.Change) -> dict[str, Any]:
    """A change with its size in words beside the figures."""
    facts = change.facts()
    # a number that is counted says so by itself
    unit = change.series.unit.replace("count", "")
    size = f"{change.size:+.4g} {unit}".rstrip() if change.difference else f"x {change.size:.4g}"
    ends = [end if math.isfinite(end) else None for end in (change.low, change.high)]
    levels = f"{change.before:.4g} to {change.after:.4g} {unit}".rstrip()
    return facts | {"change": f"{size} ({levels})", "interval": ends}
