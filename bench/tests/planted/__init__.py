"""A repository of thirteen commits, made from this one, with faults planted at known commits.

Small: one op with its loop and its scan, one mixer on one task, one proposal that claims something
of each. Every fault is one edit of a plugin, and is taken back later, so that the history has to name
the commit of each, and the verdict has to turn and turn back.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DATA = Path(__file__).parent
KEPT = (
    "asv.conf.json", "pyproject.toml", "bench", "correctness", "impl/registry.py", "impl/__init__.py",
    "impl/common", "impl/scans/sequential.py", "impl/scans/prefix_scan.py", "impl/mixers/diagonal.py",
    "suites/__init__.py", "suites/gpus.toml", "suites/gate.toml", "suites/catalogue",
    "suites/tasks/__init__.py",
)  # fmt: skip
SCAN, MIXER = "impl/scans/prefix_scan.py", "impl/mixers/diagonal.py"
CALL = "    return _scan(DIAGONAL, a, absorb(DIAGONAL, a, b, h0))[1]\n"
DOWN = "kind.apply(a_even[:, 1:], b_prefix[:, :later]) + b_even[:, 1:]"
CALIBRATE = """
import sys
from bench.engine import ceilings, checkout, runner, store

device = runner.default_device()
try:
    found = ceilings.measure(device)
except RuntimeError:
    sys.exit()  # too busy: every run tries again
for commit in sys.argv[1:]:
    ceilings.keep(device, found, store.Place.of(at=checkout.find(commit)))
"""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One commit: an edit of a plugin, or its undoing, or something that changes no plugin."""

    says: str
    edit: Callable[[str], str]
    file: str = SCAN
    fault: str = ""
    """What is wrong from this commit on: slow, traffic, wrong, forgetful; empty when all is well."""
    harmless: bool = False
    """Whether the commit changes comments and docstrings only."""


def _put(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in the plugin, want 1")
        return text.replace(old, new)

    return edit


def _both(old: str, new: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    return _put(old, new), _put(new, old)


# fifty times as long: a machine that is shared may halve its own speed from one commit to the next
_slow, _fast = _both(CALL, f"    __import__('time').sleep(2e-2)\n{CALL}")
_copied, _shared = _both(CALL, f"    a, b = a.clone(), b.clone()\n{CALL}")
_wrong, _right = _both(DOWN, DOWN.replace("+", "-"))
_forgets, _recalls = _both("(1.0, 5.0) if spectrum", "(-9.0, -8.0) if spectrum")

COMMITS = (
    Planted(says="A loop, a scan and a mixer", edit=str),
    Planted(says="A comment", edit=_put("    # up:", "    # on the way up:"), harmless=True),
    Planted(says="The scan sleeps", edit=_slow, fault="slow"),
    Planted(says="The scan is awake", edit=_fast),
    Planted(says="A docstring", edit=_put("by 2 T compositions, rounded", "by compositions, rounded"), harmless=True),
    Planted(says="The scan copies what it is given", edit=_copied, fault="traffic"),
    Planted(says="The scan copies nothing", edit=_shared),
    Planted(says="A minus where a plus belongs", edit=_wrong, fault="wrong"),
    Planted(says="Another comment", edit=_put("    # on the way up:", "    # up:"), fault="wrong"),
    Planted(says="The plus is back", edit=_right),
    Planted(says="The mixer forgets at once", edit=_forgets, file=MIXER, fault="forgetful"),
    Planted(says="The mixer remembers", edit=_recalls, file=MIXER),
    Planted(says="A name", edit=_put("later = b_even.shape[1] - 1\n", "later = b_even.shape[1] - 1  # steps\n")),
)  # fmt: skip


class Repository:
    """The planted repository, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in KEPT:
            _copy(ROOT / name, folder / name)
        for file in sorted((DATA / "tree").rglob("*.*")):
            _copy(file, folder / file.relative_to(DATA / "tree"))
        # a loss of so much takes no more rounds: the gate wants 3, and a busy machine may spoil two
        gate = folder / "suites" / "gate.toml"
        gate.write_text(_put("rounds     = 20 ", "rounds     = 5 ")(gate.read_text()))
        (folder / ".gitignore").write_text(".asv/\nhtml/\n__pycache__/\n")
        self.git("init", "-q", "-b", "main")
        self.commits = [self._commit(day, each) for day, each in enumerate(COMMITS)]

    def git(self, *words: str, **more: str) -> str:
        """What git prints."""
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def madbench(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The repository's own command line; its exit status is for the caller to judge."""
        return self._python("-m", "bench", *words, **more)

    def calibrate(self, commits: Iterable[str]) -> subprocess.CompletedProcess[str]:
        """Measure the machine's ceilings once and store them at these commits, if it is quiet enough."""
        return self._python("-c", CALIBRATE, *commits)

    def _python(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", **more},
            capture_output=True,
            text=True,
            check=False,
        )

    def place(self, fault: str) -> int:
        """The number of the commit at which a fault was planted."""
        return [each.fault for each in COMMITS].index(fault)

    def first(self, fault: str) -> str:
        """The commit at which a fault was planted."""
        return self.commits[self.place(fault)]

    def undone(self, fault: str) -> str:
        """The commit at which it was taken back."""
        after = self.place(fault)
        while COMMITS[after].fault == fault:
            after += 1
        return self.commits[after]

    def edits(self, file: str) -> list[str]:
        """The commits that edit a file."""
        return [
            commit for commit, each in zip(self.commits, COMMITS, strict=True) if each.file == file
        ]

    def _commit(self, day: int, planted: Planted) -> str:
        file = self.folder / planted.file
        file.write_text(planted.edit(file.read_text()))
        when = f"{1767225600 + 86400 * day} +0000"
        who: Mapping[str, str] = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "m"), ("EMAIL", "m@example.org"), ("DATE", when))
        }
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", planted.says, **who)
        return self.git("rev-parse", "HEAD")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "tests")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
