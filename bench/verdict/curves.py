"""Learning curves as they were kept beside the figures of a machine and commit."""

from pathlib import Path
from typing import Any

Row = dict[str, Any]


def curves(results: Path) -> list[Row]:
    """Every run of every task: accuracies and losses by tokens, with the floor of the task.

    A line that is broken warns with CorruptResults and is skipped; a task that is no longer in the
    tree has no floor.
    """
    return []
