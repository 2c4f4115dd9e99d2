"""Runs kept until their tryout is complete, so that one that was cut off goes on where it stopped.

A run repeats to the bit for the same code, stack and machine, and a folder holds those of one of
each: a run that was kept is the run that would be trained.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..engine import checkout, store
from ..engine.admission import write_atomically
from ..engine.checkout import TREE, Commit
from ..hardware import machine
from .training.run import Job, Run

CURVES = ("losses", "accuracies", "gradients", "by_length", "cohort")


@dataclass(frozen=True)
class Kept:
    """The runs of one task in ``folder``."""

    folder: Path

    @classmethod
    def of(cls, task: str, device: str, at: Commit | None = None) -> "Kept":
        """Those of a commit's code, by default the tree's own, and of this stack and machine."""
        import torch  # noqa: F401  the stack names the threads only of a torch that is there

        at = at or checkout.here()
        code = at.hash if at.clean else store.uncommitted().name
        about = repr((code, machine.record(device).name, sorted(machine.stack().items())))
        digest = hashlib.sha256(about.encode()).hexdigest()[:12]
        return cls(TREE / ".asv" / "runs" / digest / task)

    def find(self, job: Job) -> Run | None:
        """The run of a job, if it is here and can be read."""
        tokens = job.tokens or job.task.tokens
        file = self._file(job.mixer, job.seed, job.rate, tokens, job.device)
        try:
            found = json.loads(file.read_text())
            curves = {name: tuple(map(tuple, found[name])) for name in CURVES}
            return Run(**{**found, **curves})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def add(self, run: Run, device: str) -> None:
        """Keep a run that was trained on ``device``."""
        file = self._file(run.mixer, run.seed, run.rate, run.tokens, device)
        write_atomically(file, json.dumps(vars(run)))

    def clear(self) -> None:
        """Drop them: the tryout is stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, *about: object) -> Path:
        return self.folder / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:24]}.json"
