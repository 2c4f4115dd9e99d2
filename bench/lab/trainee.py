"""A process that works for ``workers``: calls on standard input, answers on standard output.

Run as a file. ``bench`` and ``suites`` are then those of the tree it stands in, whichever version of
the project is installed.
"""

import os
import pickle
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Answer each call, a function and its argument, with the result or with its exception."""
    bench = Path(__file__).parents[1]
    runpy.run_path(str(bench / "engine" / "child.py"))["bench_from"](bench)
    import torch

    from bench.engine.ruler import from_tree

    from_tree("suites")
    torch.set_num_threads(1)
    # whatever a mixer prints goes to standard error
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, argument = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = function(argument)
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
