"""gate and calibrate: what a change costs, and how often that answer is wrong."""

import argparse
import sys

from .arguments import device_of
from .output import print_json, print_table, written


def gate(args: argparse.Namespace) -> int:
    """The gate's report; the status is its answer."""
    import shutil

    from ..engine import checkout
    from ..gate import command, report

    base = checkout.find(args.base)
    head = checkout.find(args.head) if args.head else checkout.here()
    asked = command.Asked(
        suite=args.suite, everything=args.all, clock=args.clock, budget_s=args.budget
    )
    found = command.gate(base, head, asked, lambda line: print(line, file=sys.stderr))
    if args.report:
        args.report.mkdir(parents=True, exist_ok=True)
        (args.report / "gate.md").write_text(report.markdown(found) + "\n", encoding="utf-8")
        (args.report / "gate.json").write_text(written(found.facts()) + "\n", encoding="utf-8")
    if args.json or args.format == "json":
        print_json(found.facts())
    elif args.format == "markdown":
        print(report.markdown(found))
    else:
        wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(report.text(found, wide))
    return int(found.answer)


def calibrate(args: argparse.Namespace) -> int:
    """How often the timed gate is wrong, from planted changes."""
    from ..engine.runner import default_device
    from ..gate import allowance, calibration

    row = calibration.calibrate(
        allowance.settings(),
        args.budget,
        device=device_of(args.machine) or default_device(),
        say=lambda line: print(line, file=sys.stderr),
        out=args.out,
    )
    if args.json:
        return print_json(row)
    rows = calibration.table_of(row)
    print_table(rows, list(rows[0]))
    print("\n".join(calibration.lines_of(row)))
    return 0
