"""Reproduction: train runs of the stored record again and compare them bit for bit.

A run is fixed by code, stack and machine. Where these are those of the record every loss and every
accuracy must be the same number; elsewhere ``DIGITS`` digits of the scores are compared, and said.
A run that was trained in a cohort is trained in the same cohort again.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import runner, store
from ..engine.checkout import Commit
from ..engine.metrics import METRICS, Way
from ..engine.overlay import requirements
from ..engine.ruler import from_tree
from ..hardware import machine
from ..record.results_folder import lines
from .training.cohort import train_together
from .training.run import Job, Run
from .training.trainer import run_jobs
from .workers import LIMIT_S, each_apart

if TYPE_CHECKING:
    from ..verdict.claims import Case
    from .agenda import Tryout

COMPARED = ("losses", "accuracies", "by_length", "gradients")
"""Curves that must repeat; a record of before one of them was kept is compared in the others."""
DIGITS = 3
"""Of an accuracy, compared between stacks or machines."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reproduced:
    """What came of training recorded runs again."""

    same: bool
    """Whether stack and machine are the record's, and bits were compared."""
    runs: int
    differing: tuple[str, ...]
    """One line for each run that differs: where first, and by what."""
    commit: str

    def says(self) -> str:
        """The outcome in one line, then the differences."""
        held = self.runs - len(self.differing)
        how = "repeat to the bit" if self.same else f"agree to {DIGITS} digits"
        where = "" if self.same else " (another stack or machine than the record's)"
        return "\n".join((f"{held} of {self.runs} runs {how}{where}", *self.differing))


def needed(case: "Case", held: "Tryout") -> tuple[str, ...]:
    """Mixers of a tryout that claims about training speak of, with its controls; none if none do."""
    here = machine.record(runner.default_device())
    asked = _asked(case, held.task.name, {here.name, here.kind})
    if not asked & set(held.mixers):
        return ()
    controls = {*held.task.must_pass, *held.task.must_fail}
    return tuple(mixer for mixer in held.mixers if mixer in asked | controls)


def _asked(case: "Case", task: str, machines: Collection[str]) -> set[str | None]:
    """Contestants of the claims about training on a task, here or on other machines."""
    return {
        plugin
        for claim in case.claims
        if METRICS[claim.metric].way is Way.TRAINING
        and claim.covers(machine=machines, dtype="float32", sizes=task)
        for plugin in (claim.plugin, claim.against)
    }


def reproduce(
    case: "Case",
    *,
    runs: int | None = None,
    commit: str | None = None,
    folders: Sequence[Path] | None = None,
    workers: int = 2,
    at: Commit | None = None,
) -> Reproduced:
    """Train ``runs`` recorded runs of a proposal again, by default all, spread over its mixers.

    The record is that of ``commit``, its first digits, by default the newest file that has any.
    ValueError when there is none.
    """
    file, rows = _record(case, commit, folders or store.folders())
    rows = _spread(rows)[:runs]
    jobs = [_job(row) for row in rows]
    same = _is_here(file)
    trained = _trained(rows, jobs, workers, at)
    differing = []
    for row, run in zip(rows, trained, strict=True):
        difference = str(run) if isinstance(run, Exception) else compared(row, run, exact=same)
        if difference:
            differing.append(f"{_about(row)}: {difference}")
    return Reproduced(same, len(rows), tuple(differing), file.name[:8])


def compared(row: Row, run: Run, *, exact: bool) -> str:
    """The first difference between a recorded run and the one trained now, or nothing."""
    if not exact:
        if abs(row["accuracy"] - run.accuracy) < 0.5 * 10**-DIGITS:
            return ""
        return f"accuracy {run.accuracy:.{DIGITS}f}, recorded {row['accuracy']:.{DIGITS}f}"
    if not _equal(row["accuracy"], run.accuracy):
        return f"accuracy {run.accuracy!r}, recorded {row['accuracy']!r}"
    for name in COMPARED:
        if name not in row:
            continue
        recorded, found = row[name], getattr(run, name)
        if len(recorded) != len(found):
            return f"{len(found)} {name}, recorded {len(recorded)}"
        for (tokens, before), (there, now) in zip(recorded, found, strict=True):
            if tokens != there or not _equal(before, now):
                return f"{name} at {there} is {now!r}, recorded {before!r} at {tokens}"
    return ""


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _record(
    case: "Case", commit: str | None, folders: Sequence[Path]
) -> tuple[Path, Sequence[Row]]:
    """The newest file of curves with runs of the proposal, this machine's before others', and those."""
    here = machine.record(runner.default_device()).name
    files = [file for folder in folders for file in folder.glob("*/*.curves.jsonl")]
    if commit:
        files = [file for file in files if file.name.startswith(commit[:8])]
    files.sort(key=lambda file: (file.parent.name == here, _date(file)), reverse=True)
    for file in files:
        if rows := [row for row in lines(file) if _concerns(case, row)]:
            return file, rows
    where = f" at commit {commit}" if commit else ""
    raise ValueError(f"no run of proposal {case.proposal} is stored{where}, want one to repeat")


def _concerns(case: "Case", row: Row) -> bool:
    task = row["group"][1]
    everywhere = {one for claim in case.claims for one in _listed(claim.where.get("machine"))}
    return task in from_tree("suites.tasks").settings() and row["mixer"] in _asked(
        case, task, everywhere
    )


def _listed(machines: Any) -> list[str]:
    return [machines] if isinstance(machines, str) else list(machines or ())


def _spread(rows: Sequence[Row]) -> list[Row]:
    """Rows in the order that takes one of each task and mixer before the second of any."""
    place: dict[tuple[str, str], int] = {}
    keyed = []
    for row in rows:
        kind = (row["group"][1], row["mixer"])
        place[kind] = place.get(kind, -1) + 1
        keyed.append((place[kind], len(keyed), row))
    return [row for _, _, row in sorted(keyed, key=lambda each: each[:2])]


def _job(row: Row) -> Job:
    return Job(
        mixer=row["mixer"],
        task=from_tree("suites.tasks").find(row["group"][1]),
        seed=row["seed"],
        rate=row["rate"],
        tokens=row["tokens"],
        device=runner.default_device(),
    )


def _trained(
    rows: Sequence[Row], jobs: Sequence[Job], workers: int, at: Commit | None
) -> list[Run | Exception]:
    """Alone or in the cohort that the row names, each cohort once for each row of it."""
    alone = [i for i, row in enumerate(rows) if not row.get("cohort")]
    found = dict(
        zip(alone, run_jobs([jobs[i] for i in alone], workers=workers, at=at), strict=True)
    )
    rest = [i for i in range(len(rows)) if i not in found]
    groups = [list(_together(jobs[i], rows[i])) for i in rest]
    limit_s = LIMIT_S * max(map(len, groups), default=1)
    came = each_apart(train_together, groups, workers=workers, at=at, limit_s=limit_s)
    for number, answer in came:
        i = rest[number]
        if isinstance(answer, Exception):
            found[i] = answer
        else:
            mine = (jobs[i].seed, jobs[i].rate)
            found[i] = next(run for run in answer if (run.seed, run.rate) == mine)
    return [found[i] for i in range(len(rows))]


def _together(job: Job, row: Row) -> Iterator[Job]:
    for seed, rate in row["cohort"]:
        yield Job(
            mixer=job.mixer,
            task=job.task,
            seed=seed,
            rate=rate,
            tokens=job.tokens,
            device=job.device,
        )


def _is_here(file: Path) -> bool:
    """Whether a file of curves was written by this machine with this stack."""
    here = machine.record(runner.default_device())
    figures = Path(str(file).replace(".curves.jsonl", ".json"))
    try:
        stored = json.loads(figures.read_text())["requirements"]
    except (OSError, ValueError, KeyError):
        return False
    return file.parent.name == here.name and stored == requirements()


def _date(file: Path) -> float:
    figures = Path(str(file).replace(".curves.jsonl", ".json"))
    try:
        return float(json.loads(figures.read_text())["date"])
    except (OSError, ValueError, KeyError):
        return 0.0


def _about(row: Row) -> str:
    return f"{row['group'][1]} {row['mixer']} seed {row['seed']}"
