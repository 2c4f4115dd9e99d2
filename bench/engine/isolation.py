"""A contest in a process of its own, so that a hang, a crash or a driver error costs one contestant.

The child says which contestant it is about to do what with. When it stays silent for longer than the
limit it is killed, when it dies its signal is read; either way the contestant gets an outcome and the
others are held again without it.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from ..lab.workers import OutOfTime
from .checkout import Commit
from .contest import Problem, Results
from .metrics import RIVALS

LIMIT_S = 300.0
"""Seconds a contestant may take for one stage: the slowest is the contract in the interpreter."""
CHILD = Path(__file__).with_name("child.py")


def hold_apart(
    problem: Problem,
    say: Callable[[str, str], None] | None = None,
    *,
    limit_s: float = LIMIT_S,
    deadline: float | None = None,
    at: Commit | None = None,
) -> Results:
    """``contest.hold`` in a child process; what hung or crashed is named and left out.

    The plugins are those of ``at``, by default of this tree.

    OutOfTime at ``deadline``, a reading of ``time.monotonic``.
    """
    lost = Results()
    while problem.plugins:
        child = subprocess.Popen(  # -P: the folder of child.py must not shadow other modules
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=at.environment if at else None,
        )
        try:
            found, plugin, reason = _listen(child, problem, say, limit_s, deadline)
        finally:
            _end(child)
        if found is not None:
            found.outcomes += lost.outcomes
            return found
        for each in [plugin] if plugin else problem.plugins:
            lost.missing(each, "not run", reason, RIVALS[0] if each in problem.rivals else "")
        rest = tuple(each for each in problem.plugins if each != plugin) if plugin else ()
        rivals = {name: at for name, at in problem.rivals.items() if name != plugin}
        problem = replace(problem, plugins=rest, rivals=rivals)
    return lost


def _listen(
    child: subprocess.Popen[bytes],
    problem: Problem,
    say: Callable[[str, str], None] | None,
    limit_s: float,
    deadline: float | None,
) -> tuple[Results | None, str, str]:
    """The results, or the contestant and the stage at which the child was lost."""
    assert child.stdin is not None and child.stdout is not None
    messages: Queue[Any] = Queue()
    threading.Thread(target=_read, args=(child.stdout, messages), daemon=True).start()
    pickle.dump(problem, child.stdin)
    child.stdin.close()
    plugin, stage = "", "start"
    while True:
        left = deadline - time.monotonic() if deadline is not None else limit_s
        try:
            message = messages.get(timeout=max(0.0, min(left, limit_s)))
        except Empty:
            if left < limit_s:
                raise OutOfTime from None
            return None, plugin, f"no answer within {limit_s:.0f} s at the stage {stage!r}"
        if message is None:
            return None, plugin, f"the process ended at the stage {stage!r}: {_death(child)}"
        if isinstance(message, Results):
            return message, "", ""
        if isinstance(message, Exception):
            raise message
        plugin, stage = message
        if say:
            say(plugin, stage)


def _read(stream: IO[bytes], messages: "Queue[Any]") -> None:
    with stream:
        while True:
            try:
                messages.put(pickle.load(stream))
            except Exception:  # the end of the stream, or half a message of a dying child
                messages.put(None)
                return


def _death(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
