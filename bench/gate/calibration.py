"""How often the timed gate is wrong: pull requests with known changes, judged by the gate itself.

``plants`` makes two trees that differ by planted slow-downs and by copies that do not differ at all;
``turns`` takes rounds of all of them, as of any pull request. A trial is what the gate would have
said of one of them alone: ``settings.rounds`` rounds in the order they were taken, its own time and
its speed-up over the rival, decided together. Each round serves one trial of each plant, so trials of
different plants shared their rounds, and those of one plant did not.

A night affords few trials. Beside them, and never counted as trials, stands what the gate says of
rounds drawn again, with replacement, from all rounds taken: those rates rest on ``rounds`` distinct
rounds, however many draws there are, and know of no change that lasts from round to round.

The figures that are counted, not timed, need no luck: every extra copy must be found and no unchanged
plugin be named, in one trial each. A busy wait moves no byte; only the clock can find it.

Rounds are kept under ``.asv/calibration`` until what they measured changes: a run that is cut off
goes on, and the next run adds to them. Each run adds one line, once there is a trial, to ``gate.calibration.jsonl`` beside
the machine's results; the newest counts:

    commit, date      of the gate and of the plugins; milliseconds since 1970
    measured          when the run ended; milliseconds since 1970
    machine, kind, stack
    settings          margin, confidence, rounds of a trial
    rounds            distinct rounds taken;  round_s: mean seconds of one, of all plants together
    entries           times taken in a round;  dropped: disturbed samples a round
    unchanged         trials, regressions, unclear, low, high, again     (no change: false positives)
    planted           rows: plugin, kind, name, share asked, change measured with low and high,
                      trials, found, unclear, low, high, smallest, again
    exact             unchanged: {trials, regressions}, copies: {trials, found}

``low, high`` of a rate are the ends of its 95% interval after Clopper and Pearson; ``again`` holds
draws, regressions and unclear of the rounds drawn again; ``smallest`` is the median of the smallest
slow-down that a trial says it would have found. What has no bound is null.
"""

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from impl.registry import lookup

from ..engine import checkout, contest, figures, rivals, store, suite
from ..engine.admission import write_atomically
from ..engine.checkout import TREE
from ..engine.noise import median
from ..hardware import machine
from ..lab.workers import each_apart
from ..record.json_value import finite
from ..record.measurement import dims
from . import clocked, decision, exact, plants, turns
from .allowance import Settings
from .clocked import Cell, Taken
from .finding import Answer, overall
from .plants import Plant
from .sides import Sight
from .turns import SIDES, Entry, Lost, Round, Timed

SUBJECTS = {
    "cpu": ("smoke", ("attention.linear", "chunkwise.ssd")),
    "cuda": ("core", ("chunkwise.linear_attention_fused", "chunkwise.ssd_fused")),
}
"""Where, and which plugins: a short call of few products and a longer one of many small operations."""
RIVAL = "attention.flash2"
SHARES = (0.01, 0.02, 0.05, 0.10)
UNCHANGED = 4
"""Copies of each plugin without any change: trials of a false positive cost as much as the others."""
DRAWS = 300
"""Times that rounds are drawn again for one plant: a rate of 1% is then known to half of that."""
INTERVAL = 0.95
KEPT = TREE / ".asv" / "calibration"
NAME = "gate.calibration.jsonl"
COUNTED = ("traffic", "launches")

Say = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plants and where each is timed; what rounds are kept for."""

    plants: tuple[Plant, ...]
    entries: Mapping[str, Entry]
    """Subject to what is timed of it; a plant of it is timed there too."""
    rivals: Mapping[str, Entry]
    folder: Path

    def entry(self, plant: Plant) -> Entry:
        """What is timed of a plant."""
        return replace(self.entries[plant.subject], plugin=plant.plugin)

    def cells(self, plant: Plant) -> list[Cell]:
        """What a gate run judges of a plant: its own time, and its speed-up over the rival."""
        entry = self.entry(plant)
        return [Cell(entry), Cell(entry, self.rivals[plant.subject])]


def calibrate(
    settings: Settings, budget_s: float, *, device: str, say: Say, out: Path | None = None
) -> Row:
    """Take rounds for ``budget_s`` seconds, judge all there are, and keep that once there is a trial."""
    began = time.monotonic()
    plan = _plan(device, say)
    sides = plants.planted(plan.plants, plan.folder, device)
    counted = _counted(plan, sides, settings, say)
    entries = clocked.entries_of([cell for each in plan.plants for cell in plan.cells(each)])
    rounds = _kept(plan, entries)
    cost = 0.0
    while time.monotonic() - began + cost < budget_s:
        number = len(rounds)
        say(f"round {number + 1}, {len(entries)} times")
        start = time.monotonic()
        taken = turns.one_round(entries, *sides, number)
        cost = time.monotonic() - start
        rounds.append(_keep(plan, entries, taken, cost))
    say(f"judging {len(rounds)} rounds")
    row = _facts(device, settings) | _judged(plan, rounds, settings) | {"exact": counted}
    if len(rounds) >= settings.rounds:
        _publish(row, store.Place.of(out).folder / str(row["machine"]) / NAME)
    return row


def _publish(row: Row, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as lines:
        lines.write(json.dumps(row, allow_nan=False) + "\n")


def _plan(device: str, say: Say) -> Plan:
    """The plan that rounds are kept for, or a new one, whose plants are sized now."""
    name, subjects = SUBJECTS[device.partition(":")[0]]
    entries = {each: _entry(suite.load(name), each, device) for each in subjects}
    rival = {each: _rival(entry) for each, entry in entries.items()}
    folder = KEPT / _key(entries, device)
    wanted = [
        plant for each in subjects for plant in plants.wished(lookup(each), SHARES, UNCHANGED)
    ]
    try:
        sized = [Plant(**row) for row in json.loads((folder / "plants.json").read_text())]
    except (OSError, ValueError, TypeError):
        say("sizing the plants")
        sized = plants.sized(wanted, list(entries.values()))
        write_atomically(folder / "plants.json", json.dumps([asdict(each) for each in sized]))
    return Plan(plants=tuple(sized), entries=entries, rivals=rival, folder=folder)


def _key(entries: Mapping[str, Entry], device: str) -> str:
    """Changes with whatever makes rounds of two runs differ."""
    here = machine.record(device)
    ours = Path(__file__).parent
    files = [ours / "turns.py", ours / "plants.py", ours.parent / "engine" / "clock.py"]
    files += [lookup(each).file for each in entries]
    files += sorted((TREE / "impl" / "common").glob("*.py"))
    parts = [here.name, here.stack, sorted(entries), SHARES, UNCHANGED]
    digest = hashlib.sha256(repr(parts).encode())
    for file in files:
        digest.update(file.read_bytes())
    return f"{here.name}-{digest.hexdigest()[:12]}"


def _entry(held: suite.Suite, plugin: str, device: str) -> Entry:
    """The first problem on which a suite times a plugin."""
    for each in held.contests:
        if plugin in each.plugins and not each.layers:
            return Entry(
                plugin=plugin,
                op=each.op,
                sizes=each.sizes[0],
                dtype=each.dtypes[0],
                device=device,
                metric="time",
            )
    raise ValueError(f"{plugin} is not timed by the suite {held.name}")


def _rival(entry: Entry) -> Entry:
    for each in rivals.baselines():
        sizes = each.sizes(dims(entry.sizes))
        if each.plugin == RIVAL and sizes is not None:
            return replace(entry, plugin=RIVAL, op=each.op, sizes=store.sizes_name(sizes))
    raise ValueError(f"{RIVAL} has no problem at the sizes {entry.sizes}")


def _keep(plan: Plan, entries: Sequence[Entry], taken: Round, seconds: float) -> Round:
    """Write a round down; a run that is cut off has every round that it finished."""
    line = {
        "timed": {str(entries.index(entry)): asdict(each) for entry, each in taken.timed.items()},
        "lost": [
            [entries.index(entry), side, asdict(why)] for (entry, side), why in taken.lost.items()
        ],
        "dropped": taken.dropped,
        "seconds": seconds,
    }
    with (plan.folder / "rounds.jsonl").open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    return taken


def _kept(plan: Plan, entries: Sequence[Entry]) -> list[Round]:
    """The rounds of earlier runs; half a line, of a run that was killed, is no round."""
    found = []
    for line in _lines(plan):
        found.append(
            Round(
                timed={entries[int(i)]: Timed(**each) for i, each in line["timed"].items()},
                lost={(entries[i], side): Lost(**why) for i, side, why in line["lost"]},
                dropped=line["dropped"],
            )
        )
    return found


def _lines(plan: Plan) -> list[Row]:
    try:
        text = (plan.folder / "rounds.jsonl").read_text()
    except OSError:
        return []
    whole, _, half = text.rpartition("\n")
    if half:
        write_atomically(plan.folder / "rounds.jsonl", f"{whole}\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def _facts(device: str, settings: Settings) -> Row:
    here, commit = machine.record(device), checkout.here()
    return {
        "commit": commit.hash,
        "clean": commit.clean,
        "date": commit.date,
        "measured": int(time.time() * 1e3),
        "machine": here.name,
        "kind": here.kind,
        "stack": dict(here.stack),
        "settings": {name: getattr(settings, name) for name in ("margin", "confidence", "rounds")},
    }


def _judged(plan: Plan, rounds: Sequence[Round], settings: Settings) -> Row:
    rng = random.Random(0)
    rows = [_row(plan, each, rounds, settings, rng) for each in plan.plants]
    same = [row for row in rows if row["kind"] == "same"]
    return {
        "rounds": len(rounds),
        "round_s": _mean([line["seconds"] for line in _lines(plan)]),
        "entries": len(clocked.entries_of([c for each in plan.plants for c in plan.cells(each)])),
        "dropped": _mean([each.dropped for each in rounds]),
        "unchanged": _pooled(same),
        "planted": [row for row in rows if row["kind"] != "same"],
    }


def _row(
    plan: Plan, plant: Plant, rounds: Sequence[Round], settings: Settings, rng: random.Random
) -> Row:
    """What became of one plant, in trials and in rounds drawn again."""
    cells, size = plan.cells(plant), settings.rounds
    blocks = [rounds[i : i + size] for i in range(0, len(rounds) - size + 1, size)]
    trials = [_answer(cells, block, settings) for block in blocks]
    again = [_answer(cells, rng.choices(rounds, k=size), settings)[0] for _ in range(DRAWS)]
    if len(rounds) < size:
        again = []
    own = decision.decide(
        {"own": clocked.differences(cells[0], rounds)}, math.log1p(settings.margin), INTERVAL
    )["own"]
    found = sum(answer is Answer.REGRESSION for answer, _ in trials)
    unclear = sum(answer is Answer.UNCLEAR for answer, _ in trials)
    return {
        "plugin": plant.subject,
        "kind": plant.kind,
        "name": plant.name,
        "share": plant.share,
        "change": [finite(math.exp(each)) for each in (own.estimate, own.low, own.high)],
        "smallest": finite(median([smallest for _, smallest in trials])) if trials else None,
        "trials": len(trials),
        "found": found,
        "unclear": unclear,
        "again": _again(again),
    } | _interval(found, len(trials))


def _answer(
    cells: Sequence[Cell], rounds: Sequence[Round], settings: Settings
) -> tuple[Answer, float]:
    """What the gate says of one plant, and the smallest slow-down it says it would have found."""
    lost = {key: why for each in rounds for key, why in each.lost.items()}
    taken = Taken(rounds=tuple(rounds), lost=lost, seconds=0.0)
    found = clocked.findings(cells, taken, settings, "")
    smallest = found[0].smallest
    return overall(found), math.inf if smallest is None else smallest


def _again(answers: Sequence[Answer]) -> Row:
    return {
        "draws": len(answers),
        "regressions": sum(each is Answer.REGRESSION for each in answers),
        "unclear": sum(each is Answer.UNCLEAR for each in answers),
    }


def _pooled(rows: Sequence[Row]) -> Row:
    """All copies without a change, as one rate."""
    total = {name: sum(row[name] for row in rows) for name in ("trials", "found", "unclear")}
    again = {name: sum(row["again"][name] for row in rows) for name in _again(())}
    return {
        "trials": total["trials"],
        "regressions": total["found"],
        "unclear": total["unclear"],
        "again": again,
    } | _interval(total["found"], total["trials"])


def _interval(count: int, trials: int) -> Row:
    from scipy.stats import binomtest

    if not trials:
        return {"low": None, "high": None}
    ends = binomtest(count, trials).proportion_ci(INTERVAL, method="exact")
    return {"low": float(ends.low), "high": float(ends.high)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _counted(plan: Plan, sides: Sequence[checkout.Commit], settings: Settings, say: Say) -> Row:
    """What the comparison of counted figures says of copies that do not differ and of extra copies."""
    say("counting bytes and launches")
    told = [each for each in plan.plants if each.kind in ("same", "copy")]
    sights = [_sights(plan, told, at) for at in sides]
    named: dict[str, list[bool]] = {"same": [], "copy": []}
    for plant, base, head in zip(told, *sights, strict=True):
        place = exact.Place(plugin=plant.plugin, sizes=plan.entry(plant).sizes)
        found = overall(exact.figures(place, base, head, settings))
        named[plant.kind].append(found is Answer.REGRESSION)
    return {
        "unchanged": {"trials": len(named["same"]), "regressions": sum(named["same"])},
        "copies": {"trials": len(named["copy"]), "found": sum(named["copy"])},
    }


def _sights(plan: Plan, told: Sequence[Plant], at: checkout.Commit) -> list[Sight]:
    asked = [plan.entry(each) for each in told]
    found: dict[int, Sight] = {}
    for number, answer in each_apart(traced, asked, workers=1, at=at):
        if isinstance(answer, Exception):
            raise ValueError(f"{told[number].name} cannot be traced: {answer}")
        found[number] = Sight(figures={name: (value,) for name, value in answer.items()})
    return [found[number] for number in range(len(told))]


def traced(entry: Entry) -> Mapping[str, float]:
    """Bytes and launches of one call, counted on CPU tensors."""
    problem = turns.problem_of(replace(entry, device="cpu"))
    found = figures.trace(contest.case_of(problem, entry.plugin), COUNTED)
    return {name: value for name, value in found.items() if not isinstance(value, str)}


def lines_of(row: Row) -> list[str]:
    """The calibration in words."""
    same, again = row["unchanged"], row["unchanged"]["again"]
    size = row["settings"]["rounds"]
    taken = (
        f"{row['rounds']} rounds of {len(SIDES)} fresh processes, {row['entries']} times each, "
        f"{row['round_s'] or 0:.1f} s a round; a trial is {size} rounds"
    )
    if not same["trials"]:
        return [taken, f"no trial yet: run again until there are {size} rounds"]
    unchanged = (
        f"no change: {same['regressions']} of {same['trials']} trials a regression "
        f"(95%: {same['low']:.1%} to {same['high']:.1%}), {same['unclear']} could not tell; "
        f"drawn again from the same rounds {again['regressions'] / again['draws']:.2%} and "
        f"{again['unclear'] / again['draws']:.1%}"
    )
    copies, alike = row["exact"]["copies"], row["exact"]["unchanged"]
    counted = (
        f"counted, not timed: {copies['found']} of {copies['trials']} copies found, "
        f"{alike['regressions']} of {alike['trials']} false"
    )
    return [taken, unchanged, counted]


def table_of(row: Row) -> list[Row]:
    """A line for every planted slow-down."""
    return [
        {
            "plugin": each["plugin"],
            "planted": each["name"],
            "asked": "" if each["share"] is None else f"{each['share']:.0%}",
            "measured": _signed(each["change"][0]),
            "found": f"{each['found']} of {each['trials']}",
            "could_not_tell": str(each["unclear"]),
            "drawn_again": _percent(each["again"], "regressions"),
        }
        for each in row["planted"]
    ]


def _signed(change: float | None) -> str:
    return "" if change is None else f"{change - 1:+.1%}"


def _percent(again: Row, name: str) -> str:
    return f"{again[name] / again['draws']:.1%}" if again["draws"] else ""
