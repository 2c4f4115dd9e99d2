"""Races: finds bytes that two programs of one launch touch, one of them writing.

Programs of a launch run in any order, so such a byte may hold either value. Atomics are exempt. A
kernel that orders its programs by flags is reported too: the flags are not understood.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from correctness.launch_extents import Extents

NOBODY, SEVERAL = -1, -2
"""Stand in for a program's number where no program, or more than one, has touched a byte."""


class RaceFinder:
    """An observer of the interpreter; ``found`` holds one line for each kernel and tensor."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str] = {}

    def launch(self, kernel: str, grid: tuple[int, int, int], extents: "Extents") -> None:
        self.kernel, self.grid, self.extents = kernel, grid, extents
        sizes = [part.stop - part.start for part in extents.parts]
        self.reader = [np.full(size, NOBODY) for size in sizes]
        self.writer = [np.full(size, NOBODY) for size in sizes]

    def access(
        self, kind: str, addresses: np.ndarray, itemsize: int, program: tuple[int, int, int]
    ) -> None:
        if kind == "atomic":
            return
        x, y, z = program
        own = x + self.grid[0] * (y + self.grid[1] * z)
        for place, offsets in self.extents.split(addresses):
            touched = np.unique(offsets[:, None] + np.arange(itemsize))
            others = [self.writer[place]] + ([self.reader[place]] if kind == "store" else [])
            for other in others:
                self._report(kind, place, touched[_foreign(other[touched], own)], program)
            mine = self.reader[place] if kind == "load" else self.writer[place]
            mine[touched] = np.where(_foreign(mine[touched], own), SEVERAL, own)

    def dot(self, batch: int, rows: int, inner: int, columns: int) -> None:
        """Products touch no bytes of a tensor."""

    def finish(self) -> None:
        """Nothing is left to do: races are found as they happen."""

    def _report(
        self, kind: str, place: int, shared: np.ndarray, program: tuple[int, int, int]
    ) -> None:
        if not shared.size:
            return
        name = self.extents.parts[place].name
        line = (
            f"{self.kernel}: {kind} of {name} by program {program} shares {shared.size} bytes "
            f"with another program, the first at byte {shared[0]}"
        )
        self.found.setdefault((self.kernel, name), line)


def _foreign(programs: np.ndarray, own: int) -> np.ndarray:
    return (programs != NOBODY) & (programs != own)
