"""judge, history and bisect: what the figures say, and since when."""

import argparse
import functools
import sys
from typing import Any

from .arguments import want_one_of
from .output import print_json, print_table
from .status import BAD_INPUT


def judge_proposals(args: argparse.Namespace) -> int:
    """Verdicts with the rules that gave them; of one proposal its claims too."""
    from suites import catalogue

    from ..verdict import current
    from ..verdict.judging import judge

    numbers = catalogue.judged_names()
    if args.proposal:
        want_one_of(args.proposal, numbers, "proposal or goal")
    judgements = current.judgements(args.results)
    if args.proposal:
        judgements = {args.proposal: judgements[args.proposal]}
    if args.json:
        return print_json({number: one.facts() for number, one in judgements.items()})
    titles = catalogue.judged()
    rows = [
        {"proposal": number, "title": titles[number]["title"], **one.facts()}
        for number, one in judgements.items()
    ]
    print_table(rows, ["proposal", "title", "verdict", "rule"])
    if args.proposal:
        _claims_of(judgements[args.proposal])
    applied = {one.rule.partition(":")[0] for one in judgements.values()}
    for name in sorted(applied):
        print(f"{name}: {judge.RULES[name]}")
    return 0


def _claims_of(judgement: Any) -> None:
    rows = []
    for fact in (judged.facts() for judged in judgement.claims):
        bounds = ", ".join(f"{name} {bound:g}" for name, bound in fact["bounds"].items())
        rows.append({**fact, "wanted": f"{fact['comparison']} {bounds}"})
    print_table(rows, ["id", "role", "state", "metric", "wanted", "value", "interval", "machine"])
    if judgement.missing:
        print_table(judgement.missing, ["claim", "machine", "suite", "seconds", "reason"])


def history(args: argparse.Namespace) -> int:
    """Turns of verdicts and changes of figures, the newest first."""
    from ..engine import metrics
    from ..verdict.history import account

    if args.metric:
        metrics.find(args.metric)
    found = account.account(args.name, args.metric, args.results)
    if args.json:
        return print_json(found)
    if found["turns"]:
        print_table(
            account.short(found["turns"]), ["commit", "committed", "proposal", "verdict", "rule"]
        )
        print()
    columns = ["commit", "committed", "plugin", "metric", "sizes", "dtype", "machine"]
    print_table(
        account.short(found["changes"]), [*columns, "change", "interval", "worse", "recovered"]
    )
    series, commits = found["series"], found["commits"]
    print(f"{len(found['changes'])} changes in {series} series over {commits} commits")
    return 0


def bisect(args: argparse.Namespace) -> int:
    """The first commit at which a claim no longer holds; 2 when several are left."""
    from ..verdict.history import account

    say = functools.partial(print, file=sys.stderr if args.json else sys.stdout, flush=True)
    found = account.bisected(args.claim, args.good, args.bad, say, keep=args.keep)
    if args.json:
        print_json(found.facts())
    elif len(found.first) == 1:
        print(f"{found.first[0]} is the first at which {found.claim} does not hold")
    else:
        print(f"{found.claim} stops holding at one of {', '.join(found.first)}")
    return 0 if len(found.first) == 1 else BAD_INPUT
