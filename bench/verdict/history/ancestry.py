"""The order of a repository's commits, as plain data: what the pure part is given and never asks."""

import subprocess
from pathlib import Path

from ...record.measurement import History


def ancestry(repository: Path) -> History | None:
    """HEAD and all before it, parents first, with their dates; None where that is not known.

    A clone that was cut off knows only its end, and would take all the rest for foreign.
    """
    try:
        shallow = _git(repository, "rev-parse", "--is-shallow-repository").strip()
        told = _git(repository, "log", "--topo-order", "--reverse", "--format=%H %ct", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None
    if shallow != "false":
        return None
    found = (line.split() for line in told.splitlines())
    return {commit: 1000 * int(seconds) for commit, seconds in found}


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *words], capture_output=True, text=True, check=True
    )
    return done.stdout
