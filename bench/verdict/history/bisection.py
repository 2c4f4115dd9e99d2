"""Bisection: the first commit at which a claim no longer holds, found by measuring.

Commits are those along first parents, as ``git bisect --first-parent`` has them, and the answer of
each is the judge's on figures of this machine and this stack alone: it holds when it is confirmed, it
does not when it is refuted or a contract fails. What is neither, and was timed, is measured once more,
with ``AGAIN`` times the rounds, and then passed over; where the first bad commit lies among such, all of them are
named. What is stored for a commit and settles it is not measured again.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...engine import checkout, runner, store, suite, tuned
from ...engine.checkout import Commit
from ...engine.contest import Outcome, Problem
from ...engine.isolation import hold_apart
from ...engine.metrics import METRICS, Way
from ...hardware import machine
from ...record.measurement import Measurement
from .. import missing
from ..claims import Case, Claim
from ..judging import weighing
from ..judging.judgement import Judged, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...lab.agenda import Tryout

AGAIN = 4
"""A commit of which one cannot tell gets so many times the rounds: half the width of an interval."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One commit that was asked about."""

    commit: str
    holds: bool | None
    """None: it could not be told."""
    said: str
    """The figure and its interval, or what is missing."""
    measured: bool
    """False when stored figures were enough."""


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """What was found of a claim."""

    claim: str
    first: tuple[str, ...]
    """The first bad commit; more than one where those before the last could not be told."""
    steps: tuple[Step, ...]

    def facts(self) -> dict[str, Any]:
        """The answer of ``madbench bisect --json``."""
        return {**vars(self), "steps": [vars(step) for step in self.steps]}


Ask = Callable[[str], Step]


def bisect(good: str, bad: str, name: str, ask: Ask) -> Bisection:
    """The first commit after ``good``, up to ``bad``, for which ``ask`` says that it does not hold.

    ValueError when ``good`` does not hold, ``bad`` does, one of them cannot be told, or ``bad`` does
    not come after ``good``.
    """
    commits = _between(good, bad)
    steps: list[Step] = []

    def told(commit: str) -> bool | None:
        steps.append(ask(commit))
        return steps[-1].holds

    _check("GOOD", checkout.find(good).hash, told, steps, wanted=True)
    _check("BAD", commits[-1], told, steps, wanted=False)
    return Bisection(claim=name, first=search(commits, told), steps=tuple(steps))


def search(commits: Sequence[str], holds: Callable[[str], bool | None]) -> tuple[str, ...]:
    """The first of ``commits`` that does not hold, and those before it of which nobody can tell.

    The last is known not to hold, and what comes before the first is known to.
    """
    low, high, unclear = -1, len(commits) - 1, set[int]()
    while todo := [i for i in range(low + 1, high) if i not in unclear]:
        middle = min(todo, key=lambda i: abs(2 * i - low - high))
        answer = holds(commits[middle])
        if answer is None:
            unclear.add(middle)
        elif answer:
            low = middle
        else:
            high = middle
    return tuple(commits[low + 1 : high + 1])


def claim_called(name: str, cases: "Mapping[str, Case]") -> tuple[str, Claim]:
    """The claim ``026/beats-kogge-stone``, or of an id that only one proposal has, with that name."""
    known = {
        f"{number}/{claim.id}": claim for number, case in cases.items() for claim in case.claims
    }
    found = [each for each in known if name in (each, each.partition("/")[2])]
    if len(found) != 1:
        several = f"; it is {' and '.join(found)}" if found else ""
        wish = "" if found else ", want one like " + next(iter(known), "026/beats-kogge-stone")
        raise ValueError(f"{len(found)} claims are called {name!r}{several}{wish}")
    return found[0], known[found[0]]


def _between(good: str, bad: str) -> list[str]:
    before, after = checkout.find(good).hash, checkout.find(bad).hash
    try:
        checkout.git("merge-base", "--is-ancestor", before, after)
    except subprocess.CalledProcessError:
        raise ValueError(f"{good} does not come before {bad} in history, want GOOD BAD") from None
    if before == after:
        raise ValueError(f"{good} and {bad} are the same commit")
    return checkout.between(good, bad)


def _check(
    which: str,
    commit: str,
    told: Callable[[str], bool | None],
    steps: Sequence[Step],
    *,
    wanted: bool,
) -> None:
    answer = told(commit)
    if answer is not wanted:
        says = "could not be told" if answer is None else "holds" if answer else "does not hold"
        raise ValueError(f"{which} {commit[:8]}: the claim {says}: {steps[-1].said}")


class Prober:
    """Asks a commit about a claim, by what is stored or by measuring the claim's own problems."""

    def __init__(
        self, claim: Claim, known: Sequence[Measurement], *, device: str, keep: bool = False
    ) -> None:
        """ValueError when no suite measures the claim, or this machine is none that it is about."""
        self._claim, self._device, self._keep = claim, device, keep
        here = machine.record(device)
        if not claim.covers_machine((here.kind, here.name)):
            wanted = claim.where["machine"]
            raise ValueError(f"the claim is about {wanted}, this machine is {here.name}")
        software = _software(here.stack)
        self._stored = [
            one for one in known if one.machine == here.name and _software(one.stack) == software
        ]
        self._names = (here.kind, here.name)
        self._contestants = tuple(filter(None, (claim.plugin, claim.against)))
        self._suite, self._problems, self._tasks = self._covered()

    def __call__(self, commit: str) -> Step:
        """What can be said of the claim at a commit."""
        stored = weighing.weigh(self._claim, [one for one in self._stored if one.commit == commit])
        if (holds := _holds(stored)) is not None:
            return Step(commit=commit, holds=holds, said=_said(stored, []), measured=False)
        at = checkout.find(commit)
        judged, reasons = self._measured(at, runner.ROUNDS)
        noisy = METRICS[self._claim.metric].way is Way.CLOCK
        unclear = judged.state is State.INCONCLUSIVE or any(each.again for each in reasons)
        if noisy and unclear:
            judged, reasons = self._measured(at, AGAIN * runner.ROUNDS)
        said = _said(judged, reasons)
        return Step(commit=commit, holds=_holds(judged), said=said, measured=True)

    def _measured(self, at: Commit, rounds: int) -> tuple[Judged, list[Outcome]]:
        found: list[Measurement] = []
        reasons: list[Outcome] = []
        for contest, problem in self._problems:
            wanted = replace(problem, rounds=rounds)
            if not self._keep:
                metrics = (self._claim.metric,)
                wanted = replace(wanted, plugins=self._contestants, metrics=metrics, rivals={})
            results = hold_apart(tuned.settled(wanted), at=at)
            if self._keep:
                store.Place.of(at=at).add(self._suite, contest, wanted, results)
            found += store.measurements(wanted, results, at)
            reasons += results.outcomes
        for held in self._tasks:
            trained, why = self._trained(held, at)
            found += trained
            reasons += why
        return weighing.weigh(self._claim, found), reasons

    def _trained(self, held: "Tryout", at: Commit) -> tuple[list[Measurement], list[Outcome]]:
        from ...lab import tryout, tryout_record
        from ...lab.kept import Kept

        kept = Kept.of(held.task.name, self._device, at)
        if not self._keep:
            held = replace(held, mixers=self._contestants)
        results, runs = tryout.hold(held, device=self._device, kept=kept, at=at)
        if self._keep:
            tryout_record.keep(
                self._suite, held, results, runs, self._device, store.Place.of(at=at)
            )
        return list(tryout_record.measurements(held, results, self._device, at)), results.outcomes

    def _covered(
        self,
    ) -> "tuple[str, list[tuple[suite.Contest, Problem]], list[Tryout]]":
        """The first suite that measures the claim, with its problems and tasks."""
        from ...lab import agenda

        suites = {name: suite.load(name) for name in suite.names()}
        for name, _ in missing.suites_for(self._claim, suites.values()):
            problems = list(self._covering(suites[name]))
            tasks = [
                held
                for held in agenda.tryouts(name)
                if set(self._contestants) <= set(held.mixers)
                and self._covers(held.task.name, agenda.DTYPE)
                and self._claim.metric in agenda.TRACKED
            ]
            if problems or tasks:
                return name, problems, tasks
        raise ValueError(
            f"no suite measures {self._claim.metric} of what {self._claim.id} is about"
        )

    def _covering(self, each: suite.Suite) -> "Iterator[tuple[suite.Contest, Problem]]":
        for contest in each.contests:
            if not set(self._contestants) <= set(contest.plugins):
                continue
            for problem in runner.problems(contest, self._device):
                if self._claim.metric in problem.metrics and self._covers(
                    store.sizes_name(problem.sizes), problem.dtype
                ):
                    yield contest, problem

    def _covers(self, sizes: str, dtype: str) -> bool:
        return self._claim.covers(machine=self._names, dtype=dtype, sizes=sizes)


def _software(stack: "Mapping[str, str]") -> dict[str, str]:
    """What of a stack is stored with figures whichever process stored them."""
    return {name: version for name, version in stack.items() if name not in ("python", "threads")}


def _holds(judged: Judged) -> bool | None:
    if judged.state is State.CONFIRMED:
        return True
    return False if judged.state in (State.REFUTED, State.BROKEN) else None


def _said(judged: Judged, reasons: Sequence[Outcome]) -> str:
    if judged.broken:
        wrong = (f"{each.plugin}: {each.reason}" for each in reasons if each.outcome == "wrong")
        what = "; ".join(dict.fromkeys(wrong)) or judged.broken.partition(" on ")[0]
        return f"a contract fails: {what}"
    if not judged.evidence:
        why = dict.fromkeys(f"{each.plugin}: {each.reason}" for each in reasons)
        return "; ".join(why) or "nothing measured"
    first, claim = judged.evidence[0], judged.claim
    units = {"ratio": "x", "slope": f"power of {claim.over}"}
    unit = units.get(claim.comparison, METRICS[claim.metric].unit)
    return f"{first.value:.4g} {unit} [{first.low:.4g}, {first.high:.4g}]"
