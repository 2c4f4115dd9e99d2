"""Names of asv's benchmarks: module, suite, subject and metric of ``kernels.SmokeSsd.track_time``."""

import re

KERNELS, TASKS, STATIC, CEILINGS = "kernels", "tasks", "static", "ceilings"
"""Modules of ``bench/`` that asv sees; the first part of a benchmark's name."""


def of_ours(benchmark: str) -> bool:
    """Whether a benchmark is of a module that asv sees."""
    return benchmark.partition(".")[0] in (KERNELS, TASKS, STATIC, CEILINGS)


def class_name(suite: str, op: str) -> str:
    """``smoke`` and ``delta_rule`` as ``SmokeDeltaRule``, the name of asv's class."""
    return "".join(word.capitalize() for word in [suite, *op.split("_")])


def suite_of(class_name: str) -> str:
    """``SmokeDeltaRule`` as ``smoke``."""
    return re.split("(?<=.)(?=[A-Z])", class_name)[0].lower()


def subject_of(class_name: str) -> str:
    """``SmokeDeltaRule`` as ``delta_rule``."""
    return "_".join(re.split("(?<=.)(?=[A-Z])", class_name)[1:]).lower()
