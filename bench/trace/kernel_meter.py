"""Kernel meter: counts the bytes that interpreted Triton kernels touch, launch by launch.

A byte map for each tensor of the launch marks what was read and what was written, so that the
figures are exact whatever the masks, strides and tilings. Blocks ask the L2 cache; that it serves
every repetition inside one launch is assumed, that it keeps nothing until the next one as well.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .launch import Launch, gemm_count

if TYPE_CHECKING:
    from correctness.launch_extents import Extents


class KernelMeter:
    """An observer of the interpreter; hands each finished ``Launch`` to ``record``."""

    def __init__(self, record: Callable[[Launch], None]) -> None:
        self.record = record
        self.running = False
        """Whether a kernel is being interpreted: torch ops are then the interpreter's own."""

    def launch(self, kernel: str, grid: tuple[int, int, int], extents: "Extents") -> None:
        self.kernel, self.grid, self.extents = kernel, grid, extents
        self.requested = self.flops = self.gemms = 0
        self.read = [_byte_map(part.stop - part.start) for part in extents.parts]
        self.written = [_byte_map(part.stop - part.start) for part in extents.parts]
        self.running = True

    def access(
        self, kind: str, addresses: np.ndarray, itemsize: int, program: tuple[int, int, int]
    ) -> None:
        self.requested += addresses.size * itemsize * (2 if kind == "atomic" else 1)
        for place, offsets in self.extents.split(addresses):
            if kind != "store":
                _mark(self.read[place], offsets, itemsize)
            if kind != "load":
                _mark(self.written[place], offsets, itemsize)

    def dot(self, batch: int, rows: int, inner: int, columns: int) -> None:
        self.flops += 2 * batch * rows * inner * columns
        self.gemms += gemm_count(batch, rows, inner, columns)

    def finish(self) -> None:
        self.running = False
        names = [part.name for part in self.extents.parts]
        self.record(
            Launch(
                name=self.kernel,
                grid=self.grid,
                read=_counts(names, self.read),
                written=_counts(names, self.written),
                requested=self.requested,
                flops=self.flops,
                gemms=self.gemms,
            )
        )


def _byte_map(size: int) -> np.ndarray:
    # whole words, so that it can be viewed as items of any size
    return np.zeros(-(-size // 8) * 8, np.uint8)


def _mark(touched: np.ndarray, offsets: np.ndarray, itemsize: int) -> None:
    if (offsets % itemsize).any():
        offsets, itemsize = (offsets[:, None] + np.arange(itemsize)).ravel(), 1
    kind = np.dtype(f"u{itemsize}")
    touched.view(kind)[offsets // itemsize] = np.iinfo(kind).max


def _counts(names: list[str], maps: list[np.ndarray]) -> dict[str, int]:
    counts = {name: int(np.count_nonzero(touched)) for name, touched in zip(names, maps)}
    return {name: count for name, count in counts.items() if count}
