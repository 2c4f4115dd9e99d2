"""One launch of a traced call: a Triton kernel or an eager torch op, and what it moved."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What one kernel or op read, wrote and computed; sizes in bytes, by tensor."""

    name: str
    """``_some_kernel`` or ``aten::mm``."""
    grid: tuple[int, ...] = ()
    """Programs along x, y, z; empty for an eager op."""
    read: Mapping[str, int]
    """Distinct bytes read of each tensor: a byte that many programs read counts once."""
    written: Mapping[str, int]
    """Distinct bytes written of each tensor."""
    requested: int
    """Bytes that loads, stores and atomics asked for, repetitions included. For an eager op,
    whose insides cannot be seen, its traffic."""
    flops: int = 0
    """Multiplications and additions of matrix products; other arithmetic is not counted."""
    gemms: int = 0
    """Matrix products, each of a batch counted; a product with a vector is none."""

    @property
    def traffic(self) -> int:
        """Bytes read and written, each once: all reuse inside the launch is served by a cache."""
        return sum(self.read.values()) + sum(self.written.values())


def gemm_count(batch: int, rows: int, inner: int, columns: int) -> int:
    """``batch`` products of [rows, inner] by [inner, columns], none where one is a vector."""
    return batch if min(rows, inner, columns) > 1 else 0
