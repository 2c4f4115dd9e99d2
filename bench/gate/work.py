"""Work of one comparison: the two commits, what the change reaches, and what was found so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..engine import suite
from ..engine.checkout import Commit
from ..engine.contest import Problem
from .allowance import Settings
from .exact import Place
from .finding import Answer, Finding
from .reach import Reach
from .sides import Sights

Tell = Callable[[str], None]


@dataclass(kw_only=True)
class Work:
    """What is known so far."""

    base: Commit
    head: Commit
    touched: Reach
    device: str
    told: Settings
    tell: Tell
    findings: list[Finding] = field(default_factory=list)
    fit: list[tuple[suite.Contest, Problem]] = field(default_factory=list)
    """Problems whose plugins are ok on both sides."""
    measured: set[str] = field(default_factory=set)
    """Ids that took part in something."""
    same: set[tuple[str, str, str]] = field(default_factory=set)
    """Plugin, sizes and dtype of binaries that are identical."""

    @property
    def here(self) -> Sequence[str]:
        """Plugins that the change reaches and both sides can run here."""
        return [
            each
            for each in self.touched.plugins
            if not any(
                side.plugins[each].missing() for side in (self.touched.base, self.touched.head)
            )
        ]

    def on_both(self, measure: Callable[[Commit, Tell], Sights]) -> tuple[Sights, Sights]:
        """The base's, then the head's."""
        found = [
            measure(at, lambda line, side=side: self.tell(f"{side}: {line}"))
            for side, at in (("base", self.base), ("head", self.head))
        ]
        return found[0], found[1]

    def line(self, plugin: str, answer: Answer, why: str) -> None:
        """A finding that is about a plugin as a whole."""
        self.findings.append(Place(plugin=plugin).finding("contract", answer, why))
