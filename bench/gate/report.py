"""What the gate found, for a terminal, for a pull request and for a program.

What got worse comes first, then what could not be told, then what changed and is kept, then what was
timed with the smallest change that this run would have found. Nothing in a report depends on when
or how fast it was made, so that the same two commits give the same bytes where no clock ran.
"""

import html
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.checkout import Commit
from ..engine.metrics import METRICS, Way
from .exact import BOTH_OK
from .finding import Answer, Finding, overall
from .reach import Reach

WORDS = {
    Answer.KEEP: "KEEP",
    Answer.REGRESSION: "REGRESSION",
    Answer.UNCLEAR: "COULD NOT TELL",
}
COUNTED = {Answer.REGRESSION: "worse", Answer.UNCLEAR: "unclear", Answer.KEEP: "kept"}
COLUMNS = ("plugin", "metric", "where", "base", "head", "change", "why")
TIMED = ("plugin", "metric", "where", "against", "change", "interval", "smallest found", "why")
WIDE = 10_000
"""Columns of a text that nobody's terminal folds."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings, and under which conditions they hold."""

    findings: tuple[Finding, ...]
    base: Commit
    head: Commit
    suite: str
    device: str
    machine: str
    stack: Mapping[str, str]
    ruler: Commit
    reach: Reach
    everything: bool
    clock: bool
    budget_s: float
    """Seconds that the clock may take, where there is one."""
    notes: tuple[str, ...]

    @property
    def answer(self) -> Answer:
        """The exit status."""
        return overall(self.findings)

    @property
    def again(self) -> str:
        """The command that asks the same."""
        words = ["madbench", "gate", self.base.hash[:12]]
        words += [self.head.hash[:12]] if self.head.clean else []
        words += ["--all"] if self.everything else []
        words += ["--suite", self.suite]
        words += ["--clock", "--budget", f"{self.budget_s:g}"] if self.clock else ["--no-clock"]
        return " ".join(words)

    @property
    def touched(self) -> str:
        """What the change can touch, in one line."""
        reach = self.reach
        if not reach.plugins and not reach.new and not reach.removed:
            return "no plugin is reached: no code differs that a plugin depends on"
        counts = (
            ("reached", reach.plugins),
            ("new", reach.new),
            ("removed", reach.removed),
        )
        told = [f"{len(ids)} {what} ({', '.join(ids)})" for what, ids in counts if ids]
        return "plugins: " + "; ".join(told)

    def facts(self) -> dict[str, Any]:
        """Everything, as ``--format json`` prints it."""
        reach = self.reach
        return {
            "answer": self.answer.name.lower(),
            "base": _commit(self.base),
            "head": _commit(self.head),
            "ruler": _commit(self.ruler),
            "suite": self.suite,
            "device": self.device,
            "machine": self.machine,
            "stack": dict(self.stack),
            "clock": self.clock,
            "reach": {
                "changed": list(reach.changed),
                "plugins": list(reach.plugins),
                "new": list(reach.new),
                "removed": list(reach.removed),
                "everything": self.everything,
            },
            "notes": list(self.notes),
            "findings": [each.facts() for each in self.findings],
            "again": self.again,
        }


def text(report: Report, width: int | None = None) -> str:
    """For a terminal; ``width`` in columns, by default as wide as it gets."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, width=width or WIDE, color_system=None)
    console.print(Text(_headline(report)))
    console.print(Text(report.touched))
    for title, columns, rows in _sections(report):
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print()
        console.print(table)
    console.print()
    for line in (*_kept(report), *report.notes, *_footer(report)):
        console.print(Text(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def markdown(report: Report) -> str:
    """For a comment on a pull request."""
    lines = [f"### {_escaped(_headline(report))}", "", _escaped(report.touched)]
    for title, columns, rows in _sections(report):
        lines += ["", f"**{title}**", "", *_rows(columns, rows)]
    lines += ["", *map(_escaped, _kept(report))]
    unchanged = [each for each in report.findings if _section(each) == "unchanged"]
    if unchanged:
        told = _rows(COLUMNS, [_row(each) for each in unchanged])
        lines += ["", "<details><summary>Unchanged</summary>", "", *told, "", "</details>"]
    lines += ["", *(f"- {_escaped(note)}" for note in report.notes)] if report.notes else []
    lines += ["", *(f"<sub>{_escaped(line)}</sub>  " for line in _footer(report))]
    return "\n".join(lines)


def _headline(report: Report) -> str:
    counts = Counter(each.answer for each in report.findings)
    told = [f"{counts[answer]} {what}" for answer, what in COUNTED.items() if counts[answer]]
    return f"{WORDS[report.answer]}: {', '.join(told) or 'nothing to measure'}"


def _sections(report: Report) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    """Title, columns and rows of every table that has rows."""
    tables: tuple[tuple[str, str, Sequence[str], Callable[[Finding], Sequence[str]]], ...] = (
        ("Regressions", "regression", COLUMNS, _row),
        ("Regressions in time", "slower", TIMED, _timed_row),
        ("Could not tell", "unclear", COLUMNS, _row),
        ("Could not tell, in time", "unclear in time", TIMED, _timed_row),
        ("Changed and kept", "changed", COLUMNS, _row),
        ("Timed and kept", "timed", TIMED, _timed_row),
        ("Plugins", "line", ("plugin", "where", "why"), _line),
    )
    found = []
    for title, name, columns, row in tables:
        mine = [row(each) for each in report.findings if _section(each) == name]
        if mine:
            found.append((title, columns, mine))
    return found


def _section(finding: Finding) -> str:
    """The table that a finding belongs to."""
    timed = _is_timed(finding) and finding.change is not None
    if finding.answer is Answer.REGRESSION:
        return "slower" if timed else "regression"
    if finding.answer is Answer.UNCLEAR:
        return "unclear in time" if timed else "unclear"
    if timed:
        return "timed"
    if finding.metric == "contract":
        return "unchanged" if finding.why == BOTH_OK else "line"
    if finding.base is None and finding.head is None:
        return "line"
    return "unchanged" if finding.base == finding.head else "changed"


def _is_timed(finding: Finding) -> bool:
    """A time, or a speed-up over a rival, which is a figure of the gate alone."""
    return finding.metric not in METRICS or METRICS[finding.metric].way is Way.CLOCK


def _kept(report: Report) -> list[str]:
    """One line on what is neither worse nor in a table, if there is any."""
    unchanged = [each for each in report.findings if _section(each) == "unchanged"]
    plugins = {each.plugin for each in unchanged}
    return (
        [f"unchanged: {len(unchanged)} figures of {', '.join(sorted(plugins))}"] if plugins else []
    )


def _footer(report: Report) -> list[str]:
    stack = ", ".join(f"{name} {version}" for name, version in report.stack.items())
    return [
        f"base {_named(report.base)}, head {_named(report.head)}",
        f"machine {report.machine} ({report.device}), {stack}",
        f"ruler {_named(report.ruler)}, suite {report.suite}",
        f"again: {report.again}",
    ]


def _row(finding: Finding) -> Sequence[str]:
    ends = f"({ends})" if (ends := _interval(finding)) else ""
    return (
        finding.plugin,
        finding.metric,
        _where(finding),
        _amount(finding.base, finding.unit),
        _amount(finding.head, finding.unit),
        " ".join(filter(None, (_change(finding.change, difference=finding.difference), ends))),
        finding.why,
    )


def _timed_row(finding: Finding) -> Sequence[str]:
    return (
        finding.plugin,
        finding.metric,
        _where(finding),
        finding.against,
        _change(finding.change, difference=finding.difference),
        _interval(finding),
        _change(finding.smallest, difference=finding.difference),
        finding.why,
    )


def _interval(finding: Finding) -> str:
    ends = [_change(end, difference=finding.difference) for end in (finding.low, finding.high)]
    return " to ".join(ends) if all(ends) else ""


def _line(finding: Finding) -> Sequence[str]:
    what = "" if finding.metric == "contract" else f"{finding.metric}: "
    return finding.plugin, _where(finding), what + finding.why


def _where(finding: Finding) -> str:
    return " ".join(filter(None, (finding.sizes, finding.dtype, finding.target)))


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    number = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
    return f"{number} {unit}" if unit != "count" else number


def _change(value: float | None, *, difference: bool) -> str:
    """A ratio as percent more or less, which shows one byte in a million; a difference as it is."""
    if value is None or not math.isfinite(value):
        return ""
    if difference:
        return f"{value:+.3f}"
    percent = 100 * (value - 1)
    if value >= 2:
        return f"{value:.3g}x"
    return f"{percent:+.1f}%" if abs(percent) >= 0.05 or not percent else f"{percent:+.1g}%"


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *([*map(_escaped, row)] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _escaped(text: str) -> str:
    """Text that a cell of a Markdown table shows as it is, in one line, and that calls nobody."""
    text = html.escape(text, quote=False).replace("@", "&#64;")
    for mark in "\\`*_|[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _named(at: Commit) -> str:
    return at.hash[:12] + ("" if at.clean else " with uncommitted edits")


def _commit(at: Commit) -> dict[str, Any]:
    return {"hash": at.hash, "date": at.date, "clean": at.clean}
