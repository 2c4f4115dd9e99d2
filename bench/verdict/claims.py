"""Claims: what ``suites/claims/<family>/<nnn>-<slug>.toml`` says, refused unless every word is known.

A claim compares one metric of ``plugin`` with a figure:

    value       the metric itself
    ratio       metric(plugin) / metric(against), on the same problem and machine
    difference  metric(plugin) - metric(against)
    slope       d log(metric) / d log(axis), the growth over the axis named by ``over``; the axes in
                ``along``, such as a block's, may grow with it, all others stay

The sentence in ``says`` may repeat a figure only if the keys that are judged hold it, so that prose
and judgement cannot drift apart.
"""

import difflib
import functools
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suites import catalogue

from ..engine import metrics
from ..engine.ruler import from_tree
from ..record.measurement import dims

ROOT = Path(catalogue.__file__).parents[2]
FOLDER = ROOT / "suites" / "claims"

ROLES = ("success", "kill", "background")
COMPARISONS = ("ratio", "value", "difference", "slope")
BOUNDS = ("at_most", "at_least", "equals")
DTYPES = ("float64", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
FILE_KEYS = ("proposal", "title", "needs", "claim")
CLAIM_KEYS = ("id", "says", "metric", "plugin", "against", "where", "role", "source", "reported")
CLAIM_KEYS += COMPARISONS
REPORT_KEYS = ("value", "unit", "setting", "outcome", "entry")
WHERE_KEYS = ("machine", "dtype", "sizes", "task")
UNJUDGED = ("id", "says", "source", "reported")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One disputable sentence and the comparison that settles it."""

    id: str
    says: str
    metric: str
    plugin: str
    against: str | None
    comparison: str
    """``ratio``, ``value``, ``difference`` or ``slope``."""
    bounds: Mapping[str, float]
    """Of ``at_most``, ``at_least`` and ``equals``, those that must hold."""
    over: str | None
    """The axis of a slope."""
    along: tuple[str, ...] = ()
    """Axes that grow with it."""
    where: Mapping[str, Any]
    """``machine``, ``dtype``, ``sizes``, ``task`` or an axis, to what the claim speaks about."""
    role: str
    source: str
    reported: tuple[Mapping[str, Any], ...]
    """What was reported of it before anything was measured here."""

    def covers_machine(self, machine: Collection[str]) -> bool:
        """Whether the claim speaks about this machine, given its kind and its name."""
        wanted = self.where.get("machine")
        return wanted is None or any(one in machine for one in _listed(wanted))

    def covers(self, *, machine: Collection[str], dtype: str, sizes: str) -> bool:
        """Whether a measurement is one the claim speaks about; ``machine`` is its kind and name."""
        axes = axes_of(sizes)
        for name, wanted in self.where.items():
            if name == "machine":
                fits = self.covers_machine(machine)
            elif name == "task":
                fits = any(_meets(sizes, one) for one in _listed(wanted))
            else:
                fits = _fits({"dtype": dtype, "sizes": sizes, **axes}.get(name), wanted)
            if not fits:
                return False
        return True


@dataclass(frozen=True, kw_only=True)
class Case:
    """A proposal's claims file: what it needs and what it claims."""

    proposal: str
    title: str
    needs: tuple[str, ...]
    claims: tuple[Claim, ...]
    file: Path


def _meets(setting: str, wanted: str) -> bool:
    """Whether a setting is the one of that name, or one of the task of that name.

    A setting of another optimizer than the task's others is met by its own name only.
    """
    if setting == wanted or not setting.startswith(f"{wanted}-"):
        return setting == wanted
    known = from_tree("suites.tasks").settings()
    return setting not in known or known[setting].optimizer == "adamw"


def load_all(folder: Path = FOLDER, *, plugins: Mapping[str, Any] | None = None) -> dict[str, Case]:
    """Every claims file by proposal; with ``plugins``, ids that are not among them are refused."""
    cases: dict[str, Case] = {}
    for file in sorted(folder.rglob("*.toml")):
        case = load(file)
        if case.proposal in cases:
            other = _shown(cases[case.proposal].file)
            raise ValueError(f"{_shown(file)}: proposal {case.proposal} has claims in {other} too")
        if plugins is not None:
            _refuse_unknown_plugins(case, plugins)
        cases[case.proposal] = case
    return dict(sorted(cases.items()))


def load(file: Path) -> Case:
    """One claims file. ValueError is one line: the file, the claim, what is wrong and the wish."""
    where = _shown(file)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not TOML: {error}") from error
    _refuse_unknown(where, table, FILE_KEYS, "key")
    entry = _proposal(where, table, file)
    needs = _field(where, table, "needs", list)
    if not needs or not all(isinstance(need, str) for need in needs):
        raise ValueError(f"{where}: needs = {needs!r}, want a list of plugin ids")
    found = [_claim(where, claim, needs) for claim in _field(where, table, "claim", list)]
    repeated = {one.id for one in found if [other.id for other in found].count(one.id) > 1}
    if repeated:
        raise ValueError(f"{where}: two claims are called {sorted(repeated)[0]!r}")
    return Case(
        proposal=entry["id"],
        title=_field(where, table, "title", str),
        needs=tuple(needs),
        claims=tuple(found),
        file=file,
    )


def axes_of(sizes: str) -> dict[str, int]:
    """Sizes by axis; the settings of a task that are no sizes are passed over."""
    parts = [part for part in sizes.split("-") if re.fullmatch(r"[A-Z]\d+", part)]
    return dims("-".join(parts)) if parts else {}


def _proposal(where: str, table: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    number = _field(where, table, "proposal", str)
    entry = catalogue.subject(number)
    if entry is None:
        hint = _near(number, catalogue.judged_names())
        raise ValueError(f"{where}: proposal {number!r} is not in the catalogue{hint}")
    wanted = f"{entry['family']}/{number}-{entry['slug']}.toml"
    if f"{file.parent.name}/{file.name}" != wanted:
        raise ValueError(f"{where}: proposal {number} belongs in {wanted}")
    return entry


def _claim(where: str, table: Any, needs: list[str]) -> Claim:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: claim is {table!r}, want [[claim]] tables")
    where = f"{where}:{table.get('id', '?')}"
    _refuse_unknown(where, table, CLAIM_KEYS, "key")
    metric = _field(where, table, "metric", str)
    _refuse_unknown(where, [metric], metrics.METRICS, "metric")
    role = _field(where, table, "role", str)
    _refuse_unknown(where, [role], ROLES, "role")
    plugin, against = table.get("plugin", needs[0]), table.get("against")
    for key, name in (("plugin", plugin), ("against", against)):
        if name is not None and name not in needs:
            raise ValueError(f"{where}: {key} = {name!r} is not among needs{_near(name, needs)}")
    comparison, bounds, over, along = _comparison(where, table)
    claim = Claim(
        id=_field(where, table, "id", str),
        says=_field(where, table, "says", str),
        metric=metric,
        plugin=plugin,
        against=against,
        comparison=comparison,
        bounds=bounds,
        over=over,
        along=along,
        where=_where(where, table.get("where", {})),
        role=role,
        source=_field(where, table, "source", str),
        reported=_reported(where, table.get("reported", [])),
    )
    _refuse_stray_numbers(where, table)
    return claim


def _comparison(
    where: str, table: Mapping[str, Any]
) -> tuple[str, dict[str, float], str | None, tuple[str, ...]]:
    given = [name for name in COMPARISONS if name in table]
    if len(given) != 1:
        raise ValueError(f"{where}: {len(given)} of {', '.join(COMPARISONS)}, want exactly 1")
    name = given[0]
    bounds = dict(_field(where, table, name, dict))
    over, along = bounds.pop("over", None), bounds.pop("along", [])
    _refuse_unknown(where, bounds, BOUNDS, f"bound of {name}")
    if not bounds or not all(_is_number(bound) for bound in bounds.values()):
        raise ValueError(f"{where}: {name} = {table[name]}, want numbers at {', '.join(BOUNDS)}")
    if ("against" in table) != (name in ("ratio", "difference")):
        wish = "wants an opponent" if name in ("ratio", "difference") else "takes no opponent"
        raise ValueError(f"{where}: {name} {wish} in `against`")
    if (over is None) == (name == "slope"):
        wish = "wants an axis" if name == "slope" else "takes no axis"
        raise ValueError(f"{where}: {name} {wish} in `over`")
    if not isinstance(along, list) or (along and over is None) or over in along:
        raise ValueError(f"{where}: along = {along!r}, want other axes than that of a slope")
    return name, {key: float(bound) for key, bound in bounds.items()}, over, tuple(along)


def _where(where: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: where = {table!r}, want a table")
    named = [name for name in table if not re.fullmatch(r"[A-Z]", name)]
    _refuse_unknown(where, named, WHERE_KEYS, "key of where")
    for name, wanted in table.items():
        if name in WHERE_KEYS and not all(isinstance(one, str) for one in _listed(wanted)):
            raise ValueError(f"{where}: {name} = {wanted!r}, want names")
        if isinstance(wanted, dict):
            _refuse_unknown(where, wanted, ("at_least", "at_most"), f"bound of {name}")
        numbers = wanted.values() if isinstance(wanted, dict) else _listed(wanted)
        if name not in WHERE_KEYS and not all(type(one) is int for one in numbers):
            raise ValueError(f"{where}: {name} = {wanted!r}, want whole numbers")
    _refuse_unknown(where, _listed(table.get("dtype", [])), DTYPES, "dtype")
    if "machine" in table:
        _refuse_unknown(where, _listed(table["machine"]), machines(), "machine")
    return table


@functools.cache
def machines() -> list[str]:
    """``cpu``, the keys of ``suites/gpus.toml``, ``sm_90`` of what was compiled, machines with results."""
    gpus = tomllib.loads((ROOT / "suites" / "gpus.toml").read_text(encoding="utf-8"))
    measured = (path.name for path in (ROOT / "results").glob("*") if path.is_dir())
    compiled = {
        f"sm_{card['compute_capability'].replace('.', '')}"
        for card in gpus.values()
        if "compute_capability" in card
    }
    return sorted({"cpu", *gpus, *compiled, *measured})


def _reported(where: str, reports: Any) -> tuple[Mapping[str, Any], ...]:
    reports = [reports] if isinstance(reports, dict) else reports
    if not isinstance(reports, list) or not all(isinstance(one, dict) for one in reports):
        raise ValueError(f"{where}: reported = {reports!r}, want a table or a list of tables")
    for report in reports:
        _refuse_unknown(where, report, REPORT_KEYS, "key of reported")
    return tuple(reports)


def _refuse_stray_numbers(where: str, table: Mapping[str, Any]) -> None:
    judged = str([value for key, value in table.items() if key not in UNJUDGED])
    stray = sorted(_numbers(table["says"]) - _numbers(judged))
    if stray:
        raise ValueError(
            f"{where}: says has the number {stray[0]:g}, which stands in no judged key"
        )


def _refuse_unknown_plugins(case: Case, plugins: Mapping[str, Any]) -> None:
    for need in (need.partition("(")[0] for need in case.needs):
        _refuse_unknown(_shown(case.file), [need], plugins, "plugin")
        op = plugins[need].op
        if op is not None and not any((ROOT / "correctness" / "ops").rglob(f"{op}.py")):
            raise ValueError(f"{_shown(case.file)}: {need} computes the unknown op {op!r}")


def _refuse_unknown(where: str, given: Iterable[str], known: Collection[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{where}: unknown {what} {name!r}{_near(name, known)}")


def _field(where: str, table: Mapping[str, Any], key: str, kind: type) -> Any:
    if key not in table:
        raise ValueError(f"{where}: {key} is missing")
    if not isinstance(table[key], kind):
        raise ValueError(f"{where}: {key} = {table[key]!r}, want a {kind.__name__}")
    return table[key]


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"; near names: {', '.join(near)}" if near else f", want one of {', '.join(known)}"[:200]


def _numbers(text: str) -> set[float]:
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if value is None:
            return False
        return wanted.get("at_least", value) <= value <= wanted.get("at_most", value)
    return value in _listed(wanted)


def _listed(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
