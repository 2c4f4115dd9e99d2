"""Measurement: the samples of one metric of one plugin on one problem, with all that judges it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..engine.noise import median

History = Mapping[str, int]
"""Hash of a commit to its date in milliseconds since 1970, the oldest commit first."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The samples of one metric of one plugin on one problem, with all that is needed to judge it."""

    plugin: str
    metric: str
    unit: str
    sizes: str
    """``B1-T1024-N32``; for a task its name and settings, ``mqar-T64``."""
    dtype: str
    machine: str
    """Name of the machine, a folder of ``results/``."""
    kind: str
    """``cpu``, the GPU's key in ``suites/gpus.toml``, or ``sm_90`` of what was compiled for it."""
    samples: tuple[float, ...]
    """Sample i was taken in round i: samples of two plugins of one group are paired by position."""
    low: float
    high: float
    """Ends of the 99% interval of the median."""
    modelled: bool
    """True when the figure was computed from a trace or a compile, never by a counter or a clock."""
    contract: str
    """Outcome of the contract at this commit: ok, wrong, unsupported or not run."""
    commit: str
    group: str = ""
    """Measurements with the same group were taken in the same interleaved rounds."""
    suite: str = ""
    stack: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    """When it was measured."""
    committed: str = ""
    """When the commit was made: the order of history, also where an older commit is measured later."""
    position: int = 0
    """Of the commit in the history it was read with, oldest first; 0 where there was none."""
    settings: str = ""
    """Digest of a task's settings: another budget is another question. Empty for everything else."""
    knobs: str = ""
    """``chunk=64``: the stored setting that the plugin ran with. Empty where it ran as it stands."""

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def moment(self) -> tuple[int, str, str]:
        """The commit's place in the order of history: by ancestry, else by date, ties by hash."""
        return self.position, self.committed, self.commit

    @property
    def software(self) -> str:
        """The stack in one line: ``numpy 2.4.6, torch 2.13.0``."""
        return ", ".join(f"{name} {version}" for name, version in sorted(self.stack.items()))


def dims(sizes: str) -> dict[str, int]:
    """``B1-T64-D16`` as ``{"B": 1, "T": 64, "D": 16}``. ValueError names what does not fit."""
    pairs = [re.fullmatch(r"([A-Z])(\d+)", part) for part in sizes.split("-")]
    if not all(pairs):
        raise ValueError(f"sizes {sizes!r}, want something like B1-T1024-D64")
    found = {pair[1]: int(pair[2]) for pair in pairs if pair}
    if len(found) < len(pairs):
        raise ValueError(f"sizes {sizes!r} give an axis twice")
    return found
