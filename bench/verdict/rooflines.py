"""Ceilings of named machines, and every kernel on the roofline under them.

Two bounds, which say different things. No implementation takes less time than it takes to move the
compulsory bytes, every input read once and every output written once:

    bound = compulsory / bandwidth                       efficiency     = bound / time

No lower bound is known on the operations of a function, so they have no part in it. What one kernel
moves and multiplies bounds that kernel alone, and names what it waits for:

    own_bound = max(bytes / bandwidth, flops / peak)     own_efficiency = own_bound / time

The ceilings are those measured on the machine at the same commit, or at its newest commit that has
any, or the data sheet's; ``ceiling`` says which. On a CPU, whose samples start from warm caches,
the bandwidth is that of a copy as large as the compulsory bytes, and for the own bytes, which may
go round in a cache, that of the fastest copy. An efficiency above 1 says that bytes came from a
cache that no copy showed. ``flops`` counts matrix products only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..engine import ceilings as calibrations
from ..engine.metrics import CEILINGS, RIVALS
from ..hardware import roofline
from ..hardware.roofline import Ceilings
from ..record.benchmark_name import subject_of
from ..record.json_value import finite
from ..record.measurement import Measurement
from .shown.paths import base

Row = dict[str, Any]
Reached = Sequence[tuple[Measurement, Ceilings]]
"""What a machine reached, oldest first, each with a measurement that names its commit."""
WANTED = ("time", "flops", "traffic")
OPTIONAL = ("dram_traffic", "traffic_ratio", "compulsory")
AT = ("plugin", "sizes", "dtype")


def ceilings(measurements: Iterable[Measurement]) -> dict[str, list[Row]]:
    """Machine to its ceilings, newest first: commit, committed, origin, bytes_per_s, flops_per_s.

    ``copies`` has the bandwidth by the bytes moved. ``measurements`` are those of
    ``results_folder.read_all(aside=True)``, others are passed over.
    """
    found: dict[str, list[Row]] = {}
    for machine, held in reached(measurements).items():
        found[machine] = [
            {
                "commit": one.commit,
                "committed": one.committed,
                "origin": limits.origin,
                "bytes_per_s": limits.bytes_per_s,
                "flops_per_s": dict(limits.flops_per_s),
                "copies": sorted(limits.copies.items()),
            }
            for one, limits in reversed(held)
        ]
    return found


def rooflines(measurements: Iterable[Measurement]) -> dict[str, list[Row]]:
    """Machine to its kernels, each at the newest commit at which it was timed and traced.

    ``measurements`` are both those of ``results_folder.read_all()`` and those of ``aside=True``.
    """
    known = list(measurements)
    limits = reached(known)
    found: dict[str, list[Row]] = {}
    for figures in _newest(known):
        machine = figures["time"].machine
        found.setdefault(machine, []).append(_row(figures, limits.get(machine, ())))
    return found


def reached(measurements: Iterable[Measurement]) -> dict[str, Reached]:
    """Machine to what was reached there at each commit; other measurements are passed over."""
    groups: dict[tuple[str, Any], list[Measurement]] = {}
    for one in measurements:
        if one.metric in CEILINGS:
            groups.setdefault((one.machine, one.moment), []).append(one)
    found: dict[str, list[tuple[Measurement, Ceilings]]] = {}
    for (machine, _), group in sorted(groups.items()):
        copies = {
            calibrations.moved(one.sizes): one.samples
            for one in group
            if one.metric == "copy_bandwidth"
        }
        products = {one.dtype: one.samples for one in group if one.metric == "product_rate"}
        if copies:
            calibration = roofline.Calibration(copies=copies, products=products)
            found.setdefault(machine, []).append((group[0], calibration.ceilings))
    return dict(found)


def _newest(known: Iterable[Measurement]) -> Iterator[Mapping[str, Measurement]]:
    """Figures by metric, all of one commit, the newest that has what a roofline wants."""
    groups: dict[tuple[str, ...], dict[Any, dict[str, Measurement]]] = {}
    for one in sound(known):
        if one.metric in (*WANTED, *OPTIONAL):
            key = (one.machine, op(one), *(getattr(one, name) for name in AT))
            held = groups.setdefault(key, {}).setdefault(one.moment, {})
            there = held.get(one.metric)
            # two suites may have taken the same problem at one commit: the later figure counts
            if there is None or (one.date, one.suite) > (there.date, there.suite):
                held[one.metric] = one
    for _, commits in sorted(groups.items()):
        for moment in sorted(commits, reverse=True):
            if set(WANTED) <= commits[moment].keys():
                yield commits[moment]
                break


def sound(known: Iterable[Measurement]) -> list[Measurement]:
    """Figures of what keeps its contract, and rivals; where it fails anywhere there are none."""
    every = list(known)
    wrong = {(base(one.plugin), one.commit) for one in every if one.contract == "wrong"}
    # a rival is admitted before it is timed; its contract stands in its own op
    told = [one for one in every if one.contract == "ok" or one.metric in RIVALS]
    return [one for one in told if (base(one.plugin), one.commit) not in wrong]


def op(one: Measurement) -> str:
    """The op or layer that a measurement was taken of, also that of a plugin no longer there."""
    return subject_of(one.group.split(":")[1])


def limits(one: Measurement, reached: Reached) -> tuple[str, Ceilings] | None:
    """Ceilings over a figure and where they are from: a commit, or the data sheet; else None."""
    by_commit = {at.commit: held for at, held in reached}
    if one.commit in by_commit:
        return one.commit, by_commit[one.commit]
    if by_commit:
        newest = list(by_commit)[-1]
        return newest, by_commit[newest]
    if one.kind in roofline.cards() and one.kind != "cpu":
        return "data sheet", roofline.ceilings(one.kind)
    return None


def least(one: Measurement, compulsory: float | None, reached: Reached) -> Row:
    """Ceiling, bound and efficiency of a time over the compulsory bytes; None where not known."""
    found, where = Row(ceiling=None, bound_us=None, efficiency=None), limits(one, reached)
    if where is None or not compulsory:
        return found
    bound = roofline.bound(where[1], compulsory, 0, one.dtype)
    efficiency = bound.efficiency(one.value / 1e6)
    return {"ceiling": where[0], "bound_us": bound.seconds * 1e6, "efficiency": efficiency}


def compulsory(figures: Mapping[str, Measurement]) -> int | None:
    """Bytes of every input read once and every output written once; older figures have a ratio."""
    if "compulsory" in figures:
        return round(figures["compulsory"].value)
    traffic, ratio = figures.get("traffic"), figures.get("traffic_ratio")
    return round(traffic.value / ratio.value) if traffic and ratio and ratio.value else None


def _row(figures: Mapping[str, Measurement], reached: Reached) -> Row:
    time, flops = figures["time"], figures["flops"].value
    moved = figures.get("dram_traffic", figures["traffic"])
    row: Row = {name: getattr(time, name) for name in (*AT, "commit", "committed", "suite")}
    row |= {
        "op": op(time),
        "flops": flops,
        "bytes": moved.value,
        "bytes_are": "modelled" if moved.modelled else "measured",
        "compulsory": compulsory(figures),
        "time_us": time.value,
        "interval": [finite(time.low), finite(time.high)],
        "intensity": flops / moved.value if moved.value else None,
        "flops_per_s": flops / (time.value / 1e6),
    }
    return row | least(time, row["compulsory"], reached) | _own(row, limits(time, reached))


def _own(row: Row, where: tuple[str, Ceilings] | None) -> Row:
    """The bound of this kernel alone; None where its operands have no measured peak."""
    found, dtype = Row(own_bound_us=None, own_efficiency=None, term=None), row["dtype"]
    if where is None:
        return found
    if row["flops"] and roofline.ALIASES.get(dtype, dtype) not in where[1].flops_per_s:
        return found
    own = roofline.bound(where[1], row["bytes"], row["flops"], dtype, spread=0)
    efficiency = own.efficiency(row["time_us"] / 1e6)
    return {"own_bound_us": own.seconds * 1e6, "own_efficiency": efficiency, "term": own.term}
