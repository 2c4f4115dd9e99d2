"""madbench: list, show, check, measure, run, reproduce, judge, gate, calibrate, history, bisect and others.

With ``--json`` standard output is JSON and nothing else; progress and warnings go to standard error.
Exit status: 0, 1 when a checked plugin is wrong or a run does not repeat, 2 for bad input or a bisection that could not tell,
130 after Ctrl-C. That of ``gate`` is its answer: 0 keep, 1 regression, 2 could not tell.
"""

import argparse
import contextlib
import difflib
import functools
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from impl.registry import Plugin

    from .engine.contest import Outcome
    from .record.measurement import Measurement

ROOT = Path(__file__).parents[1]
BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 2, 130, 141


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


def _list(args: argparse.Namespace) -> int:
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
        return _json(rows)
    if not args.coverage:
        for row in rows:
            row["available"] = row["reason"] or "yes"
    return _table(rows, columns)


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


def _show(args: argparse.Namespace) -> int:
    from . import listing

    row = listing.show(args.name)
    return _json(row) if args.json else _entry(row)


def _check(args: argparse.Namespace) -> int:
    from .engine.runner import default_device

    plugin = _loaded(args.id)
    device = _device(args.machine) or default_device()
    rows = []
    for row in _checked(plugin, device):
        rows.append(row)
        if args.json or sys.stderr.isatty():
            print(f"{plugin.id} {row['name']}: {row['outcome']}", file=sys.stderr)
    outcomes = [row["outcome"] for row in rows]
    order = ("wrong", "ok", "unsupported", "not run")
    outcome = next((each for each in order if each in outcomes), "not run")
    if args.json:
        _json({"id": plugin.id, "outcome": outcome, "device": device, "checks": rows})
    else:
        _table(rows, ["name", "outcome", "error", "bound", "sizes", "dtype", "reason"])
        print(f"{plugin.id}: {outcome}")
    return 1 if outcome == "wrong" else 0


def _checked(plugin: "Plugin", device: str) -> Iterator[dict[str, Any]]:
    """Every check of an implementation, or every law of a mixer."""
    names = ("name", "outcome", "error", "bound", "sizes", "dtype", "reason")
    if plugin.kind == "mixer" and not plugin.missing():
        from correctness import mixer_laws

        for subject in mixer_laws.subjects(plugin):
            for name, law in mixer_laws.LAWS.items():
                broken = law(subject)
                outcome = "wrong" if broken else "ok"
                what = f"{subject.name}: {name}"
                yield dict(
                    zip(names, (what, outcome, None, None, "", "", broken or ""), strict=True)
                )
        return
    from correctness.contract import results

    for result in results(plugin, device=device):
        yield {name: getattr(result, name) for name in names} | {"outcome": str(result.outcome)}


def _loaded(plugin_id: str) -> "Plugin":
    """The plugin, imported. ValueError for an unknown id or a module that raises."""
    from impl import registry

    if ".py:" not in plugin_id:
        plugin = registry.lookup(plugin_id)
        if plugin.missing():
            return plugin
    try:
        return registry.load(plugin_id)
    except ValueError:
        raise
    except Exception as error:  # whatever a plugin's import raises
        reason = f"its import raises {type(error).__name__}: {error}"
        raise ValueError(f"{plugin_id}: {reason}") from error


def _measure(args: argparse.Namespace) -> int:
    from .engine import metrics, runner
    from .record.measurement import dims
    from .verdict.claims import DTYPES

    metrics.find(args.metric)
    dims(args.sizes)
    _one_of(args.dtype, DTYPES, "dtype")
    plugin = _loaded(args.id if ".py:" in args.id else args.id.partition("(")[0])
    if reason := plugin.missing():
        raise ValueError(f"{plugin.id} is absent: {reason}")
    found = runner.measure(
        [args.id],
        args.sizes,
        args.dtype,
        [args.metric],
        device=_device(args.machine),
        say=lambda who, stage: print(f"{who or args.id}: {stage}", file=sys.stderr),
    )
    rows = [_measured(one) for one in found if one.metric == args.metric]
    if args.json:
        return _json(rows[0] if len(rows) == 1 else rows)
    return _table(rows, list(rows[0]))


def _measured(one: "Measurement") -> dict[str, Any]:
    return {
        "id": one.plugin,
        "sizes": one.sizes,
        "dtype": one.dtype,
        "machine": one.machine,
        "metric": one.metric,
        "unit": one.unit,
        "value": one.value,
        "interval": [one.low, one.high],
        "modelled": one.modelled,
    }


def _run(args: argparse.Namespace) -> int:
    from .engine import checkout, runner
    from .verdict import claims

    cases = claims.load_all()
    if args.proposal:
        _one_of(args.proposal, cases, "proposal with claims")
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
        _json({**vars(ran), "outcomes": [vars(outcome) for outcome in ran.outcomes]})
    else:
        if ran.outcomes:
            _table(_by_reason(ran.outcomes), ["outcome", "metric", "reason", "figures", "of"])
        done = f"{ran.measured} groups measured, {ran.there} were there, {len(ran.left)} left"
        print(f"{done}, {ran.seconds:.0f} s")
    return INTERRUPTED if ran.interrupted else 0


def _reproduce(args: argparse.Namespace) -> int:
    from .engine import checkout
    from .lab import reproduction
    from .verdict import claims

    cases = claims.load_all()
    _one_of(args.proposal, cases, "proposal with claims")
    at = checkout.find(args.commit) if args.commit else None
    found = reproduction.reproduce(
        cases[args.proposal],
        runs=args.runs,
        commit=at.hash if at else None,
        folders=[args.results] if args.results else None,
        at=at,
    )
    if args.json:
        _json(vars(found))
    else:
        print(found.says())
    return 1 if found.differing else 0


def _by_reason(outcomes: "Sequence[Outcome]") -> list[dict[str, Any]]:
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


def _judge(args: argparse.Namespace) -> int:
    from suites import catalogue

    from .verdict import current
    from .verdict.judging import judge

    numbers = catalogue.names("proposals")
    if args.proposal:
        _one_of(args.proposal, numbers, "proposal")
    judgements = current.judgements(args.results)
    if args.proposal:
        judgements = {args.proposal: judgements[args.proposal]}
    if args.json:
        return _json({number: one.facts() for number, one in judgements.items()})
    titles = catalogue.proposals()
    rows = [
        {"proposal": number, "title": titles[number]["title"], **one.facts()}
        for number, one in judgements.items()
    ]
    _table(rows, ["proposal", "title", "verdict", "rule"])
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
    _table(rows, ["id", "role", "state", "metric", "wanted", "value", "interval", "machine"])
    if judgement.missing:
        _table(judgement.missing, ["claim", "machine", "suite", "seconds", "reason"])


def _gate(args: argparse.Namespace) -> int:
    import shutil

    from .engine import checkout
    from .gate import command, report

    base = checkout.find(args.base)
    head = checkout.find(args.head) if args.head else checkout.here()
    asked = command.Asked(
        suite=args.suite, everything=args.all, clock=args.clock, budget_s=args.budget
    )
    found = command.gate(base, head, asked, lambda line: print(line, file=sys.stderr))
    if args.report:
        args.report.mkdir(parents=True, exist_ok=True)
        (args.report / "gate.md").write_text(report.markdown(found) + "\n", encoding="utf-8")
        (args.report / "gate.json").write_text(_written(found.facts()) + "\n", encoding="utf-8")
    if args.json or args.format == "json":
        _json(found.facts())
    elif args.format == "markdown":
        print(report.markdown(found))
    else:
        wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(report.text(found, wide))
    return int(found.answer)


def _calibrate(args: argparse.Namespace) -> int:
    from .engine.runner import default_device
    from .gate import allowance, calibration

    row = calibration.calibrate(
        allowance.settings(),
        args.budget,
        device=_device(args.machine) or default_device(),
        say=lambda line: print(line, file=sys.stderr),
        out=args.out,
    )
    if args.json:
        return _json(row)
    rows = calibration.table_of(row)
    _table(rows, list(rows[0]))
    print("\n".join(calibration.lines_of(row)))
    return 0


def _history(args: argparse.Namespace) -> int:
    from .engine import metrics
    from .verdict.history import account

    if args.metric:
        metrics.find(args.metric)
    found = account.account(args.name, args.metric, args.results)
    if args.json:
        return _json(found)
    if found["turns"]:
        _table(
            account.short(found["turns"]), ["commit", "committed", "proposal", "verdict", "rule"]
        )
        print()
    columns = ["commit", "committed", "plugin", "metric", "sizes", "dtype", "machine"]
    _table(account.short(found["changes"]), [*columns, "change", "interval", "worse", "recovered"])
    series, commits = found["series"], found["commits"]
    print(f"{len(found['changes'])} changes in {series} series over {commits} commits")
    return 0


def _bisect(args: argparse.Namespace) -> int:
    from .verdict.history import account

    say = functools.partial(print, file=sys.stderr if args.json else sys.stdout, flush=True)
    found = account.bisected(args.claim, args.good, args.bad, say, keep=args.keep)
    if args.json:
        _json(found.facts())
    elif len(found.first) == 1:
        print(f"{found.first[0]} is the first at which {found.claim} does not hold")
    else:
        print(f"{found.claim} stops holding at one of {', '.join(found.first)}")
    return 0 if len(found.first) == 1 else BAD_INPUT


def _doctor(args: argparse.Namespace) -> int:
    from .hardware import machine

    rows = [{name: str(value) for name, value in vars(one).items()} for one in machine.doctor()]
    return _json(rows) if args.json else _table(rows, list(rows[0]))


def _export(args: argparse.Namespace) -> int:
    from .record import tidy_table
    from .verdict import current

    found = current.measurements(args.results)
    if args.out is None:
        tidy_table.frame(found).to_csv(sys.stdout, index=False)
        return 0
    if args.out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {args.out}, want a name that ends in .csv or .parquet")
    tidy_table.export(found, args.out)
    print(f"{len(found)} measurements in {args.out}", file=sys.stderr)
    return 0


def _device(machine: str | None) -> str | None:
    """The device behind ``--machine``: ``cpu``, ``cuda``, or the card or machine that is here."""
    if machine is None:
        return None
    from .hardware.machine import record

    if machine in ("cpu", "cuda"):
        record(machine)  # says why when there is no GPU
        return machine
    for device in ("cpu", "cuda"):
        with contextlib.suppress(ValueError):
            here = record(device)
            if machine in (here.name, here.kind):
                return device
    raise ValueError(f"machine {machine!r} is not here, want cpu, cuda or {record('cpu').name}")


def _one_of(name: str, known: Any, what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise ValueError(f"no {what} is called {name!r}{hint}")


def _json(value: Any) -> int:
    print(_written(value))
    return 0


def _written(value: Any) -> str:
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """The value in JSON's own types; JSON has no infinity and no nan, they are null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    # a pipe has no width of its own: nothing is folded there
    Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=False).print(table)
    return 0


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # what was counted is shown whole
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(_cell(one) or "?" for one in value)
    return str(value)


def _entry(row: Mapping[str, Any]) -> int:
    for name, value in row.items():
        if value is None or value == [] or value == {}:
            continue
        if isinstance(value, list) and not all(isinstance(one, int | float) for one in value):
            print(f"{name}:")
            for one in value:
                says = isinstance(one, Mapping) and "says" in one
                print(
                    f"  - {one['id']} ({one['role']}): {one['says']}"
                    if says
                    else f"  - {_line(one)}"
                )
        else:
            print(f"{name}: {_line(value)}")
    return 0


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_line(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return str(value)


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

    one = add("list", _list, "plugins, absent ones with the reason")
    one.add_argument("family", nargs="?", help="first part of the ids")
    one.add_argument(
        "--coverage", action="store_true", help="what has claims and code, of how much"
    )
    one = add("show", _show, "one proposal, plugin or trick")
    one.add_argument("name", help="026, scans.prefix_scan or cyclic-reduction")
    one = add("check", _check, "the whole contract; exit 1 when it is broken")
    one.add_argument("id", help="plugin, or path/to/file.py:function")
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one = add("measure", _measure, "one metric of one plugin on one problem")
    one.add_argument("id", help="plugin, path/to/file.py:function, or mixers.x(knob=value)")
    one.add_argument("--sizes", required=True, help="B1-T1024-N32")
    one.add_argument("--metric", required=True, help="time, traffic, error ...")
    one.add_argument("--dtype", default="float32")
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one = add("run", _run, "measure what a suite lacks for a commit")
    one.add_argument("--suite", required=True)
    one.add_argument("--budget", type=_seconds, metavar="SECONDS", help="default: until it is done")
    one.add_argument(
        "--proposal", metavar="026", help="only what its claims speak of, and controls"
    )
    one.add_argument("--claims-first", action="store_true", help="begin with what claims are about")
    one.add_argument("--commit", metavar="REV", help="whose plugins (default: this tree's)")
    one.add_argument("--out", type=Path, help="folder of results (default: results)")
    one = add(
        "reproduce", _reproduce, "train stored runs of a proposal again; exit 1 if one differs"
    )
    one.add_argument("proposal", help="013")
    one.add_argument("--runs", type=_count, metavar="N", help="default: all of its newest record")
    one.add_argument("--commit", metavar="REV", help="of the record and the mixers")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("judge", _judge, "verdicts from what was measured")
    one.add_argument("proposal", nargs="?", help="026 (default: all)")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("gate", _gate, "what a change costs: exit 0 keep, 1 regression, 2 could not tell")
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
    one = add("calibrate", _calibrate, "how often the timed gate is wrong, by planted changes")
    one.add_argument(
        "--budget",
        type=_seconds,
        metavar="SECONDS",
        default=1800.0,
        help="of rounds, added to those of earlier runs (default: 1800)",
    )
    one.add_argument("--machine", help="cpu, cuda or a name (default: the GPU where there is one)")
    one.add_argument("--out", type=Path, help="folder of results (default: results)")
    one = add("history", _history, "what changed at which commit, the newest first")
    one.add_argument("name", nargs="?", help="plugin, or proposal for its verdicts too")
    one.add_argument("--metric", help="time, traffic, error ...")
    one.add_argument("--results", type=_folder, help="folder of results (default: results)")
    one = add("bisect", _bisect, "the first commit at which a claim no longer holds, by measuring")
    one.add_argument("claim", help="026/beats-kogge-stone, or an id that only one proposal has")
    one.add_argument("good", help="a commit at which it holds")
    one.add_argument("bad", help="a later one at which it does not")
    one.add_argument("--keep", action="store_true", help="measure all contestants, and store that")
    add("doctor", _doctor, "what this machine has, and what each absence costs")
    one = add("export", _export, "all measurements as one table")
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
