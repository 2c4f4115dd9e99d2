"""Run: one training run as it is asked for and as it ended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suites.tasks import Task

SOLVED, FAILED = 0.9, 0.2
"""Normalised accuracy from which a run has solved its task, and up to which it has failed."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: one mixer, one task, one seed, one learning rate."""

    mixer: str
    """Id with the knobs that differ from the defaults, ``mixers.deltanet(beta=2)``."""
    task: str
    seed: int
    rate: float
    tokens: int
    """Budget in training tokens; a diverged run stopped before it."""
    accuracy: float
    """The task's metric on sequences of the scored length; a diverged run has the floor's."""
    accuracy_trained: float
    """On sequences of the trained length."""
    normalised: float
    """``accuracy`` with the floor at 0."""
    tokens_to_threshold: int | None
    """Tokens after which the trained length was first solved, as far as examined; None is never."""
    outcome: str
    """``ok``, ``diverged``, ``flat`` or ``chance``, as ``outcome.py`` tells them apart."""
    losses: tuple[tuple[int, float], ...]
    """Tokens seen, and the mean ``mismatch`` since the examination before."""
    accuracies: tuple[tuple[int, float], ...]
    """Tokens seen, and the accuracy at the trained length."""
    parameters: int
    """Trained numbers outside the embedding and the head."""
    state_size: int
    """Elements that all layers keep of a sequence of the scored length."""
    seconds: float
    """Of the processor; information, never a score."""
    device: str
    by_length: tuple[tuple[int, float], ...] = ()
    """Tokens of a sequence, and the accuracy there: trained, scored and further lengths."""
    gradients: tuple[tuple[int, float], ...] = ()
    """Tokens seen, and the mean norm before clipping since the examination before."""
    reason: str = ""
    """What explains an outcome other than ``ok``."""
    flops: int | None = None
    """Of products, forward and backward, a training token; None in runs that were kept without."""
    cohort: tuple[tuple[int, float], ...] = ()
    """Seed and rate of each run that was trained in one batch with this one; none is alone."""

    @property
    def solved(self) -> bool:
        """Whether the scored length is solved."""
        return self.normalised >= SOLVED

    @property
    def failed(self) -> bool:
        """Whether the run stands at the floor."""
        return self.normalised <= FAILED


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to do: the arguments of ``train``."""

    mixer: str
    task: "Task"
    seed: int
    rate: float
    tokens: int | None = None
    device: str = "cpu"
