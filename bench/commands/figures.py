"""measure, run, reproduce and export: figures taken now, and those that are stored."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .arguments import device_of, loaded_plugin, want_one_of
from .output import print_json, print_table
from .status import INTERRUPTED

if TYPE_CHECKING:
    from ..engine.contest import Outcome
    from ..record.measurement import Measurement

ELSEWHERE = {
    "compile": "MADBENCH_SUITE=SUITE asv run 'HEAD^!' --bench '^static'",
    "training": "madbench run --suite SUITE",
}
"""What takes the figures that need more than a call, by the way they are come by."""


def measure(args: argparse.Namespace) -> int:
    """One metric of one plugin on one problem, with its interval."""
    from ..engine import metrics, runner
    from ..record.measurement import dims
    from ..verdict.claims import DTYPES

    if command := ELSEWHERE.get(metrics.find(args.metric).way):
        raise ValueError(f"{args.metric} is not taken of one call, but by: {command}")
    dims(args.sizes)
    want_one_of(args.dtype, DTYPES, "dtype")
    plugin = loaded_plugin(args.id.partition("(")[0])
    if reason := plugin.missing():
        raise ValueError(f"{plugin.id} is absent: {reason}")
    found = runner.measure(
        [args.id],
        args.sizes,
        args.dtype,
        [args.metric],
        device=device_of(args.machine),
        say=lambda who, stage: print(f"{who or args.id}: {stage}", file=sys.stderr),
    )
    rows = [_measured(one) for one in found if one.metric == args.metric]
    if args.json:
        return print_json(rows[0] if len(rows) == 1 else rows)
    return print_table(rows, list(rows[0]))


def _measured(one: "Measurement") -> dict[str, Any]:
    return {
        "id": one.plugin,
        "sizes": one.sizes,
        "dtype": one.dtype,
        "knobs": one.knobs,
        "machine": one.machine,
        "metric": one.metric,
        "unit": one.unit,
        "value": one.value,
        "interval": [one.low, one.high],
        "modelled": one.modelled,
    }


def run(args: argparse.Namespace) -> int:
    """Measure what a suite lacks; then why figures are missing."""
    from ..engine import checkout, runner
    from ..verdict import claims

    cases = claims.load_all()
    if args.proposal:
        want_one_of(args.proposal, cases, "proposal with claims")
    ran = runner.run_suite(
        args.suite,
        args.budget,
        claims_first=args.claims_first,
        case=cases.get(args.proposal),
        out=args.out,
        at=checkout.find(args.commit) if args.commit else None,
        say=lambda group, who, stage: print(f"{group}: {who} {stage}", file=sys.stderr),
    )
    if args.json:
        print_json({**vars(ran), "outcomes": [vars(outcome) for outcome in ran.outcomes]})
    else:
        if ran.outcomes:
            print_table(by_reason(ran.outcomes), ["outcome", "metric", "reason", "figures", "of"])
        done = f"{ran.measured} groups measured, {ran.there} were there, {len(ran.left)} left"
        print(f"{done}, {ran.seconds:.0f} s")
    return INTERRUPTED if ran.interrupted else 0


def by_reason(outcomes: "Sequence[Outcome]") -> list[dict[str, Any]]:
    """One row a reason, wrong ones first: how many figures it costs, and of which plugins."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in outcomes:
        # samples dropped and errors differ from plugin to plugin, the reason does not
        about = re.sub(r"\d[\d.e+-]*", "n", one.reason) if one.again else one.reason
        groups.setdefault((one.outcome, one.metric, about), []).append(one.plugin)
    ordered = sorted(groups.items(), key=lambda each: (each[0][0] != "wrong", each[0]))
    return [
        {
            "outcome": outcome,
            "metric": metric or "all",
            "reason": reason,
            "figures": len(plugins),
            "of": ", ".join(sorted(set(plugins))),
        }
        for (outcome, metric, reason), plugins in ordered
    ]


def reproduce(args: argparse.Namespace) -> int:
    """Train stored runs again; 1 when one differs."""
    from ..engine import checkout
    from ..lab import reproduction
    from ..verdict import claims

    cases = claims.load_all()
    want_one_of(args.proposal, cases, "proposal with claims")
    at = checkout.find(args.commit) if args.commit else None
    found = reproduction.reproduce(
        cases[args.proposal],
        runs=args.runs,
        commit=at.hash if at else None,
        folders=[args.results] if args.results else None,
        at=at,
    )
    if args.json:
        print_json(vars(found))
    else:
        print(found.says())
    return 1 if found.differing else 0


def export(args: argparse.Namespace) -> int:
    """All measurements as one table, on standard output or in a file."""
    from ..record import tidy_table
    from ..verdict import current

    found = current.measurements(args.results)
    if args.out is None:
        tidy_table.frame(found).to_csv(sys.stdout, index=False)
        return 0
    if args.out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {args.out}, want a name that ends in .csv or .parquet")
    tidy_table.export(found, args.out)
    print(f"{len(found)} measurements in {args.out}", file=sys.stderr)
    return 0
