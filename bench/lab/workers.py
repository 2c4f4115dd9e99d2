"""Calls spread over processes of one thread each, so that a crash or a hang costs one call."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ..engine.checkout import Commit

TRAINEE = Path(__file__).with_name("trainee.py")
LIMIT_S = 900.0
"""Seconds after which a call has hung and its process is killed."""


class OutOfTime(Exception):
    """The deadline of the whole run came before the work was over; what was unfinished is lost."""


def each_apart(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    *,
    workers: int = 2,
    deadline: float | None = None,
    at: Commit | None = None,
    limit_s: float = LIMIT_S,
) -> Generator[tuple[int, Any], None, None]:
    """Number of an argument and ``function``'s answer, as they come; an exception is an answer too.

    ``function`` belongs to a module of ``bench``. Leaving the loop early ends the processes.
    The plugins are those of ``at``, by default of this tree. A call ends after ``limit_s``. OutOfTime at ``deadline``, a reading of
    ``time.monotonic``.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()
    staff = [Worker(at, limit_s=limit_s) for _ in range(min(workers, len(arguments)))]
    for worker in staff:
        idle.put(worker)

    def work(argument: Any) -> Any:
        worker = idle.get()
        try:
            return worker.call(function, argument)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(max(1, len(staff)))
    try:
        futures = {threads.submit(work, argument): i for i, argument in enumerate(arguments)}
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        for future in as_completed(futures, timeout=left):
            yield futures[future], future.result()
    except TimeoutError:
        raise OutOfTime from None
    finally:
        # killed first, so that every thread gets its answer and ends, and none starts another process
        for worker in staff:
            worker.kill()
        threads.shutdown(cancel_futures=True)
        for worker in staff:
            worker.end()


class Worker:
    """One process, started when it is first called and again after it died, never after ``kill``."""

    def __init__(
        self,
        at: Commit | None = None,
        *,
        limit_s: float = LIMIT_S,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = {**(at.environment if at else os.environ), **(variables or {})}
        self._limit_s = limit_s
        self.process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._starting = threading.Lock()

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """The answer of the process, or a RuntimeError that says how it ended."""
        process = self._running()
        if process is None:
            return RuntimeError("the run is over")
        assert process.stdin is not None and process.stdout is not None
        limit = threading.Timer(self._limit_s, process.kill)
        limit.start()
        try:
            pickle.dump((function, argument), process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
            return RuntimeError(
                f"the process ended with status {code} (limit {self._limit_s:.0f} s)"
            )
        finally:
            limit.cancel()

    def _running(self) -> "subprocess.Popen[bytes] | None":
        with self._starting:
            if self._killed:
                return None
            if self.process is None or self.process.poll() is not None:
                self.end()
                self.process = subprocess.Popen(  # -P: the folder of the file shadows no module
                    [sys.executable, "-P", str(TRAINEE)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**self._environment, "OMP_NUM_THREADS": "1"},
                )
            return self.process

    def kill(self) -> None:
        """End the process, if there is one; a call under way gets an error for an answer."""
        with self._starting:
            self._killed = True
            if self.process is not None:
                self.process.kill()

    def end(self) -> None:
        """Close what a dead process leaves."""
        if self.process is not None:
            self.process.communicate()
