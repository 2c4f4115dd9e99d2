"""Turns: at which commit a proposal's verdict became what it is.

The verdict at a commit is the judge's on all that was measured of this commit and of those before it,
with the claims as they stand now.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...engine.metrics import METRICS, Way
from ...record.measurement import Measurement
from ..claims import Case
from ..judging import judge
from ..judging.judgement import Judgement, Verdict


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A commit from which on a proposal has another verdict, or the same by another rule."""

    proposal: str
    commit: str
    committed: str
    verdict: Verdict
    rule: str
    judgement: Judgement
    """The verdict with its claims and their evidence as it stood then."""

    def facts(self) -> dict[str, Any]:
        """The turn as one row of ``madbench history --json``."""
        return {
            "proposal": self.proposal,
            "commit": self.commit,
            "committed": self.committed,
            "verdict": str(self.verdict),
            "rule": self.rule,
        }


NOTHING = "nothing-measured"
"""The rule of a proposal before its first turn."""

Look = Callable[[list[Measurement]], judge.Controls]


def turns(
    cases: Mapping[str, Case],
    known: Iterable[Measurement],
    *,
    controls: Look = lambda _: {},
) -> dict[str, list[Turn]]:
    """Proposal with claims to its turns, oldest first; none where nothing was measured.

    ``controls`` says how the controls of the tasks did, by what was measured of them.
    """
    known = list(known)
    trained = [one for one in known if METRICS[one.metric].way is Way.TRAINING]
    return {number: _of(case, known, trained, controls) for number, case in sorted(cases.items())}


def _of(
    case: Case, known: Sequence[Measurement], trained: Sequence[Measurement], controls: Look
) -> list[Turn]:
    """A commit that adds nothing of a contestant, nor of a control, is not judged again."""
    contestants = {name for claim in case.claims for name in (claim.plugin, claim.against)}
    about = [one for one in known if one.plugin in contestants]
    tasks = {one.sizes for one in about if METRICS[one.metric].way is Way.TRAINING}
    beside = [one for one in trained if one.sizes in tasks]
    found: list[Turn] = []
    for moment in sorted({one.moment for one in [*about, *beside]}):
        so_far = [one for one in about if one.moment <= moment]
        seen = controls([one for one in beside if one.moment <= moment])
        judgement = judge.judge(case, so_far, controls=seen)
        turned = _turn(judgement, moment)
        if turned.rule != (found[-1].rule if found else NOTHING):
            found.append(turned)
    return found


def _turn(judgement: Judgement, moment: tuple[int, str, str]) -> Turn:
    _, committed, commit = moment
    return Turn(
        proposal=judgement.proposal,
        commit=commit,
        committed=committed,
        verdict=judgement.verdict,
        rule=judgement.rule,
        judgement=judgement,
    )
