"""Turns: at which commit a proposal's verdict became what it is.

The verdict at a commit is the judge's on all that was measured of this commit and of those before it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...engine.record import Measurement
from .. import judge
from ..claims import Case


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A commit from which on a proposal has another verdict, or the same by another rule."""

    proposal: str
    commit: str
    committed: str
    verdict: judge.Verdict
    rule: str
    judgement: judge.Judgement
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


def turns(
    cases: Mapping[str, Case],
    known: Iterable[Measurement],
    *,
    proposals: Collection[str] = (),
    controls: Callable[[Sequence[Measurement]], judge.Controls] = lambda _: {},
) -> dict[str, list[Turn]]:
    """Proposal to its turns, oldest first; empty where nothing was measured.

    ``controls`` says how the controls did, by the measurements of a prefix of the history.
    """
    raise NotImplementedError
