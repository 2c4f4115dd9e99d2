"""What is measured on both sides of a change."""

from dataclasses import dataclass

from ..engine.contest import Problem


@dataclass(frozen=True, kw_only=True)
class Contested:
    """One problem to be timed on both sides, and the rivals at its sizes."""

    problem: Problem
    """Its plugins are those that the change reaches, admitted on both sides and not unchanged."""
    baselines: tuple[tuple[str, Problem], ...]
    """Plugin of a rival, admitted on both sides and not reached, and the problem it computes."""
