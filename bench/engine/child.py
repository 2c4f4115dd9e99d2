"""The process of one contest: a problem on standard input, stages and results on standard output.

Run as a file. ``bench`` is then the folder this file stands in, whichever version of the project is
installed: asv measures every commit with the ruler of the working tree.
"""

import importlib.util
import os
import pickle
import sys
from pathlib import Path
from typing import Any


def bench_from(folder: Path) -> None:
    """Make ``folder`` the package ``bench``; the rest of the project is the one installed."""
    spec = importlib.util.spec_from_file_location(
        "bench", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module
    spec.loader.exec_module(module)
    if "ASV" not in os.environ and importlib.util.find_spec("impl") is None:
        sys.path.append(str(folder.parent))


def main() -> None:
    """Hold the contest and answer. A bad problem is answered with its exception."""
    bench_from(Path(__file__).parents[1])
    from bench.engine.contest import hold

    problem = pickle.load(sys.stdin.buffer)
    # whatever a plugin prints goes to standard error
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(message: Any) -> None:
        pickle.dump(message, answers)
        answers.flush()

    try:
        answer(hold(problem, lambda plugin, stage: answer((plugin, stage))))
    except Exception as error:
        answer(error)


if __name__ == "__main__":
    main()
