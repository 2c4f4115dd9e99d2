"""How a training run ended: a name for it, and the losses and gradients that explain the name.

    diverged   a loss or a weight is no number
    flat       the last losses still reach that of a blind guess among all classes, or of zero
    chance     the loss moved, but at the trained length the score is the floor's within its noise
    ok         anything else

A diverged run has the floor's score and is never dropped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suites.tasks import Task

CHECKS = 20
"""Times a run is examined on its way."""
NOISE = 0.99
"""Share of blind guessers whose score is called chance."""
VANISHED, EXPLODED = 1e-2, 1e2
"""Norm of the gradient, over its norm at the start, below and above which it is the explanation."""

Curve = list[tuple[int, float]]


@dataclass
class Course:
    """What was seen on the way, by training tokens."""

    losses: Curve = field(default_factory=list)
    accuracies: Curve = field(default_factory=list)
    gradients: Curve = field(default_factory=list)
    """Norms before clipping; of a diverged run the last one covers the steps since an examination."""
    diverged: bool = False
    unexamined: list[tuple[float, float]] = field(default_factory=list)
    """Loss and norm of each step since the last examination."""

    def noted(self, seen: int, loss: float, norm: float, *, due: bool) -> bool:
        """Note a step after ``seen`` tokens; whether an examination is due and there is a model."""
        if self.diverged:
            return False
        self.unexamined.append((loss, norm))
        self.diverged = not math.isfinite(loss)
        if due or self.diverged:
            mean_loss, mean_norm = (
                sum(each) / len(self.unexamined) for each in zip(*self.unexamined, strict=True)
            )
            self.gradients.append((seen, mean_norm))
            if not self.diverged:
                self.losses.append((seen, mean_loss))
            self.unexamined.clear()
        return due and not self.diverged

    def outcome(self, task: "Task", score: float, count: int) -> tuple[str, str]:
        """Name and reason, for ``score`` on ``count`` sequences of the trained length."""
        if self.diverged:
            return "diverged", f"a loss or a weight is no number; {explanation(self.gradients)}"
        # a signal's loss is over that of predicting zero
        guess, unit = (1.0, "x") if task.signal else (math.log(task.classes), "nat")
        last = [loss for _, loss in self.losses[-CHECKS // 4 :]]
        if last and max(last) >= guess:
            told = f"loss {last[-1]:.3f} {unit} at the end, {guess:.3f} {unit} for a blind guess"
            return "flat", f"{told}; {explanation(self.gradients)}"
        limit = chance_limit(task.floor, count) if task.metric == "accuracy" else task.floor
        if task.normalised(score) <= task.normalised(limit):
            first, end = self.losses[0][1], self.losses[-1][1]
            told = (
                f"loss from {first:.3f} to {end:.3f} {unit}, but {task.metric} {score:.3f} at the"
            )
            told += f" trained length, where blind guesses reach {limit:.3f}"
            return "chance", f"{told}; {explanation(self.gradients)}"
        return "ok", ""


def chance_limit(floor: float, count: int) -> float:
    """Accuracy on ``count`` sequences that ``NOISE`` of all mixers at the floor do not exceed.

    A sequence counts as one trial: its answers are not independent.
    """
    from scipy.stats import binom

    return float(binom.ppf(NOISE, count, floor)) / count


def explanation(gradients: Sequence[tuple[int, float]]) -> str:
    """What the norms say: vanishing, exploding, or neither, with the first and the last of them."""
    if not gradients:
        return "no gradient was seen"
    first, last = gradients[0][1], gradients[-1][1]
    told = f"gradient norm {first:.2g} at first, {last:.2g} at {gradients[-1][0]} tokens"
    if not math.isfinite(last) or last > EXPLODED * first:
        return f"exploding: {told}"
    return f"vanishing: {told}" if last < VANISHED * first else told
