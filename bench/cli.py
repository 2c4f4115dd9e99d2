"""madbench: list, show, check, measure, run, tune, reproduce, judge, gate, calibrate, history, bisect and others.

With ``--json`` standard output is JSON and nothing else; progress and warnings go to standard error.
Exit status: 0, 1 when a checked plugin is wrong or a run does not repeat, 2 for bad input or a bisection that could not tell,
130 after Ctrl-C. That of ``gate`` is its answer: 0 keep, 1 regression, 2 could not tell.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .commands.changes import calibrate, gate
from .commands.contract import check
from .commands.figures import export, measure, reproduce, run
from .commands.inventory import doctor, list_plugins, show
from .commands.status import BAD_INPUT, INTERRUPTED, PIPE_CLOSED
from .commands.tuning import tune
from .commands.verdicts import bisect, history, judge_proposals


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one line on standard error, never a traceback."""
    try:
        args = _parser().parse_args(argv)
        with warnings.catch_warnings():
            # a file that was skipped is always named, whatever the filters of the caller
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warn
            status = args.command(args)
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has seen enough; the interpreter must not flush into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError) as error:
        _say(" ".join(str(error).split()))
        return BAD_INPUT


def _say(line: str) -> None:
    print(f"madbench: {line}", file=sys.stderr)


def _warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    _say(f"warning: {message}")


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        _say(f"{message} (madbench --help)")
        sys.exit(BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="madbench", description="Which ideas for sequence models are worth a GPU?"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], says: str) -> _Parser:
        made = commands.add_parser(name, help=says, description=says)
        made.set_defaults(command=command)
        if name != "export":
            made.add_argument("--json", action="store_true", help="JSON on standard output")
        return made

    one = add("list", list_plugins, "plugins, absent ones with the reason")
    one.add_argument("family", nargs="?", help="first part of the ids")
    one.add_argument(
        "--coverage", action="store_true", help="what has claims and code, of how much"
    )
    one = add("show", show, "one proposal, plugin or trick")
    one.add_argument("name", help="026, scans.prefix_scan or cyclic-reduction")
    one = add("check", check, "the whole contract; exit 1 when it is broken")
    one.add_argument("id", help="plugin, or path/to/file.py:function")
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one = add("measure", measure, "one metric of one plugin on one problem")
    one.add_argument("id", help="plugin, path/to/file.py:function, or mixers.x(knob=value)")
    one.add_argument("--sizes", required=True, help="B1-T1024-N32")
    one.add_argument("--metric", required=True, help="time, traffic, error ...")
    one.add_argument("--dtype", default="float32")
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one = add("run", run, "measure what a suite lacks for a commit")
    one.add_argument("--suite", required=True)
    one.add_argument("--budget", type=_seconds, metavar="SECONDS", help="default: until it is done")
    one.add_argument(
        "--proposal", metavar="026", help="only what its claims speak of, and controls"
    )
    one.add_argument("--claims-first", action="store_true", help="begin with what claims are about")
    one.add_argument("--commit", metavar="REV", help="whose plugins (default: this tree's)")
    one.add_argument("--out", type=Path, help="folder of results (default: results)")
    one = add("tune", tune, "which setting of its knobs a plugin is fastest with on this machine")
    one.add_argument("--suite", required=True, help="whose timed problems, smoke or core")
    one.add_argument("--op", action="append", default=[], help="only this one; may be repeated")
    one.add_argument("--plugin", action="append", default=[], metavar="ID", help="likewise")
    one.add_argument("--budget", type=_seconds, metavar="SECONDS", help="default: until it is done")
    one.add_argument("--again", action="store_true", help="also what this commit has tuned before")
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one.add_argument("--out", type=Path, help="folder of <machine>.toml (default: suites/tuned)")
    one = add(
        "reproduce", reproduce, "train stored runs of a proposal again; exit 1 if one differs"
    )
    one.add_argument("proposal", help="013")
    one.add_argument("--runs", type=_count, metavar="N", help="default: all of its newest record")
    one.add_argument("--commit", metavar="REV", help="of the record and the mixers")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("judge", judge_proposals, "verdicts from what was measured")
    one.add_argument("proposal", nargs="?", help="026 (default: all)")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("gate", gate, "what a change costs: exit 0 keep, 1 regression, 2 could not tell")
    one.add_argument("base", help="a commit: hash, branch or tag")
    one.add_argument("head", nargs="?", help="another (default: this checkout, edits included)")
    one.add_argument("--all", action="store_true", help="every plugin, not only what it can touch")
    one.add_argument("--suite", default="", help="default: smoke; with a GPU, core")
    one.add_argument(
        "--clock",
        action=argparse.BooleanOptionalAction,
        help="compare times too (default: where there is a GPU)",
    )
    one.add_argument("--budget", type=_seconds, metavar="SECONDS", help="for the clock")
    one.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    one.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write gate.md and gate.json there too"
    )
    one = add("calibrate", calibrate, "how often the timed gate is wrong, by planted changes")
    one.add_argument(
        "--budget",
        type=_seconds,
        metavar="SECONDS",
        default=1800.0,
        help="of rounds, added to those of earlier runs (default: 1800)",
    )
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one.add_argument("--out", type=Path, help="folder of results (default: results)")
    one = add("history", history, "what changed at which commit, the newest first")
    one.add_argument("name", nargs="?", help="plugin, or proposal for its verdicts too")
    one.add_argument("--metric", help="time, traffic, error ...")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("bisect", bisect, "the first commit at which a claim no longer holds, by measuring")
    one.add_argument("claim", help="026/beats-kogge-stone, or an id that only one proposal has")
    one.add_argument("good", help="a commit at which it holds")
    one.add_argument("bad", help="a later one at which it does not")
    one.add_argument("--keep", action="store_true", help="measure all contestants, and store that")
    add("doctor", doctor, "what this machine has, and what each absence costs")
    one = add("export", export, "all measurements as one table")
    one.add_argument(
        "--out", type=Path, help="x.csv or x.parquet (default: CSV on standard output)"
    )
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}, want seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}, want a number above 0")
    return int(text)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no folder {text!r}")
    return Path(text)
