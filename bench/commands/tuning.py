"""tune: settings chosen for this machine, and all that were tried."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .arguments import device_of
from .output import print_json, print_table

if TYPE_CHECKING:
    from ..engine.tuned import Choice

COLUMNS = ["plugin", "sizes", "dtype", "knobs", "time", "train_time", "ratio", "kept"]


def tune(args: argparse.Namespace) -> int:
    """Choose settings and write them where runs look."""
    from ..engine import runner, tuning

    ran = tuning.tune(
        args.suite,
        device_of(args.machine) or runner.default_device(),
        ops=args.op,
        plugins=args.plugin,
        budget_s=args.budget,
        out=args.out,
        again=args.again,
        say=lambda who, stage: print(f"{who}: {stage}", file=sys.stderr),
    )
    rows = [row for choice in ran.chosen for row in _rows(choice)]
    if args.json:
        return print_json(
            {"file": str(ran.file), "there": ran.there, "left": ran.left, "tried": rows}
        )
    if rows:
        print_table(rows, COLUMNS)
    for line in ran.left:
        print(f"left: {line}", file=sys.stderr)
    done = f"{len(ran.chosen)} problems tuned, {ran.there} were there, {len(ran.left)} left"
    print(f"{done}: {ran.file}")
    return 0


def _rows(choice: "Choice") -> Iterator[dict[str, Any]]:
    from ..record.setting import words

    for each in choice.tried:
        yield {
            "plugin": choice.plugin,
            "sizes": choice.sizes,
            "dtype": choice.dtype,
            "knobs": words(each.knobs) or "as it stands",
            "time": f"{each.time[0]:g} us" if each.time else None,
            "train_time": f"{each.train_time[0]:g} us" if each.train_time else None,
            "ratio": [*each.ratio] or None,
            "kept": each.refused or ("kept" if dict(each.knobs) == dict(choice.knobs) else ""),
        }
