"""The commit whose plugins are measured: this tree as it stands, or the files of another commit.

The ruler (``bench``, ``suites``) is always that of this tree. What is measured by it (``impl``,
``correctness``) may come from any commit: its files are unpacked once under ``.asv/trees``, and a
process that measures finds them before those that are installed.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[2]
CODE = ("impl", "correctness", "bench", "suites")
TREES = TREE / ".asv" / "trees"


@dataclass(frozen=True)
class Commit:
    """A commit; ``clean`` when what is measured under its name is exactly what it holds."""

    hash: str
    date: int
    """Milliseconds since 1970, as asv has it."""
    clean: bool
    tree: Path = TREE
    """The folder that its files lie in."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a process that is to import the plugins of this commit."""
        if self.tree == TREE:
            return dict(os.environ)
        paths = [str(self.tree), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@functools.cache
def here() -> Commit:
    """HEAD of the tree this file stands in; without git, an unknown commit that is never clean."""
    try:
        changed = git("status", "--porcelain", "--", *CODE)
        sha, date = git("log", "-1", "--format=%H %ct", "HEAD").split()
    except (OSError, subprocess.CalledProcessError, ValueError):
        return Commit("0" * 40, 0, clean=False, tree=TREE)
    return Commit(sha, int(date) * 1000, clean=not changed, tree=TREE)


def find(revision: str) -> Commit:
    """A commit by any name that git knows, its files unpacked. ValueError when there is none."""
    try:
        sha = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        date = git("log", "-1", "--format=%ct", sha)
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(
            f"no commit is called {revision!r} here, want a hash, branch or tag"
        ) from None
    if here().clean and sha == here().hash:
        return here()
    return Commit(sha, int(date) * 1000, clean=True, tree=_unpacked(sha))


def between(good: str, bad: str) -> list[str]:
    """Hashes after ``good`` up to ``bad``, oldest first, along first parents."""
    span = f"{find(good).hash}..{find(bad).hash}"
    return git("rev-list", "--reverse", "--first-parent", span).split()


def git(*words: str) -> str:
    """What git prints of the repository of this tree."""
    done = subprocess.run(
        ["git", "-C", str(TREE), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _unpacked(sha: str) -> Path:
    """The folder of a commit's files; made in one step, so that half of one is never found."""
    place = TREES / sha
    if place.is_dir():
        return place
    present = _present(sha)
    if not present:
        raise ValueError(f"commit {sha[:12]} holds none of {', '.join(CODE)}, want this project's")
    TREES.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=TREES, prefix=".half-"))
    index = half / ".index"
    try:
        # an index of its own: that of the checkout stays as it is
        command = ["git", "-C", str(TREE), f"--work-tree={half}", "checkout", "--quiet", sha]
        subprocess.run(
            [*command, "--", *present],
            env={**os.environ, "GIT_INDEX_FILE": str(index)},
            capture_output=True,
            check=True,
        )
        index.unlink()
        half.replace(place)
    except OSError:
        # another process was first
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return place


def _present(sha: str) -> list[str]:
    return [name for name in git("ls-tree", "--name-only", sha).split("\n") if name in CODE]
