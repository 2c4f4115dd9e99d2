"""Judgement: what may be said of a proposal and of each of its claims, with the cases that say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ...record.json_value import finite
from ..claims import Claim


class State(StrEnum):
    """What may be said of a claim, worst first."""

    BROKEN = "broken"
    UNTESTED = "untested"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    CONFIRMED = "confirmed"


class Verdict(StrEnum):
    """What may be said of a proposal."""

    PROCEED = "PROCEED"
    ABANDON = "ABANDON"
    DEBUG = "DEBUG"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNTESTED = "UNTESTED"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One case: the compared figure, its interval and what it makes of the claim."""

    machine: str
    kind: str
    sizes: str
    dtype: str
    commit: str
    committed: str
    value: float
    low: float
    high: float
    state: State
    position: int = 0
    """Of the commit in the history that the measurements were read with."""
    software: str = ""
    settings: str = ""
    knobs: str = ""
    """The stored settings that the contestants ran with."""

    @property
    def moment(self) -> tuple[int, str, str]:
        """The commit's place in the order of history, as a measurement has it."""
        return self.position, self.committed, self.commit


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim and the cases that speak about it."""

    claim: Claim
    state: State
    evidence: tuple[Evidence, ...]
    """The newest of every case, the one that decides first."""
    broken: str | None = None
    """Plugin and machine of the contract that fails, and the commit since which it does."""
    stopped: str | None = None
    """``since`` the commit at which the claim stopped holding on some machine, or ``with`` what."""

    def facts(self) -> dict[str, Any]:
        """The claim as one row of ``madbench judge --json``; ends without bound are null."""
        first = self.evidence[0] if self.evidence else None
        return {
            "id": self.claim.id,
            "says": self.claim.says,
            "role": str(self.claim.role),
            "state": str(self.state),
            "metric": self.claim.metric,
            "comparison": self.claim.comparison,
            "bounds": dict(self.claim.bounds),
            "value": finite(first.value) if first else None,
            "interval": [finite(first.low), finite(first.high)] if first else None,
            "machine": first.machine if first else None,
            "commit": first.commit if first else None,
            "reported": [dict(report) for report in self.claim.reported],
            "source": self.claim.source,
            "evidence": [_shown(one) for one in self.evidence],
        }


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a proposal, the rule that gave it and what would settle the rest."""

    proposal: str
    verdict: Verdict
    rule: str
    """Name of the rule in ``RULES`` and, behind a colon, what it applied to."""
    missing: tuple[Mapping[str, Any], ...]
    """Success claims that no machine has settled: claim, machines, and why."""
    claims: tuple[Judged, ...]

    def facts(self) -> dict[str, Any]:
        """The proposal as one entry of ``madbench judge --json``."""
        return {
            "verdict": str(self.verdict),
            "rule": self.rule,
            "missing": [dict(one) for one in self.missing],
            "claims": [judged.facts() for judged in self.claims],
        }


def _shown(one: Evidence) -> dict[str, Any]:
    return {
        "machine": one.machine,
        "sizes": one.sizes,
        "dtype": one.dtype,
        "commit": one.commit,
        "value": finite(one.value),
        "interval": [finite(one.low), finite(one.high)],
        "state": str(one.state),
    }
